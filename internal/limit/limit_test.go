package limit

import (
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"  ", ""},
		{"bytes-out 100M hold", "bytes-out 100M hold"},
		{"bytes-out 1024K hold", "bytes-out 1M hold"},
		{"bytes-out 1000 log", "bytes-out 1000 log"},
		{"  files-read   200 warn ;paths /phi/* 20 revoke", "files-read 200 warn; paths /phi/* 20 revoke"},
		{"commands '(?i)dump|tar ; x' 3 hold", "commands '(?i)dump|tar ; x' 3 hold"},
		{"denied 0 revoke-person", "denied 0 revoke-person"},
		{"sessions-hour 10 log; sources 1 notify", "sources 1 notify; sessions-hour 10 log"},
		// Of the same counter what another one implies is dropped, and no more.
		{"denied 5 log; denied 5 revoke", "denied 5 revoke"},
		{"denied 5 hold; denied 9 hold", "denied 5 hold"},
		{"denied 5 warn; denied 9 hold", "denied 5 warn; denied 9 hold"},
		{"denied 5 warn; denied 5 notify", "denied 5 warn; denied 5 notify"},
		{"denied 5 warn; denied 5 notify; denied 5 hold", "denied 5 hold"},
		{"paths /a/* 3 hold; paths /b/* 5 log", "paths /a/* 3 hold; paths /b/* 5 log"},
		{"files-read 5 hold; files-read 5 hold", "files-read 5 hold"},
	} {
		got, err := Parse(c.text)
		if err != nil || got.String() != c.want {
			t.Errorf("%q: got %q %v, want %q", c.text, got, err, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ text, says string }{
		{";", "nothing before"},
		{"denied 5 hold;", "nothing before"},
		{"denied 5 hold;; denied 6 hold", "nothing before"},
		{"bytes 5M hold", "nothing that is counted"},
		{"Denied 5 hold", "nothing that is counted"},
		{"denied 5", "3 words"},
		{"denied 5 hold now", "3 words"},
		{"denied 5, hold", "no number"},
		{"denied -1 hold", "no number"},
		{"denied 05 hold", "no number"},
		{"denied 1e3 hold", "no number"},
		{"denied 9999999 hold", "not between"},
		{"denied 5 kill", "nothing that is done"},
		{"denied 5 HOLD", "nothing that is done"},
		{"bytes-out 0 hold", "no number of bytes"},
		{"bytes-out 1T hold", "no number of bytes"},
		{"bytes-out 1.5M hold", "no number of bytes"},
		{"bytes-out 100m hold", "no number of bytes"},
		{"bytes-out 999999999999G hold", "more bytes"},
		{"sources 0 log", "not between"},
		{"sessions-hour 0 log", "not between"},
		{"paths 20 revoke", "4 words"},
		{"paths phi/* 20 revoke", "no pattern"},
		{"paths /phi/../x 20 revoke", "no pattern"},
		{"paths /phi 20000 revoke", "not between"},
		{"paths '/phi' 20 revoke", "only the pattern of commands"},
		{"commands dump 3 hold", "only the pattern of commands"},
		{"commands '' 3 hold", "1 to 256"},
		{"commands '(' 3 hold", "missing closing"},
		{"commands 'a 3 hold", "no end"},
		{"commands 'a'b 3 hold", "sticks"},
		{"commands x'a' 3 hold", "inside of a word"},
		{"commands '" + strings.Repeat("x", 257) + "' 3 hold", "1 to 256"},
		{"denied 5 hold\x1b", "control"},
		{"denied\t5\thold", "control"},
		{"denied 5 hold\n", "control"},
		{"\xff", "text of at most"},
		{strings.Repeat("denied 5 hold;", 300) + "denied 5 hold", "at most 256"},
	} {
		got, err := Parse(c.text)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%.60q: got %q %v, want an error that says %q", c.text, got, err, c.says)
		}
	}
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, path string
		want          bool
	}{
		{"/phi/*", "/phi/a", true},
		{"/phi/*", "/phi/a/b", true},
		{"/phi/*", "//phi/./a", true},
		{"/phi/*", "/phil/a", false},
		{"/phi/*", "/srv/phi/a", false},
		{"*/phi/*", "/srv/phi/a", true},
		{"*.csv", "/srv/a.csv", true},
		{"*.csv", "/srv/a.csv.gz", false},
		{"*", "/", true},
		{"/a*b*c", "/axxbyybzzc", true},
		{"/a*b*c", "/axxbyybzz", false},
		// What cannot be placed counts.
		{"/phi/*", "a", true},
		{"/phi/*", "", true},
		{"/phi/*", "/srv/../phi/a", true},
		{"/phi/*", "/srv/..a", false},
	} {
		if got := (Limit{Counter: Paths, Pattern: c.pattern}).Matches(c.path); got != c.want {
			t.Errorf("%s %s: %v", c.pattern, c.path, got)
		}
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"denied 5 hold", "denied 5 hold", true},
		{"denied 5 revoke", "denied 9 hold", true},
		{"denied 9 revoke", "denied 5 hold", false},
		{"denied 5 log", "denied 5 hold", false},
		{"", "denied 5 hold", false},
		{"denied 5 hold", "", true},
		{"denied 5 notify", "denied 5 warn", false},
	} {
		a, _ := Parse(c.a)
		b, _ := Parse(c.b)
		if a.Covers(b) != c.want {
			t.Errorf("%q covers %q: %v", c.a, c.b, !c.want)
		}
	}
}

// What parses has one text, which parses to itself, and uniting changes nothing of what is covered.
func FuzzParse(f *testing.F) {
	for _, example := range examples {
		f.Add(example, "denied 5 hold; bytes-out 3K log")
	}
	f.Add("commands 'a;b' 0 revoke-person; paths *x* 3 notify", "")
	f.Fuzz(func(t *testing.T, one, other string) {
		a, err := Parse(one)
		if err != nil {
			return
		}
		again, err := Parse(a.String())
		if err != nil || again.String() != a.String() {
			t.Fatalf("%q becomes %q, which becomes %q %v", one, a, again, err)
		}
		b, err := Parse(other)
		if err != nil {
			return
		}
		both := Unite(a, b)
		if !both.Covers(a) || !both.Covers(b) || both.String() != Unite(b, a).String() {
			t.Fatalf("%q and %q are united to %q", a, b, both)
		}
	})
}
