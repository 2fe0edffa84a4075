package screen

// parser takes control sequences apart, as the VT500 did: one byte at a time, no memory but what is here.
type parser struct {
	state  state
	part   [4]byte // of a character that is not complete
	held   int
	osc    bool // the text is one that BEL ends
	prefix byte // of a control sequence: ? > < =
	inter  byte // the last intermediate
	inters int
	params [32]uint16
	colon  uint32 // bit i: params[i] follows a colon
	count  int    // of params; the last may still grow
	digits bool   // a digit of the last has come
}

type state byte

const (
	ground state = iota
	escape
	escapeInter
	csi
	csiInter
	csiIgnore
	text // in OSC, DCS, SOS, PM or APC
)

// Larger numbers are cut to this.
const mostNumber = 16383

// skip passes over a text, which is for nobody.
func (p *parser) skip(b []byte) int {
	for i, c := range b {
		switch {
		case c == 0x1b:
			p.begin()
			return i + 1
		case c == 0x18 || c == 0x1a || c == '\a' && p.osc:
			p.state = ground
			return i + 1
		}
	}
	return len(b)
}

func (p *parser) begin() {
	*p = parser{state: escape}
}

// byte takes one that is not plain text, or that is in a sequence.
func (s *Screen) byte(c byte) {
	p := &s.parser
	switch {
	case p.state == text:
		p.skip([]byte{c})
	case c == 0x1b:
		p.begin()
	case c == 0x18 || c == 0x1a:
		p.state = ground
	case c < ' ':
		s.control(c)
	case c >= 0x7f || p.state == ground:
		// DEL, and what is no part of a sequence
	case p.state == escape:
		s.escape(c)
	case p.state == escapeInter:
		if c < '0' {
			p.intermediate(c)
			return
		}
		p.state = ground
		s.designate(c)
	default:
		s.controlSequence(c)
	}
}

func (p *parser) intermediate(c byte) {
	p.inter = c
	p.inters++
}

func (s *Screen) control(c byte) {
	switch c {
	case '\b':
		if s.pending = false; s.x > 0 && s.x != s.left {
			s.x--
		}
	case '\t':
		s.tab(1)
	case '\n', '\v', '\f':
		s.pending = false
		if s.index(); s.modes.newline {
			s.x = s.leftmost()
		}
	case '\r':
		s.pending = false
		s.x = s.leftmost()
	case 0x0e:
		s.shift = 1
	case 0x0f:
		s.shift = 0
	}
}

// escape takes the character after ESC.
func (s *Screen) escape(c byte) {
	p := &s.parser
	p.state = ground
	switch c {
	case '[':
		p.state = csi
	case ']':
		p.state, p.osc = text, true
	case 'P', 'X', '^', '_':
		p.state = text
	case 'k': // the title, in screen and tmux
		p.state, p.osc = text, true
	case '7':
		s.saved = s.cursor
	case '8':
		s.restore()
	case 'D':
		s.pending = false
		s.index()
	case 'E':
		s.pending = false
		s.x = s.leftmost()
		s.index()
	case 'M':
		s.reverseIndex()
	case 'H':
		s.tabs.set(s.x)
	case 'c':
		s.fullReset()
	case 'N', 'O':
		s.single = int(c-'N') + 2
	case 'n', 'o':
		s.shift = int(c-'n') + 2
	default:
		if c < '0' {
			p.state = escapeInter
			p.intermediate(c)
		}
	}
}

// designate ends a sequence of ESC and intermediates.
func (s *Screen) designate(c byte) {
	if s.parser.inters != 1 {
		return
	}
	switch set := s.parser.inter; {
	case set >= '(' && set <= '+':
		s.sets[set-'('] = c
	case set >= '-' && set <= '/':
		s.sets[set-'-'+1] = 'B' // sets of 96 characters, which UTF-8 has no use for
	case set == '#' && c == '8':
		s.align()
	}
}

// controlSequence takes a character after CSI.
func (s *Screen) controlSequence(c byte) {
	p := &s.parser
	switch {
	case c >= '@':
		was := p.state
		if p.state = ground; was != csiIgnore {
			s.dispatch(c)
		}
	case p.state == csiIgnore:
	case c < '0':
		p.state = csiInter
		p.intermediate(c)
	case p.state == csiInter:
		p.state = csiIgnore
	case c <= '9':
		p.digit(c)
	case c == ';' || c == ':':
		p.separator(c)
	case p.count == 0 && p.prefix == 0:
		p.prefix = c
	default:
		p.state = csiIgnore
	}
}

func (p *parser) digit(c byte) {
	if p.count == 0 {
		p.count = 1
	}
	p.digits = true
	if p.count > len(p.params) {
		return
	}
	n := &p.params[p.count-1]
	*n = uint16(min(uint32(*n)*10+uint32(c-'0'), mostNumber))
}

func (p *parser) separator(c byte) {
	p.count = max(p.count, 1) + 1
	if p.count > len(p.params) {
		p.count = len(p.params) + 1
		return
	}
	if c == ':' {
		p.colon |= 1 << (p.count - 1)
	}
}

// list is the parameters that fit.
func (p *parser) list() []uint16 { return p.params[:min(p.count, len(p.params))] }

// number is parameter i, or what it is if it is missing or zero.
func (p *parser) number(i, missing int) int {
	if list := p.list(); i < len(list) && list[i] != 0 {
		return int(list[i])
	}
	return missing
}
