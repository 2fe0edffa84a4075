// Package prompt follows the line that is edited at a shell's prompt by what the host prints: letters in a row, however many rows of the terminal they take.
//
// Start with [Line]. It knows what line editors do and nothing else of a screen, so it is cheap, and what a host prints can mislead it. It holds at most
// 2048 letters.
package prompt

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Line is a line that is being edited. Its zero value begins at the left of a terminal of 80 columns.
type Line struct {
	Columns int // of the terminal; 0: 80
	cells   []rune
	at      int
	prompt  int // letters of it; 0: not known yet
	half    []byte
}

const mostCells = 2048

// Before is a prompt of so many letters that stands there already.
func (t *Line) Before(letters int) {
	t.prompt = min(max(letters, 0), 500)
	t.cells = make([]rune, t.prompt)
	t.at = t.prompt
}

// Pause is the end of the prompt, if it was one.
func (t *Line) Pause() {
	if t.prompt == 0 && t.at > 0 && t.at < mostCells {
		t.prompt = t.at
	}
}

// Text is printed.
func (t *Line) Text(b []byte) {
	if len(t.half) > 0 {
		b = append(t.half, b...)
		t.half = nil
	}
	for len(b) > 0 {
		if !utf8.FullRune(b) {
			t.half = append([]byte(nil), b...)
			return
		}
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		t.put(r)
	}
}

// Size is how much memory it takes, in letters.
func (t *Line) Size() int { return cap(t.cells) }

// At is how many letters stand before the cursor.
func (t *Line) At() int { return t.at }

func (t *Line) put(r rune) {
	if t.at >= mostCells {
		return
	}
	t.fill(t.at)
	if t.at == len(t.cells) {
		t.cells = append(t.cells, r)
	} else {
		t.cells[t.at] = r
	}
	t.at++
}

// fill makes the row at least so long.
func (t *Line) fill(n int) {
	for len(t.cells) < n {
		t.cells = append(t.cells, ' ')
	}
}

func (t *Line) width() int {
	if t.Columns > 0 {
		return t.Columns
	}
	return 80
}

// Single is a control character.
func (t *Line) Single(c byte) {
	switch c {
	case '\b':
		t.at = max(t.at-1, 0)
	case '\r':
		t.at -= t.at % t.width()
	case '\n':
		t.at = min((len(t.cells)/t.width()+1)*t.width(), mostCells)
	case '\t':
		t.at = min(t.at&^7+8, mostCells)
	}
}

// Sequence is a control sequence with its first number.
func (t *Line) Sequence(n int, final byte) {
	n = min(n, mostCells)
	many := max(n, 1)
	row := t.at - t.at%t.width()
	switch final {
	case 'C':
		t.at = min(t.at+many, mostCells)
	case 'D':
		t.at = max(t.at-many, 0)
	case 'A':
		t.at = max(t.at-many*t.width(), t.at%t.width())
	case 'B':
		t.at = min(t.at+many*t.width(), mostCells)
	case 'G':
		t.at = min(row+many-1, mostCells)
	case 'H':
		t.at = 0
	case 'K', 'J', 'P', '@', 'X':
		t.change(n, final)
	}
}

// change takes letters away, or makes room for some.
func (t *Line) change(n int, final byte) {
	at, many := min(t.at, len(t.cells)), max(n, 1)
	end := min(at+many, len(t.cells))
	switch {
	case final == 'J' && n >= 2:
		t.cells = t.cells[:0]
	case final == 'J' && n == 0, final == 'K' && n == 0:
		t.cells = t.cells[:at]
	case final == 'K' && n == 2:
		for i := at - at%t.width(); i < len(t.cells); i++ {
			t.cells[i] = ' '
		}
	case final == 'P':
		t.cells = slices.Delete(t.cells, at, end)
	case final == 'X':
		for i := at; i < end; i++ {
			t.cells[i] = ' '
		}
	case final == '@' && len(t.cells)+many <= mostCells:
		t.cells = slices.Insert(t.cells, at, []rune(strings.Repeat(" ", many))...)
	}
}

// Command is what was typed, without the prompt, and the prompt, which is likely to come again.
func (t *Line) Command(known string) (text, prompt string) {
	cells := t.cells
	if len(cells) > 0 && cells[0] == 0 { // the prompt was printed before the shell was ready
		return clean(cells[min(t.prompt, len(cells)):]), known
	}
	all := string(cells)
	if known != "" && strings.HasPrefix(all, known) {
		return clean([]rune(all[len(known):])), known
	}
	if t.prompt > 0 && t.prompt <= len(cells) {
		if before := string(cells[:t.prompt]); endsPrompt(before) {
			return clean(cells[t.prompt:]), before
		}
	}
	for i, r := range all {
		if endsPrompt(string(r)) && strings.HasPrefix(all[i+utf8.RuneLen(r):], " ") {
			return clean([]rune(all[i+utf8.RuneLen(r)+1:])), known
		}
	}
	return clean(cells[min(t.prompt, len(cells)):]), known
}

func endsPrompt(s string) bool {
	s = strings.TrimRight(s, " \x00")
	return strings.HasSuffix(s, "$") || strings.HasSuffix(s, "#") || strings.HasSuffix(s, "%") || strings.HasSuffix(s, ">") || strings.HasSuffix(s, "❯")
}

func clean(cells []rune) string {
	return strings.TrimSpace(strings.ReplaceAll(string(cells), "\x00", " "))
}
