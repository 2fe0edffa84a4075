package auditlog

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Signer signs checkpoints with an Ed25519 key that may live anywhere. It is a [note.Signer].
type Signer struct {
	name string
	hash uint32
	key  crypto.Signer
	vkey string
}

// NewSigner makes the signer of the log called name.
func NewSigner(name string, key crypto.Signer) (*Signer, error) {
	pub, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("log key: not an Ed25519 key")
	}
	vkey, err := note.NewEd25519VerifierKey(name, pub)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	return &Signer{name: name, hash: v.KeyHash(), key: key, vkey: vkey}, nil
}

// Name implements [note.Signer].
func (s *Signer) Name() string { return s.name }

// KeyHash implements [note.Signer].
func (s *Signer) KeyHash() uint32 { return s.hash }

// Sign implements [note.Signer].
func (s *Signer) Sign(msg []byte) ([]byte, error) {
	return s.key.Sign(rand.Reader, msg, crypto.Hash(0))
}

// VerifierKey is the line by which others check the log: name+hash+key.
func (s *Signer) VerifierKey() string { return s.vkey }

// Checkpoint signs tree.
func (s *Signer) Checkpoint(tree tlog.Tree) ([]byte, error) {
	text := fmt.Sprintf("%s\n%d\n%s\n", s.name, tree.N, base64.StdEncoding.EncodeToString(tree.Hash[:]))
	return note.Sign(&note.Note{Text: text}, s)
}

// OpenCheckpoint checks the signature of a checkpoint by the log with that verifier key and returns the tree.
func OpenCheckpoint(checkpoint []byte, vkey string) (tlog.Tree, error) {
	verifier, err := note.NewVerifier(strings.TrimSpace(vkey))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("log verifier key: %w", err)
	}
	n, err := note.Open(checkpoint, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, fmt.Errorf("checkpoint: %w", err)
	}
	for _, s := range n.Sigs { // one signature, one text: what decodes in two ways is no evidence
		if _, err := base64.StdEncoding.Strict().DecodeString(s.Base64); err != nil {
			return tlog.Tree{}, fmt.Errorf("checkpoint: signature of %s: %w", s.Name, err)
		}
	}
	lines := strings.SplitN(n.Text, "\n", 4)
	if len(lines) < 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("checkpoint: not one of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 || strconv.FormatInt(size, 10) != lines[1] {
		return tlog.Tree{}, fmt.Errorf("checkpoint: size %q", lines[1])
	}
	hash, err := tlog.ParseHash(lines[2])
	if err != nil || hash.String() != lines[2] { // which base64 may write in several ways
		return tlog.Tree{}, fmt.Errorf("checkpoint: root %.60q", lines[2])
	}
	return tlog.Tree{N: size, Hash: hash}, nil
}
