package scp

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// Command is what a client asks scp on the host to do.
type Command struct {
	Source    bool     // -f: the host sends; else -t: the host receives
	Recursive bool     // -r
	Times     bool     // -p
	Directory bool     // -d: the target has to be a directory
	Paths     []string // as typed, without their quotes: patterns and a leading ~ are the shell's to expand
}

// mostCommand bytes are read of a command: a few paths of the longest kind.
const mostCommand = 16 << 10

// ParseCommand reads the command line that a client runs on the host. It is ok only if the shell there, which gets the line
// unchanged, runs exactly scp with exactly these words and nothing else.
//
// What stock clients send is accepted: "scp", flags, and one path, for which OpenSSH and PuTTY copy what their user typed, while others
// quote it. What a flag means is settled by the first words: -f or -t once, and of the others only those that change nothing else.
// What the account's own startup files make of "scp" is not settled by anything; that is one reason for the [Decoder].
func ParseCommand(line string) (c Command, ok bool) {
	list, ok := split(line)
	if !ok || len(list) < 3 || list[0] != (word{text: "scp", plain: true}) {
		return Command{}, false
	}
	directions, list := 0, list[1:]
	for len(list) > 0 && list[0].plain && strings.HasPrefix(list[0].text, "-") && list[0].text != "--" {
		n, ok := c.flags(list[0].text[1:])
		if !ok {
			return Command{}, false
		}
		directions += n
		list = list[1:]
	}
	if directions != 1 || !c.paths(list) {
		return Command{}, false
	}
	return c, true
}

// flags reads one word of flags, and says how many of them are a direction.
func (c *Command) flags(letters string) (directions int, ok bool) {
	for _, letter := range letters {
		switch letter {
		case 'v', 'q':
		case 'r':
			c.Recursive = true
		case 'p':
			c.Times = true
		case 'd':
			c.Directory = true
		case 'f', 't':
			c.Source = letter == 'f'
			directions++
		default:
			return 0, false
		}
	}
	return directions, letters != ""
}

// paths reads what follows the flags.
//
// getopt of GNU takes flags from behind a path, too, so no path may look like one unless "--" came first. A pattern at the beginning of a
// word can still become a flag, if a file of that name is there: "scp -f *" beside a file "-t". That is let through for -f, where people
// need it (scp host:*.txt .), because it gains nothing. scp looks at -f before -t, and with either it does no more than follow
// its protocol: -S, -o and the rest matter to a client only. -r makes it send directories, which the decoder stops, since the
// command did not say so. A target has no use for such a pattern: refused, as -f would come before its -t.
func (c *Command) paths(list []word) bool {
	open := len(list) > 0 && list[0] == word{text: "--", plain: true}
	if open {
		list = list[1:]
	}
	for _, w := range list {
		if w.text == "" || !open && (w.text[0] == '-' || w.pattern && !c.Source) {
			return false
		}
		c.Paths = append(c.Paths, w.text)
	}
	return len(list) > 0
}

// word is one word of a command line.
type word struct {
	text    string // without quotes
	plain   bool   // it has none, and no pattern
	pattern bool   // it begins with a pattern, so the shell may put anything there
}

// split cuts a line into words, if all shells that an account may have agree that it is nothing but words. sh, bash, dash, ksh, zsh,
// fish, csh and tcsh were asked.
//
// So it refuses much that is a word to one of them. ^ is a pipe to the Bourne shell and a redirection to an old fish, {} and = and % expand
// somewhere, csh takes its history into single quotes, and fish escapes in them: to fish
//
//	scp -f 'a\' '; id #'
//
// is two commands. There are no control characters and no blanks but spaces.
func split(line string) ([]word, bool) {
	if len(line) > mostCommand || !utf8.ValidString(line) || strings.ContainsFunc(line, unicode.IsControl) {
		return nil, false
	}
	var list []word
	for line = strings.TrimLeft(line, " "); line != ""; line = strings.TrimLeft(line, " ") {
		w, rest, ok := first(line)
		if !ok {
			return nil, false
		}
		list = append(list, w)
		line = rest
	}
	return list, true
}

// first takes the first word of a line that begins with one.
func first(line string) (w word, rest string, ok bool) {
	w.plain = true
	var text strings.Builder
	i := 0
	for i < len(line) && line[i] != ' ' {
		n, ok := 0, false
		switch c := line[i]; c {
		case '\'', '"':
			n, ok = quoted(line[i:])
			w.plain = false
			if ok {
				text.WriteString(line[i+1 : i+n-1])
			}
		case '\\':
			n, ok = 2, escaped(line, i)
			w.plain = false
			if ok {
				text.WriteByte(line[i+1])
			}
		default:
			n, ok = bare(line, i)
			if strings.IndexByte(patterns, c) >= 0 {
				w.plain, w.pattern = false, w.pattern || text.Len() == 0
			}
			text.WriteString(line[i : i+n])
		}
		if !ok {
			return word{}, "", false
		}
		i += n
	}
	w.text = text.String()
	return w, line[i:], true
}

const patterns = "*?["

// quoted measures the quoted piece that s begins with.
func quoted(s string) (n int, ok bool) {
	n = strings.IndexByte(s[1:], s[0]) + 2
	if n < 2 {
		return 0, false
	}
	inside := s[1 : n-1]
	if s[0] == '"' {
		return n, !strings.ContainsAny(inside, "$`!\\")
	}
	if strings.Contains(inside, "!") || strings.Contains(inside, `\\`) || strings.HasSuffix(inside, `\`) {
		return n, false
	}
	return n, true
}

// escaped says whether a backslash makes what follows it an ordinary character. Before a letter it makes another character of it in fish; after
// a byte that is not ASCII it may be the second half of a character, if the host's locale is GBK or Big5, and escapes nothing.
func escaped(line string, i int) bool {
	if i+1 == len(line) || i > 0 && line[i-1] >= utf8.RuneSelf {
		return false
	}
	c := line[i+1]
	return c > ' ' && c < 0x7f && !alphanumeric(rune(c)) || c == ' '
}

// bare measures the character at i, which no quote protects, if it means itself there.
//
// Beyond ASCII only letters, marks and digits pass: some shells ask the locale what is a blank. Where the locale is not UTF-8, even one of
// their bytes may be a blank and split the word; then scp gets more words, and [Command.paths] says what these can do.
func bare(line string, i int) (n int, ok bool) {
	r, n := utf8.DecodeRuneInString(line[i:])
	before := rune(' ')
	if i > 0 {
		before = rune(line[i-1])
	}
	switch {
	case alphanumeric(r), strings.ContainsRune("_-./,:@+]"+patterns, r):
		return n, true
	case r == '~' && i == 0:
		return n, home(line)
	case r == '~', r == '=': // not after = or :, where bash expands them
		return n, i > 0 && (alphanumeric(before) || strings.ContainsRune("._-", before))
	case r == '%': // fish knows %self
		return n, i > 0 && !strings.ContainsRune(`'"\`, before)
	}
	return n, r >= utf8.RuneSelf && (unicode.IsLetter(r) || unicode.IsMark(r) || unicode.IsDigit(r))
}

// home says whether a word begins with somebody's home directory, and none of the other places that ~ may stand for (~- ~+ ~1).
func home(s string) bool {
	name, _, _ := strings.Cut(s[1:], " ")
	name, _, _ = strings.Cut(name, "/")
	for i, r := range name {
		if !alphanumeric(r) && r != '_' && (i == 0 || r != '-' && r != '.') || i == 0 && r >= '0' && r <= '9' {
			return false
		}
	}
	return true
}

func alphanumeric(r rune) bool {
	return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
}
