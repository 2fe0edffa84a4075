package keys

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestInitAndOpen(t *testing.T) {
	for name, pass := range map[string][]byte{"plain": nil, "encrypted": []byte("correct horse")} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), "postern-ca init --dir "+dir) {
				t.Fatalf("open without keys: %v", err)
			}
			if err := Init(dir, "postern-ca", pass); err != nil {
				t.Fatal(err)
			}
			s, err := Open(dir, pass)
			if err != nil {
				t.Fatal(err)
			}
			if s.Name != "postern-ca" || len(s.Store) != 32 {
				t.Fatalf("%+v", s)
			}
			if err := Init(dir, "postern-ca", pass); err == nil {
				t.Fatal("init replaced keys")
			}
			judge(t, dir, pass)
		})
	}
}

// ssh-keygen must read what we write, and only with the passphrase.
func judge(t *testing.T, dir string, pass []byte) {
	t.Helper()
	judged := names
	if pass != nil {
		judged = names[:1] // bcrypt-pbkdf takes its time
	}
	for _, n := range judged {
		path := filepath.Join(dir, "keys", n)
		out, err := exec.Command("ssh-keygen", "-y", "-P", string(pass), "-f", path).Output()
		if err != nil {
			t.Fatalf("ssh-keygen -y %s: %v", n, err)
		}
		pub, _ := os.ReadFile(path + ".pub")
		if strings.Fields(string(out))[1] != strings.Fields(string(pub))[1] {
			t.Fatalf("%s: ssh-keygen sees another key", n)
		}
		if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
			t.Fatalf("%s: mode %v", n, info.Mode())
		}
		if pass != nil && exec.Command("ssh-keygen", "-y", "-P", "wrong", "-f", path).Run() == nil {
			t.Fatalf("%s opens with a wrong passphrase", n)
		}
	}
}

func TestOpenSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	if err := Init(dir, "postern-ca", []byte("secret")); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, nil); err == nil || !strings.Contains(err.Error(), "--passphrase-file") {
		t.Errorf("encrypted, no passphrase: %v", err)
	}
	if _, err := Open(dir, []byte("wrong")); err == nil {
		t.Error("opened with a wrong passphrase")
	}
	path := filepath.Join(dir, "keys", User)
	os.Chmod(path, 0o644)
	if _, err := Open(dir, []byte("secret")); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
	for _, name := range []string{"", "-x", "a b", "Ca", "a*", strings.Repeat("a", 65)} {
		if Init(t.TempDir(), name, nil) == nil {
			t.Errorf("name %q accepted", name)
		}
	}
}
