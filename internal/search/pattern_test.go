package search

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"postern/recorder"
	"postern/recorder/index"
)

// FuzzPattern holds what is found with literals looked for first, and what an index rules out, against trying every line.
func FuzzPattern(f *testing.F) {
	for _, pattern := range []string{"needle", "Needle", "kelvin|mask", "(?i)straSSe", "ne{2}dle", "a.*needle$", "n[ée]+dle", "(foo|bar|quux)+x", `\bwort\b`, "[Pp]assword: (x|yy)?", "日本語", "ſo", "x{3,5}y"} {
		f.Add(pattern, []byte("a needle\nNEEDLE\n\u212aelvin ma\u017f\u212a\nstraSSe nédle fooxbarx\n Wort Password: yy\n日本語 so xxxxy"), false)
	}
	f.Fuzz(func(t *testing.T, pattern string, data []byte, exact bool) {
		if len(pattern) > 100 || len(data) > 2000 {
			return
		}
		p, err := Compile(pattern, exact)
		if err != nil {
			return
		}
		frames := []recorder.Frame{opened(0), exec(0, "x"), output(0, 1, string(data))}
		e := new(index.Indexer).Entry(0, frames)
		text := new(index.Text).Append(nil, data)
		var want, got []string
		p.every(text, func(begin, end int) { want = append(want, fmt.Sprint(begin, end)) })
		var folded []byte
		p.lines(text, &folded, func(begin, end int) { got = append(got, fmt.Sprint(begin, end)) })
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("lines %q, want %q; looked for %q", got, want, p.probe)
		}
		if len(want) > 0 && !p.May(e.Words) {
			t.Fatalf("the index denies %q in %q", p.clauses, text)
		}
		small := bytes.Clone(data)
		for i, c := range small {
			if c >= 'A' && c <= 'Z' {
				small[i] = c + 'a' - 'A'
			}
		}
		if got := lower(nil, data); !bytes.Equal(got, small) {
			t.Fatalf("%q in small letters is %q", data, got)
		}
	})
}
