package auditor

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

var november = control.RecordingKey{Month: "2026-11", Auditor: "carol"}

var now = time.Date(2026, 11, 3, 12, 0, 0, 0, time.UTC)

func noAsk(string) ([]byte, error) { return nil, errors.New("asked for a passphrase") }

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func newAuditor(t *testing.T) (string, age.Identity) {
	t.Helper()
	dir := t.TempDir()
	recipient, err := Create(dir, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	identity, err := Open(dir, Prompts{Ask: noAsk})
	if err != nil {
		t.Fatal(err)
	}
	return recipient, identity
}

func TestIdentity(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "home")
	recipient, err := Create(dir, nil, now)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Recipient(dir); err != nil || again != recipient || !strings.HasPrefix(recipient, "age1pq1") {
		t.Errorf("recipient %.20s and %.20s, %v", recipient, again, err)
	}
	if status, err := os.Stat(filepath.Join(dir, "auditor.key")); err != nil || status.Mode().Perm() != 0o600 {
		t.Errorf("auditor.key: %v, %v", status.Mode(), err)
	}
	if _, err := Open(dir, Prompts{Ask: noAsk}); err != nil {
		t.Error(err)
	}
	if _, err := Create(dir, nil, now); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("an identity was replaced: %v", err)
	}
	if _, err := Open(t.TempDir(), Prompts{Ask: noAsk}); err == nil || !strings.Contains(err.Error(), "postern auditor init") {
		t.Error(err)
	}
}

func TestPassphrase(t *testing.T) {
	dir := t.TempDir()
	if _, err := createSealed(dir, []byte("right"), 8, now); err != nil { // cheap to guess, and to test
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "auditor.key"))
	if err != nil || bytes.Contains(data, []byte("AGE-SECRET-KEY")) {
		t.Errorf("the secret is readable in the file: %v", err)
	}
	if _, err := Open(dir, Prompts{Ask: noAsk}); err == nil || !strings.Contains(err.Error(), "encrypted") {
		t.Error(err)
	}
	for passphrase, says := range map[string]string{"right": "", "left": "wrong passphrase"} {
		_, err := Open(dir, Prompts{Ask: func(string) ([]byte, error) { return []byte(passphrase), nil }})
		if (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("passphrase %q: %v", passphrase, err)
		}
	}
}

func TestRecordingKeyRoundTrip(t *testing.T) {
	carol, carolIdentity := newAuditor(t)
	cara, caraIdentity := newAuditor(t)
	_, stranger := newAuditor(t)
	file := filepath.Join(t.TempDir(), "auditors")
	if err := os.WriteFile(file, []byte("# the auditors\n"+cara+"\n\n"+carol+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	to, err := Recipients([]string{carol, file})
	if err != nil || len(to) != 2 {
		t.Fatalf("%d recipients, %v", len(to), err)
	}
	k, err := NewRecordingKey(november, newSigner(t), to)
	if err != nil {
		t.Fatal(err)
	}
	for name, identity := range map[string]age.Identity{"carol": carolIdentity, "cara": caraIdentity} {
		if private, err := OpenRecordingKey(k, identity); err != nil || private.ID() != k.ID {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := OpenRecordingKey(k, stranger); err == nil || !strings.Contains(err.Error(), "not sealed to you") {
		t.Errorf("a stranger opened the box: %v", err)
	}
	swapped, err := NewRecordingKey(november, newSigner(t), to)
	if err != nil {
		t.Fatal(err)
	}
	k.Box = swapped.Box
	if _, err := OpenRecordingKey(k, carolIdentity); err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("a box of another key passed: %v", err)
	}
	if _, err := k.Verify(); err == nil {
		t.Error("a swapped box passed the auditor's signature")
	}
}

func TestRecordingKeyRefusals(t *testing.T) {
	carol, _ := newAuditor(t)
	classic, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range [][]string{nil, {"age1nonsense"}, {"/no/such/file"}, {carol, classic.Recipient().String()}, {carol[:len(carol)-1]}} {
		if _, err := Recipients(words); err == nil {
			t.Errorf("accepted %.40q", words)
		}
	}
	to, err := Recipients([]string{carol})
	if err != nil {
		t.Fatal(err)
	}
	for _, month := range []string{"", "2026-13", "11-2026", "2026-11-01"} {
		if _, err := NewRecordingKey(control.RecordingKey{Month: month, Auditor: "carol"}, newSigner(t), to); err == nil {
			t.Errorf("accepted month %q", month)
		}
	}
	if _, err := OpenRecordingKey(control.RecordingKey{ID: "K-1", Box: []byte("junk")}, classic); err == nil {
		t.Error("opened junk")
	}
}
