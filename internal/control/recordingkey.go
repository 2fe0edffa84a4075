package control

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"strings"
)

// RecordingKeyNamespace is the SSHSIG namespace in which an auditor signs a month's recording key.
const RecordingKeyNamespace = "recording-key@postern"

// RecordingKeyID names a public recording key: K- and the first 16 hex digits of its SHA-256.
func RecordingKeyID(public []byte) string {
	sum := sha256.Sum256(public)
	return "K-" + hex.EncodeToString(sum[:8])
}

// Statement is what the auditor signs and what the CA, the bastions and postern verify: the same bytes everywhere.
// It covers the box too, so that a CA cannot keep the public key and swap who may open its private half.
// Added is the CA's own and stays outside. A newline in a field would let one field speak for another, so it is escaped.
func (k RecordingKey) Statement() string {
	box := sha256.Sum256(k.Box)
	lines := []string{
		"postern recording key 1",
		"id: " + oneLine(k.ID),
		"month: " + oneLine(k.Month),
		"public: " + base64.StdEncoding.EncodeToString(k.Public),
		"box: sha256:" + hex.EncodeToString(box[:]),
		"auditor: " + oneLine(k.Auditor),
	}
	return strings.Join(lines, "\n") + "\n"
}

func oneLine(s string) string {
	return strings.NewReplacer("\\", "\\\\", "\n", "\\n", "\r", "\\r").Replace(s)
}
