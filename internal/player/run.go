package player

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/gdamore/tcell/v2"
)

// Run shows a recording on the terminal until the auditor has seen enough.
func Run(ctx context.Context, r Recording, o Options) error {
	terminal, err := tcell.NewScreen()
	if err != nil {
		return fmt.Errorf("the player cannot use this terminal (TERM=%s): %w; --text shows all of it as text", os.Getenv("TERM"), err)
	}
	return run(ctx, terminal, r, o)
}

// frameTime is how often the show moves on.
const frameTime = 33 * time.Millisecond

func run(ctx context.Context, terminal tcell.Screen, r Recording, o Options) error {
	if err := terminal.Init(); err != nil {
		return err
	}
	defer terminal.Fini()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	columns, rows := terminal.Size()
	p := newPlayer(ctx, r, o, columns, rows)
	events := make(chan tcell.Event, 16)
	go terminal.ChannelEvents(events, ctx.Done())
	ticks := time.NewTicker(frameTime)
	defer ticks.Stop()
	p.begin()
	dirty := true
	for last := time.Now(); !p.quit; {
		if dirty {
			p.paint(terminal)
			terminal.Show()
		}
		dirty = true
		select {
		case e := <-events:
			p.event(terminal, e)
		case fn := <-p.post:
			fn()
		case <-ctx.Done():
			return context.Cause(ctx)
		case now := <-ticks.C:
			dirty = p.playing
			p.advance(now.Sub(last))
			last = now
		}
		dirty = p.drain() || dirty
	}
	return nil
}

// drain does all that waits, so that it is painted once, and says whether there was something.
func (p *player) drain() (something bool) {
	for {
		select {
		case fn := <-p.post:
			fn()
			something = true
		default:
			return something
		}
	}
}

func (p *player) event(terminal tcell.Screen, e tcell.Event) {
	switch e := e.(type) {
	case *tcell.EventKey:
		p.key(e)
	case *tcell.EventResize:
		p.columns, p.rows = e.Size()
		terminal.Sync()
	}
}
