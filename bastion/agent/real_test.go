package agent

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"

	"postern/bastion/meter"
	"postern/recorder"
)

// world is a real ssh-agent with one key, and a socket through which programs reach it past a decoder.
type world struct {
	*testing.T
	dir, agent, guarded string
	key                 string // fingerprint

	mu   sync.Mutex
	told []recorder.AgentUse
}

func newWorld(t *testing.T) *world {
	dir, err := os.MkdirTemp("", "agent") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &world{T: t, dir: dir, agent: filepath.Join(dir, "agent"), guarded: filepath.Join(dir, "guarded")}
	daemon := exec.Command("ssh-agent", "-D", "-a", w.agent)
	ready, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatalf("this needs OpenSSH's ssh-agent (apt install openssh-client): %v", err)
	}
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	if _, err := ready.Read(make([]byte, 1)); err != nil { // it prints where it listens once it does
		t.Fatal(err)
	}
	w.run("", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "key")
	w.run(w.agent, "ssh-add", "-q", "key")
	w.key = strings.Fields(w.run("", "ssh-keygen", "-lf", "key.pub"))[1]
	listener, err := net.Listen("unix", w.guarded)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			host, err := listener.Accept()
			if err != nil {
				return
			}
			go w.serve(host)
		}
	}()
	return w
}

// serve is what a relay does for one channel.
func (w *world) serve(host net.Conn) {
	agent, err := net.Dial("unix", w.agent)
	if err != nil {
		w.Error(err)
		return
	}
	var log meter.Log
	d := New(&log)
	pump := func(from net.Conn, take func(dst, b []byte) (meter.Step, error), to, back io.Writer) {
		defer host.Close()
		defer agent.Close()
		for b := make([]byte, 100); ; {
			n, err := from.Read(b)
			if err != nil {
				return
			}
			w.mu.Lock()
			log.Reset()
			step, err := take(nil, b[:n])
			w.record(&log)
			_, _ = to.Write(step.Forward)
			_, _ = back.Write(step.Answer)
			w.mu.Unlock()
			if err != nil {
				w.Errorf("decoder: %v", err)
				return
			}
		}
	}
	go pump(agent, d.Client, host, io.Discard)
	pump(host, d.Host, agent, host)
}

func (w *world) record(log *meter.Log) {
	for _, f := range log.Frames() {
		e, err := f.Event()
		var use recorder.AgentUse
		if err != nil || e.Name != recorder.EventAgent || json.Unmarshal(e.JSON, &use) != nil {
			w.Errorf("%+v %v", f, err)
		}
		w.told = append(w.told, use)
	}
}

// try runs a program with an agent.
func (w *world) try(agent string, args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = w.dir, append(os.Environ(), "SSH_AUTH_SOCK="+agent, "SSH_ASKPASS="+filepath.Join(w.dir, "askpass"), "SSH_ASKPASS_REQUIRE=force", "LC_ALL=C")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (w *world) run(agent string, args ...string) string {
	w.Helper()
	out, err := w.try(agent, args...)
	if err != nil {
		w.Fatalf("%q: %v: %s", args, err, out)
	}
	return out
}

// fails runs a program that has to fail, past the decoder.
func (w *world) fails(args ...string) {
	w.Helper()
	if out, err := w.try(w.guarded, args...); err == nil {
		w.Errorf("%q works: %s", args, out)
	}
}

// uses are the events since the last call, in short.
func (w *world) uses() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, u := range w.told {
		text := u.Request
		if u.For != "" {
			text += " " + u.For
		}
		if u.Request == "sign" && u.Key != w.key {
			text += " with another key"
		}
		for _, is := range []struct {
			so   bool
			text string
		}{{u.Pending, "pending"}, {u.OK, "ok"}, {u.Denied, "denied"}} {
			if is.so {
				text += " " + is.text
			}
		}
		list = append(list, text)
	}
	w.told = nil
	return list
}

func (w *world) want(uses ...string) {
	w.Helper()
	if got := w.uses(); !slices.Equal(got, uses) {
		w.Errorf("events %q, want %q", got, uses)
	}
}

