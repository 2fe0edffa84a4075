package index

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Text takes the escape sequences out of one stream of a channel, so that what is left can be searched as lines. It knows no screen. It only notices
// when text may have been put together on one, because something moved the cursor about.
//
// The bodies of titles, links and other strings for the terminal are lines of their own: what hides in one is found too.
type Text struct {
	Terminal bool // the channel has one; on others nothing is ever drawn
	Rows     int  // of it, if known

	state   byte
	csi     [24]byte // of a control sequence: what came after ESC [
	n       int
	high    byte // the last byte, if it was 0xc2
	line    bool // something stands on this line
	back    bool // and the cursor is back at its beginning
	cut     bool // a string for the terminal came in the middle of the line
	home    bool // the cursor is in the first place of the screen
	margins bool // not all of the screen scrolls
	other   bool // the alternate screen is shown
	loose   int  // lines that must still scroll until nothing old is on the screen
	main    int  // loose of the main screen, while the other is shown
	dirty   bool // something stands on the screen, and
	under   bool // on the main one, while the other is shown
	drawn   bool

	watch *watch // what else is wanted of a terminal; nil: nothing
}

// The states of a [Text].
const (
	ground = iota
	escape
	escapeMore // after an intermediate byte
	control    // sequence
	inString   // OSC, DCS, APC, PM or SOS
)

const defaultRows = 100 // of terminals that did not say, and few have more

// Drawn reports whether the screen may show words that did not pass in one piece, since it was asked last.
func (t *Text) Drawn() bool {
	d := t.drawn
	t.drawn = false
	return d
}

// Append appends the text in src to dst. Lines end with a line feed. What stands at the end of src may be half a sequence: the next call goes on with it.
func (t *Text) Append(dst, src []byte) []byte {
	begin, sifting := len(dst), !t.Terminal && isBinary(src)
	for i := 0; i < len(src); {
		if t.state != ground {
			dst, i = t.between(dst, src, i)
			continue
		}
		if sifting && !t.back {
			n := stray(src[i:])
			dst = sift(dst, src[i:i+n])
			t.line = t.line || n > 0
			i += n
		} else if n := t.plain(src[i:]); n > 0 {
			dst = t.run(dst, src[i:i+n])
			i += n
		}
		if i == len(src) {
			break
		}
		if src[i] == '\r' && i+1 < len(src) && src[i+1] == '\n' { // most lines end so
			t.back, i = false, i+1
		}
		if n := whole(src[i:]); n > 0 { // as most are
			final := src[i+n-1]
			if t.n = copy(t.csi[:], src[i+2:i+n-1]); final != 'm' {
				dst = t.act(dst, final, i+n)
			}
			i += n
			continue
		}
		dst = t.single(dst, begin, src[i])
		i++
	}
	return dst
}

// between takes a piece of what is not for the screen.
func (t *Text) between(dst, src []byte, i int) ([]byte, int) {
	if t.state == inString {
		n := body(src[i:])
		dst = append(dst, src[i:i+n]...)
		if i += n; i < len(src) {
			dst = t.endString(dst, src[i])
			i++
		}
		return dst, i
	}
	return t.sequence(dst, src[i], i+1), i + 1
}

// whole is the length of a control sequence at the beginning of b, if all of it is there and it is not long.
func whole(b []byte) int {
	if len(b) < 3 || b[0] != 0x1b || b[1] != '[' {
		return 0
	}
	for i, c := range b[2:min(len(b), 2+len(Text{}.csi))] {
		if c < 0x30 || c > 0x3f {
			if c >= 0x40 && c < 0x7f {
				return i + 3
			}
			return 0
		}
	}
	return 0
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plain is how many bytes of b go to the screen as they are: all but control characters.
func (t *Text) plain(b []byte) int {
	for i := 0; ; {
		i += ascii(b[i:])
		if i == len(b) || b[i] < utf8.RuneSelf {
			return i
		}
		i += t.letters(b[i:])
	}
}

// ascii is how many bytes at the beginning of b are ASCII that is printed.
func ascii(b []byte) int {
	i := 0
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		// A byte below 0x20 borrows into its high bit in the first, 0x7f carries into it in the second.
		if special := ((x - 0x20*ones) | (x + ones) | x) & highs; special != 0 {
			return i + bits.TrailingZeros64(special)/8 // the lowest is not due to another
		}
	}
	for ; i < len(b) && b[i] >= 0x20 && b[i] < 0x7f; i++ {
	}
	return i
}

