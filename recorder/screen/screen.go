// Package screen says what a terminal showed. It reads what a host printed and keeps the cells that a person saw, so that a recording is painted, searched and
// written as text without any of those bytes reaching the auditor's own terminal or page.
//
// Start with [New]. A [Screen] is an io.Writer; [Screen.Row] and [Screen.Text] say what is on it, [Screen.OnScroll] hears of what leaves it at the top,
// and [Screen.Clone] keeps a moment for little: rows are shared until one side changes them.
//
// It is made for input that wants to do harm. Work is bounded by the length of the input times the width or the height of the screen, whatever counts it
// names; memory by the size of the screen, which is at most [MostColumns] by [MostRows]; and how the input is cut into writes makes no difference. It never
// answers, and remembers no title, no clipboard and no string of a control sequence.
//
// It is our own because this is what an auditor's judgement stands on, and nothing to be had does it: emulators for programs in Go either spend a
// microsecond on five characters and cannot be copied, or are no longer kept and hang on large counts. What it shows is held against tmux in tests.
package screen

import (
	"sync/atomic"
	"unicode/utf8"
)

// The largest screen. One that was recorded as larger is cut to this, so that a client cannot make an auditor's machine hold a million columns.
const (
	MostColumns = 1024
	MostRows    = 512
)

// Screen is a terminal without a person. It is not safe for use by many goroutines, but clones of one another may be used by one each.
type Screen struct {
	columns, rows int
	owner         uint64 // rows with another owner are shared with a clone: copy before a change
	lines         []*row
	main          []*row // the main screen while the alternate one is shown; else nil

	cursor
	saved, savedMain cursor // by DECSC, of the screen shown; of the main screen while the other is shown
	modes            modes
	top, bottom      int // scroll region, inclusive
	left, right      int // margins, inclusive
	tabs             tabs
	last             rune // that was printed, for REP
	marks            marks

	parser parser
	fuel   int // cells that may be moved between side margins
	onLine func(string)
	gone   []byte // the part of a wrapped line that has left the top
}

// cursor is what DECSC saves.
type cursor struct {
	x, y    int
	pending bool // the last column was written: the next character wraps
	style   style
	origin  bool
	sets    [4]byte // final byte of what G0 to G3 are
	shift   int     // which of them is used
	single  int     // which for the next character only; 0: none
}

type modes struct {
	wrap, insert, newline, hidden, reverse, margins bool
}

var owners atomic.Uint64

// New returns an empty screen.
func New(columns, rows int) *Screen {
	s := &Screen{owner: owners.Add(1), fuel: mostFuel}
	s.columns, s.rows = clampSize(columns, rows)
	s.lines = s.empty()
	s.reset()
	return s
}

func clampSize(columns, rows int) (int, int) {
	return min(max(columns, 1), MostColumns), min(max(rows, 1), MostRows)
}

func (s *Screen) empty() []*row {
	lines := make([]*row, s.rows)
	for i := range lines {
		lines[i] = &row{owner: s.owner, fill: blank}
	}
	return lines
}

// reset is what a terminal is like when it is switched on, but for what it shows.
func (s *Screen) reset() {
	s.cursor = home
	s.saved, s.savedMain = home, home
	s.modes = modes{wrap: true}
	s.top, s.bottom = 0, s.rows-1
	s.left, s.right = 0, s.columns-1
	s.tabs = everyEight
	s.last = 0
}

var home = cursor{sets: [4]byte{'B', 'B', 'B', 'B'}}

// Clone returns a screen that shows the same and goes on by itself. It has no [Screen.OnScroll].
func (s *Screen) Clone() *Screen {
	c := *s
	s.owner, c.owner = owners.Add(1), owners.Add(1)
	c.lines = append([]*row(nil), s.lines...)
	if s.main != nil {
		c.main = append([]*row(nil), s.main...)
	}
	c.marks = s.marks.clone()
	c.gone = append([]byte(nil), s.gone...)
	c.onLine = nil
	return &c
}

// OnScroll makes fn hear of the lines that leave the main screen, at the top or because it is cleared, without trailing spaces. A line that was
// wrapped comes whole. fn must not use the screen.
func (s *Screen) OnScroll(fn func(line string)) { s.onLine = fn }

// Size is what it is now, which may be less than was asked for.
func (s *Screen) Size() (columns, rows int) { return s.columns, s.rows }

// Cursor says where it is, and whether it can be seen.
func (s *Screen) Cursor() (x, y int, visible bool) { return s.x, s.y, !s.modes.hidden }

// Alternate reports whether the other screen is shown, that of editors and pagers.
func (s *Screen) Alternate() bool { return s.main != nil }

// Reverse reports whether the whole screen is shown with its colours exchanged.
func (s *Screen) Reverse() bool { return s.modes.reverse }

// Write shows what a host printed. It never fails.
func (s *Screen) Write(b []byte) (int, error) {
	for i := 0; i < len(b); {
		c := b[i]
		switch {
		case s.parser.state == ground && s.parser.held > 0:
			s.continued(c)
			i++
		case s.parser.state == ground && c >= ' ' && c < 0x7f:
			n := i + 1
			for n < len(b) && b[n] >= ' ' && b[n] < 0x7f {
				n++
			}
			s.ascii(b[i:n])
			i = n
		case s.parser.state == ground && c >= utf8.RuneSelf:
			i += s.decode(b[i:])
		case s.parser.state == text:
			i += s.parser.skip(b[i:])
		default:
			s.byte(c)
			i++
		}
	}
	return len(b), nil
}

// decode shows the character that b begins with, or keeps its beginning for the next write.
func (s *Screen) decode(b []byte) int {
	if !utf8.FullRune(b) {
		s.parser.held = copy(s.parser.part[:], b)
		return len(b)
	}
	r, n := utf8.DecodeRune(b)
	s.print(r)
	return n
}

// continued takes a byte after a beginning of a character.
func (s *Screen) continued(c byte) {
	p := &s.parser
	p.part[p.held] = c
	b := append([]byte(nil), p.part[:p.held+1]...)
	p.held = 0
	s.rest(b)
}

func (s *Screen) rest(b []byte) {
	for len(b) > 0 {
		if b[0] < utf8.RuneSelf {
			s.one(b[0])
			b = b[1:]
			continue
		}
		b = b[s.decode(b):]
	}
}

// one takes a byte of ASCII in any state.
func (s *Screen) one(c byte) {
	if s.parser.state == ground && c >= ' ' && c < 0x7f {
		s.ascii([]byte{c})
	} else {
		s.byte(c)
	}
}
