package bastion

import (
	"bytes"
	"sync"
	"sync/atomic"
	"time"
)

// titleTime is how long a notice stays in the title of a terminal that a program fills.
const titleTime = time.Minute

// What a terminal understands. A title is put on its stack before ours is set, and taken from there again.
const (
	pushTitle = "\x1b[22;2t"
	popTitle  = "\x1b[23;2t"
	leaveAlt  = "\x1b[?1049l"
	abandon   = "\x18" // ends whatever sequence the host left unfinished
	bell      = "\a"
)

// terminal is the way of a program's output to the admin's terminal, where notices of ours find their place: a line of their own, or, while
// a program has the whole screen, the bell and the title. It reads what passes for no more than that.
type terminal struct {
	c       *channel
	mu      sync.Mutex
	at      scanner
	waiting []string
	titled  bool        // with a text of ours
	title   *time.Timer // takes ours away
	alt     atomic.Bool // a program has the whole screen
	typist  *typist     // knows what is typed; nil: nobody asks
}

// Write passes the host's bytes on, and says what waits as soon as they leave room for it.
func (t *terminal) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n, err := t.c.client.Write(p)
	t.at.pass(p[:n])
	t.typist.print(p[:n])
	t.alt.Store(t.at.alt)
	if t.titled && !t.at.alt && t.at.whole() {
		t.untitle()
	}
	if len(t.waiting) > 0 && t.at.room() {
		t.say("")
	}
	return n, err
}

// notify says a line as soon as it spoils nothing, and after NoticeTime in any case.
func (t *terminal) notify(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) > 8 {
		return
	}
	t.waiting = append(t.waiting, text)
	if t.at.room() {
		t.say("")
		return
	}
	time.AfterFunc(t.c.s.b.Limits.NoticeTime, t.overdue)
}

// interrupt says a line at once: nothing that could be spoilt goes on.
func (t *terminal) interrupt(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) <= 8 {
		t.waiting = append(t.waiting, text)
	}
	t.sayAnyway()
}

func (t *terminal) overdue() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sayAnyway()
}

// sayAnyway is called with mu held.
func (t *terminal) sayAnyway() {
	if len(t.waiting) == 0 {
		return
	}
	before := ""
	if !t.at.whole() {
		before = abandon
		t.at.reset()
	}
	t.say(before)
}

// say is called with mu held.
func (t *terminal) say(before string) {
	lines := t.waiting
	t.waiting = nil
	if t.at.alt {
		if !t.titled {
			t.titled = true
			before += pushTitle
			t.title = time.AfterFunc(titleTime, t.expire)
		} else {
			t.title.Reset(titleTime)
		}
		t.put(before + "\x1b]2;postern: " + lines[len(lines)-1] + bell + bell)
		return
	}
	if !t.at.begin {
		before += "\r\n"
	}
	for _, text := range lines {
		before += "postern: " + text + "\r\n"
	}
	t.at.begin = true
	t.put(before + bell)
}

func (t *terminal) expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.titled && t.at.whole() { // else it goes with the next byte that leaves the screen
		t.untitle()
	}
}

func (t *terminal) untitle() {
	t.titled = false
	t.title.Stop()
	t.put(popTitle)
}

// put writes to where the program writes, so that its bytes and ours keep their order.
func (t *terminal) put(text string) {
	t.c.errors.Lock()
	defer t.c.errors.Unlock()
	if !t.c.eof {
		_, _ = t.c.client.Write([]byte(text))
	}
}

// scanner knows of a stream of output whether it is between two characters and sequences, at the beginning of a line, and on which of the
// two screens. It emulates nothing.
type scanner struct {
	state  scanState
	params [16]byte
	n      int  // of params; more than fit is none that we know
	rest   int  // bytes that are missing of a UTF-8 character
	begin  bool // of a line
	alt    bool
}

type scanState byte

const (
	ground scanState = iota
	inEscape
	inDesignation // ESC ( and its like: one more byte
	inControl     // CSI
	inString      // OSC, DCS and the others that end with ST
	inStringEscape
)

// whole says that no sequence and no character is unfinished.
func (s *scanner) whole() bool { return s.state == ground && s.rest == 0 }

// room says that something can be said without spoiling anything.
func (s *scanner) room() bool { return s.whole() && (s.alt || s.begin) }

func (s *scanner) reset() { s.state, s.rest = ground, 0 }

