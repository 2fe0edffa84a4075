package bastion

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/limit"
	"postern/recorder"
)

// limited is a world whose sessions have limits, and what it tells the CA of them.
func limited(t *testing.T, limits string) (*world, chan control.Risk) {
	told := make(chan control.Risk, 100)
	w := newWorld(t, func(w *world, _ *recorder.Config) {
		w.b.Risk = func(r control.Risk) { told <- r }
		w.b.Limits.HoldTime = 300 * time.Millisecond
	})
	w.answer(func(r *control.OpenReply) {
		r.Session.Limits = limits
		r.Capabilities = append(r.Capabilities, "scp-read", "forward-local")
		r.Destinations = []string{"127.0.0.1:*"}
	})
	return w, told
}

// sftpRead asks for all of a file, raw: everything that comes back is counted, not only what is in the file.
func sftpRead(in io.Writer, path string, size int) {
	packet := func(kind byte, fields ...any) {
		b := []byte{kind}
		for _, f := range fields {
			switch f := f.(type) {
			case string:
				b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
			case uint32:
				b = binary.BigEndian.AppendUint32(b, f)
			case uint64:
				b = binary.BigEndian.AppendUint64(b, f)
			}
		}
		_, _ = in.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...))
	}
	packet(1, uint32(3))
	packet(3, uint32(1), path, uint32(1), uint32(0))
	for i := 0; i < size; i += 32768 {
		packet(5, uint32(2+i), "\x00\x00\x00\x00", uint64(i), uint32(32768)) // the first handle of OpenSSH's server
	}
}

// TestNotOneByteMore has the host send more than a session may show, in every way there is.
func TestNotOneByteMore(t *testing.T) {
	t.Parallel()
	const most, size = 300_001, 2_000_000
	for name, begin := range map[string]func(*world, *ssh.Client, *ssh.Session) (io.Reader, error){
		"shell": func(w *world, _ *ssh.Client, s *ssh.Session) (io.Reader, error) {
			out, _ := s.StdoutPipe()
			in, _ := s.StdinPipe()
			if err := s.RequestPty("xterm", 24, 80, nil); err != nil {
				return nil, err
			}
			err := s.Shell()
			fmt.Fprintln(in, "cat "+w.file("big"))
			return out, err
		},
		"exec": func(w *world, _ *ssh.Client, s *ssh.Session) (io.Reader, error) {
			out, _ := s.StdoutPipe()
			return out, s.Start("cat " + w.file("big"))
		},
		"sftp": func(w *world, _ *ssh.Client, s *ssh.Session) (io.Reader, error) {
			out, _ := s.StdoutPipe()
			in, _ := s.StdinPipe()
			err := s.RequestSubsystem("sftp")
			go sftpRead(in, w.file("big"), size)
			return out, err
		},
		"scp": func(w *world, _ *ssh.Client, s *ssh.Session) (io.Reader, error) {
			out, _ := s.StdoutPipe()
			in, _ := s.StdinPipe()
			err := s.Start("scp -f " + w.file("big"))
			go in.Write([]byte{0, 0, 0})
			return out, err
		},
		"forward": func(w *world, c *ssh.Client, _ *ssh.Session) (io.Reader, error) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			go func() {
				defer l.Close()
				if conn, err := l.Accept(); err == nil {
					_, _ = conn.Write(make([]byte, size))
				}
			}()
			return c.Dial("tcp", l.Addr().String())
		},
	} {
		for _, action := range []string{"revoke", "hold"} {
			t.Run(name+"/"+action, func(t *testing.T) {
				t.Parallel()
				limit := fmt.Sprintf("bytes-out %d %s", most, action)
				w, told := limited(t, "bytes-out 1000 log; "+limit)
				w.b.Limits.HoldTime = patience
				if err := os.WriteFile(w.file("big"), []byte(strings.Repeat("0123456789abcde\n", size/16)), 0o600); err != nil {
					t.Fatal(err)
				}
				client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				s, err := client.NewSession()
				if err != nil {
					t.Fatal(err)
				}
				out, err := begin(w, client, s)
				if err != nil {
					t.Fatal(err)
				}
				shown, all := &syncBuffer{}, make(chan struct{})
				go func() { _, _ = io.Copy(shown, out); close(all) }()
				if r := <-told; r.Action != "log" || r.Count <= 1000 {
					t.Errorf("first told: %+v", r)
				}
				r := <-told
				if r.Limit != limit || r.Count <= most || r.Session != "S-000001" {
					t.Errorf("told: %+v", r)
				}
				if action == "hold" {
					shown.holds(t, most)
					w.refuse(r)
				}
				<-all
				seen := []byte(shown.String())
				got := len(seen)
				if i := bytes.Index(seen, []byte("postern: ")); i >= 0 { // on a terminal we say there why it stands still
					got = len(bytes.TrimSuffix(seen[:i], []byte("\r\n")))
					if got == most-2 {
						got = most // the line had ended by itself
					}
				}
				// A revocation closes the connection at once, and with it goes what the client has not read yet.
				if got > most || got < most && action == "hold" {
					t.Errorf("%d bytes were delivered, %d may be", got, most)
				}
				want := map[string]string{"revoke": "revoked", "hold": "held"}[action]
				if end := w.ending(); end.End != want {
					t.Errorf("it ended %q", end.End)
				}
				if _, banner, err := w.dial(w.account+"@phi1", w.certificate(nil)); action == "revoke" && (err == nil || !strings.Contains(banner, "revoked by policy")) {
					t.Errorf("it could come again: %v %q", err, banner)
				}
			})
		}
	}
}

