package bastion

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

const clientConfig = `
Host bastion phi1 direct phi1.example
  IdentityFile %[1]s/alice
  CertificateFile %[1]s/alice-cert.pub
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile %[1]s/known_hosts
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  BatchMode yes
Host bastion direct
  HostName %[2]s
  Port %[3]s
  HostKeyAlias bastion-1
Host bastion
  User jump
Host direct
  User %[4]s@phi1
Host phi1 phi1.example
  User %[4]s
  ProxyJump bastion
`

func (w *world) clientFiles() {
	w.alice = keptSigner(w.t, w.file("alice"))
	w.useCertificate(w.certificate(nil))
	host, port, _ := net.SplitHostPort(w.address)
	w.write("known_hosts", "@cert-authority * "+line(w.gatewayCA.PublicKey())+"\n")
	w.write("ssh_config", fmt.Sprintf(clientConfig, w.dir, host, port, w.account))
}

func (w *world) useCertificate(c *ssh.Certificate) { w.write("alice-cert.pub", line(c)+"\n") }

// result is what a command of OpenSSH's left.
type result struct {
	out, err string
	status   int
}

func (w *world) command(name string, args ...string) *exec.Cmd {
	return exec.Command(name, append([]string{"-F", w.file("ssh_config")}, args...)...)
}

func (w *world) run(stdin, name string, args ...string) result {
	w.t.Helper()
	cmd := w.command(name, args...)
	return w.finish(cmd, strings.NewReader(stdin))
}

func (w *world) finish(cmd *exec.Cmd, stdin io.Reader) result {
	w.t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	kill := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer kill.Stop()
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.t.Fatalf("%s: %v", cmd, err)
	}
	return result{out.String(), errs.String(), cmd.ProcessState.ExitCode()}
}

// syncBuffer can be waited for.
type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// rests waits until nothing more comes for a while.
func (s *syncBuffer) rests(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for before, since := -1, time.Now(); time.Since(since) < 300*time.Millisecond; time.Sleep(5 * time.Millisecond) {
		if n := len(s.String()); n != before {
			before, since = n, time.Now()
		}
		if time.Now().After(deadline) {
			t.Fatal("it never rests")
		}
	}
}

// holds waits until so many bytes have come.
func (s *syncBuffer) holds(t testing.TB, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); len(s.String()) < n; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes came, not %d", len(s.String()), n)
		}
	}
}

func (s *syncBuffer) wait(t testing.TB, texts ...string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for _, text := range texts {
		for !strings.Contains(s.String(), text) {
			if time.Now().After(deadline) {
				t.Fatalf("no %q in %q", text, s.String())
			}
			time.Sleep(time.Millisecond)
		}
	}
}

// dial logs in with x/crypto, for what OpenSSH would not do.
func (w *world) dial(user string, cert *ssh.Certificate) (*ssh.Client, string, error) {
	var banner strings.Builder
	signer := w.alice
	if cert != nil {
		var err error
		if signer, err = ssh.NewCertSigner(cert, w.alice); err != nil {
			return nil, "", err
		}
	}
	c, err := ssh.Dial("tcp", w.address, &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), Timeout: 10 * time.Second,
		BannerCallback: func(m string) error { banner.WriteString(m); return nil },
	})
	return c, banner.String(), err
}

// ending waits for the next session to end.
func (w *world) ending() control.Progress {
	w.t.Helper()
	select {
	case p := <-w.ended:
		return p
	case <-time.After(patience):
		w.t.Fatal("no session ended")
		panic("unreachable")
	}
}

// recording reads back what was recorded of a session, the way an auditor does.
func (w *world) recording(id string, compartments ...recorder.PrivateKey) (frames []recorder.Frame) {
	w.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		r, err := w.b.Recorder.Recording(id)
		if err == nil && r.Sealed {
			break
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("recording %s is not sealed: %v", id, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
	var sealed bytes.Buffer
	if err := w.b.Recorder.Export(id, &sealed); err != nil {
		w.t.Fatal(err)
	}
	r, err := recorder.Open(&sealed, w.private, w.signing.Public())
	if err != nil {
		w.t.Fatal(err)
	}
	for _, key := range compartments {
		if err := r.OpenCompartment(key); err != nil {
			w.t.Fatal(err)
		}
	}
	for {
		f, err := r.Next()
		if err == io.EOF {
			return frames
		}
		if err != nil {
			w.t.Fatal(err)
		}
		f.Data = bytes.Clone(f.Data)
		frames = append(frames, f)
	}
}

func stream(frames []recorder.Frame, n byte) string {
	var b strings.Builder
	for _, f := range frames {
		if f.Type == recorder.TypeData && f.Stream == n {
			b.Write(f.Data)
		}
	}
	return b.String()
}
