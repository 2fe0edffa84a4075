package report

import (
	"strconv"
	"strings"
	"unicode"
)

// Visible makes text of other people safe to show: characters that move a cursor, turn the direction of writing or cannot be seen stand
// there as escapes, on one line. Without it a reason could read as another one than was approved.
func Visible(text string) string {
	clean := true
	for _, r := range text {
		if clean = unicode.IsPrint(r) && r != unicode.ReplacementChar; !clean {
			break
		}
	}
	if clean {
		return text
	}
	var out strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			out.WriteRune(r)
		} else {
			quoted := strconv.QuoteRuneToASCII(r)
			out.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return out.String()
}

// short cuts visible text to a width, in characters.
func short(text string, width int) string {
	text = Visible(text)
	if runes := []rune(text); len(runes) > width {
		return string(runes[:max(0, width-1)]) + "…"
	}
	return text
}
