package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"postern/recorder/play"
	"postern/recorder/screen"
)

// nowhere is no terminal, so what is painted has the size of the screen that it is painted from.
func nowhere(t *testing.T) *watchScreen {
	t.Helper()
	f, err := os.Create(t.TempDir() + "/screen")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &watchScreen{out: f}
}

// samples are what hosts print: a shell, a full screen program, wide and combining characters, colours, and what nobody meant to.
func samples() [][]byte {
	list := [][]byte{
		[]byte("host% ls\r\n\x1b[01;34mbin\x1b[0m  \x1b[38;5;208metc\x1b[0m \x1b[48;2;1;2;3mrgb\x1b[0m\r\nhost% "),
		[]byte("\x1b[?1049h\x1b[2J\x1b[5;3H\x1b[7mreverse\x1b[27m\x1b[1;4mbold\x1b[0m\x1b[24;80Hx\x1b[?25l"),
		[]byte("日本語 a\u0301e\u0308 \x1b[3mitalic\x1b[9mstruck\x1b[53mover\x1b[0m\r\n" + strings.Repeat("wrapped ", 40)),
		[]byte("\x1b]52;c;aGVsbG8=\x07\x1bP+q544e\x1b\\\x1b[6n\x1b[c\x1b]0;title\x07visible\x9b31mafter"),
	}
	random := rand.New(rand.NewPCG(1, 2))
	alphabet := []byte("\x1b\x1b\x1b[[[;;?0123456789mHJKABCDrhlLMPX@ \r\n\t\x08abc\xe6\x97\xa5\xcc\x81\x0e\x0f()#8")
	for range 300 {
		b := make([]byte, 2000)
		for i := range b {
			b[i] = alphabet[random.IntN(len(alphabet))]
		}
		list = append(list, b)
	}
	return list
}

// A screen that is painted is the same screen, and nothing goes to the terminal that a filter would not let through.
func TestPaintedScreen(t *testing.T) {
	on := nowhere(t)
	for i, sample := range samples() {
		was := screen.New(80, 24)
		_, _ = was.Write(sample)
		painted := appendScreen(nil, was, on)
		is := screen.New(80, 24)
		_, _ = is.Write(painted)
		if a, b := was.Text(), is.Text(); !slices.Equal(a, b) {
			t.Fatalf("sample %d: painted is\n%q\nnot\n%q", i, b, a)
		}
		for y := range 24 {
			a, b := was.Row(y), is.Row(y)
			for x := range min(len(a), len(b)) {
				if a[x].Fg != b[x].Fg || a[x].Bg != b[x].Bg || a[x].Attr != b[x].Attr {
					t.Fatalf("sample %d: cell %d of row %d is %+v, not %+v", i, x, y, b[x], a[x])
				}
			}
		}
		ax, ay, av := was.Cursor()
		bx, by, bv := is.Cursor()
		if min(ax, 79) != bx || ay != by || av != bv || was.Alternate() != is.Alternate() {
			t.Errorf("sample %d: the cursor is at %d, %d, %v, not %d, %d, %v", i, bx, by, bv, ax, ay, av)
		}
		var filter play.Filter
		if shown := filter.Append(nil, painted); !bytes.Equal(shown, painted) {
			t.Errorf("sample %d: a filter makes %q of %q", i, shown, painted)
		}
	}
}

// Of what happened before little is kept, and it is cut between lines.
func TestPastIsShort(t *testing.T) {
	p := newPast()
	for range 100000 {
		p.text([]byte("a line of output\r\n"))
	}
	if shown := p.show(nowhere(t)); len(shown) > mostPast || len(p.said) > 3*mostPast || !bytes.HasPrefix(shown, []byte("a line")) {
		t.Errorf("%d bytes of %d: %.20q", len(shown), len(p.said), shown)
	}
	var none *past // of one who has caught up
	none.closed(1)
	none.sized(1, play.Detail{Name: "pty-req", Columns: 80, Rows: 24})
	for channel := range uint32(1000) {
		p.sized(channel, play.Detail{Name: "pty-req", Columns: 1 << 31, Rows: 1 << 31})
	}
	if len(p.screens) > mostScreens {
		t.Errorf("%d screens", len(p.screens))
	}
}
