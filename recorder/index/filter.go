package index

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Filter is a set of folded trigrams that may say yes to what is not in it, and never no to what is. It has a byte of flags, and then a power of two of bytes, 8 to 4096.
// An empty one knows nothing.
type Filter []byte

// onlyASCII is the flag of a filter that knows nothing of other letters.
const onlyASCII = 1

const (
	filterBits = 15
	mostFilter = 1 << filterBits / 8
	minFilter  = 8
)

// May reports whether a segment may hold the literal, in any case of its letters (by Unicode's simple folding). Of less than three letters
// it knows nothing, so it says yes.
func (f Filter) May(literal string) bool {
	if !f.good() {
		return true
	}
	flags, f := f[0], f[1:]
	mask := uint32(len(f)*8 - 1)
	letters, gram := 0, uint32(0)
	for _, r := range literal {
		if r == utf8.RuneError || r == '\n' || flags&onlyASCII != 0 && !plainLetter(r) {
			letters = 0
			continue
		}
		letters++
		gram = gram>>8 | uint32(symbol(r))<<16
		if h := hashGram(gram) & mask; letters >= 3 && f[h>>3]&(1<<(h&7)) == 0 {
			return false
		}
	}
	return true
}

// good reports whether the length is that of a filter.
func (f Filter) good() bool {
	n := len(f) - 1
	return n >= minFilter && n <= mostFilter && n&(n-1) == 0
}

// plainLetter says that nothing but ASCII stands for the letter, in any case.
func plainLetter(r rune) bool { return r < utf8.RuneSelf && r|0x20 != 'k' && r|0x20 != 's' }

func hashGram(gram uint32) uint32 { return gram * 0x9e3779b1 >> (32 - filterBits) }

// grams collects trigrams. It is large, so it is borrowed for a segment.
type grams struct {
	set   [2 << filterBits]byte // the second half is for those that are none
	used  bool
	ascii bool // those with other letters were left out
	text  []byte
}

var gramsPool = sync.Pool{New: func() any { return new(grams) }}

// add takes the trigrams of text, which begins after a line feed or where gram says.
func (g *grams) add(gram uint32, text []byte) uint32 {
	g.used = true
	for len(text) > 0 {
		n := bytes.IndexByte(text, '\n')
		if n < 0 {
			return g.line(gram, text)
		}
		g.line(gram, text[:n])
		gram, text = 0, text[n+1:]
	}
	return gram
}

// line takes the trigrams of a piece of a line, after the two letters in gram.
func (g *grams) line(gram uint32, text []byte) uint32 {
	if gram != 0 && len(text) >= 8 {
		g.letters(gram, text[:2]) // which reach back
	}
	for len(text) >= 8 {
		x := binary.LittleEndian.Uint64(text)
		if x&highs != 0 {
			return g.letters(gram, text)
		}
		x &^= x & (0x40 * ones) >> 1 // capitals
		g.set[hashGram(uint32(x)&0xffffff)] = 1
		g.set[hashGram(uint32(x>>8)&0xffffff)] = 1
		g.set[hashGram(uint32(x>>16)&0xffffff)] = 1
		g.set[hashGram(uint32(x>>24)&0xffffff)] = 1
		g.set[hashGram(uint32(x>>32)&0xffffff)] = 1
		g.set[hashGram(uint32(x>>40))] = 1
		text = text[6:]
		gram = uint32(x >> 24 & 0xffff00)
	}
	return g.letters(gram, text)
}

// sift is add for binary data, of which every byte would be a surprise: letters that are not ASCII are left out.
func (g *grams) sift(gram uint32, data []byte) uint32 {
	g.used, g.ascii = true, true
	for _, c := range data {
		gram = gram>>8 | uint32(foldASCII[c])<<16
		none := (gram - 0x010101) &^ gram & 0x808080 // not 0 if one of the three is 0
		g.set[gram*0x9e3779b1>>(32-filterBits)|(none|-none)>>31<<filterBits] = 1
	}
	return gram
}

// letters takes trigrams one by one.
func (g *grams) letters(gram uint32, text []byte) uint32 {
	small := smallSymbols()
	for len(text) > 0 {
		c := text[0]
		switch {
		case c < utf8.RuneSelf:
			gram, text = gram>>8|uint32(foldASCII[c])<<16, text[1:]
		case len(text) > 1 && text[1]&0xc0 != 0x80: // binary data is full of these
			gram, text = 0, text[1:]
			continue
		default:
			r, n := utf8.DecodeRune(text)
			text = text[n:]
			switch {
			case r < rune(len(small)):
				gram = gram>>8 | uint32(small[r])<<16
			case r == utf8.RuneError:
				gram = 0
				continue
			default:
				gram = gram>>8 | uint32(bigSymbol(r))<<16
			}
		}
		g.set[hashGram(gram)] = 1
	}
	return gram
}

// filter is what was collected, as small as it may be and still say no to most, and leaves none of it.
func (g *grams) filter() Filter {
	var flags byte
	if g.ascii {
		flags = onlyASCII
	}
	f := make(Filter, mostFilter)
	if g.used {
		for i := range f {
			s := g.set[i*8 : i*8+8]
			f[i] = s[0] | s[1]<<1 | s[2]<<2 | s[3]<<3 | s[4]<<4 | s[5]<<5 | s[6]<<6 | s[7]<<7
		}
		clear(g.set[:])
		g.used, g.ascii = false, false
	}
	for len(f) > minFilter && ones8(f) <= len(f)*8/4 {
		half := len(f) / 2
		for i := range half {
			f[i] |= f[i+half]
		}
		f = f[:half]
	}
	return append(Filter{flags}, f...)
}

func ones8(f Filter) (n int) {
	for _, b := range f {
		n += bits.OnesCount8(b)
	}
	return n
}

// foldASCII is the symbol of a byte that is a letter by itself, and 0 for others. Capitals and small letters differ in one bit, which is left out; so
// some other pairs share a symbol as well.
var foldASCII = func() (t [256]byte) {
	for c := range 0x80 {
		if c >= 0x20 && c != 0x7f || c == '\t' {
			t[c] = byte(c &^ (c & 0x40 >> 1))
		}
	}
	return t
}()

// symbol is the letter of trigrams that stands for a rune and for all that it folds to. Of those that are not ASCII many share one.
func symbol(r rune) byte {
	switch {
	case r < utf8.RuneSelf:
		return foldASCII[r]
	case r < rune(len(smallSymbols())):
		return smallSymbols()[r]
	}
	return bigSymbol(r)
}

func bigSymbol(r rune) byte {
	least := r
	if r > unicode.MaxRune || cased()[r>>8] {
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
	}
	if least < utf8.RuneSelf { // the sign for kelvin, the long s
		return foldASCII[least]
	}
	return 0x80 | byte(uint32(least)*0x9e3779b1>>25)
}

// cased says which blocks of 256 have letters with cases: most writing has none, and need not be looked up.
var cased = sync.OnceValue(func() *[unicode.MaxRune>>8 + 1]bool {
	t := new([unicode.MaxRune>>8 + 1]bool)
	for _, c := range unicode.CaseRanges {
		for block := c.Lo >> 8; block <= c.Hi>>8; block++ {
			t[block] = true
		}
	}
	return t
})

// smallSymbols are the symbols of the alphabets that fold most.
var smallSymbols = sync.OnceValue(func() *[0x600]byte {
	t := new([0x600]byte)
	for r := range rune(len(t)) {
		if r < utf8.RuneSelf {
			t[r] = foldASCII[r]
		} else {
			t[r] = bigSymbol(r)
		}
	}
	return t
})
