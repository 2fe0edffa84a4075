package screen

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// A terminal that believes counts, or moves every cell, takes minutes for each of these.
func TestHostileInputIsQuick(t *testing.T) {
	for name, unit := range map[string]string{
		"repeat":        "x\x1b[999999999b",
		"tabs":          "\x1b[999999999I\x1b[999999999Z",
		"moves":         "\x1b[999999999A\x1b[999999999B\x1b[999999999;999999999H",
		"scroll":        "\x1b[999999999S\x1b[999999999T",
		"rows":          "\x1b[1;1H\x1b[999999999L\x1b[999999999M",
		"cells":         "\x1b[1;1H\x1b[999999999@\x1b[999999999P\x1b[999999999X",
		"numbers":       "\x1b[" + strings.Repeat("9", 5000) + "m",
		"parameters":    "\x1b[" + strings.Repeat("1;", 5000) + "m",
		"letters":       "\x1b#8x",
		"letters erase": "\x1b#8\x1b[2J\x1b#8\x1b[H\x1b[J",
		"erase":         "\x1b[2J\x1b[41m\x1b[J\x1b[1J\x1b[42m",
		"screens":       "\x1b[?1049h\x1b[?1049l",
		"reset":         "\x1bc",
		"soft":          "\x1b[!p",
		"insert":        "\x1b[4h\x1b[1;1Hxxxxxxxx",
		"margins":       "\x1b[?69h\x1b[2;1000s\x1b[999S\x1b[999T",
		"region":        "\x1b[2;500r\x1b[2;1H\x1bM\x1bM\x1bM",
		"combining":     "e" + strings.Repeat("\u0301\u0302\u0303", 50),
		"endless text":  "\x1b]52;c;" + strings.Repeat("A", 1000),
		"long line":     "\x1b[1;1024Hx\r\n",
		"saved":         "\x1b7\x1b8\x1b[s\x1b[u",
	} {
		t.Run(name, func(t *testing.T) {
			s := New(MostColumns, MostRows)
			told := 0
			s.OnScroll(func(line string) { told += len(line) })
			input := []byte(strings.Repeat(unit, 1<<18/len(unit)))
			began := time.Now()
			s.Write(input)
			if took := time.Since(began); took > time.Minute { // one that is not bounded takes hours
				t.Errorf("256 KB take %v", took)
			} else {
				t.Log(took.Round(time.Millisecond), told)
			}
			whole(t, s)
		})
	}
}

// whole checks what is always so.
func whole(t testing.TB, s *Screen) {
	t.Helper()
	columns, rows := s.Size()
	if x, y, _ := s.Cursor(); x < 0 || y < 0 || x >= columns || y >= rows {
		t.Fatalf("cursor at %d %d of %d %d", x, y, columns, rows)
	}
	if len(s.lines) != rows || s.main != nil && len(s.main) != rows || s.top < 0 || s.top > s.bottom || s.bottom >= rows || s.left > s.right || s.right >= columns {
		t.Fatalf("%d rows of %d, region %d to %d, margins %d to %d", len(s.lines), rows, s.top, s.bottom, s.left, s.right)
	}
	for y := range rows {
		cells := s.Row(y)
		if len(cells) != columns {
			t.Fatalf("row %d has %d cells of %d", y, len(cells), columns)
		}
		for x, c := range cells {
			if c.Rune != 0 && (c.Rune < ' ' || c.Rune >= 0x7f && c.Rune < 0xa0 || !utf8.ValidRune(c.Rune)) {
				t.Fatalf("cell %d %d has %U", x, y, c.Rune)
			}
			if wide := c.Width() == 2; wide != (x+1 < columns && cells[x+1].Rune == 0) {
				t.Fatalf("cell %d %d of width %d is followed by %v", x, y, c.Width(), cells[min(x+1, columns-1)])
			}
		}
		if columns > 0 && cells[0].Rune == 0 {
			t.Fatalf("row %d begins with half a character", y)
		}
	}
	if len(s.marks.list) > mostMarks || len(s.gone) > 2*mostGone+4*MostColumns {
		t.Fatalf("%d marks, %d bytes of a line", len(s.marks.list), len(s.gone))
	}
}

