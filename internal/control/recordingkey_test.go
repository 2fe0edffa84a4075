package control

import (
	"crypto/ed25519"
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"postern/internal/sshsig"
)

func signedKey(t *testing.T, seed byte, purpose ...string) RecordingKey {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), 32))))
	if err != nil {
		t.Fatal(err)
	}
	k := RecordingKey{Month: "2026-11", Public: []byte("the public half"), Auditor: "carol", Box: []byte("box"), BoxSum: BoxSum([]byte("box")), Purpose: strings.Join(purpose, "")}
	k.ID = RecordingKeyID(k.Public)
	k.AuditKey = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	signature, err := sshsig.Sign(signer, RecordingKeyNamespace, []byte(k.Statement()))
	if err != nil {
		t.Fatal(err)
	}
	k.Signature = string(signature)
	return k
}

// The exact bytes are what years of signatures cover: they must never change.
func TestRecordingKeyStatement(t *testing.T) {
	k := RecordingKey{ID: "K-0123456789abcdef", Month: "2026-11", Public: []byte{1, 2, 3}, Auditor: "carol\nmonth: 2027-01", Box: []byte("box"), BoxSum: BoxSum([]byte("box"))}
	want := "postern recording key 1\nid: K-0123456789abcdef\nmonth: 2026-11\npublic: " + base64.StdEncoding.EncodeToString([]byte{1, 2, 3}) +
		"\nbox: sha256:26f8567f2569182294c3fa5b9f9cb2270b554eef628b4c149cf82a42888ff4ae\nauditor: carol\\nmonth: 2027-01\n"
	if got := k.Statement(); got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
	k.Purpose = Keystrokes
	if got := k.Statement(); got != want+"purpose: keystrokes\n" {
		t.Errorf("for keystrokes: %q", got)
	}
	k.Purpose, k.Auditor = "", k.Auditor+"\npurpose: keystrokes"
	if got := k.Statement(); strings.Contains(got, "\npurpose: ") {
		t.Errorf("the auditor speaks for the purpose: %q", got)
	}
}

// The attack: what one auditor signed for the key that all of them hold is taken for the one that few hold, or the other way round.
func TestThePurposeIsSigned(t *testing.T) {
	session := signedKey(t, 'a')
	session.Purpose = Keystrokes
	if _, err := session.Verify(); err == nil {
		t.Error("a session's key passed for keystrokes")
	}
	keystrokes := signedKey(t, 'a', Keystrokes)
	if _, err := keystrokes.Verify(); err != nil {
		t.Fatal(err)
	}
	keystrokes.Purpose = ""
	if _, err := keystrokes.Verify(); err == nil {
		t.Error("a key for keystrokes passed for a session's")
	}
}

func TestRecordingKeyVerify(t *testing.T) {
	good := signedKey(t, 'a')
	key, err := good.Verify()
	if err != nil || ssh.FingerprintSHA256(key) == "" {
		t.Fatal(err)
	}
	other := signedKey(t, 'b')
	for name, spoil := range map[string]func(*RecordingKey){
		"another public half":     func(k *RecordingKey) { k.Public = []byte("mine") },
		"public half with its ID": func(k *RecordingKey) { k.Public = []byte("mine"); k.ID = RecordingKeyID(k.Public) },
		"another month":           func(k *RecordingKey) { k.Month = "2026-12" },
		"no month":                func(k *RecordingKey) { k.Month = "2026-13" },
		"another box":             func(k *RecordingKey) { k.Box = []byte("theirs") },
		"another auditor":         func(k *RecordingKey) { k.Auditor = "mallory" },
		"another's key":           func(k *RecordingKey) { k.AuditKey = other.AuditKey },
		"another's signature":     func(k *RecordingKey) { k.Signature = other.Signature },
		"no signature":            func(k *RecordingKey) { k.Signature = "" },
		"two keys":                func(k *RecordingKey) { k.AuditKey += "\n" + other.AuditKey },
	} {
		k := good
		spoil(&k)
		if _, err := k.Verify(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
