package index

import (
	"time"

	"postern/recorder"
	"postern/recorder/prompt"
)

// watch is what an indexer looks for on a terminal: where a player may begin, and what the shell's marks of bracketed paste enclose.
type watch struct {
	x       *Indexer
	channel uint32
	columns int

	blank, home bool   // the screen is empty; the cursor is in its first place
	other       bool   // the alternate screen is shown
	column      int    // letters since the line began, and
	run         []byte // these, which are not counted yet: mostly the line ends and nobody asks

	typing *prompt.Line
	prompt string        // that stood before the last command
	last   time.Duration // of output
}

const (
	mostTerminals = 32                    // that are looked at, of those open
	mostTyped     = 6144                  // letters of lines being edited on all of them
	promptPause   = 15 * time.Millisecond // after which what is printed is no part of the prompt
)

// watch looks at a terminal's output. Only its standard output is one.
func (x *Indexer) watch(k *Track) *watch {
	if k.Stream != recorder.Stdout {
		return nil
	}
	w := x.seen[k.Channel]
	if w == nil {
		if x.seen == nil {
			x.seen = map[uint32]*watch{}
		}
		if len(x.seen) >= mostTerminals {
			return nil
		}
		w = &watch{x: x, channel: k.Channel}
		x.seen[k.Channel] = w
	}
	w.columns = int(min(k.columns, 1000))
	if x.at-w.last >= promptPause {
		w.pause()
	}
	w.last = x.at
	return w
}

// pause is where a prompt ends: the host waits, or somebody types.
func (w *watch) pause() {
	if w.typing != nil {
		w.typing.Pause()
	}
}

func (w *watch) text(b []byte) {
	w.blank, w.home = false, false
	if w.other {
		return
	}
	w.settle()
	w.run = b
	if w.typing != nil {
		w.typing.Text(b)
	}
}

// settle counts what was not counted yet.
func (w *watch) settle() {
	for _, c := range w.run {
		w.column += int(^c>>7 | c>>6&1) // 0 for a byte that goes on with a letter; without a branch, since hosts print noise too
	}
	w.run = nil
}

func (w *watch) single(c byte) {
	switch c {
	case '\n', '\v', '\f':
		w.home = false
		w.column, w.run = 0, nil
	case '\r':
		w.column, w.run = 0, nil
	case '\b':
		w.settle()
		w.column = max(w.column-1, 0)
	case '\t':
		w.settle()
		w.column = w.column&^7 + 8
	}
	if w.typing != nil {
		w.typing.Single(c)
	}
}

func (w *watch) sequence(params []byte, final byte, next int) {
	if w.typing != nil {
		w.typing.Sequence(number(params), final)
	}
	switch final {
	case 'm', 'n', 'c', 't', 'q', 'h', 'l':
		return
	case 'H', 'f':
		if w.home = isHome(params); w.home && w.blank {
			w.fresh(next)
		}
		return
	case 'J':
		n := number(params)
		w.blank = n == 2 || n == 0 && w.home || w.blank && n == 3
		if w.blank && w.home && n != 3 {
			w.fresh(next)
		}
		return
	}
	w.home = false
}

// fresh is a screen that is empty with the cursor in its first place.
func (w *watch) fresh(next int) {
	w.x.anchor(Anchor{Channel: w.channel, Offset: next, Alternate: w.other})
}

func (w *watch) mode(n int, on bool, next int) {
	switch n {
	case 2004:
		w.paste(on)
	case 47, 1047, 1049:
		if on == w.other {
			return
		}
		w.other, w.blank, w.home, w.typing = on, false, false, nil
		w.x.anchor(Anchor{Channel: w.channel, Offset: next, Alternate: on, Left: !on})
	}
}

// paste is where a shell is ready for a command, and where it took one.
func (w *watch) paste(on bool) {
	switch {
	case w.other:
	case on && w.x.typedNow() < mostTyped:
		w.settle()
		w.typing = &prompt.Line{Columns: w.columns}
		w.typing.Before(w.column)
	case w.typing != nil:
		var text string
		text, w.prompt = w.typing.Command(w.prompt)
		w.typing = nil
		if text != "" {
			w.x.command(Command{At: w.x.at, Channel: w.channel, Text: text, Seen: true})
		}
	}
}

// typedNow is how much is remembered of lines being edited.
func (x *Indexer) typedNow() (n int) {
	for _, w := range x.seen {
		if w.typing != nil {
			n += w.typing.Size()
		}
	}
	return n
}