func (s *scanner) pass(p []byte) {
	for len(p) > 0 {
		if s.state == ground {
			i := bytes.IndexByte(p, 0x1b)
			if i < 0 {
				s.plain(p)
				return
			}
			s.plain(p[:i])
			s.state, s.rest, p = inEscape, 0, p[i+1:]
			continue
		}
		s.step(p[0])
		p = p[1:]
	}
}

// plain is text: of it only the end matters.
func (s *scanner) plain(p []byte) {
	if len(p) == 0 {
		return
	}
	if line := bytes.TrimRight(p, "\r"); len(line) > 0 {
		s.begin = line[len(line)-1] == '\n'
	}
	for i := 1; i <= min(4, len(p)); i++ {
		b := p[len(p)-i]
		if b&0xc0 != 0x80 {
			s.rest = max(0, following(b)-(i-1))
			return
		}
	}
	s.rest = max(0, s.rest-len(p))
}

// following is how many bytes follow the first one of a UTF-8 character.
func following(b byte) int {
	switch {
	case b >= 0xf0 && b < 0xf5:
		return 3
	case b >= 0xe0 && b < 0xf0:
		return 2
	case b >= 0xc2 && b < 0xe0:
		return 1
	}
	return 0
}

func (s *scanner) step(b byte) {
	switch {
	case b == 0x18 || b == 0x1a:
		s.reset()
		return
	case b == 0x1b && s.state == inString:
		s.state = inStringEscape
		return
	case b == 0x1b:
		s.state = inEscape
		return
	}
	switch s.state {
	case inEscape, inStringEscape:
		s.escaped(b)
	case inDesignation:
		if b >= 0x30 {
			s.state = ground
		}
	case inControl:
		s.controlled(b)
	case inString:
		if b == 0x07 {
			s.state = ground
		}
	}
}

func (s *scanner) escaped(b byte) {
	switch {
	case b == '[':
		s.state, s.n = inControl, 0
	case b == ']' || b == 'P' || b == 'X' || b == '^' || b == '_':
		s.state = inString
	case b >= 0x20 && b < 0x30:
		s.state = inDesignation
	default:
		s.state = ground
		if b == 'c' { // everything as when it was switched on
			s.alt, s.begin = false, true
		}
	}
}

func (s *scanner) controlled(b byte) {
	switch {
	case b >= 0x20 && b < 0x40:
		if s.n < len(s.params) {
			s.params[s.n] = b
		}
		s.n = min(s.n+1, len(s.params)+1)
	case b >= 0x40 && b < 0x7f:
		s.state = ground
		s.mode(b)
	}
}

// mode looks for the switch to the other screen and back. What moves the cursor leaves nobody knowing where it is.
func (s *scanner) mode(final byte) {
	if final != 'm' && final != 'h' && final != 'l' {
		s.begin = false
	}
	if (final != 'h' && final != 'l') || s.n == 0 || s.n > len(s.params) || s.params[0] != '?' {
		return
	}
	for _, p := range bytes.Split(s.params[1:s.n], []byte{';'}) {
		switch string(p) {
		case "47", "1047", "1049":
			s.alt = final == 'h'
		}
	}
}

// reports says that all of what a terminal sent are answers to questions of the program, and no sign that somebody is there.
func reports(p []byte) bool {
	for len(p) > 0 {
		n := answer(p)
		if n == 0 {
			return false
		}
		p = p[n:]
	}
	return true
}

// answer is the length of the answer that p begins with; 0: it begins with none.
func answer(p []byte) int {
	if len(p) < 3 || p[0] != 0x1b {
		return 0
	}
	switch p[1] {
	case '[':
		i := 2
		for i < len(p) && (p[i] >= '0' && p[i] <= '9' || bytes.IndexByte([]byte("?>=;$"), p[i]) >= 0) {
			i++
		}
		// A function key has one of these letters too, but only R, with one line.
		if i == 2 || i == len(p) || bytes.IndexByte([]byte("Rcnty"), p[i]) < 0 || p[i] == 'R' && bytes.HasPrefix(p, []byte("\x1b[1;")) {
			return 0
		}
		return i + 1
	case ']', 'P':
		if i := bytes.IndexByte(p, 0x07); i > 0 {
			return i + 1
		}
		if i := bytes.Index(p, []byte("\x1b\\")); i > 0 {
			return i + 2
		}
	}
	return 0
}
