package play

import (
	"strconv"
	"unicode/utf8"
)

// Filter lets through what paints text, and drops what makes a terminal act or answer: clipboard writes, window
// operations, status queries, device control strings, mouse reports. What is not known to be harmless is dropped.
// The zero Filter is ready; it keeps its state from one piece of the output to the next.
type Filter struct {
	state state
	rune  []byte // of a UTF-8 sequence that is not complete
	seq   []byte // of an escape sequence that is not complete
	long  bool   // seq was longer than any harmless one
}

type state byte

const (
	ground     state = iota
	escape           // after ESC
	inter            // after ESC and an intermediate
	csi              // after ESC [
	text             // in OSC, DCS, SOS, PM or APC
	textEscape       // after ESC in there
)

const (
	longestSequence = 64
	// Emulators take a count of a thousand million for an order to loop that often.
	mostRepeat   = 1024
	mostPosition = 9999
)

// Append filters b onto dst.
func (f *Filter) Append(dst, b []byte) []byte {
	for _, c := range b {
		dst = f.byte(dst, c)
	}
	return dst
}

// byte joins UTF-8 sequences. A terminal takes U+0080 to U+009F for controls, however they come.
func (f *Filter) byte(dst []byte, c byte) []byte {
	if len(f.rune) == 0 && c < utf8.RuneSelf {
		return f.control(dst, rune(c))
	}
	f.rune = append(f.rune, c)
	for len(f.rune) > 0 && utf8.FullRune(f.rune) {
		r, n := utf8.DecodeRune(f.rune)
		f.rune = append(f.rune[:0], f.rune[n:]...)
		dst = f.control(dst, r)
	}
	return dst
}

func (f *Filter) control(dst []byte, r rune) []byte {
	if r >= 0x80 && r <= 0x9f { // C1 is ESC and a letter
		f.begin(escape)
		return f.sequence(dst, r-0x40)
	}
	switch {
	case r == 0x18 || r == 0x1a: // CAN and SUB end any sequence
		f.state = ground
		return dst
	case r == 0x1b:
		if f.state == text {
			f.state = textEscape
		} else {
			f.begin(escape)
		}
		return dst
	case f.state != ground:
		return f.sequence(dst, r)
	case r < ' ' && !painted(r) || r == 0x7f:
		return dst
	}
	return utf8.AppendRune(dst, r)
}

// painted controls move the cursor, ring, or choose a character set. ENQ, which makes a terminal answer, is none.
func painted(r rune) bool { return r >= '\a' && r <= 0x0f }

func (f *Filter) begin(s state) {
	f.state, f.seq, f.long = s, f.seq[:0], false
}

// sequence takes one character inside an escape sequence.
func (f *Filter) sequence(dst []byte, r rune) []byte {
	switch f.state {
	case text:
		if r == '\a' {
			f.state = ground
		}
		return dst
	case textEscape: // ESC \ ends the text; any other begins a sequence of its own
		if f.begin(escape); r == '\\' {
			f.state = ground
			return dst
		}
	}
	if r < ' ' { // a control inside a sequence acts at once
		if painted(r) {
			dst = append(dst, byte(r))
		}
		return dst
	}
	if r > 0x7e {
		f.state = ground
		return dst
	}
	if f.state == escape {
		return f.introduced(dst, byte(r))
	}
	return f.collected(dst, byte(r))
}

// introduced takes the character after ESC.
func (f *Filter) introduced(dst []byte, c byte) []byte {
	switch {
	case c == '[':
		f.state = csi
	case c == ']' || c == 'P' || c == 'X' || c == '^' || c == '_':
		f.state = text
	case c >= 0x20 && c <= 0x2f:
		f.state = inter
		f.seq = append(f.seq, c)
	default:
		f.state = ground
		// Save, restore, index, next line, reverse index, tab stop, keypad, full reset, shifts. Not Z, which asks who it is.
		if oneOf(`78DEMH=>cNOno|}~`, c) {
			dst = append(dst, 0x1b, c)
		}
	}
	return dst
}