// TestWhatElseIsCounted crosses each of the other limits with OpenSSH, and looks that the one too many had no effect.
func TestWhatElseIsCounted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limits string
		does   func(t *testing.T, w *world)
		told   string // "" : nothing may be
		count  uint64
		end    string
	}{
		"three files": {"files-read 2 revoke", func(t *testing.T, w *world) {
			w.run(fmt.Sprintf("get %[1]s/f1 %[1]s/g1\nget %[1]s/f2 %[1]s/g2\nget %[1]s/f3 %[1]s/g3\n", w.dir), "sftp", "-b", "-", "direct")
			if b, _ := os.ReadFile(w.file("g2")); string(b) != "f2" {
				t.Errorf("the second file: %q", b)
			}
			if b, _ := os.ReadFile(w.file("g3")); len(b) > 0 {
				t.Errorf("the third file came: %q", b)
			}
		}, "files-read 2 revoke", 3, "revoked"},
		"the same path twice": {"paths */f? 2 revoke", func(t *testing.T, w *world) {
			w.run(fmt.Sprintf("get %[1]s/f1 %[1]s/g1\nget %[1]s/f1 %[1]s/g2\nget %[1]s/f2 %[1]s/g2\n", w.dir), "sftp", "-b", "-", "direct")
		}, "", 0, "closed"},
		"three paths": {"paths */f* 2 hold", func(t *testing.T, w *world) {
			w.run(fmt.Sprintf("get %[1]s/f1 %[1]s/g1\nput %[1]s/f1 %[1]s/f2\nget %[1]s/f3 %[1]s/g3\n", w.dir), "sftp", "-b", "-", "direct")
			if b, _ := os.ReadFile(w.file("g3")); len(b) > 0 {
				t.Errorf("the third file came: %q", b)
			}
		}, "paths */f* 2 hold", 3, "held"},
		"a relative path counts": {"paths /phi/* 0 revoke", func(t *testing.T, w *world) {
			got := w.run("", "ssh", "direct", "scp -f .bashrc-that-is-not-there")
			if strings.Contains(got.err, "revoked") {
				t.Error("a file that is not there is no file read")
			}
		}, "", 0, "closed"},
		"a command": {"commands '(?i)touch .*more' 0 revoke", func(t *testing.T, w *world) {
			if got := w.run("", "ssh", "direct", "touch "+w.file("less")); got.status != 0 {
				t.Errorf("%+v", got)
			}
			w.ending()
			got := w.run("", "ssh", "direct", "TOUCH=1; touch "+w.file("more"))
			if _, err := os.Stat(w.file("more")); err == nil || !strings.Contains(got.err, "your access was revoked by policy: limit commands") {
				t.Errorf("it ran, or nobody said why: %+v", got)
			}
		}, "commands '(?i)touch .*more' 0 revoke", 1, "revoked"},
		"refusals": {"denied 1 revoke", func(t *testing.T, w *world) {
			got := w.run("", "ssh", "-o", "ExitOnForwardFailure=no", "-A", "-R", "9:127.0.0.1:9", "-R", "10:127.0.0.1:9", "direct", "sleep 20")
			if got.status == 0 {
				t.Errorf("%+v", got)
			}
		}, "denied 1 revoke", 2, "revoked"},
		"sftp refusals": {"denied 0 revoke", func(t *testing.T, w *world) {
			w.answer(func(r *control.OpenReply) {
				r.Session.Limits, r.Capabilities = "denied 0 revoke", []string{"sftp-read"}
			})
			w.run(fmt.Sprintf("put %[1]s/f1 %[1]s/never\n", w.dir), "sftp", "-b", "-", "direct")
		}, "denied 0 revoke", 1, "revoked"},
		"a warning": {"commands 'echo' 1 warn", func(t *testing.T, w *world) {
			client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			for range 3 {
				s, _ := client.NewSession()
				if out, err := s.Output("echo go on"); string(out) != "go on\n" || err != nil {
					t.Errorf("%q %v", out, err)
				}
			}
		}, "commands 'echo' 1 warn", 2, "closed"},
		"nothing too much": {"bytes-out 3 hold; denied 0 revoke; files-read 0 revoke; commands 'rm' 0 revoke", func(t *testing.T, w *world) {
			if got := w.run("", "ssh", "direct", "printf abc"); got.out != "abc" || got.status != 0 {
				t.Errorf("%+v", got)
			}
		}, "", 0, "closed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, told := limited(t, c.limits)
			for _, name := range []string{"f1", "f2", "f3"} {
				w.write(name, name)
			}
			c.does(t, w)
			if end := w.ending(); end.End != c.end {
				t.Errorf("it ended %q, not %q", end.End, c.end)
			}
			if c.told != "" { // it may come after the end, which was decided when the limit was crossed
				if r := <-told; r.Limit != c.told || r.Count != c.count {
					t.Errorf("told: %+v", r)
				}
			}
			select {
			case r := <-told:
				t.Errorf("told: %+v", r)
			default:
			}
		})
	}
}

