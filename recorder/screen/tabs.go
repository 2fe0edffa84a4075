package screen

import "math/bits"

// tabs are the columns where a tab stops.
type tabs [MostColumns / 64]uint64

var everyEight = func() (t tabs) {
	for i := range t {
		t[i] = 0x0101010101010101
	}
	return t
}()

func (t *tabs) set(x int)   { t[x/64] |= 1 << (x % 64) }
func (t *tabs) clear(x int) { t[x/64] &^= 1 << (x % 64) }

// next is the first stop after x, or most.
func (t *tabs) next(x, most int) int {
	for x++; x < most; {
		if word := t[x/64] >> (x % 64); word != 0 {
			return min(x+bits.TrailingZeros64(word), most)
		}
		x = (x/64 + 1) * 64
	}
	return most
}

func (s *Screen) tab(n int) {
	most := s.end() - 1
	for ; n > 0 && s.x < most; n-- {
		s.x = s.tabs.next(s.x, most)
	}
}

func (s *Screen) backTab(n int) {
	s.pending = false
	for ; n > 0 && s.x > 0; n-- {
		for s.x--; s.x > 0 && s.tabs[s.x/64]>>(s.x%64)&1 == 0; {
			s.x--
		}
	}
}