// same compares all that can be seen.
func same(t testing.TB, a, b *Screen) {
	t.Helper()
	ax, ay, av := a.Cursor()
	bx, by, bv := b.Cursor()
	if ax != bx || ay != by || av != bv || a.Alternate() != b.Alternate() {
		t.Fatalf("cursor %d %d %v, not %d %d %v", bx, by, bv, ax, ay, av)
	}
	_, rows := a.Size()
	for y := range rows {
		for x, c := range a.Row(y) {
			o := b.Row(y)[x]
			if !slices.Equal(a.Combining(c), b.Combining(o)) {
				t.Fatalf("marks of %d %d differ", x, y)
			}
			if o.mark = c.mark; c != o {
				t.Fatalf("cell %d %d is %v, not %v", x, y, o, c)
			}
		}
	}
}

// However a stream is cut, and wherever clones are taken, the screen is the same.
func FuzzScreen(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20 {
		f.Add([]byte(draw(r, 30, 10)), uint16(30), uint16(10), uint64(5))
	}
	f.Add([]byte("\x1b[?69h\x1b[3;9s\x1b[2;5r界\x1b#8\x1b[4h界\x1b[2@\x1b[3P\x1bc\xff\xe7\x95"), uint16(12), uint16(6), uint64(1))
	f.Fuzz(func(t *testing.T, b []byte, columns, rows uint16, seed uint64) {
		if len(b) > 1<<14 {
			return
		}
		columns, rows = columns%150, rows%70
		a, c := New(int(columns), int(rows)), New(int(columns), int(rows))
		var at, ct []string
		a.OnScroll(func(line string) { at = append(at, line) })
		tell := func(line string) { ct = append(ct, line) }
		c.OnScroll(tell)
		r := rand.New(rand.NewPCG(seed, 1))
		half := len(b) / 2
		for i, part := range [][]byte{b[:half], b[half:]} {
			a.Write(part)
			whole(t, a)
			for len(part) > 0 {
				n := 1 + r.IntN(min(len(part), 9))
				c.Write(part[:n])
				part = part[n:]
				if r.IntN(4) == 0 { // go on with a clone, and spoil the original
					old := c
					c = old.Clone()
					c.OnScroll(tell)
					old.OnScroll(nil)
					old.Write([]byte("\x1b[1;1Hspoilt\u0301\x1b[2L\x1b[2M\x1b[?1049hx\x1b[J"))
				}
			}
			same(t, a, c)
			if i == 0 {
				w, h := r.IntN(160), r.IntN(80)
				a.Resize(w, h)
				c.Resize(w, h)
				whole(t, a)
				same(t, a, c)
			}
		}
		if !slices.Equal(at, ct) {
			t.Fatalf("lines that left are %q, not %q", ct, at)
		}
		if len(a.Text()) == 0 || len(a.Lines()) > len(a.Text())+1 {
			t.Fatal("lines")
		}
	})
}

func TestResizeLikeTmux(t *testing.T) {
	m := newTerminal(t)
	for name, pieces := range map[string][]piece{
		"rows go at the bottom": {{20, 10, "a\r\nb\r\nc"}, {20, 5, "d"}},
		"rows go at the top":    {{20, 6, "a\r\nb\r\nc\r\nd\r\ne\r\nf"}, {20, 3, "g"}},
		"rows come":             {{20, 4, "a\r\nb"}, {20, 9, "\r\nc\x1b[9;1Hend"}},
		"narrower full screen":  {{30, 8, "\x1b[?1049h\x1b[3;1Habcdefghijklmnop\x1b[8;1Hlast"}, {12, 6, "\x1b[2;1Hx\x1b[6;12Hy"}},
		"wider full screen":     {{12, 6, "\x1b[?1049h\x1b[3;1Habcdefghijkl"}, {30, 8, "\x1b[3;13Hmore\x1b[8;30Hz"}},
		"region is gone":        {{20, 8, "\x1b[2;4r"}, {20, 6, "\x1b[6;1Ha\r\nb"}},
	} {
		if got, want := ours(pieces...), m.show(pieces...); got != want {
			t.Errorf("%s\n--- tmux\n%s\n--- here\n%s", name, want, got)
		}
	}
}
