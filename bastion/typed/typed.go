// Package typed finds out which line somebody enters at a terminal, before the key that enters it is passed on: from the keys, as a line editor would take
// them, and from what the host shows of it, which knows of history and completion what keys do not say.
//
// Start with [Line]. It is a tripwire and no wall: what a script, an alias or an editor runs, nobody types. It holds at most some 30 KiB, and the host and
// the client may both send it anything.
package typed

import (
	"slices"
	"strings"
	"unicode/utf8"
)

const mostRunes = 4096 // of a line; of a longer one the end is kept

// Line is the line that is being entered. Its zero value is that of a terminal of which nothing was seen.
type Line struct {
	Raw bool // no terminal: every byte up to a line feed is the line

	cells  []rune
	at     int
	before string // lines that ended with a backslash
	half   []byte // of a letter
	state  keyState
	params [8]byte
	n      int
	unsure bool

	screen screen
}

type keyState byte

const (
	plain    keyState = iota
	escaped           // after ESC
	sequence          // ESC [
	single            // ESC O
	quoted            // after Ctrl-V
)

// Typed takes keys up to the first one that enters the line, and says how many those are. Entered: the last of them does.
func (l *Line) Typed(b []byte) (n int, entered bool) {
	if !l.screen.paused {
		l.screen.paused = true
		l.screen.row.Pause()
	}
	for i, c := range b {
		if c == '\n' || !l.Raw && (c == '\r' || c == 0x0f && l.state == plain) {
			l.flush()
			return i + 1, true
		}
		l.key(c)
	}
	return len(b), false
}

// Unsure says that a key asked the host for something that only the host knows, such as the line before.
func (l *Line) Unsure() bool { return l.unsure }

// Text is the line as it was typed so far.
func (l *Line) Text() string { return l.before + string(l.cells) }

// Entered are the lines that the key may enter: as it was typed, and as it is shown. The next line begins here.
func (l *Line) Entered() (lines []string) {
	text := string(l.cells)
	l.cells, l.at, l.unsure, l.state, l.half = l.cells[:0], 0, false, plain, nil
	line := l.before + text
	l.before = ""
	if goes := len(text) - len(strings.TrimRight(text, `\`)); goes%2 == 1 && len(line) < 4*mostRunes {
		l.before = line[:len(line)-1]
	}
	if line != "" {
		lines = append(lines, line)
	}
	if shown := l.screen.entered(); shown != "" && shown != line && !l.Raw {
		lines = append(lines, shown)
	}
	return lines
}

// key is one byte of what is typed.
func (l *Line) key(c byte) {
	switch state := l.state; {
	case l.Raw:
		l.letter(c)
	case state == quoted:
		l.state = plain
		l.put(rune(c))
	case state == escaped:
		l.meta(c)
	case state == sequence:
		if c >= 0x40 && c < 0x7f {
			l.state = plain
			l.special(c)
		} else if l.n < len(l.params) {
			l.params[l.n] = c
			l.n++
		}
	case state == single:
		l.state = plain
		l.n = 0
		l.special(c)
	case c >= 0x20 && c != 0x7f:
		l.letter(c)
	default:
		l.flush()
		l.control(c)
	}
}

func (l *Line) letter(c byte) {
	if c < utf8.RuneSelf && len(l.half) == 0 {
		l.put(rune(c))
		return
	}
	l.half = append(l.half, c)
	if utf8.FullRune(l.half) {
		l.flush()
	}
}

// flush is the end of a letter that may be none.
func (l *Line) flush() {
	for len(l.half) > 0 {
		r, n := utf8.DecodeRune(l.half)
		l.half = l.half[n:]
		l.put(r)
	}
}

func (l *Line) put(r rune) {
	if len(l.cells) >= mostRunes {
		gone := mostRunes / 4
		l.cells = slices.Delete(l.cells, 0, gone)
		l.at = max(l.at-gone, 0)
	}
	l.cells = slices.Insert(l.cells, l.at, r)
	l.at++
}

// control are the keys of line editors that everybody has; of the kernel's, too.
func (l *Line) control(c byte) {
	switch c {
	case 0x01: // Ctrl-A
		l.at = 0
	case 0x05: // Ctrl-E
		l.at = len(l.cells)
	case 0x02: // Ctrl-B
		l.at = max(l.at-1, 0)
	case 0x06: // Ctrl-F
		l.at = min(l.at+1, len(l.cells))
	case 0x03, 0x1c: // Ctrl-C, Ctrl-\
		l.cells, l.at, l.before = l.cells[:0], 0, ""
	case 0x04: // Ctrl-D
		l.remove(l.at, l.at+1)
	case 0x08, 0x7f:
		l.remove(l.at-1, l.at)
	case 0x0b: // Ctrl-K
		l.remove(l.at, len(l.cells))
	case 0x15: // Ctrl-U
		l.remove(0, l.at)
	case 0x17: // Ctrl-W
		l.remove(l.word(-1, ' '), l.at)
	case 0x16:
		l.state = quoted
	case 0x1b:
		l.state = escaped
	case 0x07, 0x0c, 0x11, 0x13: // bell, redraw, flow control
	default: // history, completion, yank, search
		l.unsure = true
	}
}

// meta is the key after ESC.
func (l *Line) meta(c byte) {
	l.state = plain
	switch c {
	case '[':
		l.state, l.n = sequence, 0
	case 'O':
		l.state = single
	case 0x1b:
		l.state = escaped
	case 'b', 'B':
		l.at = l.word(-1, 0)
	case 'f', 'F':
		l.at = l.word(1, 0)
	case 'd', 'D':
		l.remove(l.at, l.word(1, 0))
	case 0x7f, 0x08:
		l.remove(l.word(-1, 0), l.at)
	default:
		l.unsure = true
	}
}

// special is a key with a sequence.
func (l *Line) special(final byte) {
	params := string(l.params[:l.n])
	switch final {
	case 'C', 'D':
		step := 1
		if final == 'D' {
			step = -1
		}
		if strings.Contains(params, ";") { // with Ctrl or Alt
			l.at = l.word(step, 0)
			return
		}
		l.at = min(max(l.at+step, 0), len(l.cells))
	case 'H':
		l.at = 0
	case 'F':
		l.at = len(l.cells)
	case 'R', 'n', 'c', 'I', 'O', 'M', 'm', 't', 'y': // answers of the terminal, its focus, the mouse
	case '~':
		switch params {
		case "1", "7":
			l.at = 0
		case "4", "8":
			l.at = len(l.cells)
		case "3":
			l.remove(l.at, l.at+1)
		case "200", "201": // pasted text begins and ends
		default:
			l.unsure = true
		}
	default: // up and down, and what we do not know
		l.unsure = true
	}
}

func (l *Line) remove(from, to int) {
	from, to = max(from, 0), min(to, len(l.cells))
	if from >= to {
		return
	}
	l.cells = slices.Delete(l.cells, from, to)
	l.at = from
}

// word is where a word in that direction ends; words have letters and digits in them, or are what spaces part.
func (l *Line) word(step int, space rune) int {
	in := func(i int) bool {
		r := l.cells[i]
		if space != 0 {
			return r != space
		}
		return r == '_' || r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z' || r >= utf8.RuneSelf
	}
	at, found := l.at, false
	for {
		next := at
		if step < 0 {
			next--
		}
		if next < 0 || next >= len(l.cells) {
			return at
		}
		if in(next) {
			found = true
		} else if found {
			return at
		}
		at += step
	}
}
