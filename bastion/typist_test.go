package bastion

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/limit"
)

// atPrompt is a shell at a terminal, whose prompt is known.
func atPrompt(t *testing.T, w *world) (*ssh.Client, talker) {
	t.Helper()
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	in, _ := s.StdinPipe()
	out := &syncBuffer{}
	s.Stdout, s.Stderr = out, out
	if err := s.RequestPty("xterm", 24, 80, ssh.TerminalModes{}); err != nil {
		t.Fatal(err)
	}
	if err := s.Start("cd " + w.dir + "; PS1='ready$ ' HISTCONTROL=ignorespace exec bash --norc --noprofile -i"); err != nil {
		t.Fatal(err)
	}
	out.wait(t, "ready$ ")
	return client, talker{in, out}
}

// Every way of entering a line at a prompt meets the limit before the shell does, and goes on when it is released.
func TestTypedCommands(t *testing.T) {
	t.Parallel()
	w, told := limited(t, "commands 'touch .*stop' 0 hold")
	w.b.Limits.HoldTime = time.Minute
	_, at := atPrompt(t, w)
	for round, keys := range []string{
		"touch stop-1\r",
		"tuo\x7f\x7fouch xstop\x1b[D\x1b[D\x1b[D\x1b[D\x7f\x05-1\r",
		"\x1b[A\r",      // the line before, in one piece with the key that enters it
		"touch sto\t\r", // completed by the host
		"\x12ch sto|\r", // searched for, and looked at
		"cat /dev/null; touch \\\rstop-1\r",
		"\x1b[200~touch stop-1\x1b[201~\r",
	} {
		if err := os.Remove(w.file("stop-1")); round > 0 && err != nil {
			t.Fatal(err)
		}
		if round == 3 { // there has to be something that it can be completed to
			w.write("stop-1", "was there")
		}
		keys, enter, _ := strings.Cut(keys, "|")
		_, _ = io.WriteString(at.in, keys)
		if enter != "" {
			at.out.wait(t, "reverse-i-search")
			at.out.rests(t)
			_, _ = io.WriteString(at.in, enter)
		}
		var r control.Risk
		select {
		case r = <-told:
		case <-time.After(patience):
			t.Fatalf("%q was not seen; the terminal shows %q", keys, at.out.String())
		}
		if b, err := os.ReadFile(w.file("stop-1")); (err == nil) != (round == 3) || string(b) != strings.Repeat("was there", len(b)/9) {
			t.Errorf("%q ran: %q %v", keys, b, err)
		}
		if round == 3 {
			_ = os.Remove(w.file("stop-1"))
		}
		w.b.Lift(control.Lifted{Session: r.Session, Limit: r.Limit, Before: r.Lifted, By: []string{"bob"}})
		fmt.Fprintf(at.in, " echo did-$((%d))\r", round)
		at.out.wait(t, fmt.Sprintf("did-%d\r\n", round))
		at.out.rests(t) // the shell is at its prompt: before, the kernel takes some keys as its own
		if _, err := os.Stat(w.file("stop-1")); err != nil {
			t.Errorf("%q did not run when it was released: %v", keys, err)
		}
	}
	select {
	case r := <-told:
		t.Errorf("told besides: %+v", r)
	default:
	}
}

// Who types ahead of a slow host is counted once: what it shows late is of the line before.
func TestTypedAhead(t *testing.T) {
	t.Parallel()
	at := &typist{c: &channel{s: &session{risk: &risk{watched: []*watched{{Limit: limit.Limit{Counter: limit.Commands}, command: regexp.MustCompile("touch .*stop")}}}}}}
	enter := func(keys string) []string {
		t.Helper()
		if n, entered := at.line.Typed([]byte(keys)); n != len(keys) || !entered {
			t.Fatalf("%q is not a line: %d %v", keys, n, entered)
		}
		lines := at.line.Entered()
		at.entered()
		return lines
	}
	at.print([]byte("ready$ "))
	if lines := enter("touch stop\r"); !slices.Equal(lines, []string{"touch stop"}) {
		t.Errorf("entered: %q", lines)
	}
	at.print([]byte("touch st"))
	if at.mayChange() {
		t.Error("a line waits for what no limit is about")
	}
	at.print([]byte("op"))
	if !at.mayChange() {
		t.Error("what is shown late would count with the next line")
	}
	at.print([]byte("\r\nready$ "))
	if at.mayChange() {
		t.Error("a line waits for one that has ended")
	}
	if lines := enter("echo\r"); !slices.Equal(lines, []string{"echo"}) {
		t.Errorf("entered: %q", lines)
	}
	// The line before is asked for while the last one still stands there.
	at.print([]byte("echo"))
	at.line.Typed([]byte("\x1b[A"))
	at.asked = time.Now()
	at.print([]byte("x"))
	at.asked, at.shown = at.asked.Add(-2*echoPause), at.shown.Add(-2*echoPause)
	if !at.mayChange() {
		t.Error("what the host will show is not waited for")
	}
	at.print([]byte("\r\nready$ touch stop"))
	at.asked, at.shown, at.took = at.asked.Add(-2*echoPause), at.shown.Add(-2*echoPause), 0
	if at.mayChange() {
		t.Error("a line waits for a host that has answered")
	}
	if lines := enter("\r"); !slices.Equal(lines, []string{"touch stop"}) {
		t.Errorf("entered: %q", lines)
	}
	// A host that never ends a line has nobody wait for ever, and what it shows counts.
	at.print([]byte("touch stop"))
	at.ended = at.ended.Add(-2 * echoTime)
	if at.mayChange() {
		t.Error("a line waits for ever")
	}
}

// What revokes ends the session before the line is entered; lines that a shell without a terminal reads count, too.
func TestTypedWithoutATerminal(t *testing.T) {
	t.Parallel()
	w, told := limited(t, "commands 'touch .*stop' 0 revoke")
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, err := client.NewSession()
	if err != nil {
		t.Fatal(err)
	}
	in, _ := s.StdinPipe()
	var out syncBuffer
	s.Stdout, s.Stderr = &out, &out
	if err := s.Shell(); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(in, "cd %s; touch one; echo up\ntouch stop; touch two\n", w.dir)
	if r := <-told; r.Action != "revoke" || r.Count != 1 {
		t.Errorf("told: %+v", r)
	}
	if end := w.ending(); end.End != "revoked" {
		t.Errorf("it ended %q", end.End)
	}
	for _, name := range []string{"stop", "two"} {
		if _, err := os.Stat(w.file(name)); err == nil {
			t.Errorf("%s is there", name)
		}
	}
}
