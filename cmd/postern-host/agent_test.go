package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/identity"
)

// watched is an agent at work, and what it logs.
type watched struct {
	*agent
	ca  *testCA
	log lines
}

// lines is a writer that tests can wait on.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
	more chan struct{}
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(p)
	select {
	case l.more <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until the log holds each of these words n times.
func (w *watched) await(t *testing.T, words string, n int) {
	t.Helper()
	limit := time.After(20 * time.Second)
	for strings.Count(w.log.String(), words) < n {
		select {
		case <-w.log.more:
		case <-limit:
			t.Fatalf("%q was not logged %d times:\n%s", words, n, w.log.String())
		}
	}
}

func newAgent(t testing.TB, every time.Duration, withCertificate bool) *watched {
	t.Helper()
	dir := t.TempDir()
	if _, err := identity.Make(dir, program); err != nil {
		t.Fatal(err)
	}
	id, err := identity.Read(dir, program)
	if err != nil {
		t.Fatal(err)
	}
	w := &watched{log: lines{more: make(chan struct{}, 1)}}
	w.ca = newTestCA(t, id.SSH.PublicKey(), filepath.Join(dir, "known_hosts"))
	w.agent = &agent{
		ca:      control.Config{Address: w.ca.address, Signers: []ssh.Signer{id.SSH}, KnownHosts: filepath.Join(dir, "known_hosts")},
		revoked: revokedKeys{path: filepath.Join(dir, "revoked_keys"), disk: onDisk},
		log:     slog.New(slog.NewTextHandler(io.MultiWriter(&w.log, t.Output()), nil)),
		every:   every,
	}
	if withCertificate {
		key, _ := newSigner(t)
		hostCA, _ := newSigner(t)
		w.certificate = &hostCertificate{key: key.PublicKey(), ca: hostCA.PublicKey(), path: filepath.Join(dir, "cert"), disk: onDisk}
		w.ca.certify = func(asked ssh.PublicKey) (*ssh.Certificate, string) {
			return newCert(t, hostCA, asked, ssh.Certificate{CertType: ssh.HostCert, ValidPrincipals: []string{"phi1"}}), ""
		}
	}
	return w
}

func (w *watched) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the agent ended with %v", err)
		}
	})
}

func TestAgentFollows(t *testing.T) {
	w := newAgent(t, time.Hour, true)
	now := time.Now()
	w.ca.publish(list(t, 0, now), false)
	w.start(t)
	w.await(t, "revocation list is installed", 1)
	w.await(t, "host certificate is installed", 1)
	if got := read(t, w.revoked.path); got != string(list(t, 0, now)) {
		t.Errorf("the file holds %x", got)
	}

	began := time.Now()
	w.ca.publish(list(t, 1, now, 7), true)
	w.await(t, "revocation list is installed", 2)
	t.Logf("a revocation was on disk after %v", time.Since(began))
	if got := read(t, w.revoked.path); got != string(list(t, 1, now, 7)) {
		t.Errorf("the file holds %x", got)
	}

	// What a rolled back, cut or emptied CA sends changes nothing.
	for i, bad := range [][]byte{list(t, 0, now), nil, list(t, 2, now, 7)[:70], []byte("ssh-ed25519 AAAA\n")} {
		w.ca.publish(bad, true)
		w.await(t, "revocation list is not installed", i+1)
		if got := read(t, w.revoked.path); got != string(list(t, 1, now, 7)) {
			t.Errorf("bad list %d: the file holds %x", i, got)
		}
	}

	// The connection is lost and what happened meanwhile is caught up with.
	w.ca.publish(list(t, 2, now, 7, 8), false)
	w.ca.drop()
	w.await(t, "lost the CA", 1)
	w.await(t, "revocation list is installed", 3)
	if got := read(t, w.revoked.path); got != string(list(t, 2, now, 7, 8)) {
		t.Errorf("the file holds %x", got)
	}
	if n := strings.Count(w.log.String(), "host certificate is installed"); n != 1 {
		t.Errorf("%d host certificates for one", n)
	}
}

func TestAgentRefreshesUnasked(t *testing.T) {
	w := newAgent(t, 10*time.Millisecond, false)
	now := time.Now()
	w.ca.publish(list(t, 1, now), false)
	w.start(t)
	w.await(t, "revocation list is installed", 1)
	w.ca.publish(list(t, 2, now, 7), false)
	w.await(t, "revocation list is installed", 2)
}

func TestAgentIsRefusedACertificate(t *testing.T) {
	w := newAgent(t, time.Hour, true)
	w.ca.certify = func(ssh.PublicKey) (*ssh.Certificate, string) { return nil, "phi1 is not trusted through the host CA" }
	w.ca.publish(list(t, 1, time.Now()), false)
	w.start(t)
	w.await(t, "phi1 is not trusted through the host CA", 1)
	w.await(t, "revocation list is installed", 1)
	if strings.Contains(w.log.String(), "lost the CA") {
		t.Error("a refusal was taken for a lost connection")
	}
}

func TestAgentRemovesADamagedList(t *testing.T) {
	w := newAgent(t, time.Hour, false)
	whole := list(t, 3, time.Now(), 7)
	put(t, w.revoked.path, string(whole[:len(whole)-9]))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.run(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(w.revoked.path); !os.IsNotExist(err) {
		t.Errorf("a cut list is still in force: %v", err)
	}
}

// Somebody else's CA is not believed.
func TestAgentChecksTheCA(t *testing.T) {
	w := newAgent(t, time.Hour, false)
	w.ca.publish(list(t, 1, time.Now()), false)
	stranger, _ := newSigner(t)
	put(t, w.agent.ca.KnownHosts, "@cert-authority "+control.DefaultName+" "+string(ssh.MarshalAuthorizedKey(stranger.PublicKey())))
	w.start(t)
	w.await(t, "lost the CA", 2)
	if _, err := os.Stat(w.revoked.path); !os.IsNotExist(err) {
		t.Errorf("the list of a stranger is in force: %v", err)
	}
}

func TestServeSaysWhatIsMissing(t *testing.T) {
	dir := t.TempDir()
	if _, err := lock(filepath.Join(dir, "none")); err == nil || !strings.Contains(err.Error(), "postern-host init --dir") {
		t.Error(err)
	}
	unlock, err := lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir); err == nil || !strings.Contains(err.Error(), "another postern-host") {
		t.Error(err)
	}
	unlock()
	if unlock, err = lock(dir); err != nil {
		t.Error(err)
	} else {
		unlock()
	}
}
