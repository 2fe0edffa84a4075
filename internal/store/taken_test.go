package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTaken(t *testing.T) {
	dir := t.TempDir()
	db, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir, nil)
	for _, words := range []string{dir, fmt.Sprintf("process %d;", os.Getpid()), "stop that one first"} {
		if !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), words) || strings.Contains(err.Error(), "Badger") {
			t.Errorf("opened twice: %v; it does not say %q", err, words)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "LOCK"), []byte("999999999\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = Open(dir, nil); !errors.Is(err, ErrTaken) || !strings.Contains(err.Error(), "in use by another process;") {
		t.Errorf("a process that is gone: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if db, err = Open(dir, nil); err != nil {
		t.Fatal(err)
	}
	db.Close()
}
