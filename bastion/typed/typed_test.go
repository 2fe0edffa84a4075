package typed

import (
	"slices"
	"strings"
	"testing"
)

// TestTyped is what line editors make of keys.
func TestTyped(t *testing.T) {
	for _, c := range []struct{ keys, want string }{
		{"mysqldump --all\r", "mysqldump --all"},
		{"mysqldumpp\x7f x\r", "mysqldump x"},
		{"dump\x01mysql\r", "mysqldump"},
		{"mysqlmp\x1b[D\x1b[Ddu\r", "mysqldump"},
		{"mysqlmp\x1bOD\x1bODdu\x05 -A\r", "mysqldump -A"},
		{"ls -l\x15mysqldump\r", "mysqldump"},
		{"mysqldump rm x\x17\x17\r", "mysqldump "},
		{"ls x\x03mysqldump\r", "mysqldump"},
		{"xmysqldump\x1b[H\x1b[3~\r", "mysqldump"},
		{"ls mysqldump\x1b[1;5D\x1bb\x0b\r", ""},
		{"\x1b[200~mysqldump\x1b[201~\r", "mysqldump"},
		{"mysql\x16\x01dump\r", "mysql\x01dump"},
		{"mysqldümp\x7f\x7f\x7fump\r", "mysqldump"},
		{"mysql\\\rdump\r", "mysql\\|mysqldump"},
		{"one\rtwo\n", "one|two"},
		{"one\x0ftwo\r", "one|two"},
		{"\x1b[1;1Rmysqldump\x1b[I\r", "mysqldump"},
		{strings.Repeat("x", 3*mostRunes) + "mysqldump\r", "…mysqldump"},
		{"\x1b\x1b[Dls\r", "ls"},
		{"\r\r\r", ""},
	} {
		for _, size := range []int{1, 3, len(c.keys)} { // however they come
			var l Line
			var got []string
			for part := range slices.Chunk([]byte(c.keys), size) {
				for len(part) > 0 {
					n, entered := l.Typed(part)
					if part = part[n:]; entered {
						got = append(got, l.Entered()...)
					}
				}
			}
			text := strings.Join(got, "|")
			if tail, long := strings.CutPrefix(c.want, "…"); long && len([]rune(text)) <= mostRunes && strings.HasSuffix(text, tail) {
				continue
			}
			if text != c.want {
				t.Errorf("%.60q in pieces of %d: %.80q", c.keys, size, text)
			}
		}
	}
}

