// Package limit reads the risk thresholds of a rule: how much of what a session does may pass, and what happens at the next of it.
//
// Start with [Parse]. A [List] has one canonical text, which is what policies, the log and bastions exchange; docs/policy.md
// describes the grammar. What does not parse is refused as a whole: a limit that is not understood would limit nothing.
package limit

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What is counted.
const (
	BytesOut     = "bytes-out"     // bytes of the host that go to the client
	FilesRead    = "files-read"    // files of which something was read
	Paths        = "paths"         // different files that match a pattern, read or written
	Commands     = "commands"      // commands that match a regular expression
	Denied       = "denied"        // what was asked for and refused
	Sources      = "sources"       // addresses of the person's sessions, in the last 30 days
	SessionsHour = "sessions-hour" // sessions of the person, in the last hour
)

// What happens at the one too many.
const (
	Log          = "log"           // it is in the audit log
	Warn         = "warn"          // and the person is told
	Notify       = "notify"        // and those who are notified are
	Hold         = "hold"          // and nothing passes any more, and the grant opens no session
	Revoke       = "revoke"        // and the grant is cut
	RevokePerson = "revoke-person" // and every grant of the person is
)

var (
	counters = []string{BytesOut, FilesRead, Paths, Commands, Denied, Sources, SessionsHour}
	actions  = []string{Log, Warn, Notify, Hold, Revoke, RevokePerson}
)

const (
	maxText    = 64 << 10
	maxLimits  = 256
	maxPattern = 256
	maxCount   = 1_000_000
	maxPaths   = 10_000 // each is remembered
	maxBytes   = 1 << 50
)

// Limit is one threshold: Most may pass, and at the next one the action is taken.
type Limit struct {
	Counter string
	Pattern string // of Paths and Commands
	Most    uint64
	Action  string
}

// String is the canonical text.
func (l Limit) String() string {
	words := []string{l.Counter}
	switch l.Counter {
	case Paths:
		words = append(words, l.Pattern)
	case Commands:
		words = append(words, "'"+l.Pattern+"'")
	}
	return strings.Join(append(words, l.amount(), l.Action), " ")
}

func (l Limit) amount() string {
	if l.Counter == BytesOut {
		for i, unit := range []string{"G", "M", "K"} {
			if shift := 30 - 10*i; l.Most > 0 && l.Most%(1<<shift) == 0 {
				return strconv.FormatUint(l.Most>>shift, 10) + unit
			}
		}
	}
	return strconv.FormatUint(l.Most, 10)
}

// Stops says whether what crosses the limit does not pass.
func (l Limit) Stops() bool { return l.Action == Hold || l.Revokes() }

// Revokes says whether something is cut.
func (l Limit) Revokes() bool { return l.Action == Revoke || l.Action == RevokePerson }

// AtOpening says whether it is decided when a session opens, over all sessions of the person, and not while it runs.
func (l Limit) AtOpening() bool { return l.Counter == Sources || l.Counter == SessionsHour }

// implies says whether whoever keeps l keeps o as well: it is no higher, and nothing milder happens.
func (l Limit) implies(o Limit) bool {
	if l.Counter != o.Counter || l.Pattern != o.Pattern || l.Most > o.Most {
		return false
	}
	told := l.Action == Warn && o.Action == Notify || l.Action == Notify && o.Action == Warn // they tell different people
	return !told && slices.Index(actions, l.Action) >= slices.Index(actions, o.Action)
}

// Matches says whether a file counts. A path that is not absolute, or climbs, may be anything's, so it counts for every pattern.
func (l Limit) Matches(path string) bool {
	if !strings.HasPrefix(path, "/") || slices.Contains(strings.Split(path, "/"), "..") {
		return true
	}
	var plain []string
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && part != "." {
			plain = append(plain, part)
		}
	}
	return glob(l.Pattern, "/"+strings.Join(plain, "/"))
}

