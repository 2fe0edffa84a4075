package command

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/urfave/cli/v2"
)

// asProgram makes the test binary the program itself, because Main exits.
const asProgram = "POSTERN_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		Main(Prepare(&cli.App{Name: "prog", Commands: []*cli.Command{
			{Name: "fine", Action: func(*cli.Context) error { return nil }},
			{Name: "fail", Action: func(*cli.Context) error { return errors.New("disk full") }},
			{Name: "wait", Action: func(c *cli.Context) error {
				fmt.Println("waiting")
				<-c.Done()
				return fmt.Errorf("dial: %w", c.Err())
			}},
			{Name: "serve", Action: func(c *cli.Context) error {
				fmt.Println("serving")
				<-c.Done()
				return nil
			}},
		}}), nil)
	}
	os.Exit(m.Run())
}

func TestMainExits(t *testing.T) {
	for _, test := range []struct {
		typed  string
		signal syscall.Signal
		status int
		stderr string
	}{
		{"fine", 0, 0, ""},
		{"fail", 0, 1, "prog: disk full\n"},
		{"nosuch", 0, 2, "prog: there is no command \"nosuch\" (see: prog --help)\n"},
		{"fail --bogus", 0, 2, "prog: there is no flag --bogus (see: prog fail --help)\n"},
		{"", 0, 2, ""},
		{"wait", syscall.SIGINT, 130, ""},
		{"wait", syscall.SIGTERM, 130, ""},
		{"serve", syscall.SIGINT, 0, ""},
		{"serve", syscall.SIGTERM, 0, ""},
	} {
		status, stderr := start(t, test.signal, strings.Fields(test.typed)...)
		if status != test.status || stderr != test.stderr {
			t.Errorf("prog %s (signal %d): status %d, %q; want %d, %q", test.typed, test.signal, status, stderr, test.status, test.stderr)
		}
	}
}

// start runs the program, signals it once it has printed a line, and returns how it ended.
func start(t *testing.T, signal syscall.Signal, words ...string) (status int, stderr string) {
	t.Helper()
	cmd := exec.Command(os.Args[0], words...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	var said strings.Builder
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if signal != 0 && lines.Scan() {
		if err := cmd.Process.Signal(signal); err != nil {
			t.Error(err)
		}
	}
	for lines.Scan() {
	}
	_ = cmd.Wait() // the status says it
	return cmd.ProcessState.ExitCode(), said.String()
}