// TestShown is what keys do not say, and the host prints.
func TestShown(t *testing.T) {
	for name, c := range map[string]struct {
		before, keys, shown string
		want                string
		sure                bool
	}{
		"history":                    {"bob@db:~$ ", "\x1b[A", "mysqldump --all", "mysqldump --all", false},
		"completion":                 {"bob@db:~$ ", "mysqld\t", "mysqldump ", "mysqld|mysqldump", false},
		"a search":                   {"$ ", "\x12du", "\r\x1b[K(reverse-i-search)`du': mysqldump\r\x1b[K$ mysqldump", "du|mysqldump", false},
		"it is known":                {"$ ", "ls", "ls", "ls", true},
		"prompts that hold the word": {"root@x:/srv/mysqldump# ", "ls", "ls", "ls", true},
		"no echo":                    {"Password: ", "geheim", "", "geheim", true},
		"a list between":             {"$ ", "mysqld\t\t", "mysqld\r\nmysqldump  mysqld_safe\r\n$ mysqldump", "mysqld|mysqldump", false},
		"coloured":                   {"\x1b]0;bob\x07\x1b[01;32mbob\x1b[00m$ ", "\x10", "\x1b[32mmysqldump\x1b[m", "mysqldump", false},
		"edited by the host":         {"$ ", "\x1b[A\x1b[D", "mysqldumxp\b\b\x1b[1P\x1b[C", "mysqldump", false},
		"a whole screen":             {"\x1b[?1049h", ":w", "anything", ":w", true},
	} {
		var l Line
		l.Resize(80)
		l.Shown([]byte(c.before))
		for i := range len(c.keys) {
			l.Typed([]byte{c.keys[i]})
		}
		l.Shown([]byte(c.shown))
		if l.Unsure() == c.sure {
			t.Errorf("%s: sure %v", name, !c.sure)
		}
		l.Typed([]byte("\r"))
		if got := strings.Join(l.Entered(), "|"); got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// What is entered twice before the host answers is one line.
func TestEnteredOnce(t *testing.T) {
	var l Line
	l.Shown([]byte("$ "))
	l.Typed([]byte("mysqldump"))
	l.Shown([]byte("mysqldump"))
	l.Typed([]byte("\r"))
	if first := l.Entered(); len(first) != 1 {
		t.Errorf("%q", first)
	}
	l.Typed([]byte("\r"))
	if again := l.Entered(); len(again) > 0 {
		t.Errorf("again %q", again)
	}
}

// Without a terminal a line is what it is.
func TestRaw(t *testing.T) {
	l := Line{Raw: true}
	l.Shown([]byte("noise"))
	n, entered := l.Typed([]byte("my\x7f\rsql\ndump\n"))
	if got := l.Entered(); !entered || n != 8 || len(got) != 1 || got[0] != "my\x7f\rsql" {
		t.Errorf("%d %q", n, got)
	}
}

// What is typed with letters alone is entered as it was typed, whatever the host shows. Nothing makes it hold more than a little, and how keys and output are
// cut into pieces makes no difference.
func FuzzLine(f *testing.F) {
	f.Add([]byte("mysqld\tump\x1b[A\x01\x15\x16\x16\r"), []byte("$ mysqldump\r\n\x1b[?1049h\x1b[99999999C\x1b[K"))
	f.Add([]byte("\x1b[200~a\nb\x1b[201~\xc3\r"), []byte("\x1b]0;x\x1b\\\x1b[5@\xff\xc3"))
	f.Fuzz(func(t *testing.T, keys, shown []byte) {
		letters := strings.Map(func(r rune) rune {
			if r <= ' ' || r >= 0x7f || r == '\\' {
				return -1
			}
			return r
		}, string(keys))
		letters = letters[:min(len(letters), mostRunes)]
		var plain Line
		plain.Shown(shown)
		plain.Typed([]byte(letters + "\r"))
		if lines := plain.Entered(); letters != "" && !slices.Contains(lines, letters) {
			t.Fatalf("%q is entered as %q", letters, lines)
		}
		l := Line{Raw: len(keys) > 0 && keys[0] == 'R'}
		parts := l // the same, byte by byte
		for range 3 {
			rest := keys
			for len(rest) > 0 {
				n, entered := l.Typed(rest)
				if n < 1 || n > len(rest) || !entered && n != len(rest) {
					t.Fatalf("%d of %d bytes were taken", n, len(rest))
				}
				for i := range n {
					if _, one := parts.Typed(rest[i : i+1]); one != (entered && i == n-1) {
						t.Fatalf("byte %d of %q enters the line when it comes alone", i, rest[:n])
					}
				}
				if rest = rest[n:]; entered {
					lines := l.Entered()
					if apart := parts.Entered(); !slices.Equal(apart, lines) {
						t.Fatalf("%q is entered, byte by byte %q", lines, apart)
					}
					for _, line := range lines {
						if len(line) > 64<<10 {
							t.Fatalf("a line of %d bytes", len(line))
						}
					}
				}
				l.Shown(shown)
				for i := range shown {
					parts.Shown(shown[i : i+1])
				}
			}
			if len(l.cells) > mostRunes || l.at < 0 || l.at > len(l.cells) || len(l.before) > 4*4*mostRunes || l.screen.row.Size() > 1<<16 {
				t.Fatalf("it holds %d letters at %d, %d before and %d shown", len(l.cells), l.at, len(l.before), l.screen.row.Size())
			}
		}
	})
}
