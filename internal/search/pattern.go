package search

import (
	"bytes"
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"
	"unicode/utf8"

	"postern/recorder/index"
)

// Pattern is a regular expression, which matches within a line, and what every match of it holds.
type Pattern struct {
	re      *regexp.Regexp
	clauses [][]string // of each at least one literal is in every match, in some case of its letters
	probe   [][]byte   // the clause to look for first, in small letters; none: try every line
	fold    bool
	odd     bool // a letter of the probe may be one that is not ASCII
}

// Compile reads a regular expression (of package regexp/syntax). Small letters in a pattern that has no capitals stand for capitals too, unless exact.
func Compile(pattern string, exact bool) (*Pattern, error) {
	if pattern == "" {
		return nil, fmt.Errorf("the pattern is empty")
	}
	if _, err := syntax.Parse(pattern, syntax.Perl); err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	p := &Pattern{fold: !exact && !hasCapitals(pattern)}
	flags := syntax.Perl
	if p.fold {
		flags |= syntax.FoldCase
		pattern = "(?i:" + pattern + ")"
	}
	tree, err := syntax.Parse(pattern, flags)
	if err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	if p.re, err = regexp.Compile(pattern); err != nil {
		return nil, fmt.Errorf("pattern: %w", err)
	}
	if p.re.MatchString("") {
		return nil, fmt.Errorf("the pattern matches an empty line: it would match everything")
	}
	p.clauses = required(tree.Simplify())
	p.choose()
	return p, nil
}

// hasCapitals looks at letters that stand for themselves: \W and \S are not capitals.
func hasCapitals(pattern string) bool {
	escaped := false
	for _, r := range pattern {
		switch {
		case escaped:
			escaped = false
		case r == '\\':
			escaped = true
		case unicode.IsUpper(r):
			return true
		}
	}
	return false
}

// choose takes the clause whose shortest literal is the longest.
func (p *Pattern) choose() {
	best := 0
	for _, clause := range p.clauses {
		n, probe := 1<<30, [][]byte(nil)
		for _, literal := range clause {
			piece := longestASCII(literal)
			n, probe = min(n, len(piece)), append(probe, []byte(strings.ToLower(piece)))
		}
		if n > best && len(probe) <= 4 {
			best, p.probe = n, probe
		}
	}
	p.odd = p.fold && bytes.ContainsAny(bytes.Join(p.probe, nil), "ks")
}

func longestASCII(s string) (best string) {
	for _, piece := range strings.FieldsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) {
		if len(piece) > len(best) {
			best = piece
		}
	}
	return best
}

// May reports whether a segment may hold a match, by what its entry says of the words in it.
func (p *Pattern) May(words ...index.Filter) bool {
	for _, clause := range p.clauses {
		may := false
		for _, literal := range clause {
			for _, w := range words {
				may = may || w.May(literal)
			}
		}
		if !may {
			return false
		}
	}
	return true
}

// lines calls fn with every line of text in which the pattern matches, as places in text, in no order.
func (p *Pattern) lines(text []byte, folded *[]byte, fn func(begin, end int)) {
	if len(p.probe) == 0 {
		p.every(text, fn)
		return
	}
	*folded = lower((*folded)[:0], text)
	odd := p.odd && oddLetters(text)
	for at := 0; at < len(text); {
		found := p.next((*folded)[at:])
		if found < 0 {
			break
		}
		begin, end := bytes.LastIndexByte(text[:at+found], '\n')+1, lineEnd(text, at+found)
		if p.re.Match(text[begin:end]) && !(odd && oddLetters(text[begin:end])) {
			fn(begin, end)
		}
		at = end + 1
	}
	if odd {
		p.every(text, func(begin, end int) {
			if oddLetters(text[begin:end]) {
				fn(begin, end)
			}
		})
	}
}

func (p *Pattern) every(text []byte, fn func(begin, end int)) {
	for begin := 0; begin < len(text); {
		end := lineEnd(text, begin)
		if p.re.Match(text[begin:end]) {
			fn(begin, end)
		}
		begin = end + 1
	}
}

// next is where the first literal of the probe is.
func (p *Pattern) next(folded []byte) int {
	first := -1
	for _, literal := range p.probe {
		within := folded
		if first >= 0 {
			within = folded[:min(len(folded), first+len(literal)-1)]
		}
		if n := bytes.Index(within, literal); n >= 0 {
			first = n
		}
	}
	return first
}

func lineEnd(text []byte, from int) int {
	if n := bytes.IndexByte(text[from:], '\n'); n >= 0 {
		return from + n
	}
	return len(text)
}

// oddLetters says that text has letters that are none of ASCII and fold to such: the sign for kelvin, and the long s.
func oddLetters(text []byte) bool {
	return bytes.Contains(text, []byte("\u212a")) || bytes.Contains(text, []byte("\u017f"))
}

// required is what every match of an expression holds.
func required(re *syntax.Regexp) [][]string {
	switch re.Op {
	case syntax.OpLiteral:
		if len(re.Rune) < 2 {
			return nil
		}
		return [][]string{{string(re.Rune)}}
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return required(re.Sub[0])
		}
	case syntax.OpConcat:
		var all [][]string
		for _, sub := range re.Sub {
			all = append(all, required(sub)...)
		}
		return all[:min(len(all), 64)]
	case syntax.OpAlternate:
		return either(re.Sub)
	}
	return nil
}

// either is what a match of one of several expressions holds: a literal of each.
func either(subs []*syntax.Regexp) [][]string {
	var any []string
	for _, sub := range subs {
		clauses, best := required(sub), []string(nil)
		for _, clause := range clauses {
			if shortest(clause) > shortest(best) {
				best = clause
			}
		}
		if best == nil || len(any) > 64 {
			return nil
		}
		any = append(any, best...)
	}
	return [][]string{any}
}

func shortest(clause []string) int {
	if len(clause) == 0 {
		return 0
	}
	n := len(clause[0])
	for _, s := range clause {
		n = min(n, len(s))
	}
	return n
}
