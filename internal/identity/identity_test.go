package identity

import (
	"crypto/ed25519"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestMakeAndRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "machine")
	if _, err := Read(dir, "postern-x"); err == nil || !strings.Contains(err.Error(), "postern-x init --dir "+dir) {
		t.Errorf("without a key: %v", err)
	}
	public, err := Make(dir, "postern-x")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(public, "ssh-ed25519 ") || !strings.Contains(public, " postern-x") || strings.Count(public, "\n") != 1 {
		t.Errorf("the public half is %q", public)
	}
	key, err := Read(dir, "postern-x")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key.SSH.PublicKey())))
	if !strings.HasPrefix(public, line+" ") {
		t.Errorf("init printed %q, serve uses %q", public, line)
	}
	raw, ok := key.Signer.Public().(ed25519.PublicKey)
	if half, err := ssh.NewPublicKey(raw); !ok || err != nil || string(half.Marshal()) != string(key.SSH.PublicKey().Marshal()) {
		t.Errorf("the two forms differ: %T, %v", key.Signer.Public(), err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "identity.pub")); err != nil || string(b) != public {
		t.Errorf("identity.pub holds %q, %v", b, err)
	}
	out, err := exec.Command("ssh-keygen", "-y", "-f", filepath.Join(dir, "identity")).Output()
	if err != nil || string(out) != public {
		t.Errorf("ssh-keygen reads %q, %v", out, err)
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "machine")
	if _, err := Make(dir, "postern-x"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]os.FileMode{"": 0o700, "identity": 0o600, "identity.pub": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: %v, %v", name, info.Mode(), err)
		}
	}
	path := filepath.Join(dir, "identity")
	for _, mode := range []os.FileMode{0o640, 0o604, 0o620, 0o644} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir, "postern-x"); err == nil || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestNoKeyIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "identity")
	public, err := Make(dir, "postern-x")
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Make(dir, "postern-x"); err == nil || !strings.Contains(err.Error(), path+" exists already") {
		t.Errorf("a second init: %v", err)
	}
	if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
		t.Errorf("the key changed: %v", err)
	}
	if b, err := os.ReadFile(path + ".pub"); err != nil || string(b) != public {
		t.Errorf("the public half changed to %q: %v", b, err)
	}
	wantFiles(t, dir, "identity", "identity.pub")
	// Not even a link that leads nowhere is followed.
	dir = t.TempDir()
	if err := os.Symlink("elsewhere", filepath.Join(dir, "identity")); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(dir, "postern-x"); err == nil {
		t.Error("a key was written through a link")
	}
	wantFiles(t, dir, "identity")
}

func TestAPublicHalfLeftBehindIsReplaced(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "identity.pub")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	public, err := Make(dir, "postern-x")
	if b, readErr := os.ReadFile(path); errors.Join(err, readErr) != nil || string(b) != public {
		t.Errorf("%q, %v, %v", b, err, readErr)
	}
}

func TestOneOfManyMakes(t *testing.T) {
	dir := t.TempDir()
	var wait sync.WaitGroup
	made := make(chan string, 8)
	for range cap(made) {
		wait.Go(func() {
			if public, err := Make(dir, "postern-x"); err == nil {
				made <- public
			}
		})
	}
	wait.Wait()
	close(made)
	if len(made) != 1 {
		t.Fatalf("%d made the key", len(made))
	}
	if b, err := os.ReadFile(filepath.Join(dir, "identity.pub")); err != nil || string(b) != <-made {
		t.Errorf("the public half is of another key: %v", err)
	}
	wantFiles(t, dir, "identity", "identity.pub")
}

func TestWhatIsNotAKey(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "identity")
	for _, text := range []string{"", "not a key", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(dir, "postern-x"); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if strings.Join(names, " ") != strings.Join(want, " ") {
		t.Errorf("%s holds %q, want %q", dir, names, want)
	}
}
