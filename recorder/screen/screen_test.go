package screen

import (
	"strings"
	"testing"
)

// show returns what a screen of 20 by 5 says after each of the pieces.
func show(pieces ...string) string {
	s := New(20, 5)
	for _, p := range pieces {
		s.Write([]byte(p))
	}
	return strings.TrimRight(strings.Join(s.Text(), "\n"), "\n")
}

func TestShown(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"lines":            {"one\r\ntwo", "one\ntwo"},
		"overwritten":      {"password\rPASS", "PASSword"},
		"wrapped":          {strings.Repeat("x", 23), strings.Repeat("x", 20) + "\nxxx"},
		"last column":      {strings.Repeat("x", 20) + "\ry", "y" + strings.Repeat("x", 19)},
		"no wrapping":      {"\x1b[?7l" + strings.Repeat("x", 30) + "y", strings.Repeat("x", 19) + "y"},
		"wide":             {"a界b\x1b[1;2Hx", "ax b"},
		"wide at the end":  {strings.Repeat("x", 19) + "界", strings.Repeat("x", 19) + "\n界"},
		"combining":        {"e\u0301t", "e\u0301t"},
		"boxes":            {"\x1b(0lqk\x1b(Bq", "┌─┐q"},
		"erased":           {"abcdef\x1b[4D\x1b[K", "ab"},
		"erased before":    {"abcdef\x1b[3D\x1b[1K", "    ef"},
		"characters":       {"abcdef\r\x1b[2P\x1b[1@", " cdef"},
		"rows":             {"a\r\nb\r\nc\x1b[2;1H\x1b[L", "a\n\nb\nc"},
		"region":           {"a\r\nb\r\nc\r\nd\x1b[2;3r\x1b[3;1H\nx", "a\nc\nx\nd"},
		"repeated":         {"ab\x1b[5b", "abbbbbb"},
		"tabs":             {"a\tb\x1b[3g\x1b[1;3H\x1bH\r\tc", "a c     b"},
		"other screen":     {"main\x1b[?1049hvim\x1b[?1049l!", "main!"},
		"strings":          {"a\x1b]52;c;AAAA\ab\x1bP+q\x1b\\c\x1b_x\x1b\\d", "abcd"},
		"cut off":          {"a\x1b[31\x18b", "ab"},
		"unknown":          {"a\x1b[>4;1mb\x1b[=1;2cc\x1b[1 qd", "abcd"},
		"invalid":          {"a\xffb", "a\ufffdb"},
		"margins at sides": {"abcd\r\nabcd\x1b[?69h\x1b[2;3s\x1b[1;2H\x1b[S", "abcd\na  d"},
	} {
		if got := show(c.in); got != c.want {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

func TestClone(t *testing.T) {
	s := New(20, 5)
	s.Write([]byte("one\r\ntwo"))
	c := s.Clone()
	s.Write([]byte("\x1b[Hxxx"))
	c.Write([]byte("yyy"))
	if got := strings.TrimRight(strings.Join(s.Text(), "\n"), "\n"); got != "xxx\ntwo" {
		t.Errorf("%q", got)
	}
	if got := strings.TrimRight(strings.Join(c.Text(), "\n"), "\n"); got != "one\ntwoyyy" {
		t.Errorf("%q", got)
	}
}

func TestOnScroll(t *testing.T) {
	s := New(10, 3)
	var lines []string
	s.OnScroll(func(line string) { lines = append(lines, line) })
	s.Write([]byte("a\r\n0123456789abc\r\nb\r\nc\r\nd\x1b[?1049hx\r\nx\r\nx\r\nx\r\nx\r\n\x1b[?1049l\x1b[H\x1b[J"))
	if got := strings.Join(lines, "|"); got != "a|0123456789abc|b|c|d" {
		t.Errorf("%q", got)
	}
	lines = nil
	s.Write([]byte("abcdefgh"))
	s.Resize(3, 3)
	s.Write([]byte("\r\n\n\n"))
	if got := strings.Join(lines, "|"); got != "abcdefgh" {
		t.Errorf("a line that a window cuts off is %q when it leaves", got)
	}
}
