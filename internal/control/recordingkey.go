package control

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/sshsig"
)

// RecordingKeyNamespace is the SSHSIG namespace in which an auditor signs a month's recording key.
const RecordingKeyNamespace = "recording-key@postern"

// RecordingKeyID names a public recording key: K- and the first 16 hex digits of its SHA-256.
func RecordingKeyID(public []byte) string {
	sum := sha256.Sum256(public)
	return "K-" + hex.EncodeToString(sum[:8])
}

// Statement is what the auditor signs and what the CA, the bastions and postern verify: the same bytes everywhere.
// It covers the hash of the box too, so that the log says who could open it from when to when, and the box can be destroyed.
// Added is the CA's own and stays outside. A newline in a field would let one field speak for another, so it is escaped.
func (k RecordingKey) Statement() string {
	lines := []string{
		"postern recording key 1",
		"id: " + oneLine(k.ID),
		"month: " + oneLine(k.Month),
		"public: " + base64.StdEncoding.EncodeToString(k.Public),
		"box: " + oneLine(k.BoxSum),
		"auditor: " + oneLine(k.Auditor),
	}
	if k.Purpose != "" { // keys of sessions were signed before there was another purpose
		lines = append(lines, "purpose: "+oneLine(k.Purpose))
	}
	for _, to := range k.Recipients {
		lines = append(lines, "recipient: "+to.line())
	}
	return strings.Join(lines, "\n") + "\n"
}

func oneLine(s string) string {
	return strings.NewReplacer("\\", "\\\\", "\n", "\\n", "\r", "\\r").Replace(s)
}

// Verify checks that k is whole and returns the SSH key that signed it, which is AuditKey. Whether that key is an
// auditor's is the caller's to say: the CA and verifiers go by the policy, a bastion by its own list. So is whether the
// purpose is the one that is needed: a key for the one must never be taken for the other.
func (k RecordingKey) Verify() (ssh.PublicKey, error) {
	if k.ID != RecordingKeyID(k.Public) {
		return nil, fmt.Errorf("recording key %q: its public half is %s", k.ID, RecordingKeyID(k.Public))
	}
	if _, err := time.Parse("2006-01", k.Month); err != nil {
		return nil, fmt.Errorf("recording key %s: month %q is not one like 2026-11", k.ID, k.Month)
	}
	if k.Auditor == "" || !sumForm().MatchString(k.BoxSum) {
		return nil, fmt.Errorf("recording key %s: no auditor or no hash of its box; a key of before there was one is made anew with: postern recording-key new", k.ID)
	}
	if err := checkRecipients(k.Recipients); err != nil {
		return nil, fmt.Errorf("recording key %s: %w", k.ID, err)
	}
	if err := k.checkBox(); err != nil {
		return nil, err
	}
	signature, err := sshsig.Verify([]byte(k.Signature), RecordingKeyNamespace, []byte(k.Statement()))
	if err != nil {
		return nil, fmt.Errorf("recording key %s: %w", k.ID, err)
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(k.AuditKey))
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("recording key %s: audit_key is not one key", k.ID)
	}
	if !bytes.Equal(key.Marshal(), signature.Key.Marshal()) {
		return nil, errors.New("recording key " + k.ID + ": signed by another key than its audit_key")
	}
	return key, nil
}

// checkBox holds the box, if it is there, against what was signed of it.
func (k RecordingKey) checkBox() error {
	if k.Rewrap != nil {
		if k.Rewrap.Key != k.ID {
			return fmt.Errorf("recording key %s: its rewrap is of %s", k.ID, oneLine(k.Rewrap.Key))
		}
		if _, err := k.Rewrap.Verify(); err != nil {
			return err
		}
	}
	if len(k.Box) > 0 && BoxSum(k.Box) != k.CurrentSum() {
		return fmt.Errorf("recording key %s: the box is not the one that was signed", k.ID)
	}
	return nil
}
