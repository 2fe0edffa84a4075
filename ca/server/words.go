package server

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

const maxCommand = 64 << 10

// misuse is a command that cannot be understood: exit status 2.
type misuse struct{ message string }

func (m *misuse) Error() string { return m.message }

func misused(format string, args ...any) error { return &misuse{fmt.Sprintf(format, args...)} }

// word is one word of a command line. quoted says that some of it stood in quotes, so that it is never an option.
type word struct {
	text   string
	quoted bool
}

// split cuts a command line into words as a shell does, with ' " and \, and nothing else of a shell.
func split(line string) ([]word, error) {
	if len(line) > maxCommand || !utf8.ValidString(line) {
		return nil, misused("command: %d bytes of UTF-8 at most", maxCommand)
	}
	var words []word
	var w strings.Builder
	quote, quoted, inside, escaped := rune(0), false, false, false
	end := func() {
		if inside {
			words = append(words, word{w.String(), quoted})
		}
		w.Reset()
		quoted, inside = false, false
	}
	for _, r := range line {
		switch {
		case escaped:
			w.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inside = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, quoted, inside = r, true, true
		case quote == 0 && (r == ' ' || r == '\t' || r == '\n' || r == '\r'):
			end()
		default:
			w.WriteRune(r)
			inside = true
		}
	}
	if quote != 0 || escaped {
		return nil, misused("command: a quote is not closed")
	}
	end()
	return words, nil
}

// The options of all commands. Free text takes every word up to the next option, because a stock ssh client
// joins its arguments with spaces and the quotes the person typed are gone.
var (
	switches = []string{"json", "all", "live", "statement", "ping", "cosigned", "keystrokes", "dry-run", "follow", "emergency", "help"}
	values   = []string{"wait", "for", "only", "rule", "bastion", "holders", "valid", "decision", "verdict", "from", "to", "leaf", "kind"}
	texts    = []string{"reason", "key"} // a public key is of several words
)

// parse finds the command and sorts its words into arguments and options.
func parse(words []word) (*call, *command, error) {
	if len(words) == 0 {
		words = []word{{text: "help"}}
	}
	cmd, ok := commands[words[0].text]
	if !ok {
		return nil, nil, misused("unknown command %q; list them with: help", words[0].text)
	}
	c := &call{options: map[string]string{}}
	for rest := words[1:]; len(rest) > 0; {
		var err error
		if rest, err = c.take(rest); err != nil {
			return nil, nil, err
		}
	}
	for o := range c.options {
		if o != "json" && o != "help" && !slices.Contains(cmd.options, o) {
			return nil, nil, misused("%s takes no --%s; usage: %s", words[0].text, o, cmd.usage)
		}
	}
	if n := len(c.args); !c.has("help") && (n < cmd.least || n > cmd.most) {
		return nil, nil, misused("%s with %d arguments; usage: %s", words[0].text, n, cmd.usage)
	}
	return c, cmd, nil
}

// take moves one argument or option off the front of the words.
func (c *call) take(words []word) ([]word, error) {
	w, rest := words[0], words[1:]
	name, isOption := strings.CutPrefix(w.text, "--")
	name, value, joined := strings.Cut(name, "=")
	if !isOption || (w.quoted && !joined) {
		c.args = append(c.args, w.text)
		return rest, nil
	}
	if c.has(name) {
		return nil, misused("--%s is there twice", name)
	}
	switch {
	case slices.Contains(switches, name) && !joined:
		c.options[name] = ""
		return rest, nil
	case !slices.Contains(values, name) && !slices.Contains(texts, name):
		return nil, misused("unknown option --%s", name)
	case !joined && (len(rest) == 0 || option(rest[0])):
		return nil, misused("--%s wants a value", name)
	}
	var parts []string
	if joined {
		parts = append(parts, value)
	} else {
		parts, rest = append(parts, rest[0].text), rest[1:]
	}
	whole := joined && w.quoted // a program wrote this: its value ends where its quotes do
	for slices.Contains(texts, name) && !whole && len(rest) > 0 && !option(rest[0]) {
		parts, rest = append(parts, rest[0].text), rest[1:]
	}
	c.options[name] = strings.Join(parts, " ")
	return rest, nil
}

func option(w word) bool { return strings.HasPrefix(w.text, "--") && !w.quoted }
