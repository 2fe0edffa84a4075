package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// prog is a program with a command of every kind. ran is what the command that ran was given.
func prog(ran *[]string) *cli.App {
	act := func(check func(*cli.Context) ([]string, error)) cli.ActionFunc {
		return func(c *cli.Context) error {
			given, err := check(c)
			if err == nil && ran != nil {
				*ran = append([]string{c.Command.Name, "for=" + c.String("for"), "wait=" + fmt.Sprint(c.Bool("wait"))}, given...)
			}
			return err
		}
	}
	exactly := func(names ...string) cli.ActionFunc {
		return act(func(c *cli.Context) ([]string, error) { return Exactly(c, names...) })
	}
	return Prepare(&cli.App{
		Name:  "prog",
		Flags: []cli.Flag{&cli.StringFlag{Name: "ca"}, &cli.StringFlag{Name: "home"}},
		Commands: []*cli.Command{
			{Name: "show", ArgsUsage: "R-…", Flags: []cli.Flag{&cli.BoolFlag{Name: "json"}}, Action: exactly("R-…")},
			{Name: "whoami", Flags: []cli.Flag{&cli.BoolFlag{Name: "json"}}, Action: act(func(c *cli.Context) ([]string, error) { return nil, FlagsOnly(c) })},
			{Name: "deny", Flags: []cli.Flag{&cli.StringFlag{Name: "reason"}, &cli.BoolFlag{Name: "json"}}, Action: exactly("R-…")},
			{
				Name: "request", ArgsUsage: "ACCOUNT@HOST…",
				Flags: []cli.Flag{
					&cli.DurationFlag{Name: "for"}, &cli.StringFlag{Name: "reason", Aliases: []string{"r"}},
					&cli.BoolFlag{Name: "wait"}, &cli.StringSliceFlag{Name: "only"},
				},
				Action: act(func(c *cli.Context) ([]string, error) {
					given, err := AtLeast(c, "ACCOUNT@HOST")
					return append(given, c.StringSlice("only")...), err
				}),
			},
			{
				Name: "serve", Flags: []cli.Flag{&cli.StringFlag{Name: "dir"}, &cli.StringFlag{Name: "policy", EnvVars: []string{"PROG_POLICY"}}},
				Action: act(func(c *cli.Context) ([]string, error) { return nil, FlagsOnly(c, "dir", "policy") }),
			},
			{Name: "policy", Subcommands: []*cli.Command{
				{Name: "check", ArgsUsage: "DIR", Flags: []cli.Flag{&cli.StringFlag{Name: "for"}}, Action: exactly("DIR")},
			}},
		},
	})
}

func TestArrange(t *testing.T) {
	for _, test := range []struct{ typed, want string }{
		{"", ""},
		{"--help", "--help"},
		{"request root@phi1 --for 15m --reason x", "request --for 15m --reason x -- root@phi1"},
		{"request --for 15m root@phi1 a@phi2 --reason=x", "request --for 15m --reason=x -- root@phi1 a@phi2"},
		{"request root@phi1 --wait --for 5m", "request --wait --for 5m -- root@phi1"},
		{"request root@phi1 -r x", "request -r x -- root@phi1"},
		{"--ca a:1 whoami --json", "--ca a:1 whoami --json"},
		{"whoami --json --ca a:1 --home /h", "--ca a:1 --home /h whoami --json"},
		{"show R-1 -- --json", "show -- R-1 --json"},
		{"show -- -R", "show -- -R"},
		{"show -", "show -- -"},
		{"request requests --for 1m", "request --for 1m -- requests"},
		{"request show --for 1m", "request --for 1m -- show"}, // the name of another command
		{"serve --dir d --policy p", "serve --dir d --policy p"},
		{"serve --dir --x --policy p", "serve --dir --x --policy p"},
		{"deny R-1 --reason --json", "deny --reason --json -- R-1"},
		{"deny R-1 --reason --help", "deny --reason --help -- R-1"},
		{"deny R-1 --reason x --help", "deny --reason x --help"},
		{"show --bogus R-1", "show --bogus -- R-1"},
		{"nosuch x --json", "nosuch --json -- x"},
		{"policy check dir --for 1m", "policy check --for 1m -- dir"},
		{"policy nosuch dir", "policy nosuch -- dir"},
	} {
		args := append([]string{"prog"}, strings.Fields(test.typed)...)
		before := slices.Clone(args)
		got, err := arrange(prog(nil), args)
		if want := append([]string{"prog"}, strings.Fields(test.want)...); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s\n got %q %v\nwant %q", test.typed, got, err, want)
		}
		if !slices.Equal(args, before) {
			t.Errorf("%s: the caller's arguments changed to %q", test.typed, args)
		}
	}
}

