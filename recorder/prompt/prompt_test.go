package prompt

import (
	"fmt"
	"strings"
	"testing"

	"postern/recorder/screen"
)

// A line within one row of a terminal is what a whole terminal shows of it: package screen is held against tmux.
func FuzzRow(f *testing.F) {
	f.Add([]byte("$ ls -l\b\b\x83\x04X\x85\x02\x86\x01y"))
	f.Add([]byte("abc\x81\x05d\x82\x09\x84\x00z"))
	f.Fuzz(func(t *testing.T, script []byte) {
		const columns = 1000
		script = script[:min(len(script), 90)] // so that it fits
		line, shown := Line{Columns: columns}, screen.New(columns, 2)
		for len(script) > 0 {
			c := script[0]
			script = script[1:]
			switch {
			case c >= ' ' && c < 0x7f:
				line.Text([]byte{c})
				shown.Write([]byte{c})
			case c == '\b' || c == '\r':
				line.Single(c)
				shown.Write([]byte{c})
			case c >= 0x80 && len(script) > 0:
				n, final := int(script[0]%12), "CDGPX@"[c%6]
				script = script[1:]
				if c > 0xf0 {
					n, final = n%3, 'K'
				}
				if final == 'K' && n == 1 {
					continue // which no line editor sends, and Line does not know
				}
				line.Sequence(n, final)
				fmt.Fprintf(shown, "\x1b[%d%c", n, final)
			}
			text, _ := shown.RowText(0)
			if got, want := strings.TrimRight(string(line.cells), " "), strings.TrimRight(text, " "); got != want {
				t.Fatalf("it is %q, and shown %q", got, want)
			}
			if x, _, _ := shown.Cursor(); x != line.At() {
				t.Fatalf("the cursor is at %d, and shown at %d", line.At(), x)
			}
		}
	})
}

// Whatever is printed on a terminal of whatever size, little is kept, and no letter is lost between two writes.
func FuzzBounds(f *testing.F) {
	f.Add([]byte("\x00\xe2\x82\xac$ x\t\n\r\b"), 80, -5)
	f.Add([]byte("C999@H\nJ2K\x01"), -1, 1<<62)
	f.Fuzz(func(t *testing.T, script []byte, columns, n int) {
		whole, parts := Line{Columns: columns}, Line{Columns: columns}
		for i, c := range script {
			switch {
			case c < ' ':
				whole.Single(c)
				parts.Single(c)
			case i%3 == 0:
				whole.Sequence(n, c)
				parts.Sequence(n, c)
			case i%7 == 0:
				whole.Before(n)
				parts.Before(n)
				whole.Pause()
				parts.Pause()
			default:
				whole.Text(script[i:])
				for _, b := range script[i:] {
					parts.Text([]byte{b})
				}
			}
			for _, l := range []*Line{&whole, &parts} {
				if len(l.cells) > mostCells || l.Size() > 2*mostCells || l.at < 0 || l.at > mostCells || len(l.half) > 3 {
					t.Fatalf("%d letters at %d, room for %d, and %d bytes of one", len(l.cells), l.at, l.Size(), len(l.half))
				}
			}
		}
		text, prompt := whole.Command("$ ")
		if again, before := parts.Command("$ "); again != text || before != prompt || len(text) > 4*mostCells {
			t.Fatalf("%q after %q, in parts %q after %q", text, prompt, again, before)
		}
	})
}
