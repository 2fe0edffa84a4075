package typed

import (
	"bytes"

	"postern/recorder/prompt"
)

// screen is the line on which the cursor is, as the host prints it.
type screen struct {
	row    prompt.Line
	prompt string // that stood before the line before
	paused bool   // somebody types on this line
	other  bool   // a program has the whole screen, of which we know nothing
	late   bool   // the host has not ended the line before yet, so what stands here may be of that one

	state  screenState
	params [16]byte
	n      int
}

type screenState byte

const (
	ground screenState = iota
	escape
	designation // one more byte
	control
	text // that is not shown: titles and the like
	textEscape
)

// Resize says how wide the terminal is.
func (l *Line) Resize(columns int) { l.screen.row.Columns = columns }

// Late says that the host has not ended the line before yet, as when somebody types ahead: what it shows may be of either line.
func (l *Line) Late() (shown string, late bool) {
	s := &l.screen
	if l.Raw || s.other || !s.late {
		return "", false
	}
	shown, _ = s.row.Command(s.prompt)
	return shown, true
}

// Shown takes what the host prints.
func (l *Line) Shown(b []byte) {
	if l.Raw {
		return
	}
	s := &l.screen
	for len(b) > 0 {
		if s.state != ground {
			s.step(b[0])
			b = b[1:]
			continue
		}
		n := bytes.IndexByte(b, 0x1b)
		if n < 0 {
			n = len(b)
		}
		// Of what scrolls by only the end matters.
		if i := bytes.LastIndexByte(b[:n], '\n'); i >= 0 {
			s.fresh()
			s.late = false
			b, n = b[i+1:], n-i-1
		}
		s.print(b[:n])
		if b = b[n:]; len(b) > 0 {
			s.state, b = escape, b[1:]
		}
	}
}

// fresh begins a line.
func (s *screen) fresh() {
	s.row, s.paused = prompt.Line{Columns: s.row.Columns}, false
}

func (s *screen) print(b []byte) {
	if s.other {
		return
	}
	for len(b) > 0 {
		n := bytes.IndexFunc(b, func(r rune) bool { return r < 0x20 || r == 0x7f })
		if n < 0 {
			n = len(b)
		}
		if n > 0 {
			s.row.Text(b[:n])
		}
		if n < len(b) {
			s.row.Single(b[n])
			n++
		}
		b = b[n:]
	}
}

// entered is what stands on the line, without the prompt.
func (s *screen) entered() (line string) {
	if s.other {
		return ""
	}
	line, s.prompt = s.row.Command(s.prompt)
	s.fresh()
	s.late = true
	return line
}

func (s *screen) step(c byte) {
	switch {
	case c == 0x18 || c == 0x1a:
		s.state = ground
		return
	case c == 0x1b && s.state == text:
		s.state = textEscape
		return
	case c == 0x1b:
		s.state = escape
		return
	case c < 0x20 && s.state == control:
		if !s.other {
			s.row.Single(c)
		}
		return
	}
	switch s.state {
	case escape, textEscape:
		s.escaped(c)
	case designation:
		s.state = ground
	case text:
		if c == 0x07 {
			s.state = ground
		}
	case control:
		if c < 0x40 {
			if s.n < len(s.params) {
				s.params[s.n] = c
			}
			s.n = min(s.n+1, len(s.params)+1)
			return
		}
		s.state = ground
		s.act(c)
	}
}

func (s *screen) escaped(c byte) {
	switch {
	case c == '[':
		s.state, s.n = control, 0
	case c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_':
		s.state = text
	case c >= 0x20 && c < 0x30:
		s.state = designation
	default:
		s.state = ground
		if c == 'c' {
			s.other, s.late = false, false
			s.fresh()
		}
	}
}

// act is the end of a control sequence.
func (s *screen) act(final byte) {
	if s.n > len(s.params) {
		return // longer than any that matters
	}
	params := s.params[:s.n]
	if len(params) > 0 && params[0] == '?' {
		for _, mode := range bytes.Split(params[1:], []byte{';'}) {
			switch string(mode) {
			case "47", "1047", "1049":
				if on := final == 'h'; on != s.other && (on || final == 'l') {
					s.other, s.late = on, false
					s.fresh()
				}
			}
		}
		return
	}
	if s.other || len(params) > 0 && params[0] > '?' {
		return
	}
	n := 0
	for _, c := range params {
		if c < '0' || c > '9' {
			break
		}
		n = min(n*10+int(c-'0'), 1<<16)
	}
	s.row.Sequence(n, final)
}
