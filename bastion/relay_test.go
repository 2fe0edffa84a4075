package bastion

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// fakeHost is a host that does what sshd would not: it notes every request and answers as the test says.
func fakeHost(w *world, program func(ssh.Channel, <-chan *ssh.Request)) {
	key := w.hostCertificate(w.hostCA, newSigner(), "phi1")
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(key)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	w.hostAt(l.Addr().String())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, chans, reqs, err := ssh.NewServerConn(c, config)
				if err != nil {
					return
				}
				go ssh.DiscardRequests(reqs)
				for ch := range chans {
					accepted, reqs, err := ch.Accept()
					if err == nil {
						go program(accepted, reqs)
					}
				}
			}()
		}
	}()
}

func (w *world) session(t *testing.T) (*ssh.Client, ssh.Channel, <-chan *ssh.Request) {
	t.Helper()
	client, banner, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err, banner)
	}
	t.Cleanup(func() { client.Close() })
	ch, reqs, err := client.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	return client, ch, reqs
}

func TestEveryRequestArrivesAsItWasSent(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := make(chan string, 100)
	fakeHost(w, func(c ssh.Channel, reqs <-chan *ssh.Request) {
		for r := range reqs {
			seen <- fmt.Sprintf("%s %v %s", r.Type, r.WantReply, hex.EncodeToString(r.Payload))
			_ = r.Reply(r.Type != "break", nil)
			if r.Type == "break" {
				_, _ = c.SendRequest("xon-xoff", false, []byte{1})
				_, _ = c.SendRequest("exit-signal", false, ssh.Marshal(struct {
					Name    string
					Core    bool
					Message string
					Lang    string
				}{"SEGV", true, "ouch", "en"}))
				c.Close()
			}
		}
	})
	_, ch, reqs := w.session(t)
	name := func(s string) []byte { return ssh.Marshal(struct{ S string }{s}) }
	pty := append(name("xterm"), bytes.Repeat([]byte{0, 0, 1, 9}, 4)...)
	pty = append(pty, name("\x01\x00\x00\x00\x03\x00")...)
	sent := []struct {
		kind string
		want bool
		data []byte
		ok   bool
	}{
		{"env", false, append(name("LANG"), name("C")...), false},
		{"env", true, append(name("LC_TIME"), name("x")...), true},
		{"pty-req", true, pty, true},
		{"window-change", false, bytes.Repeat([]byte{0, 0, 2, 1}, 4), false},
		{"shell", true, nil, true},
		{"window-change", false, bytes.Repeat([]byte{0, 0, 3, 1}, 4), false},
		{"signal", false, name("USR1"), false},
		{"break", true, []byte{0, 0, 1, 0}, false},
	}
	for i, r := range sent {
		ok, err := ch.SendRequest(r.kind, r.want, r.data)
		if err != nil || ok != r.ok {
			t.Fatalf("request %d, %s: answered %v, %v", i, r.kind, ok, err)
		}
		if got, want := <-seen, fmt.Sprintf("%s %v %s", r.kind, r.want, hex.EncodeToString(r.data)); got != want {
			t.Errorf("the host got %q, sent was %q", got, want)
		}
	}
	var back []string
	for r := range reqs {
		back = append(back, r.Type)
		if r.Type == "exit-signal" && !strings.Contains(string(r.Payload), "ouch") {
			t.Errorf("exit-signal came as %x", r.Payload)
		}
	}
	if !slices.Equal(back, []string{"xon-xoff", "exit-signal"}) {
		t.Errorf("the client got %v", back)
	}
}

func TestWhatNobodyGrantedIsAnsweredHere(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	seen := make(chan string, 100)
	fakeHost(w, func(_ ssh.Channel, reqs <-chan *ssh.Request) {
		for r := range reqs {
			seen <- r.Type
			_ = r.Reply(true, nil)
		}
	})
	client, ch, _ := w.session(t)
	name := func(s string) []byte { return ssh.Marshal(struct{ S string }{s}) }
	for _, r := range []struct {
		kind string
		data []byte
	}{
		{"env", append(name("LD_PRELOAD"), name("/tmp/x.so")...)},
		{"env", append(name("BASH_ENV"), name("/tmp/x")...)},
		{"env", nil},
		{"auth-agent-req@openssh.com", nil},
		{"x11-req", name("x")},
		{"no-such-thing@example.com", nil},
		{"winadj@putty.projects.tartarus.org", nil},
		{"", nil},
	} {
		if ok, err := ch.SendRequest(r.kind, true, r.data); ok || err != nil {
			t.Errorf("%q was answered %v, %v", r.kind, ok, err)
		}
	}
	for _, kind := range []string{"direct-tcpip", "direct-streamlocal@openssh.com", "tun@openssh.com", "forwarded-tcpip", "x11", "auth-agent@openssh.com", "", strings.Repeat("x", 9999)} {
		payload := ssh.Marshal(struct {
			Host string
			Port uint32
			From string
			Old  uint32
		}{"127.0.0.1", 22, "127.0.0.1", 1})
		if _, _, err := client.OpenChannel(kind, payload); err == nil || !strings.Contains(err.Error(), "does not include") {
			t.Errorf("channel %.40q: %v", kind, err)
		}
	}
	for _, kind := range []string{"tcpip-forward", "streamlocal-forward@openssh.com", "hostkeys-prove-00@openssh.com"} {
		if ok, _, err := client.SendRequest(kind, true, nil); ok || err != nil {
			t.Errorf("%s was answered %v, %v", kind, ok, err)
		}
	}
	client.Close()
	w.ending()
	if len(seen) != 0 {
		t.Errorf("the host got %s", <-seen)
	}
}

