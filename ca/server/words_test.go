package server

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"postern/internal/control"
)

func TestParse(t *testing.T) {
	for line, want := range map[string]string{
		`request root@phi1 --for 20m --reason INC-4412 restore failed`:                               "request [root@phi1] for=20m reason=INC-4412 restore failed",
		`request --reason restore failed, --for 20m root@phi1`:                                       "request [root@phi1] for=20m reason=restore failed,",
		`request root@phi1 --reason 'it''s "--for" ever' --json`:                                     `request [root@phi1] json= reason=its "--for" ever`,
		`request root@phi1 --reason=\'quoted\'`:                                                      "request [root@phi1] reason='quoted'",
		`request root@phi1 --reason '--json'`:                                                        "request [root@phi1] reason=--json",
		"request\troot@phi1\n--reason x":                                                             "request [root@phi1] reason=x",
		`show R-1 --statement --decision deny --reason no ticket`:                                    "show [R-1] decision=deny reason=no ticket statement=",
		`audit S-1 s-2 --kind replay --key ssh-ed25519 AAAA me@here --reason INC-1 why --keystrokes`: "audit [S-1 s-2] key=ssh-ed25519 AAAA me@here keystrokes= kind=replay reason=INC-1 why",
		`audit S-1 '--reason=INC-1 why' '--key=ssh-ed25519 AAAA' S-2 --kind web`:                     "audit [S-1 S-2] key=ssh-ed25519 AAAA kind=web reason=INC-1 why",
		``: "help []",
	} {
		if got := render(line); got != want {
			t.Errorf("%s\n got %s\nwant %s", line, got, want)
		}
	}
}

func TestMisuse(t *testing.T) {
	for line, words := range map[string]string{
		`rm -rf /`:                          "unknown command",
		`request`:                           "usage: request",
		`whoami bob`:                        "with 1 arguments",
		`whoami --all`:                      "takes no --all",
		`request a@b --reason`:              "wants a value",
		`request a@b --reason x --reason y`: "twice",
		`request a@b --for --reason x`:      "wants a value",
		`request a@b --nosuch x`:            "unknown option",
		`request a@b --reason 'x`:           "not closed",
		`request a@b --json=yes --reason x`: "unknown option",
		`audit --kind replay`:               "usage: audit",
		`audit S-1 --ping`:                  "takes no --ping",
	} {
		if got := render(line); !strings.Contains(got, words) {
			t.Errorf("%s: %s, want %q", line, got, words)
		}
	}
}

func render(line string) string {
	words, err := split(line)
	if err != nil {
		return err.Error()
	}
	c, cmd, err := parse(words)
	if err != nil {
		return err.Error()
	}
	name, _, _ := strings.Cut(cmd.usage, " ")
	out := name + " [" + strings.Join(c.args, " ") + "]"
	for _, o := range []string{"decision", "for", "json", "key", "keystrokes", "kind", "reason", "statement"} {
		if v, ok := c.options[o]; ok {
			out += " " + o + "=" + v
		}
	}
	return out
}

// Whatever a client sends is a refusal, or words that mean the same when they are quoted, of a command that there is.
func FuzzWords(f *testing.F) {
	f.Add(`request root@phi1 --for 20m --reason INC-4412 'it is' --key=ssh-ed25519 AAAA`)
	f.Add(`approve "R-7K2M" --statement\\ x ''`)
	f.Add("help --help\tx\n")
	f.Fuzz(func(t *testing.T, line string) {
		words, err := split(line)
		if err != nil {
			return
		}
		var texts []string
		size := 0
		for _, w := range words {
			texts, size = append(texts, w.text), size+len(w.text)
		}
		if again, err := split(control.Quote(texts...)); err == nil && !slices.EqualFunc(again, texts, func(w word, text string) bool { return w.text == text }) || size > len(line) {
			t.Fatalf("%q is %q, and quoted %v", line, texts, again)
		}
		c, cmd, err := parse(words)
		if err == nil && !c.has("help") && (len(c.args) < cmd.least || len(c.args) > cmd.most) {
			t.Fatalf("%q is %q with %q", line, cmd.usage, c.args)
		}
		var bad *misuse
		if err != nil && !errors.As(err, &bad) {
			t.Fatalf("%q: %v", line, err)
		}
	})
}

// What the client quotes, the server splits into the same words.
func FuzzQuote(f *testing.F) {
	f.Add("request", "it's \"x\"\\", "")
	f.Add("a b", "--x", "\n\t'")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		in := []string{a, b, c}
		words, err := split(control.Quote(in...))
		if err != nil {
			return // not UTF-8, or too long
		}
		if len(words) != 3 || words[0].text != a || words[1].text != b || words[2].text != c {
			t.Fatalf("%q became %v", in, words)
		}
	})
}
