package bastion

import (
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func TestScanner(t *testing.T) {
	for out, want := range map[string]string{
		"":                               "room",
		"text\r\n":                       "room",
		"text\n\r":                       "room",
		"$ ":                             "whole",
		"\n\x1b[1;32m":                   "room",
		"\n\x1b[":                        "",
		"\n\x1b":                         "",
		"\n\x1b(":                        "",
		"\n\x1b(B":                       "room",
		"\n\x1b[5;1H":                    "whole",
		"\n\xe2\x82":                     "",
		"\n\xe2":                         "",
		"\n\xe2\x82\xac":                 "whole",
		"\n\xf0\x9f\x98":                 "",
		"\n\xff\xfe":                     "whole",
		"\n\x80\x80":                     "whole",
		"\x1b]0;title":                   "",
		"\x1b]0;title\a":                 "room",
		"\x1b]0;ti\x1b\\\n":              "room",
		"\x1b]0;ti\x1b[1m\n":             "room",
		"\x1bPq#0\x1b\\\n":               "room",
		"\x1bPq\x18\n":                   "room",
		"\x1b[?1049h":                    "alt",
		"\x1b[?47h text":                 "alt",
		"\x1b[?25;1047h":                 "alt",
		"\x1b[?1049h\x1b[":               "",
		"\x1b[?1049h\xe2":                "",
		"\x1b[?1049h\x1b[?1049l\n":       "room",
		"\x1b[?1049h\x1bc":               "room",
		"\x1b[1049h\n":                   "room",
		"\x1b[?11049h\n":                 "room",
		"\x1b[?1;2;3;4;5;6;7;8;9;1049h ": "whole", // longer than anybody writes
		"\x1b]0;\x1b[?1049h\a":           "alt",   // xterm, too, ends the title there
	} {
		name := func(s scanner) string {
			switch {
			case s.alt && s.room():
				return "alt"
			case s.room():
				return "room"
			case s.whole():
				return "whole"
			}
			return ""
		}
		at := scanner{begin: true}
		at.pass([]byte(out))
		if got := name(at); got != want {
			t.Errorf("%q: %q, want %q", out, got, want)
		}
		single := scanner{begin: true}
		for i := range len(out) {
			single.pass([]byte{out[i]})
		}
		if got := name(single); got != want {
			t.Errorf("%q byte by byte: %q, want %q", out, got, want)
		}
	}
}

// What passes is scanned alike in whatever pieces it comes, and costs no memory.
func FuzzScanner(f *testing.F) {
	f.Add([]byte("\x1b[?1049h\xe2\x82\xac\x1b]0;x\a\n"), 3)
	f.Fuzz(func(t *testing.T, out []byte, cut int) {
		var whole, parts scanner
		whole.pass(out)
		cut = min(max(cut, 0), len(out))
		parts.pass(out[:cut])
		parts.pass(out[cut:])
		if whole.state != parts.state || whole.alt != parts.alt || whole.rest != parts.rest {
			t.Errorf("%+v, in two pieces %+v", whole, parts)
		}
	})
}

func TestReportsAreNoSignOfLife(t *testing.T) {
	for typed, want := range map[string]bool{
		"\x1b[24;80R": true, "\x1b[?62;1;2c": true, "\x1b[0n": true, "\x1b]11;rgb:0000/0000/0000\x1b\\": true, "\x1bP1$r0m\x1b\\": true,
		"\x1b[?2026;2$y": true, "\x1b[24;80R\x1b[?1;2c": true, "\x1b[8;24;80t": true,
		"a": false, "\x1b": false, "\x1b[A": false, "\x1b[1;5R": false, "\x1bOR": false, "\x1b[24;80Rq": false, "\r": false, "\x1b[I": false,
		"\x1b[<0;3;4M": false, "\x1b[R": false, "\x1b[5~": false, "\x1b]": false,
	} {
		if got := reports([]byte(typed)); got != want {
			t.Errorf("%q: %v", typed, got)
		}
	}
}

// shell is a terminal of a host that says what the test has it say.
func (w *world) screen(t *testing.T) (host ssh.Channel, out *syncBuffer, typed io.Writer) {
	t.Helper()
	hosts := make(chan ssh.Channel, 1)
	fakeHost(w, func(c ssh.Channel, reqs <-chan *ssh.Request) {
		for r := range reqs {
			_ = r.Reply(true, nil)
			if r.Type == "shell" {
				hosts <- c
			}
		}
	})
	_, ch, reqs := w.session(t)
	go ssh.DiscardRequests(reqs)
	_, _ = ch.SendRequest("pty-req", true, append(ssh.Marshal(struct{ S string }{"xterm"}), ssh.Marshal(struct {
		A, B, C, D uint32
		Modes      string
	}{80, 24, 0, 0, "\x00"})...))
	_, _ = ch.SendRequest("shell", true, nil)
	out = &syncBuffer{}
	go io.Copy(out, ch.Stderr())
	go io.Copy(out, ch)
	return <-hosts, out, ch
}

func (w *world) says(host ssh.Channel, out *syncBuffer, text string) {
	w.t.Helper()
	if _, err := io.WriteString(host, text); err != nil {
		w.t.Fatal(err)
	}
	out.wait(w.t, text)
}

// only is the one session there is.
func (w *world) only() *session {
	w.t.Helper()
	live := w.b.revoked.sessions()
	if len(live) != 1 {
		w.t.Fatalf("%d sessions", len(live))
	}
	return live[0]
}

func TestNotices(t *testing.T) {
	for name, c := range map[string]struct{ before, after, want string }{
		"at the beginning of a line": {"hello\r\n", "", "hello\r\npostern: soon\r\n\a"},
		"at a prompt":                {"$ ", "", "$ \r\npostern: soon\r\n\a"},
		"within a line":              {"one", " two\r\n", "one two\r\npostern: soon\r\n\a"},
		"within a character":         {"\r\n\xe2\x82", "\xac\r\n", "\r\n\xe2\x82\xac\r\npostern: soon\r\n\a"},
		"within a sequence":          {"\r\n\x1b[3", "1mred\r\n", "\r\n\x1b[31mred\r\npostern: soon\r\n\a"},
		"on the other screen":        {"\x1b[?1049h\x1b[5;5Hvim", "", "\x1b[?1049h\x1b[5;5Hvim\x1b[22;2t\x1b]2;postern: soon\a\a"},
		"and back":                   {"\x1b[?1049hvim", "\x1b[?1049l", "\x1b[?1049hvim\x1b[22;2t\x1b]2;postern: soon\a\a\x1b[?1049l\x1b[23;2t"},
		"a host that never finishes": {"\r\n\x1b]0;aaaa", "", "\r\n\x1b]0;aaaa\x18postern: soon\r\n\a"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			host, out, _ := w.screen(t)
			w.says(host, out, c.before)
			w.only().warn("soon")
			if c.after != "" {
				if strings.Contains(c.before, "1049h") {
					out.wait(t, "soon")
				} else {
					time.Sleep(50 * time.Millisecond) // it is waiting
				}
				if _, err := io.WriteString(host, c.after); err != nil {
					t.Fatal(err)
				}
			}
			out.wait(t, c.want)
			if got := out.String(); got != c.want {
				t.Errorf("%q", got)
			}
		})
	}
}