// glob matches a pattern in which * stands for any bytes, without going back over more than the last *.
func glob(pattern, s string) bool {
	p, i, star, mark := 0, 0, -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// Command compiles the pattern of a limit on commands.
func (l Limit) Command() (*regexp.Regexp, error) { return regexp.Compile(l.Pattern) }

// List is limits in their canonical order, none of them implied by another.
type List []Limit

// String is the canonical text; of an empty list it is empty.
func (l List) String() string {
	texts := make([]string, len(l))
	for i, limit := range l {
		texts[i] = limit.String()
	}
	return strings.Join(texts, "; ")
}

// Unite is the limits of both: whoever keeps them keeps each. Of two on the same, one that is no higher and no milder stands for both.
func Unite(a, b List) List {
	all := slices.Concat(a, b)
	slices.SortFunc(all, compare)
	all = slices.Compact(all)
	var kept List
	for i, l := range all {
		if !slices.ContainsFunc(slices.Concat(all[:i], all[i+1:]), func(o Limit) bool { return o.implies(l) }) {
			kept = append(kept, l)
		}
	}
	return kept
}

// Covers says whether whoever keeps l keeps everything of o.
func (l List) Covers(o List) bool {
	return !slices.ContainsFunc(o, func(x Limit) bool {
		return !slices.ContainsFunc(l, func(y Limit) bool { return y.implies(x) })
	})
}

func compare(a, b Limit) int {
	if n := slices.Index(counters, a.Counter) - slices.Index(counters, b.Counter); n != 0 {
		return n
	}
	if n := strings.Compare(a.Pattern, b.Pattern); n != 0 {
		return n
	}
	if a.Most != b.Most {
		if a.Most < b.Most {
			return -1
		}
		return 1
	}
	return slices.Index(actions, a.Action) - slices.Index(actions, b.Action)
}

// Parse reads limits separated by semicolons, each "COUNTER [PATTERN] MOST ACTION". An empty text is no limits.
func Parse(text string) (List, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	if len(text) > maxText || !utf8.ValidString(text) {
		return nil, fmt.Errorf("limits are text of at most %d bytes", maxText)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r != ' ' && !unicode.IsGraphic(r) }) {
		return nil, fmt.Errorf("limits hold a control character")
	}
	statements, err := split(text)
	if err != nil {
		return nil, err
	}
	if len(statements) > maxLimits {
		return nil, fmt.Errorf("%d limits, at most %d fit", len(statements), maxLimits)
	}
	var list List
	for _, words := range statements {
		l, err := parse(words)
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return Unite(list, nil), nil
}

// word is one word; quoted ones stood between '.
type word struct {
	text   string
	quoted bool
}

// split cuts at semicolons and spaces that no ' protects.
func split(text string) (statements [][]word, err error) {
	var words []word
	for text != "" {
		switch text[0] {
		case ' ':
			text = text[1:]
		case ';':
			statements, words, text = append(statements, words), nil, text[1:]
		case '\'':
			inside, rest, closed := strings.Cut(text[1:], "'")
			if !closed || rest != "" && rest[0] != ' ' && rest[0] != ';' {
				return nil, fmt.Errorf("a ' in %.80q has no end, or something sticks to it", text)
			}
			words, text = append(words, word{inside, true}), rest
		default:
			n := strings.IndexAny(text, " ;'")
			if n < 0 {
				n = len(text)
			}
			if n < len(text) && text[n] == '\'' {
				return nil, fmt.Errorf("a ' stands inside of a word in %.80q", text)
			}
			words, text = append(words, word{text[:n], false}), text[n:]
		}
	}
	return append(statements, words), nil
}

func parse(words []word) (l Limit, err error) {
	if len(words) == 0 {
		return l, fmt.Errorf("there is nothing before or after a semicolon")
	}
	l.Counter = words[0].text
	want := 3
	if l.Counter == Paths || l.Counter == Commands {
		want = 4
	}
	switch {
	case words[0].quoted || !slices.Contains(counters, l.Counter):
		return l, fmt.Errorf("%q is nothing that is counted (%s)", l.Counter, strings.Join(counters, ", "))
	case len(words) != want:
		return l, fmt.Errorf("a limit on %s has %d words, as in %q", l.Counter, want, examples[l.Counter])
	}
	for i, w := range words {
		if w.quoted != (l.Counter == Commands && i == 1) {
			return l, fmt.Errorf("only the pattern of commands stands between ', as in %q", examples[Commands])
		}
	}
	if want == 4 {
		if err := l.pattern(words[1].text); err != nil {
			return l, err
		}
	}
	if l.Most, err = l.most(words[want-2].text); err != nil {
		return l, err
	}
	l.Action = words[want-1].text
	if !slices.Contains(actions, l.Action) {
		return l, fmt.Errorf("%q is nothing that is done at a limit (%s)", l.Action, strings.Join(actions, ", "))
	}
	return l, nil
}

var examples = map[string]string{
	BytesOut: "bytes-out 100M hold", FilesRead: "files-read 200 warn", Paths: "paths /phi/* 20 revoke", Commands: "commands '(?i)dump|tar ' 3 hold",
	Denied: "denied 5 revoke", Sources: "sources 1 notify", SessionsHour: "sessions-hour 10 log",
}

func (l *Limit) pattern(text string) error {
	l.Pattern = text
	switch {
	case text == "" || len(text) > maxPattern:
		return fmt.Errorf("a pattern has 1 to %d bytes", maxPattern)
	case l.Counter == Paths:
		if text[0] != '/' && text[0] != '*' || strings.Contains(text, "//") || strings.Contains(text, "/../") || strings.Contains(text, "/./") {
			return fmt.Errorf("%q is no pattern of whole paths, such as /phi/*; a * stands for anything", text)
		}
		return nil
	}
	if _, err := l.Command(); err != nil {
		return fmt.Errorf("the pattern of commands: %w", err)
	}
	return nil
}

var (
	countForm = regexp.MustCompile(`^(?:0|[1-9][0-9]{0,6})$`)
	bytesForm = regexp.MustCompile(`^([1-9][0-9]{0,11})([KMG]?)$`)
)

func (l *Limit) most(text string) (uint64, error) {
	if l.Counter == BytesOut {
		m := bytesForm.FindStringSubmatch(text)
		if m == nil {
			return 0, fmt.Errorf("%q is no number of bytes, such as 100M, 64K or 1000", text)
		}
		n, err := strconv.ParseUint(m[1], 10, 64)
		n <<= map[string]int{"": 0, "K": 10, "M": 20, "G": 30}[m[2]]
		if err != nil || n > maxBytes {
			return 0, fmt.Errorf("%s is more bytes than are ever counted", text)
		}
		return n, nil
	}
	if !countForm.MatchString(text) {
		return 0, fmt.Errorf("%q is no number of %s", text, l.Counter)
	}
	n, err := strconv.ParseUint(text, 10, 64)
	least, most := uint64(0), uint64(maxCount)
	switch {
	case l.Counter == Paths:
		most = maxPaths
	case l.AtOpening():
		least = 1 // the session that asks is one
	}
	if err != nil || n < least || n > most {
		return 0, fmt.Errorf("%s of %s is not between %d and %d", text, l.Counter, least, most)
	}
	return n, nil
}

// Counts are what a session did, for asking which limits that crosses.
type Counts struct {
	Counted  map[string]uint64 // of every counter but those below
	Paths    []string          // read or written
	Commands []string
}

// Counted lists the counters that [Counts.Counted] has.
func Counted() []string { return []string{BytesOut, FilesRead, Denied, Sources, SessionsHour} }

// Crossed is the limits that a session with these counts crosses.
func (l List) Crossed(c Counts) (crossed List, err error) {
	for _, x := range l {
		n := c.Counted[x.Counter]
		switch x.Counter {
		case Paths:
			different := map[string]bool{}
			for _, path := range c.Paths {
				if x.Matches(path) {
					different[path] = true
				}
			}
			n = uint64(len(different))
		case Commands:
			re, err := x.Command()
			if err != nil {
				return nil, err
			}
			for _, command := range c.Commands {
				if re.MatchString(command) {
					n++
				}
			}
		}
		if n > x.Most {
			crossed = append(crossed, x)
		}
	}
	return crossed, nil
}

// Amount reads a count as a limit on the counter would be written.
func Amount(counter, text string) (uint64, error) {
	if text == "0" {
		return 0, nil
	}
	return (&Limit{Counter: counter}).most(text)
}
