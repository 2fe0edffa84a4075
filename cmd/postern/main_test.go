package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

// run runs the program as main does and returns what it wrote as help, and its error.
func run(t *testing.T, words ...string) (string, error) {
	t.Helper()
	app := newApp()
	var help bytes.Buffer
	app.Writer, app.ErrWriter = &help, &help
	err := command.Run(t.Context(), app, append([]string{"postern"}, words...))
	return help.String(), err
}

func TestMisuse(t *testing.T) {
	for _, name := range []string{"POSTERN_CA", "POSTERN_TRUST", "POSTERN_KEY"} {
		t.Setenv(name, "")
	}
	t.Setenv("POSTERN_HOME", t.TempDir())
	for _, test := range []struct{ typed, says string }{
		{"nosuch", `no command "nosuch"`},
		{"whoami extra", `"extra" is one argument too many`},
		{"show", "R-… is missing"},
		{"show R-1 R-2", `"R-2" is one argument too many`},
		{"show --bogus R-1", "-bogus"},
		{"request --for 15m --reason x", "ACCOUNT@HOST is missing"},
		{"request phi1 --for 15m --reason x", "root@phi1"},
		{"request root@phi1 --reason x", "--for 15m"},
		{"request root@phi1 --for 15m", "say why"},
		{"request root@phi1 --for 15 --reason x", "15"},
		{"request root@phi1 --for", "--for needs a value"},
		{"deny R-1", "say why"},
		{"revoke R-1", "say why"},
		{"whoami", "POSTERN_CA"},
		{"whoami --ca", "--ca needs a value"},
		{"policy explain alice root@phi1", "--dir is missing"},
		{"policy nosuch", "postern policy --help"},
		{"sessions --since 3d --until 4d", "nothing is both since"},
		{"views --kind nosuch", "kinds are: replay, "},
		{"replay S-1 --speed 100", "--speed is from 0.25 to 16"},
	} {
		help, err := run(t, strings.Fields(test.typed)...)
		var misuse command.UsageError
		if !errors.As(err, &misuse) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("postern %s: %v, want misuse that says %q", test.typed, err, test.says)
		}
		if err != nil && (strings.Contains(err.Error(), "\n") || help != "") {
			t.Errorf("postern %s: a usage error is one line, not %q and %q", test.typed, err, help)
		}
	}
}

func TestQueryOfNothing(t *testing.T) {
	var misuse command.UsageError
	if _, err := askKRL(nil, "id_ed25519-crt.pub"); !errors.As(err, &misuse) || !strings.Contains(err.Error(), "no serial, no fingerprint SHA256:… and no file") {
		t.Error(err)
	}
}

func TestHelp(t *testing.T) {
	for _, words := range []string{"--help", "request --help", "show R-1 --help", "approve -h"} {
		if help, err := run(t, strings.Fields(words)...); err != nil || !strings.Contains(help, "USAGE") {
			t.Errorf("postern %s: %v, %q", words, err, help)
		}
	}
	var misuse command.UsageError
	if help, err := run(t); !errors.As(err, &misuse) || misuse != "" || !strings.Contains(help, "COMMANDS") {
		t.Errorf("postern alone: %v, %q", err, help)
	}
}

// Every command shows in its help how it is typed, and what is shown is a command line that it takes.
func TestExamples(t *testing.T) {
	known := map[string]bool{}
	var ran bool
	app := newApp()
	var walk func(commands []*cli.Command, before string)
	walk = func(commands []*cli.Command, before string) {
		for _, c := range commands {
			walk(c.Subcommands, before+c.Name+" ")
			if len(c.Subcommands) > 0 {
				continue
			}
			known[before+c.Name] = true
			c.Action = func(cc *cli.Context) error {
				if usage := c.ArgsUsage; usage != "" && usage[0] != '[' && usage[0] != '-' && cc.NArg() == 0 && !cc.Bool("web") {
					return fmt.Errorf("wants %s", usage)
				}
				ran = true
				return nil
			}
			if lines := examples[before+c.Name]; len(lines) == 0 {
				t.Errorf("postern %s%s has no example", before, c.Name)
			} else if help, err := run(t, strings.Fields(before+c.Name+" --help")...); err != nil || !strings.Contains(help, lines[0]) {
				t.Errorf("postern %s%s does not show its example: %v\n%s", before, c.Name, err, help)
			}
		}
	}
	walk(app.Commands, "")
	for name, lines := range examples {
		if !known[name] {
			t.Errorf("there is no command %q", name)
		}
		for _, line := range lines {
			ran = false
			if err := command.Run(t.Context(), app, shellWords(line)); err != nil || !ran || !strings.HasPrefix(line, "postern "+name) {
				t.Errorf("%s: %v", line, err)
			}
		}
	}
}

// shellWords are the words of a command line, up to what is for the shell.
func shellWords(line string) (words []string) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		if strings.ContainsRune("&<>|", rune(line[0])) {
			break
		}
		word, rest, _ := strings.Cut(line, " ")
		if line[0] == '\'' {
			word, rest, _ = strings.Cut(line[1:], "'")
		}
		words, line = append(words, word), rest
	}
	return words
}

// Every command has a line in the help that says what it does, and reports misuse as misuse.
func TestEveryCommandIsDescribed(t *testing.T) {
	var walk func([]*cli.Command)
	walk = func(commands []*cli.Command) {
		for _, c := range commands {
			if c.Usage == "" || c.Action == nil || c.OnUsageError == nil {
				t.Errorf("command %s is not finished", c.Name)
			}
			walk(c.Subcommands)
		}
	}
	walk(newApp().Commands)
}

func TestExplain(t *testing.T) {
	for _, test := range []struct {
		err    error
		text   string
		status int
	}{
		{errors.New("a \x1b[2J b"), `a \x1b[2J b`, 0},
		{fmt.Errorf("revoke: %w", &control.Refused{Status: 3, Message: "internal error"}), "", 3},
		{&control.Refused{Status: 1, Message: "no"}, "", 1},
		{&control.Refused{Status: -1}, "", 0},
		{&control.Refused{Status: 130}, "", 0}, // is for us to say
		{errDenied, "", 0},
	} {
		text, status := explain(test.err)
		if status != test.status || test.text != "" && text != test.text {
			t.Errorf("%v: %q and %d, want %q and %d", test.err, text, status, test.text, test.status)
		}
	}
}
