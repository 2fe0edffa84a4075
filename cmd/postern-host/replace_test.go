package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func put(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// cutting is a disk that loses everything after the first n bytes of a write, and says so, or does not.
func cutting(n int, err error) disk {
	d := onDisk
	d.write = func(path string, data []byte, mode fs.FileMode) error {
		if e := writeSynced(path, data[:min(n, len(data))], mode); e != nil {
			return e
		}
		return err
	}
	return d
}

func TestReplaceCutAtEveryByte(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked_keys")
	old, next := "the old list", "the next list, which is longer"
	put(t, path, old)
	for n := range len(next) {
		for what, failure := range map[string]error{"disk full": syscall.ENOSPC, "lying disk": nil} {
			err := cutting(n, failure).replace(path, []byte(next), 0o644, nil)
			if err == nil || !strings.Contains(err.Error(), "stays as it is") || failure != nil && !errors.Is(err, failure) {
				t.Errorf("%s after %d bytes: %v", what, n, err)
			}
			if got := read(t, path); got != old {
				t.Fatalf("%s after %d bytes: the file is %q", what, n, got)
			}
		}
	}
	// What is left over of those attempts does not hinder the next.
	if err := onDisk.replace(path, []byte(next), 0o644, nil); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); got != next {
		t.Errorf("the file is %q", got)
	}
	if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the temporary file is still there: %v", err)
	}
}

// A crash at any step leaves the old file or the new one.
func TestReplaceStopsAtEveryStep(t *testing.T) {
	broken := errors.New("broken")
	for what, breakIt := range map[string]func(*disk){
		"write":  func(d *disk) { d.write = func(string, []byte, fs.FileMode) error { return broken } },
		"rename": func(d *disk) { d.rename = func(string, string) error { return broken } },
		"dir":    func(d *disk) { d.syncDir = func(string) error { return broken } },
		"flipped bit": func(d *disk) {
			d.write = func(path string, data []byte, mode fs.FileMode) error {
				flipped := bytes.Clone(data)
				flipped[1] ^= 4
				return writeSynced(path, flipped, mode)
			}
		},
		"file gone": func(d *disk) { d.write = func(string, []byte, fs.FileMode) error { return nil } },
	} {
		path := filepath.Join(t.TempDir(), "f")
		put(t, path, "old")
		d := onDisk
		breakIt(&d)
		if err := d.replace(path, []byte("new"), 0o644, nil); err == nil {
			t.Errorf("%s: no error", what)
		}
		want := "old"
		if what == "dir" {
			want = "new"
		}
		if got := read(t, path); got != want {
			t.Errorf("%s: the file is %q", what, got)
		}
	}
}

func TestReplaceChecks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, "old")
	err := onDisk.replace(path, []byte("new"), 0o644, func(b []byte) error { return errors.New("bad " + string(b)) })
	if err == nil || !strings.Contains(err.Error(), "bad new") || read(t, path) != "old" {
		t.Errorf("%v; the file is %q", err, read(t, path))
	}
}

// A link in the place of the temporary file must not lead us to write elsewhere.
func TestReplaceFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "f"), filepath.Join(dir, "victim")
	put(t, victim, "precious")
	if err := os.Symlink(victim, path+".new"); err != nil {
		t.Fatal(err)
	}
	if err := onDisk.replace(path, []byte("new"), 0o644, nil); err != nil {
		t.Fatal(err)
	}
	if read(t, victim) != "precious" || read(t, path) != "new" {
		t.Errorf("victim %q, file %q", read(t, victim), read(t, path))
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o644 {
		t.Errorf("mode %v", st.Mode())
	}
}

// sshd may read at any moment.
func TestReplaceUnderAReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	put(t, path, strings.Repeat("a", 8192))
	stop, stopped := make(chan struct{}), make(chan string)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			b, err := os.ReadFile(path)
			if err != nil || len(b) != 8192 || strings.Trim(string(b), string(b[:1])) != "" {
				stopped <- "a reader saw a file that was not whole"
				return
			}
		}
	}()
	for i := range 100 {
		if err := onDisk.replace(path, bytes.Repeat([]byte{byte('a' + i%26)}, 8192), 0o644, nil); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if complaint := <-stopped; complaint != "" {
		t.Error(complaint)
	}
}