// Who leaves before a revocation comes that a limit made, was revoked: that was decided with the byte that was too much.
func TestLeavingIsNoWayOut(t *testing.T) {
	t.Parallel()
	r, err := newRisk("bytes-out 10 revoke; denied 0 hold")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &session{b: &Bastion{Now: time.Now, Progress: func(control.Progress) {}}, risk: r, ctx: ctx, cancel: cancel, log: slog.New(slog.DiscardHandler),
		grant: &grant{request: "R-ALCE"}, reply: &control.OpenReply{Session: control.Session{ID: "S-000001"}}}
	if end, _ := s.sentence("closed", ""); end != "closed" {
		t.Errorf("before: %q", end)
	}
	r.one(limit.Denied, nil)
	if end, _ := s.sentence("closed", ""); end != "closed" {
		t.Errorf("who leaves a hold has left: %q", end)
	}
	r.stopped.Store(false)
	r.bytesOut(11)
	end, why := s.sentence("closed", "")
	if end != "revoked" || !strings.Contains(why, "revoked by policy: limit bytes-out 10 revoke was crossed in S-000001") {
		t.Errorf("%q %q", end, why)
	}
	if s.cut("closed", ""); s.why != why {
		t.Errorf("cut because: %q", s.why)
	}
}

// A held session lets nothing pass in either direction, on no channel, old or new.
func TestNothingPassesAHold(t *testing.T) {
	t.Parallel()
	w, told := limited(t, "commands 'stop' 0 hold")
	w.b.Limits.HoldTime = time.Minute
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	old, _ := client.NewSession()
	in, _ := old.StdinPipe()
	out, _ := old.StdoutPipe()
	if err := old.Start("while read x; do echo $x >> " + w.file("heard") + "; echo $x; done"); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(in, "before")
	if _, err := io.ReadFull(out, make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	other, _ := client.NewSession()
	errs, _ := other.StderrPipe()
	if err := other.Start("touch " + w.file("stop")); err != nil {
		t.Fatal(err)
	}
	line := make([]byte, 400)
	n, _ := errs.Read(line)
	if text := string(line[:n]); !strings.Contains(text, "held") || !strings.Contains(text, "postern request") {
		t.Errorf("what to do: %q", text)
	}
	<-told
	fmt.Fprintln(in, "after")
	if s, err := client.NewSession(); err == nil {
		s.Close()
		t.Error("another channel opened")
	}
	if c, err := client.Dial("tcp", w.host); err == nil {
		c.Close()
		t.Error("a forward opened")
	}
	if ok, _, _ := client.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
		A string
		P uint32
	}{"127.0.0.1", 0})); ok {
		t.Error("the host listens")
	}
	client.Close()
	if end := w.ending(); end.End != "closed" {
		t.Errorf("it ended %q", end.End)
	}
	if b, _ := os.ReadFile(w.file("heard")); string(b) != "before\n" {
		t.Errorf("the host heard %q", b)
	}
	if _, err := os.Stat(w.file("stop")); err == nil {
		t.Error("the command ran")
	}
}

// Limits that cannot be read limit nothing, so no session opens with them.
func TestUnreadableLimits(t *testing.T) {
	t.Parallel()
	w, _ := limited(t, "bytes-out lots hold")
	if got := w.run("", "ssh", "direct", "echo in"); got.out != "" || !strings.Contains(got.err, "unusable") {
		t.Errorf("%+v", got)
	}
}