// run runs the program as Main does and returns what ran, what was printed as help, and the error.
func run(t *testing.T, words ...string) (ran []string, help string, err error) {
	t.Helper()
	app := prog(&ran)
	var out bytes.Buffer
	app.Writer, app.ErrWriter = &out, &out
	err = Run(t.Context(), app, append([]string{"prog"}, words...))
	return ran, out.String(), err
}

func TestCommandsGetWhatWasTyped(t *testing.T) {
	t.Setenv("PROG_POLICY", "/p")
	for _, test := range []struct{ typed, want string }{
		{"request root@phi1 --for 15m", "request for=15m0s wait=false root@phi1"},
		{"request root@phi1 a@b --wait", "request for=0s wait=true root@phi1 a@b"},
		{"request a@b --only shell,exec", "request for=0s wait=false a@b shell,exec"}, // no value is cut at commas
		{"show -- -R", "show for= wait=false -R"},
		{"policy check d --for 1m", "check for=1m wait=false d"},
		{"serve --dir d", "serve for= wait=false"},
		{"whoami --home /h", "whoami for= wait=false"},
	} {
		ran, help, err := run(t, strings.Fields(test.typed)...)
		if got := strings.Join(ran, " "); err != nil || got != test.want || help != "" {
			t.Errorf("prog %s ran %q, want %q (%v, %q)", test.typed, got, test.want, err, help)
		}
	}
}

func TestMisuse(t *testing.T) {
	for _, test := range []struct{ typed, says string }{
		{"nosuch", `there is no command "nosuch" (see: prog --help)`},
		{"nosuch --help x", "nosuch"},
		{"policy nosuch", `there is no command "nosuch" (see: prog policy --help)`},
		{"policy check", "DIR is missing (usage: prog policy check DIR)"},
		{"whoami extra", `"extra" is one argument too many (see: prog whoami --help; text with spaces needs quotes)`},
		{"show", "R-… is missing (usage: prog show R-…)"},
		{"show R-1 R-2", `"R-2" is one argument too many (usage: prog show R-…; text with spaces needs quotes)`},
		{"show --bogus R-1", "there is no flag --bogus (see: prog show --help)"},
		{"--bogus", "-bogus (see: prog --help)"},
		{"request --for 15m", "ACCOUNT@HOST is missing"},
		{"request root@phi1 --for 15", `--for: "15" is no length of time: write it as 15m, 1h30m or 20s (see: prog request --help)`},
		{"request root@phi1 --for", "--for needs a value"},
		{"whoami --ca", "--ca needs a value"},
		{"serve", "--dir is missing (see: prog serve --help)"},
		{"serve --dir d", "--policy is missing"},
		{"serve --dir= --policy p", "--dir is missing"},
		{"serve x", `"x" is one argument too many`},
		{"serve x --dir d --policy p", `"x" is one argument too many`},
	} {
		words := strings.Fields(test.typed)
		ran, help, err := run(t, words...)
		var misuse UsageError
		if !errors.As(err, &misuse) || !strings.Contains(err.Error(), test.says) || ran != nil {
			t.Errorf("prog %s: %v, want misuse that says %q; ran %q", test.typed, err, test.says, ran)
		}
		if err != nil && (strings.Contains(err.Error(), "\n") || help != "") {
			t.Errorf("prog %s: a usage error is one line, not %q and %q", test.typed, err, help)
		}
	}
	if _, _, err := run(t, "show", ""); err == nil || !strings.Contains(err.Error(), "an argument is empty") {
		t.Errorf("an empty argument: %v", err)
	}
}