func TestASlowReaderStopsTheSender(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sent := make(chan int, 1)
	fakeHost(w, func(c ssh.Channel, reqs <-chan *ssh.Request) {
		for r := range reqs {
			_ = r.Reply(true, nil)
			go func() {
				piece, total := make([]byte, 32<<10), 0
				for range 2048 { // 64 MiB
					n, err := c.Write(piece)
					total += n
					if err != nil {
						break
					}
				}
				sent <- total
			}()
		}
	})
	client, ch, _ := w.session(t)
	if _, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ S string }{"x"})); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(ch, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	waitQuiet(t, w)
	client.Close()
	w.ending()
	// Two windows of 2 MiB, what is in flight here, and what the sockets hold.
	if n := <-sent; n > 24<<20 {
		t.Errorf("the host sent %d MiB to a client that read one", n>>20)
	}
}

// waitQuiet waits until nothing is recorded any more.
func waitQuiet(t *testing.T, w *world) {
	t.Helper()
	s := w.b.revoked.sessions()[0]
	last, same := uint64(0), 0
	for deadline := time.Now().Add(patience); same < 20; time.Sleep(10 * time.Millisecond) {
		n, _ := s.rec.Head()
		if n == last {
			same++
		} else {
			last, same = n, 0
		}
		if time.Now().After(deadline) {
			t.Fatal("the stream never stops")
		}
	}
}

func TestCapabilities(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		granted []string
		args    []string
		tool    string
		missing string // in what the admin reads; empty: it works
	}{
		{[]string{"exec"}, []string{"direct", "true"}, "ssh", ""},
		{[]string{"exec"}, []string{"phi1"}, "ssh", "shell"},
		{[]string{"shell"}, []string{"phi1", "true"}, "ssh", "exec"},
		{[]string{"shell"}, []string{"direct"}, "ssh", ""},
		{[]string{"shell", "exec"}, []string{"-b", "-", "direct"}, "sftp", "sftp-read"},
		{[]string{"shell", "exec", "sftp-read"}, []string{"-b", "-", "direct"}, "sftp", ""},
		{[]string{"sftp-read", "sftp-write"}, []string{"-b", "-", "direct"}, "sftp", ""},
		{[]string{"sftp-read", "sftp-write"}, []string{"-s", "direct", "netconf"}, "ssh", "subsystem"},
		{nil, []string{"direct", "true"}, "ssh", "exec"},
	} {
		t.Run(strings.Join(append(c.granted, c.tool), " "), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.answer(func(r *control.OpenReply) { r.Capabilities = c.granted })
			got := w.run("", c.tool, c.args...)
			if c.missing == "" {
				if got.status != 0 {
					t.Errorf("%+v", got)
				}
				return
			}
			if got.status == 0 || !strings.Contains(got.err, "your grant R-1 does not include") || !strings.Contains(got.err, c.missing) {
				t.Errorf("%+v", got)
			}
			for _, f := range w.recording(w.ending().Session) {
				if r, err := f.Request(); err == nil && r.Refused {
					return
				}
			}
			t.Error("the refusal is not recorded")
		})
	}
}

func TestTheHostCannotReachBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	answers := make(chan error, 3)
	key := w.hostCertificate(w.hostCA, newSigner(), "phi1")
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(key)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w.hostAt(l.Addr().String())
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		conn, chans, reqs, err := ssh.NewServerConn(c, config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(reqs)
		go func() {
			for ch := range chans {
				_ = ch.Reject(ssh.Prohibited, "the host's own words")
			}
		}()
		for _, kind := range []string{"forwarded-tcpip", "x11", "auth-agent@openssh.com"} {
			_, _, err := conn.OpenChannel(kind, nil)
			answers <- err
		}
	}()
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for range 3 {
		if err := <-answers; err == nil || !strings.Contains(err.Error(), "not granted") {
			t.Errorf("the host's channel was answered with %v", err)
		}
	}
	if _, _, err := client.OpenChannel("session", nil); err == nil || !strings.Contains(err.Error(), "the host's own words") {
		t.Errorf("a refusal of the host reads %v", err)
	}
}

func TestTheExitComesAfterTheOutput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	fakeHost(w, func(c ssh.Channel, reqs <-chan *ssh.Request) {
		for r := range reqs {
			_ = r.Reply(true, nil)
			if r.Type == "exec" {
				_, _ = c.SendRequest("exit-status", false, []byte{0, 0, 0, 9})
				_, _ = c.SendRequest("exit-status", false, []byte{0, 0, 0, 0})
				go func() {
					_, _ = c.Write(bytes.Repeat([]byte("x"), 3<<20))
					_, _ = c.Stderr().Write([]byte("last"))
					_ = c.CloseWrite()
					c.Close()
				}()
			}
		}
	})
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	s, _ := client.NewSession()
	var out, errs bytes.Buffer
	s.Stdout, s.Stderr = &out, &errs
	exit, ok := s.Run("x").(*ssh.ExitError)
	if !ok || exit.ExitStatus() != 9 || out.Len() != 3<<20 || errs.String() != "last" {
		t.Fatalf("exit %v, %d bytes, stderr %q", exit, out.Len(), errs.String())
	}
	client.Close()
	if got := len(stream(w.recording(w.ending().Session), recorder.Stdout)); got != 3<<20 {
		t.Errorf("%d bytes are recorded", got)
	}
}
