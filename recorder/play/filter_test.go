package play

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestFilter(t *testing.T) {
	for _, test := range []struct{ name, in, want string }{
		{"text", "hello\r\n\tw\u00f6rld\a", "hello\r\n\tw\u00f6rld\a"},
		{"colours", "\x1b[01;34mdir\x1b[0m\x1b[38;2;1;2;3m\x1b[4:3m", "\x1b[1;34mdir\x1b[0m\x1b[38;2;1;2;3m\x1b[4:3m"},
		{"alternate screen", "\x1b[?1049h\x1b[H\x1b[2J\x1b[?25l", "\x1b[?1049h\x1b[H\x1b[2J\x1b[?25l"},
		{"clipboard", "a\x1b]52;c;cm0gLXJmIC8=\ab", "ab"},
		{"clipboard, ended by ST", "a\x1b]52;c;cm0=\x1b\\b", "ab"},
		{"clipboard in 8-bit controls", "a\u009d52;c;cm0=\u009cb", "ab"},
		{"title and hyperlink", "\x1b]0;root\a\x1b]8;;http://x\x1b\\x\x1b]8;;\x1b\\", "x"},
		{"device control", "a\x1bP$qm\x1b\\b\x1bXsos\x1b\\c\x1b^pm\x1b\\d\x1b_apc\x1b\\e", "abcde"},
		{"queries", "\x1b[6n\x1b[c\x1b[>c\x1b[=c\x1b[5n\x1b[?15n\x1bZ\x05\x1b[x\x1b[?2026$p\x1b[>q\x1b[?u", ""},
		{"windows", "\x1b[8;1;1t\x1b[21t\x1b[14t", ""},
		{"printing and keys", "\x1b[5i\x1b[1\"p\x1b[>4;2m\x1b[=1u", ""},
		{"mouse and focus", "\x1b[?1000h\x1b[?1003;1006;25h\x1b[?1004h\x1b[?2004h", "\x1b[?25h"},
		{"loops", "\x1b[999999999b\x1b[999999999I\x1b[99999999999999999999L", "\x1b[1024b\x1b[1024I\x1b[1024L"},
		{"far away", "\x1b[999999999;5H\x1b[99999C", "\x1b[9999;5H\x1b[9999C"},
		{"too long", "\x1b[" + strings.Repeat("1;", 99) + "mx", "x"},
		{"not UTF-8", "a\xffb\xc3", "a\ufffdb"},
		{"charset", "\x1b(0lqk\x1b(B\x0e\x0f", "\x1b(0lqk\x1b(B\x0e\x0f"},
		{"scrolling, saving", "\x1b[1;24r\x1b7\x1b8\x1b[s\x1b[u\x1bM\x1bc", "\x1b[1;24r\x1b7\x1b8\x1b[s\x1b[u\x1bM\x1bc"},
		{"cancelled", "\x1b[31\x18m\x1b]52;\x1ax", "mx"},
		{"a new escape inside text", "\x1b]52;c;\x1b[31mx", "\x1b[31mx"},
		{"control inside a sequence", "\x1b[3\n1m", "\n\x1b[31m"},
		{"cursor shape", "\x1b[4 q", "\x1b[4 q"},
		{"half an escape in the end", "x\x1b[3", "x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := string(new(Filter).Append(nil, []byte(test.in))); got != test.want {
				t.Errorf("%q becomes %q, want %q", test.in, got, test.want)
			}
			// However it is cut in pieces.
			f, got := new(Filter), []byte(nil)
			for i := range len(test.in) {
				got = f.Append(got, []byte(test.in[i:i+1]))
			}
			if string(got) != test.want {
				t.Errorf("byte by byte %q becomes %q, want %q", test.in, got, test.want)
			}
		})
	}
}

// What went through once goes through again unchanged, is UTF-8, and holds nothing that acts.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"\x1b]52;c;eA==\a", "\x1b[?1049h\x1b[999b\xc2\x9b6n", "\x1bP\x1b[31m\x1b\\", "\x1b\x1b[m\xe2\x82", "\x1b(\x1b[0c"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		once := new(Filter).Append(nil, b)
		if !utf8.Valid(once) {
			t.Errorf("%q becomes %q, which is not UTF-8", b, once)
		}
		if twice := new(Filter).Append(nil, once); !bytes.Equal(once, twice) {
			t.Errorf("%q becomes %q, and that %q", b, once, twice)
		}
		for _, bad := range []string{"\x1b]", "\x1bP", "\x1b_", "\x1b^", "\x1bX", "\x1bZ", "\u009b", "\u009d", "\x05"} {
			if bytes.Contains(once, []byte(bad)) {
				t.Errorf("%q lets %q through", b, bad)
			}
		}
	})
}
