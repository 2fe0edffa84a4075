package search

import "encoding/binary"

// lower appends text with the capitals of ASCII as small letters, eight at a time.
func lower(dst, text []byte) []byte {
	begin := len(dst)
	dst = append(dst, text...)
	b := dst[begin:]
	for len(b) >= 8 {
		x := binary.LittleEndian.Uint64(b)
		low := x & 0x7f7f7f7f7f7f7f7f
		capital := (low + 0x3f3f3f3f3f3f3f3f) & ^(low + 0x2525252525252525) & ^x & 0x8080808080808080 // at least A, at most Z, ASCII
		binary.LittleEndian.PutUint64(b, x|capital>>2)
		b = b[8:]
	}
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return dst
}