// A program without a terminal reads its bytes and no others.
func TestNoNoticesForPrograms(t *testing.T) {
	w := newWorld(t)
	done, out := w.running("direct", "echo up; read -r line; echo $line")
	w.only().warn("soon")
	time.Sleep(1500 * time.Millisecond)
	w.b.Extend(moved(time.Hour))
	select {
	case got := <-done:
		t.Errorf("%+v", got)
	case <-time.After(200 * time.Millisecond):
	}
	if got := out.String(); got != "up\n" {
		t.Errorf("it read %q", got)
	}
}

// The line that says why a session ends is seen although vim had the screen.
func TestTheEndIsSeenBehindAProgram(t *testing.T) {
	w := newWorld(t)
	host, out, _ := w.screen(t)
	w.says(host, out, "\x1b[?1049hvim")
	w.only().cut("revoked", "over")
	out.wait(t, "vim"+leaveAlt+"\r\npostern: over\r\n")
}

// A host that asks the terminal all the time keeps no session alive, nor does a client that only keeps its connection up.
func TestAnIdleTerminal(t *testing.T) {
	w := newWorld(t)
	w.idle(3)
	host, out, typed := w.screen(t)
	s := w.only()
	w.says(host, out, "$ ")
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(100 * time.Millisecond):
				_, _ = io.WriteString(host, "\x1b[6n")
				_, _ = io.WriteString(typed, "\x1b[24;80R")
				_, _ = typed.(ssh.Channel).SendRequest("keepalive@openssh.com", false, nil)
			}
		}
	}()
	began := time.Now()
	select {
	case <-s.ctx.Done():
	case <-time.After(15 * time.Second):
		t.Fatal("it goes on")
	}
	if p := w.ending(); p.End != "idle" || time.Since(began) < 2*time.Second {
		t.Errorf("ended as %q after %s", p.End, time.Since(began))
	}
}

// TestVimInTmux: the screen stays as it is, and the title says what there is to say.
func TestVimInTmux(t *testing.T) {
	for _, tool := range []string{"tmux", "vim"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%s is missing; install it with: apt-get install tmux vim", tool)
		}
	}
	w := newWorld(t)
	socket := filepath.Join(t.TempDir(), "t")
	tmux := func(args ...string) string {
		out, err := exec.Command("tmux", append([]string{"-S", socket, "-f", "/dev/null"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("tmux %q: %v %s", args, err, out)
		}
		return string(out)
	}
	defer exec.Command("tmux", "-S", socket, "kill-server").Run()
	line := ""
	for _, a := range w.command("ssh", "direct", "TERM=xterm-256color vim -u NONE -N -i NONE "+w.file("text")).Args {
		if line += " '" + a + "'"; strings.HasSuffix(a, "ssh") {
			line += " -tt"
		}
	}
	w.write("text", strings.Repeat("a line of some text\n", 15))
	tmux("new-session", "-d", "-x", "80", "-y", "24", "sh")
	await := func(what string, seen func() bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); !seen(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("no %s on:\n%s", what, tmux("capture-pane", "-p"))
			}
		}
	}
	shows := func(text string) func() bool {
		return func() bool { return strings.Contains(tmux("capture-pane", "-p"), text) }
	}
	title := func(text string) func() bool {
		return func() bool { return strings.Contains(tmux("display-message", "-p", "#{pane_title}"), text) }
	}
	tmux("send-keys", "-l", strings.TrimSpace(line))
	tmux("send-keys", "Enter")
	await("vim", shows("a line of some text"))
	tmux("send-keys", "3Gdd")
	await("14 lines", shows("~"))
	time.Sleep(300 * time.Millisecond)
	before := tmux("capture-pane", "-p")
	w.only().warn("this session ends in 1m0s")
	await("title", title("postern: this session ends in 1m0s"))
	w.b.Extend(moved(30 * time.Minute))
	await("title", title("postern: this session was extended until"))
	if after := tmux("capture-pane", "-p"); after != before {
		t.Errorf("the screen was spoilt:\n%s\nit was:\n%s", after, before)
	}
	tmux("send-keys", ":q!", "Enter")
	await("the shell", func() bool { return !title("postern:")() })
}
