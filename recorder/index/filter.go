package index

import (
	"math/bits"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Filter is a set of folded trigrams that may say yes to what is not in it, and never no to what is. Its length is a power of two, 8 to 4096.
// An empty one knows nothing.
type Filter []byte

const (
	filterBits = 15
	mostFilter = 1 << filterBits / 8
	minFilter  = 8
)

// May reports whether a segment may hold the literal, in any case of its letters (by Unicode's simple folding). Of less than three letters
// it knows nothing, so it says yes.
func (f Filter) May(literal string) bool {
	if len(f) < minFilter || len(f)&(len(f)-1) != 0 {
		return true
	}
	mask := uint32(len(f)*8 - 1)
	letters, gram := 0, uint32(0)
	for _, r := range literal {
		if r == utf8.RuneError || r == '\n' {
			letters = 0
			continue
		}
		letters++
		gram = gram<<8 | uint32(symbol(r))
		if h := hashGram(gram) & mask; letters >= 3 && f[h>>3]&(1<<(h&7)) == 0 {
			return false
		}
	}
	return true
}

func hashGram(gram uint32) uint32 { return gram & 0xffffff * 0x9e3779b1 >> (32 - filterBits) }

// grams collects trigrams. It is large, so it is borrowed for a segment.
type grams struct {
	set  [1 << filterBits]byte
	used bool
}

var gramsPool = sync.Pool{New: func() any { return new(grams) }}

// add takes the trigrams of text. Those at its beginning count as after a line feed. Half a letter at its end is left out.
func (g *grams) add(gram uint32, text []byte) uint32 {
	g.used = true
	for len(text) > 0 {
		n := 0
		for _, c := range text {
			s := foldASCII[c]
			if s == 0 {
				break
			}
			gram = gram<<8 | uint32(s)
			g.set[hashGram(gram)] = 1
			n++
		}
		if text = text[n:]; len(text) == 0 {
			break
		}
		if text[0] < utf8.RuneSelf {
			gram, text = 0, text[1:]
			continue
		}
		gram, text = g.letters(gram, text)
	}
	return gram
}

// letters takes those at the beginning of text that are not ASCII.
func (g *grams) letters(gram uint32, text []byte) (uint32, []byte) {
	small := smallSymbols()
	for len(text) > 0 && text[0] >= utf8.RuneSelf {
		r, n := utf8.DecodeRune(text)
		text = text[n:]
		switch {
		case r < rune(len(small)):
			gram = gram<<8 | uint32(small[r])
		case r == utf8.RuneError:
			gram = 0
			continue
		default:
			gram = gram<<8 | uint32(bigSymbol(r))
		}
		g.set[hashGram(gram)] = 1
	}
	return gram, text
}

// filter is what was collected, as small as it may be and still say no to most, and leaves none of it.
func (g *grams) filter() Filter {
	f := make(Filter, mostFilter)
	if g.used {
		for i := range f {
			s := g.set[i*8 : i*8+8]
			f[i] = s[0] | s[1]<<1 | s[2]<<2 | s[3]<<3 | s[4]<<4 | s[5]<<5 | s[6]<<6 | s[7]<<7
		}
		clear(g.set[:])
		g.used = false
	}
	for len(f) > minFilter && ones8(f) <= len(f)*8/4 {
		half := len(f) / 2
		for i := range half {
			f[i] |= f[i+half]
		}
		f = f[:half]
	}
	return append(Filter(nil), f...)
}

func ones8(f Filter) (n int) {
	for _, b := range f {
		n += bits.OnesCount8(b)
	}
	return n
}

// foldASCII is the symbol of a byte that is a letter by itself, and 0 for others.
var foldASCII = func() (t [256]byte) {
	for c := range 0x80 {
		if c >= 0x20 && c != 0x7f || c == '\t' {
			t[c] = byte(c)
		}
	}
	for c := 'A'; c <= 'Z'; c++ {
		t[c] = byte(c) + 'a' - 'A'
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
