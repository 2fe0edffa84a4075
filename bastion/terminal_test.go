package bastion

import (
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
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

// only is the one session there is; those before it are about to leave.
func (w *world) only() *session {
	w.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		live := w.b.revoked.sessions()
		if len(live) == 1 {
			return live[0]
		}
		if time.Now().After(end) {
			w.t.Fatalf("%d sessions", len(live))
		}
	}
}

// waiting waits until a notice waits for its moment.
func (w *world) waiting() {
	w.t.Helper()
	s := w.only()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		n := 0
		for c := range s.channels {
			c.screen.mu.Lock()
			n += len(c.screen.waiting)
			c.screen.mu.Unlock()
		}
		s.mu.Unlock()
		if n > 0 {
			return
		}
		if time.Now().After(end) {
			w.t.Fatal("no notice waits")
		}
	}
}

func TestNotices(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, after, want string
		never               bool // nothing more comes, and the notice does not wait for it
	}{
		"at the beginning of a line": {before: "hello\r\n", want: "hello\r\npostern: soon\r\n\a"},
		"at a prompt":                {before: "$ ", want: "$ \r\npostern: soon\r\n\a", never: true},
		"within a line":              {before: "one", after: " two\r\n", want: "one two\r\npostern: soon\r\n\a"},
		"within a character":         {before: "\r\n\xe2\x82", after: "\xac\r\n", want: "\r\n\xe2\x82\xac\r\npostern: soon\r\n\a"},
		"within a sequence":          {before: "\r\n\x1b[3", after: "1mred\r\n", want: "\r\n\x1b[31mred\r\npostern: soon\r\n\a"},
		"on the other screen":        {before: "\x1b[?1049h\x1b[5;5Hvim", want: "\x1b[?1049h\x1b[5;5Hvim\x1b[22;2t\x1b]2;postern: soon\a\a"},
		"and back":                   {before: "\x1b[?1049hvim", after: "\x1b[?1049l", want: "\x1b[?1049hvim\x1b[22;2t\x1b]2;postern: soon\a\a\x1b[?1049l\x1b[23;2t"},
		"a host that never finishes": {before: "\r\n\x1b]0;aaaa", want: "\r\n\x1b]0;aaaa\x18postern: soon\r\n\a", never: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(w *world, _ *recorder.Config) {
				if w.b.Limits.NoticeTime = time.Hour; c.never {
					w.b.Limits.NoticeTime = time.Millisecond
				}
			})
			host, out, _ := w.screen(t)
			w.says(host, out, c.before)
			w.only().warn("soon")
			if c.after != "" {
				if strings.Contains(c.before, "1049h") {
					out.wait(t, "soon")
				} else {
					w.waiting()
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
	t.Parallel()
	w := newWorld(t, func(w *world, _ *recorder.Config) { w.b.Limits.NoticeTime = time.Millisecond })
	cmd := w.command("ssh", "direct", "echo up; read -r line; echo $line")
	in, _ := cmd.StdinPipe()
	var out, errs syncBuffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.wait(t, "up\n")
	w.only().warn("soon")
	w.b.Extend(moved(time.Hour))
	for end := time.Now().Add(patience); !strings.Contains(w.log.String(), "session extended") && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	_, _ = io.WriteString(in, "over\n")
	if err := cmd.Wait(); err != nil || out.String() != "up\nover\n" || errs.String() != "" {
		t.Errorf("%v; it read %q and %q", err, out.String(), errs.String())
	}
}

// The line that says why a session ends is seen although vim had the screen.
func TestTheEndIsSeenBehindAProgram(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	host, out, _ := w.screen(t)
	w.says(host, out, "\x1b[?1049hvim")
	w.only().cut("revoked", "over")
	out.wait(t, "vim"+leaveAlt+"\r\npostern: over\r\n")
}

// A host that asks the terminal all the time keeps no session alive, nor does a client that only keeps its connection up.
func TestAnIdleTerminal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.idle(60)
	host, out, typed := w.screen(t)
	s := w.only()
	w.says(host, out, "$ ")
	reads := func(text string) {
		t.Helper()
		_, _ = io.WriteString(typed, text)
		got := make([]byte, len(text))
		if _, err := io.ReadFull(host, got); err != nil || string(got) != text {
			t.Fatalf("the host read %q, %v", got, err)
		}
	}
	before := s.touched.Load()
	for range 5 {
		w.says(host, out, "\x1b[6n")
		reads("\x1b[24;80R")
		_, _ = typed.(ssh.Channel).SendRequest("keepalive@openssh.com", true, nil)
	}
	if s.touched.Load() != before {
		t.Error("it counts as somebody who is there")
	}
	reads("a")
	if s.touched.Load() == before {
		t.Error("a key does not count as somebody who is there")
	}
	s.typedBefore(time.Minute)
	if p := w.ending(); p.End != "idle" {
		t.Errorf("ended as %q", p.End)
	}
}

// TestVimInTmux: the screen stays as it is, and the title says what there is to say.
func TestVimInTmux(t *testing.T) {
	t.Parallel()
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
	for _, a := range w.command("ssh", "direct", "TERM=xterm-256color vim -u NONE -N -i NONE +\"set ruler\" "+w.file("text")).Args {
		if line += " '" + a + "'"; strings.HasSuffix(a, "ssh") {
			line += " -tt"
		}
	}
	w.write("text", strings.Repeat("a line of some text\n", 15))
	tmux("new-session", "-d", "-x", "80", "-y", "24", "sh")
	await := func(what string, seen func() bool) {
		t.Helper()
		for deadline := time.Now().Add(patience); !seen(); time.Sleep(20 * time.Millisecond) {
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
	await("the cursor on the third of 14 lines", shows("3,1")) // what vim says last
	before := tmux("capture-pane", "-p")
	w.only().warn("this session ends in one minute")
	await("title", title("postern: this session ends in one minute"))
	w.b.Extend(moved(30 * time.Minute))
	await("title", title("postern: this session was extended until"))
	if after := tmux("capture-pane", "-p"); after != before {
		t.Errorf("the screen was spoilt:\n%s\nit was:\n%s", after, before)
	}
	tmux("send-keys", ":q!", "Enter")
	await("the shell", func() bool { return !title("postern:")() })
}
