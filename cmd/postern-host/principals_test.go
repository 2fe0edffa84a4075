package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
)

func TestPrincipal(t *testing.T) {
	for _, good := range [][2]string{{"root", "phi1"}, {"_apt", "a.b-c"}, {"machine$", "h"}, {"O.Brien", "h"}} {
		if got, err := principal(good[0], good[1]); err != nil || got != good[0]+"@"+good[1] {
			t.Errorf("%q: %q, %v", good, got, err)
		}
	}
	for _, bad := range hostile {
		for _, pair := range [][2]string{{bad, "phi1"}, {"root", bad}} {
			if got, err := principal(pair[0], pair[1]); err == nil {
				t.Errorf("%q became %q", pair, got)
			}
		}
	}
}

// hostile is what is neither an account nor a host: sshd would read it as more than one principal, as an option of one, or as a flag.
var hostile = []string{"", "a b", "a\nroot@phi1", "a,b", "a@b", "#a", "-a", `from="*"`, "a\x00", "a\t", "ä", "root\n"}

// What sshd gets is one line with one principal, or nothing and an error, whatever the account is called and whatever else is said.
func TestHostileArguments(t *testing.T) {
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(words ...string) (string, error) {
		cmd := exec.Command(me, words...)
		cmd.Env = append(os.Environ(), asProgram+"=1")
		out, err := cmd.Output()
		return string(out), err
	}
	tell := []string{"--name", "phi1", "--tell", t.TempDir() + "/nobody", "--serial", "7", "--signer", "SHA256:x"}
	for _, words := range [][]string{
		{"principals", "a\nroot@phi1", "--name", "phi1"},
		append([]string{"principals", "--help"}, tell...),
		append([]string{"principals", "--name=root"}, tell...),
		{"principals", "root", "--name", "phi1", "--serial", "-1", "--tell", "/x"},
		{"principals", "root", "--name", "phi1", "--name", "phi1 root@phi2"},
		{"principals", "root", "--name", "a,root@phi1"},
		{"principals", "root", "other", "--name", "phi1"},
	} {
		if out, err := ask(words...); strings.Contains(out, "@") || err == nil && !strings.Contains(out, "USAGE") {
			t.Errorf("%q: %q, %v", words, out, err)
		}
	}
}

// FuzzPlainly: the short way reads a command line as the long one does, or leaves it to that.
func FuzzPlainly(f *testing.F) {
	for _, line := range []string{
		"principals root --name phi1",
		"principals root --name phi1 --tell /var/lib/postern-host/logins --serial 7 --signer SHA256:abc",
		"principals root --serial 18446744073709551615 --name phi1",
		"principals root --serial 18446744073709551616 --name phi1",
		"principals root --serial 010 --name phi1", "principals root --serial 0x10 --name phi1", "principals root --serial 1_0 --name phi1", "principals root --serial 0 --name phi1",
		"principals root --name phi1 --name phi2", "principals --name phi1 root --tell", "principals root --name -- --tell x", "principals root --name=phi1 x y",
		"principals root --names phi1 --name phi1", "principals root -name phi1", "principals root --tell x", "opened --tell x y", "principals - --name phi1",
	} {
		f.Add(strings.ReplaceAll(line, " ", "\n"))
	}
	f.Fuzz(func(t *testing.T, line string) {
		words := strings.Split(line, "\n")
		short, ok := plainly(words)
		if !ok {
			return
		}
		var long *question
		app := newApp()
		app.Writer, app.ErrWriter = io.Discard, io.Discard
		for i, known := range app.Commands {
			if known == principalsCommand {
				spied := *principalsCommand
				spied.Action = func(c *cli.Context) error {
					q, err := asked(c)
					long = &q
					return err
				}
				app.Commands[i] = &spied
			}
		}
		if err := command.Run(context.Background(), app, append([]string{program}, words...)); err != nil || long == nil || *long != short {
			t.Errorf("%q: %+v, the command line says %+v, %v", words, short, long, err)
		}
	})
}