func TestHelp(t *testing.T) {
	for _, typed := range []string{"--help", "-h", "help", "request --help", "show R-1 --help", "policy -h", "policy check --help"} {
		if ran, help, err := run(t, strings.Fields(typed)...); err != nil || ran != nil || !strings.Contains(help, "USAGE") {
			t.Errorf("prog %s: %v, %q, ran %q", typed, err, help, ran)
		}
	}
	if _, help, _ := run(t, "request", "--help"); strings.Contains(help, "default: false") {
		t.Errorf("help is chatty:\n%s", help)
	}
	// Who says nothing gets the help, and a script learns that nothing was done.
	for _, typed := range []string{"", "policy"} {
		_, help, err := run(t, strings.Fields(typed)...)
		if text, status := outcome(err, nil); status != 2 || text != "" || !strings.Contains(help, "COMMANDS") {
			t.Errorf("prog %s: %q, status %d, %q", typed, text, status, help)
		}
	}
}

func TestVersion(t *testing.T) {
	for _, typed := range []string{"--version", "-v"} {
		if ran, text, err := run(t, typed); err != nil || ran != nil || !strings.HasPrefix(text, "prog version ") {
			t.Errorf("prog %s: %v, %q, ran %q", typed, err, text, ran)
		}
	}
}

func TestOutcome(t *testing.T) {
	refused := errors.New("refused")
	explain := func(err error) (string, int) {
		if errors.Is(err, refused) {
			return "no: " + err.Error(), 3
		}
		return err.Error(), 0
	}
	for _, test := range []struct {
		err     error
		explain func(error) (string, int)
		text    string
		status  int
	}{
		{nil, nil, "", 0},
		{nil, explain, "", 0},
		{errors.New("disk full"), nil, "disk full", 1},
		{errors.New("disk full"), explain, "disk full", 1},
		{refused, explain, "no: refused", 3},
		{cli.Exit("", 1), nil, "", 1}, // all there was to say is said
		{Misuse("no %s", "way"), nil, "no way", 2},
		{fmt.Errorf("x: %w", Misuse("no way")), explain, "x: no way", 2},
	} {
		if text, status := outcome(test.err, test.explain); text != test.text || status != test.status {
			t.Errorf("%v: %q and %d, want %q and %d", test.err, text, status, test.text, test.status)
		}
	}
}

func TestListenAnnounces(t *testing.T) {
	file := filepath.Join(t.TempDir(), "address")
	listen := func(words ...string) (l net.Listener, err error) {
		app := Prepare(&cli.App{Name: "prog", Commands: []*cli.Command{{
			Name: "serve", Flags: []cli.Flag{&cli.StringFlag{Name: "listen", Value: "127.0.0.1:0"}, AddressFile},
			Action: func(c *cli.Context) (err error) { l, err = Listen(c); return err },
		}}})
		return l, Run(context.Background(), app, append([]string{"prog", "serve"}, words...))
	}
	l, err := listen("--address-file", file)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if b, err := os.ReadFile(file); err != nil || string(b) != l.Addr().String()+"\n" {
		t.Errorf("announced %q, %v; listens on %s", b, err, l.Addr())
	}
	if entries, err := os.ReadDir(filepath.Dir(file)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if l, err := listen("--address-file", filepath.Join(file, "none")); err == nil || l != nil {
		t.Errorf("nobody would learn of %v: %v", l, err)
	}
	if _, err := listen("--listen", l.Addr().String()); err == nil {
		t.Error("two listen on one port")
	}
}
