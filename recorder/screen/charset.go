package screen

import (
	"sync"
	"unicode"

	textwidth "golang.org/x/text/width"
)

// mapped is the character that the chosen set has in place of r.
func (s *Screen) mapped(r rune) rune {
	set := s.sets[s.shift]
	if s.single != 0 {
		set, s.single = s.sets[s.single], 0
	}
	switch {
	case set == '0' && r >= '_' && r <= '~':
		return lines[r-'_']
	case set == 'A' && r == '#':
		return '£'
	}
	return r
}

// lines is the set that boxes are drawn with, from _ to ~.
var lines = []rune(" ◆▒␉␌␍␊°±␤␋┘┐┌└┼⎺⎻─⎼⎽├┤┴┬│≤≥π≠£·")

// Width is how many columns a character takes: 0 if it goes on top of the one before it, or is nothing to show.
func Width(r rune) int { return max(width(r), 0) }

// width is how many columns a character takes: 0 if it goes on top of the one before it, -1 if it is nothing to show.
func width(r rune) int {
	switch {
	case r < 0x300:
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return -1
		}
		return 1
	case r < 0x20000:
		return int(widths()[r])
	}
	return measure(r)
}

var widths = sync.OnceValue(func() *[0x20000]int8 {
	t := new([0x20000]int8)
	for r := range t {
		t[r] = int8(measure(rune(r)))
	}
	return t
})

// measure looks it up: what Unicode calls wide takes two columns, as in every terminal; what it calls ambiguous takes one, as in all but a few.
func measure(r rune) int {
	switch {
	case r >= 0x1160 && r <= 0x11ff || r >= 0xd7b0 && r <= 0xd7ff: // vowels and finals of Hangul, which follow a consonant
		return 0
	case r == 0x2028 || r == 0x2029:
		return -1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	}
	switch textwidth.LookupRune(r).Kind() {
	case textwidth.EastAsianWide, textwidth.EastAsianFullwidth:
		return 2
	}
	return 1
}
