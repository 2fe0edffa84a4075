package index

import (
	"math"
	"strings"
	"unicode/utf8"
)

// room is how much an entry may still hold of each of its lists, in bytes of JSON.
type room struct {
	commands, files, forwards, marks, sizes int
	cut                                     bool
}

func newRoom(whole bool) room {
	if whole {
		return room{commands: math.MaxInt, files: math.MaxInt, forwards: math.MaxInt, marks: math.MaxInt, sizes: math.MaxInt}
	}
	return room{commands: 64 << 10, files: 96 << 10, forwards: 16 << 10, marks: 16 << 10, sizes: 8 << 10}
}

// take takes room for an item with these texts.
func (r *room) take(left *int, texts ...string) bool {
	n := itemCost
	for _, s := range texts {
		n += cost(s)
	}
	if n > *left {
		r.cut = true
		return false
	}
	*left -= n
	return true
}

const itemCost = 160 // of the names of members, and of numbers

// cost is the length of s in JSON, or more.
func cost(s string) int {
	n := len(s)
	for i := range len(s) {
		switch c := s[i]; {
		case c < 0x20 || c == 0x7f || c == '<' || c == '>' || c == '&':
			n += 5
		case c == '"' || c == '\\':
			n++
		case c >= 0x80:
			n += 2
		}
	}
	return n
}

const mostText = 4096

// tidy is text that an entry may hold: UTF-8, and not long.
func tidy(s string) string {
	if len(s) > mostText {
		s = s[:mostText]
		s = s[:len(s)-halfLetter([]byte(s[len(s)-utf8.UTFMax:]))]
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
