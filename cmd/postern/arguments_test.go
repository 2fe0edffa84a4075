package main

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func TestArrange(t *testing.T) {
	for _, test := range []struct{ typed, want string }{
		{"request root@phi1 --for 15m --reason x", "request --for 15m --reason x -- root@phi1"},
		{"request --for 15m root@phi1 a@phi2 --reason=x", "request --for 15m --reason=x -- root@phi1 a@phi2"},
		{"request root@phi1 --wait --for 5m", "request --wait --for 5m -- root@phi1"},
		{"--ca a:1 whoami --json", "--ca a:1 whoami --json"},
		{"whoami --json --ca a:1 --home /h", "--ca a:1 --home /h whoami --json"},
		{"show R-1 -- --json", "show -- R-1 --json"},
		{"request requests --for 1m", "request --for 1m -- requests"},
		{"krl -o file", "krl -o file"},
		{"deny R-1 --reason --json", "deny --reason --json -- R-1"},
		{"show --bogus R-1", "show --bogus -- R-1"},
		{"nosuch x --json", "nosuch --json -- x"},
	} {
		got, err := arrange(newApp(), append([]string{"postern"}, strings.Fields(test.typed)...))
		if want := append([]string{"postern"}, strings.Fields(test.want)...); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s\n got %q %v\nwant %q", test.typed, got, err, want)
		}
	}
}

// run runs the program as main does and returns what it wrote as help, and its error.
func run(t *testing.T, words ...string) (string, error) {
	t.Helper()
	app := newApp()
	var help bytes.Buffer
	app.Writer, app.ErrWriter = &help, &help
	arguments, err := arrange(app, append([]string{"postern"}, words...))
	if err == nil {
		err = app.Run(arguments)
	}
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
	} {
		help, err := run(t, strings.Fields(test.typed)...)
		var misuse usageError
		if !errors.As(err, &misuse) || !strings.Contains(err.Error(), test.says) {
			t.Errorf("postern %s: %v, want misuse that says %q", test.typed, err, test.says)
		}
		if err != nil && (strings.Contains(err.Error(), "\n") || help != "") {
			t.Errorf("postern %s: a usage error is one line, not %q and %q", test.typed, err, help)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, words := range []string{"--help", "request --help", "show R-1 --help", "approve -h"} {
		if help, err := run(t, strings.Fields(words)...); err != nil || !strings.Contains(help, "USAGE") {
			t.Errorf("postern %s: %v, %q", words, err, help)
		}
	}
	if help, err := run(t); exitStatus(err) != 2 || !strings.Contains(help, "COMMANDS") {
		t.Errorf("postern alone: %v, %q", err, help)
	}
}

// Every command is in the help, has a line that says what it does, and takes flags after its arguments.
func TestEveryCommandIsDescribed(t *testing.T) {
	var walk func([]*cli.Command)
	walk = func(commands []*cli.Command) {
		for _, command := range commands {
			if command.Usage == "" || command.Action == nil || command.OnUsageError == nil {
				t.Errorf("command %s is not finished", command.Name)
			}
			walk(command.Subcommands)
		}
	}
	walk(newApp().Commands)
}
