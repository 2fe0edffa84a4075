package report

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Visible makes text of other people safe to show: characters that move a cursor, turn the direction of writing or cannot be seen stand
// there as escapes, on one line, and so do bytes that are no characters. Without it a reason could read as another one than was approved.
func Visible(text string) string {
	if n := hidden(text); n == len(text) {
		return text
	}
	var out strings.Builder
	for text != "" {
		n := hidden(text)
		out.WriteString(text[:n])
		text = text[n:]
		if text == "" {
			break
		}
		escape, size := escaped(text)
		out.WriteString(escape)
		text = text[size:]
	}
	return out.String()
}

// hidden is where the first thing stands that cannot be shown as it is; the length when there is none.
func hidden(text string) int {
	for i, r := range text {
		if !unicode.IsPrint(r) || r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd") {
			return i
		}
	}
	return len(text)
}

// escaped is how the first character is written, and how many bytes it takes.
func escaped(text string) (string, int) {
	r, size := utf8.DecodeRuneInString(text)
	if r == utf8.RuneError && size == 1 {
		return fmt.Sprintf(`\x%02x`, text[0]), 1
	}
	quoted := strconv.QuoteRuneToASCII(r)
	return quoted[1 : len(quoted)-1], size
}

// short cuts visible text to a width, in characters.
func short(text string, width int) string {
	text = Visible(text)
	if runes := []rune(text); len(runes) > width {
		return string(runes[:max(0, width-1)]) + "…"
	}
	return text
}
