package search

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"postern/recorder"
)

// A screen is painted from where it must be, over segments that were not drawn and may not even be searched, and nothing is told twice.
func TestPaintedOverSegments(t *testing.T) {
	bulk := strings.Repeat(strings.Repeat("hay ", 15)+"\r\n", 4200) // a segment
	few := strings.Repeat("hay\r\n", 3)
	for name, test := range map[string]struct {
		output []string
		want   string
	}{
		"seen before it was drawn on":  {[]string{bulk + "needle\r\n", "\x1b[1;1Htop", "\x1b[2;1Htop"}, "needle at 0"},
		"begun in bulk, ended by hand": {[]string{bulk, bulk + "<n  dle>", "\x1b[24;3Hee"}, "needle at 2"},
		"begun long before":            {[]string{bulk, bulk + "<n  dle>\r\n", few, few, "\x1b[17;3Hee"}, "needle at 4"},
		"begun before an idle hour":    {[]string{"\x1b[3;1H<n  dle>", few, few, "\x1b[3;3Hee\x1b[20;1H"}, "needle at 3"},
		"gone before":                  {[]string{bulk, "<n  dle>\r\n" + bulk, bulk, "\x1b[17;3Hee"}, ""},
		"scrolled off while drawn":     {[]string{"\x1b[1;1H<n  dle>\x1b[1;3Hee\x1b[24;1H" + strings.Repeat("\r\n", 30), bulk}, "needle at 0"},
		"again, after bulk":            {[]string{"\x1b[1;1Hx\x1b[1;1Hneedle", bulk, bulk, "\x1b[1;1Hneedle\x1b[9;9H"}, "needle at 0; needle at 3"},
		"in an editor, left and back":  {[]string{bulk + "\x1b[?1049h\x1b[2;1H~\x1b[1;1Hneedle", "\x1b[5;5Hx", "\x1b[?1049l" + few, bulk}, "needle at 0"},
		"typed over a border":          {[]string{bulk + "$ nee", "d", "l\b \bl", "e\r\n"}, "needle at 3"},
		"typed, then bulk":             {[]string{"x\r\n$ need\b \bdl", "e\r\n" + bulk, bulk}, "needle at 1"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBastion(t)
			a := b.record(t, "S-1", func(add func(recorder.Frame)) {
				add(opened(0))
				add(pty(0))
				for i, text := range test.output {
					for n := 0; n < len(text); n += 200 << 10 {
						add(output(0, time.Second*time.Duration(i+1), text[n:min(len(text), n+200<<10)]))
					}
					// What makes a segment full without being output.
					add(recorder.Frame{Type: recorder.TypeData, At: time.Second * time.Duration(i+1), Stream: recorder.Stdin, Data: make([]byte, recorder.MaxData)})
				}
			})
			if len(a.Parts()) < len(test.output) {
				t.Fatalf("%d segments", len(a.Parts()))
			}
			for _, change := range []func(*Query){func(*Query) {}, thorough} {
				var list []string
				for _, h := range find(t, a, "needle", change) {
					list = append(list, fmt.Sprintf("%s at %d", h.Text[h.Begin:h.End], int(h.At.Seconds())-1))
				}
				if got := strings.Join(list, "; "); got != test.want {
					t.Errorf("%q, want %q", got, test.want)
				}
			}
		})
	}
}