// isBinary reports whether b is data and not text. It decides how fast b is read, and nothing else.
func isBinary(b []byte) bool {
	zeros := bytes.Count(b[:min(len(b), 1024)], []byte{0})
	return zeros > 1
}

// stray is how many bytes at the beginning of b are printed or nothing to a terminal: of binary data that is most.
func stray(b []byte) int {
	for i, c := range b {
		if acted[c] {
			return i
		}
	}
	return len(b)
}

// sift appends those of b that are printed.
func sift(dst, b []byte) []byte {
	n := len(dst)
	dst = append(dst, b...)
	for _, c := range b {
		dst[n] = c
		n += int(printed[c]) // without a branch, which nobody could foretell
	}
	return dst[:n]
}

// acted are the bytes that do something, printed those that are seen.
var acted, printed = func() (a [256]bool, p [256]byte) {
	for c := 0x20; c < 256; c++ {
		p[c] = 1
	}
	p[0x7f] = 0
	for _, c := range "\b\t\n\v\f\r\x0e\x0f\x1b" {
		a[c] = true
	}
	return a, p
}()

// letters is how many bytes at the beginning of b are not ASCII. Among them may be C1 controls, which some terminals obey.
func (t *Text) letters(b []byte) int {
	last := t.high
	for i, c := range b {
		if c < utf8.RuneSelf {
			t.high = 0
			return i
		}
		if last == 0xc2 && c < 0xa0 {
			t.draw()
		}
		last = c
	}
	t.high = last
	return len(b)
}

// body is how many bytes of b belong to a string for the terminal.
func body(b []byte) int {
	for i, c := range b {
		if c < 0x20 && c != '\t' || c == 0x7f {
			return i
		}
	}
	return len(b)
}

// run is text for the screen.
func (t *Text) run(dst, b []byte) []byte {
	if t.back || t.cut {
		if t.back {
			dst = append(dst, '\n')
		}
		t.draw()
		t.back, t.cut = false, false
	}
	t.line, t.home, t.dirty = true, false, true
	t.drawn = t.drawn || t.loose > 0 // it may stand beside what was there
	if t.watch != nil {
		t.watch.text(b)
	}
	return append(dst, b...)
}

func (t *Text) draw() { t.drawn = t.drawn || t.Terminal }

// single is a control character.
func (t *Text) single(dst []byte, begin int, c byte) []byte {
	if t.watch != nil {
		t.watch.single(c)
	}
	switch c {
	case 0x1b:
		t.state = escape
	case '\n', '\v', '\f':
		t.feed()
		return append(dst, '\n')
	case '\r':
		t.back = t.line
	case '\t':
		t.line = true
		return append(dst, '\t')
	case '\b':
		t.draw()
		if len(dst) > begin && dst[len(dst)-1] != '\n' { // overstruck, as in manuals
			_, n := utf8.DecodeLastRune(dst[begin:])
			return dst[:len(dst)-n]
		}
	case 0x0e, 0x0f: // other character sets
		t.draw()
	}
	return dst
}

// feed is the end of a line.
func (t *Text) feed() {
	t.line, t.back, t.cut, t.home = false, false, false, false
	if t.loose > 0 && !t.margins {
		t.loose--
	}
}

// loosen says that the cursor is somewhere on the screen. It is at the bottom, and what is below it is empty, when as many lines were fed as there are rows.
func (t *Text) loosen() {
	if !t.Terminal {
		return
	}
	t.loose = t.rows()
}

func (t *Text) rows() int {
	if t.Rows > 0 {
		return min(t.Rows, 4096) + 1
	}
	return defaultRows
}

