package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"
)

// JSON writes the report as one object. What a terminal or a reader would take for something else than text stands in it as \u escapes,
// which mean the same.
func (r *Report) JSON(w io.Writer) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(Plain(b), '\n'))
	return err
}

// Plain escapes what is not printable in a JSON document. Outside of strings there is none of it but white space.
func Plain(doc []byte) []byte {
	var out bytes.Buffer
	for len(doc) > 0 {
		r, n := utf8.DecodeRune(doc)
		switch {
		case r == '\n' || unicode.IsPrint(r) || n == 1 && r != utf8.RuneError:
			out.Write(doc[:n])
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&out, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
		doc = doc[n:]
	}
	return out.Bytes()
}