// collected takes a character of a sequence that has a beginning.
func (f *Filter) collected(dst []byte, c byte) []byte {
	final := c >= 0x40 && (f.state == csi) || c >= 0x30 && f.state == inter
	if !final {
		if f.long = f.long || len(f.seq) >= longestSequence; !f.long {
			f.seq = append(f.seq, c)
		}
		return dst
	}
	was := f.state
	f.state = ground
	switch {
	case f.long:
		return dst
	case was == csi:
		return appendCSI(dst, f.seq, c)
	case len(f.seq) == 1 && (oneOf("()*+-./", f.seq[0]) || f.seq[0] == '#' && oneOf("34568", c)): // character sets, line sizes
		return append(append(append(dst, 0x1b), f.seq...), c)
	}
	return dst
}

// appendCSI appends a control sequence if it is harmless, its numbers clamped.
func appendCSI(dst, seq []byte, final byte) []byte {
	private := len(seq) > 0 && seq[0] == '?'
	if private {
		seq = seq[1:]
	}
	most := mostPosition
	switch {
	case string(seq) == "!" && final == 'p' && !private: // soft reset
		return append(dst, "\x1b[!p"...)
	case len(seq) > 0 && seq[len(seq)-1] == ' ' && final == 'q' && !private: // shape of the cursor
		if !numbers(seq[:len(seq)-1]) {
			return dst
		}
		return append(append(append(dst, "\x1b["...), seq...), final)
	case !numbers(seq):
		return dst
	case final == 'h' || final == 'l':
		return appendModes(dst, seq, private, final)
	case private && !oneOf("JK", final):
		return dst
	case oneOf("@ILMPSTXZb", final):
		most = mostRepeat
	case !oneOf("ABCDEFGHJK`adefgmrsu", final) || final == 's' && len(seq) > 0 || final == 'u' && len(seq) > 0:
		return dst
	}
	dst = append(dst, "\x1b["...)
	if private {
		dst = append(dst, '?')
	}
	return append(appendClamped(dst, seq, most), final)
}

// appendModes lets through the modes that change how text is painted, and none that makes a terminal report.
func appendModes(dst, seq []byte, private bool, final byte) []byte {
	for _, number := range split(seq) {
		switch n, _ := strconv.Atoi(number); {
		case private && (n == 1 || n >= 5 && n <= 7 || n == 12 || n == 25 || n == 45 || n == 47 || n >= 1047 && n <= 1049 || n == 2026):
			dst = append(dst, "\x1b[?"...)
		case !private && (n == 4 || n == 20):
			dst = append(dst, "\x1b["...)
		default:
			continue
		}
		dst = append(append(dst, number...), final)
	}
	return dst
}

func appendClamped(dst, seq []byte, most int) []byte {
	for i := 0; i < len(seq); {
		j := i
		for j < len(seq) && seq[j] >= '0' && seq[j] <= '9' {
			j++
		}
		if j == i {
			dst = append(dst, seq[i])
			i++
			continue
		}
		n, err := strconv.Atoi(string(seq[i:j]))
		if err != nil || n > most {
			n = most
		}
		dst = strconv.AppendInt(dst, int64(n), 10)
		i = j
	}
	return dst
}

func numbers(seq []byte) bool {
	for _, c := range seq {
		if c < '0' || c > ';' {
			return false
		}
	}
	return true
}

func split(seq []byte) (list []string) {
	begin := 0
	for i := 0; i <= len(seq); i++ {
		if i == len(seq) || seq[i] == ';' {
			list = append(list, string(seq[begin:i]))
			begin = i + 1
		}
	}
	return list
}

func oneOf(set string, c byte) bool {
	for i := range len(set) {
		if set[i] == c {
			return true
		}
	}
	return false
}
