// Package play shows recordings: on a terminal with their timing, as text, as asciicast and as JSON Lines.
//
// Start with [Player], [Asciicast], [Text] or [Events]; each consumes a [recorder.Reader] to its end and returns the
// reader's error, so that whoever shows a recording also says where it stops being good. What a host printed is
// hostile: everything that goes to a terminal passes a [Filter].
package play

import (
	"context"
	"io"
	"iter"
	"time"

	"postern/recorder"
)

// Frames iterates over what r has left. The last error is nil at a good end.
func Frames(r *recorder.Reader) iter.Seq2[recorder.Frame, error] {
	return func(yield func(recorder.Frame, error) bool) {
		for {
			f, err := r.Next()
			if err == io.EOF {
				return
			}
			if !yield(f, err) || err != nil {
				return
			}
		}
	}
}

// Player shows the output of a session with its timing.
type Player struct {
	Speed      float64       // 2 is twice as fast; 0: 1
	Idle       time.Duration // longest pause shown, before Speed; 0: as long as they were
	From       time.Duration // what came before is shown at once
	Notes      io.Writer     // lines for people: what was run, transferred and forwarded, notes, the end; nil: dropped
	Keystrokes bool          // what was typed is in Notes, as far as the reader can open it
	Colour     bool          // colour the lines in Notes

	// Wait is how time passes; nil: it does. An error ends the show.
	Wait func(context.Context, time.Duration) error
}

// Restore brings a terminal back after a recording that was cut off in the middle of a full screen program.
const Restore = "\x1b[?1049l\x1b[!p\x1b[0m\x1b[?25h\r\n"

// Play writes the output of all channels to out, filtered for a terminal. Protocols between programs are left out: the notes tell of them.
func (p Player) Play(ctx context.Context, r *recorder.Reader, out io.Writer) error {
	clock, tell := clock{Player: p}, newTeller()
	filters, typed := make(map[uint32]*Filter), newTypist(tell.channels)
	var shown []byte
	for f, err := range Frames(r) {
		if err != nil {
			return err
		}
		if err := clock.until(ctx, f.At); err != nil {
			return err
		}
		tell.channels.see(f)
		for _, line := range typed.lines(f) {
			if p.Keystrokes {
				p.note(line)
			}
		}
		for _, line := range tell.lines(f) {
			p.note(line)
		}
		if f.Type != recorder.TypeData || f.Stream == recorder.Stdin || tell.channels.hides(f) {
			continue
		}
		filter := filters[f.Channel]
		if filter == nil {
			filter = new(Filter)
			filters[f.Channel] = filter
		}
		shown = filter.Append(shown[:0], f.Data)
		if _, err := out.Write(shown); err != nil {
			return err
		}
	}
	return nil
}

// clock passes the time between frames.
type clock struct {
	Player
	last time.Duration
}

func (c *clock) until(ctx context.Context, at time.Duration) error {
	pause := at - max(c.last, c.From)
	c.last = at
	if c.Idle > 0 {
		pause = min(pause, c.Idle)
	}
	if c.Speed > 0 {
		pause = time.Duration(float64(pause) / c.Speed)
	}
	if pause <= 0 {
		return ctx.Err()
	}
	if c.Wait != nil {
		return c.Wait(ctx, pause)
	}
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// note writes a line about a frame that has one.
func (p Player) note(line string) {
	if p.Notes == nil || line == "" {
		return
	}
	if p.Colour {
		line = "\x1b[2m" + line + "\x1b[0m"
	}
	io.WriteString(p.Notes, line+"\r\n")
}