func TestReading(t *testing.T) {
	w := newWorld(t)
	if out := w.run(w.guarded, "ssh-add", "-l"); !strings.Contains(out, w.key) {
		t.Error(out)
	}
	w.want("list ok")
	if out := w.run(w.guarded, "ssh-add", "-L"); !strings.HasPrefix(out, "ssh-ed25519 ") {
		t.Error(out)
	}
	w.want("list ok")
	w.run(w.guarded, "ssh-add", "-T", "key.pub")
	w.want("sign pending", "sign ok")
	w.run("", "ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", "other")
	w.fails("ssh-add", "-T", "other.pub")
	w.want("sign with another key pending", "sign with another key")
}

// What would change the agent is refused, and the agent is as before.
func TestChanging(t *testing.T) {
	w := newWorld(t)
	w.run("", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", "mine")
	if err := os.WriteFile(filepath.Join(w.dir, "askpass"), []byte("#!/bin/sh\necho secret\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"ssh-add", "mine"}, "add denied"},
		{[]string{"ssh-add", "-t", "60", "mine"}, "add constrained denied"},
		{[]string{"ssh-add", "-c", "mine"}, "add constrained denied"},
		{[]string{"ssh-add", "-d", "key"}, "remove denied"},
		{[]string{"ssh-add", "-D"}, "remove all denied"},
		{[]string{"ssh-add", "-s", "/nowhere.so"}, "add smartcard denied"},
		{[]string{"ssh-add", "-e", "/nowhere.so"}, "remove smartcard denied"},
		{[]string{"ssh-add", "-x"}, "lock denied"},
		{[]string{"ssh-add", "-X"}, "unlock denied"},
	} {
		w.fails(c.args...)
		if got := w.uses(); !slices.Contains(got, c.want) || slices.ContainsFunc(got, func(use string) bool { return !strings.HasSuffix(use, " denied") }) {
			t.Errorf("%q: %q, want %q", c.args, got, c.want)
		}
	}
	if out := w.run(w.agent, "ssh-add", "-l"); strings.Count(out, "\n") != 1 || !strings.Contains(out, w.key) {
		t.Errorf("the agent changed: %s", out)
	}
}

func TestLogin(t *testing.T) {
	w := newWorld(t)
	port := w.server()
	out := w.run(w.guarded, "ssh", "-F", "none", "-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
		"-o", "IdentityFile=none", "-p", port, "bob@127.0.0.1", "true")
	if out != "hello bob" {
		t.Errorf("%q", out)
	}
	w.want("extension session-bind@openssh.com ok", "list ok", "sign login as bob pending", "sign login as bob ok")
}

// server lets everybody in who has a key, and greets them.
func (w *world) server() (port string) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		w.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		w.Fatal(err)
	}
	config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, nil }}
	config.AddHostKey(signer)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { listener.Close() })
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		conn, channels, requests, err := ssh.NewServerConn(c, config)
		if err != nil {
			w.Error(err)
			return
		}
		go ssh.DiscardRequests(requests)
		for channel := range channels {
			ch, requests, err := channel.Accept()
			if err != nil {
				return
			}
			for r := range requests {
				_ = r.Reply(true, nil)
				if r.Type == "exec" {
					_, _ = io.WriteString(ch, "hello "+conn.User())
					_, _ = ch.SendRequest("exit-status", false, make([]byte, 4))
					ch.Close()
				}
			}
		}
	}()
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port
}

// A file may be signed, but not what postern takes for somebody's decision.
func TestSignatures(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(filepath.Join(w.dir, "file"), bytes.Repeat([]byte("x"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	w.run(w.guarded, "ssh-keygen", "-q", "-Y", "sign", "-n", "git", "-f", "key.pub", "file")
	w.want("list ok", "sign signature for git pending", "sign signature for git ok")
	os.Remove(filepath.Join(w.dir, "file.sig"))
	w.fails("ssh-keygen", "-q", "-Y", "sign", "-n", "approval@postern", "-f", "key.pub", "file")
	w.want("list ok", "sign signature for approval@postern denied")
	if _, err := os.Stat(filepath.Join(w.dir, "file.sig")); err == nil {
		t.Error("it is signed")
	}
}
