package main

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"postern/ca/auditlog"
)

// newLog signs checkpoints as a log of its own key.
func newLog(t *testing.T) *auditlog.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := auditlog.NewSigner("postern-ca", private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func signed(t *testing.T, s *auditlog.Signer, n int64, hash byte) []byte {
	t.Helper()
	c, err := s.Checkpoint(auditlog.TreeHead{N: n, Hash: [32]byte{hash}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func remember(t *testing.T, home string, s *auditlog.Signer) *memory {
	t.Helper()
	m, err := openMemory(home, s.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Two CAs of one name are two logs, each with its own memory.
func TestMemoryOfTwoLogs(t *testing.T) {
	home := t.TempDir()
	one, two := newLog(t), newLog(t)
	for n, s := range []*auditlog.Signer{one, two} {
		m := remember(t, home, s)
		if b, tree, err := m.last(); b != nil || tree.N != 0 || err != nil {
			t.Fatal(tree, err)
		}
		if err := m.keep(signed(t, s, int64(n+5), 1)); err != nil {
			t.Fatal(err)
		}
		m.close()
	}
	for n, s := range []*auditlog.Signer{one, two} {
		m := remember(t, home, s)
		if _, tree, err := m.last(); tree.N != int64(n+5) || err != nil {
			t.Error(tree, err)
		}
		m.close()
	}
	if entries, err := os.ReadDir(filepath.Join(home, "log")); len(entries) != 2 || err != nil {
		t.Error(entries, err)
	}
}

func TestMemoryKeepsHistoryAndConflicts(t *testing.T) {
	home, s := t.TempDir(), newLog(t)
	m := remember(t, home, s)
	defer m.close()
	for n := int64(1); n <= 3; n++ {
		for range 2 { // the same again is no news
			if err := m.keep(signed(t, s, n, byte(n))); err != nil {
				t.Fatal(err)
			}
		}
	}
	history, err := os.ReadFile(m.history())
	if err != nil || strings.Count(string(history), "\n") != 3 {
		t.Errorf("%q, %v", history, err)
	}
	before, older, err := m.last()
	if err != nil {
		t.Fatal(err)
	}
	fork := signed(t, s, 3, 9)
	tree, err := auditlog.OpenCheckpoint(fork, s.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	err = m.conflict(auditlog.CheckConsistency(nil, tree, older), before, fork)
	if err == nil || !strings.Contains(err.Error(), "forked") {
		t.Fatal(err)
	}
	found, _ := filepath.Glob(filepath.Join(m.dir, "conflict-*"))
	if len(found) != 1 || !strings.Contains(err.Error(), found[0]) {
		t.Fatalf("%v: %v", found, err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil || !strings.Contains(string(text), string(before)) || !strings.Contains(string(text), string(fork)) || !strings.Contains(string(text), s.VerifierKey()) {
		t.Errorf("%s: %v", text, err)
	}
	if other := m.conflict(os.ErrPermission, before, fork); other != os.ErrPermission {
		t.Error(other)
	}
}

// A memory that somebody changed, or cut, is not taken for none: a fork would pass.
func TestMemoryDamaged(t *testing.T) {
	home, s := t.TempDir(), newLog(t)
	m := remember(t, home, s)
	good := signed(t, s, 7, 7)
	if err := m.keep(good); err != nil {
		t.Fatal(err)
	}
	m.close()
	for i := range good {
		forged := append([]byte(nil), good...)
		forged[i] ^= 1
		for _, b := range [][]byte{forged, good[:i]} {
			if err := os.WriteFile(m.path(), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, tree, err := m.last(); err == nil {
				t.Fatalf("byte %d: %q passes for the memory of %v", i, b, tree)
			} else if !strings.Contains(err.Error(), m.path()) {
				t.Fatal(err)
			}
		}
	}
}

// A look that is carried to a witness on paper reads as it was written, and as nothing else.
func TestLook(t *testing.T) {
	s := newLog(t)
	for _, l := range []look{
		{0, nil, signed(t, s, 3, 1)},
		{2, auditlog.Proof{{1}, {2}}, signed(t, s, 9, 1)},
	} {
		text := l.format()
		back, err := parseLook(text)
		if err != nil || string(back.format()) != string(text) || back.old != l.old || len(back.proof) != len(l.proof) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, bad := range []string{"", "old", "old x\n\ny", "old -1\n\ny", "new 1\n\ny", "old 1\nnonsense\n\ny"} {
		if _, err := parseLook([]byte(bad)); err == nil {
			t.Errorf("%q is a look", bad)
		}
	}
}

func FuzzLook(f *testing.F) {
	f.Add([]byte("old 0\n\npostern-ca\n1\nx\n\n— y\n"))
	f.Add([]byte("old 3\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\nnote"))
	f.Add([]byte("old +3\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\nnote"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if l, err := parseLook(text); err == nil && string(l.format()) != string(text) {
			t.Errorf("%q comes back as %q", text, l.format())
		}
	})
}