// clean says that the screen is empty. What comes may be what was there, painted again, and who reads it sees it once.
func (t *Text) clean(dst []byte) []byte {
	if t.dirty {
		t.draw()
		dst = append(dst, '\n')
	}
	t.loose, t.line, t.back, t.cut, t.dirty = 0, false, false, false, false
	return dst
}

// endString is the byte that ends a string for the terminal, or breaks it off.
func (t *Text) endString(dst []byte, c byte) []byte {
	t.state, t.cut = ground, t.line
	if c == 0x1b {
		t.state = escape // of ESC \, or of another sequence
	} else if c == '\n' || c == '\r' {
		t.state = inString // terminals ignore these
	}
	return append(dst, '\n')
}

// sequence is a byte of an escape sequence.
func (t *Text) sequence(dst []byte, c byte, next int) []byte {
	switch {
	case c == 0x1b:
		t.state, t.n = escape, 0
	case c == 0x18 || c == 0x1a: // they cancel
		t.state = ground
	case c < 0x20 && t.state == control:
		return t.single(dst, len(dst), c) // terminals act on these at once
	case c < 0x20 || c >= 0x7f:
		t.state = ground
		t.draw()
	case t.state == escape:
		return t.escaped(dst, c, next)
	case t.state == escapeMore && c >= 0x30:
		t.state = ground
		t.designate(c)
	case t.state == control && c >= 0x40:
		t.state = ground
		return t.act(dst, c, next)
	case t.n < len(t.csi):
		t.csi[t.n] = c
		t.n++
	default:
		t.loosen() // longer than any we know
	}
	return dst
}

// escaped is the byte after ESC.
func (t *Text) escaped(dst []byte, c byte, next int) []byte {
	t.n = 0
	switch {
	case c == '[':
		t.state = control
		return dst
	case c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_':
		t.state = inString
		return append(dst, '\n')
	case c >= 0x20 && c < 0x30:
		t.state, t.n, t.csi[0] = escapeMore, 1, c
		return dst
	}
	t.state = ground
	switch c {
	case 'c':
		t.margins, t.other = false, false
		dst = t.clean(dst)
		if t.watch != nil {
			t.watch.fresh(next)
		}
	case 'D', 'E':
		t.feed()
		return append(dst, '\n')
	case '7', '=', '>', '\\', 'H', 'Z': // nothing is moved
	default: // 'M' and '8' move the cursor; others we do not know
		t.loosen()
	}
	return dst
}

// designate is the end of an escape sequence with intermediate bytes.
func (t *Text) designate(final byte) {
	first := t.csi[0]
	switch {
	case t.n == 1 && (first == '(' || first == ')') && (final == 'B' || final == 'A'):
	case t.n == 1 && first == '%':
	case t.n == 1 && first == ' ':
	default: // line drawing, the alignment test
		t.loosen()
	}
}

func (t *Text) resize(terminal bool, rows int) {
	t.Terminal = terminal
	if t.Rows != rows && t.Rows != 0 && terminal {
		t.Rows = rows
		t.loosen() // lines are wrapped anew, and some come back
	}
	t.Rows = rows
}

// half is what resume needs to go on in the middle of a sequence.
func (t *Text) half() []byte {
	var b []byte
	if t.back {
		b = append(b, '\r')
	}
	switch t.state {
	case escape:
		b = append(b, 0x1b)
	case escapeMore:
		b = append(append(b, 0x1b), t.csi[:t.n]...)
	case control:
		b = append(append(b, 0x1b, '['), t.csi[:t.n]...)
	case inString:
		b = append(b, 0x1b, ']')
	}
	return b
}

// resume is as the text was before the segment.
func (t *Text) resume(l Lane) {
	t.line = len(l.Line) > 0
	b := l.Half
	if len(b) > 0 && b[0] == '\r' {
		t.back, b = t.line, b[1:]
	}
	switch {
	case len(b) == 0:
	case len(b) == 1:
		t.state = escape
	case b[1] == '[':
		t.state, t.n = control, copy(t.csi[:], b[2:])
	case b[1] == ']':
		t.state = inString
	default:
		t.state, t.n = escapeMore, copy(t.csi[:], b[1:])
	}
}
