package recorder

import (
	"bytes"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// PrivateKey is what an auditor opens recordings with. It never is on a bastion.
type PrivateKey struct {
	hpke hpke.PrivateKey
	one  *sessionKey // instead: of one recording
}

// PublicKey is what a bastion seals recordings to.
type PublicKey struct{ hpke hpke.PublicKey }

// NewKey makes a recording key.
func NewKey() (PrivateKey, PublicKey) {
	k, err := hpke.MLKEM768X25519().GenerateKey()
	if err != nil {
		panic("recorder: the system's random source is broken: " + err.Error())
	}
	return PrivateKey{hpke: k}, PublicKey{k.PublicKey()}
}

// ParsePrivateKey reads what [PrivateKey.Marshal] wrote.
func ParsePrivateKey(b []byte) (PrivateKey, error) {
	k, err := hpke.MLKEM768X25519().NewPrivateKey(b)
	if err != nil {
		return PrivateKey{}, fmt.Errorf("recording key, private half: %w", err)
	}
	return PrivateKey{hpke: k}, nil
}

// ParsePublicKey reads what [PublicKey.Marshal] wrote.
func ParsePublicKey(b []byte) (PublicKey, error) {
	k, err := hpke.MLKEM768X25519().NewPublicKey(b)
	if err != nil {
		return PublicKey{}, fmt.Errorf("recording key, public half: %w", err)
	}
	return PublicKey{k}, nil
}

// Marshal returns the 32 bytes that are the private half.
func (k PrivateKey) Marshal() []byte {
	b, err := k.hpke.Bytes()
	if err != nil {
		panic("recorder: a recording key without bytes: " + err.Error())
	}
	return b
}

// Public returns the public half.
func (k PrivateKey) Public() PublicKey { return PublicKey{k.hpke.PublicKey()} }

// ID names the key by its public half.
func (k PrivateKey) ID() string {
	if k.one != nil {
		return k.one.KeyID
	}
	return k.Public().ID()
}

// Marshal returns the bytes of the public half.
func (k PublicKey) Marshal() []byte { return k.hpke.Bytes() }

// ID is K- and the first 16 hex digits of the SHA-256 of the public half.
func (k PublicKey) ID() string {
	sum := sha256.Sum256(k.Marshal())
	return "K-" + hex.EncodeToString(sum[:8])
}

// Equal reports whether both are the same key.
func (k PublicKey) Equal(other PublicKey) bool { return bytes.Equal(k.Marshal(), other.Marshal()) }

// boxBinding is the HPKE info of a key box: a box moved to another session or key does not open.
type boxBinding struct {
	Version string
	Session string
	KeyID   string
}

const boxVersion = "postern-key-box-v1"

// sealRoot puts the root secret of a session into a box that only the private half opens.
func (k PublicKey) sealRoot(session string, root []byte) ([]byte, error) {
	info := ssh.Marshal(boxBinding{boxVersion, session, k.ID()})
	return hpke.Seal(k.hpke, hpke.HKDFSHA256(), hpke.AES256GCM(), info, root)
}

func (k PrivateKey) openRoot(session string, box []byte) ([]byte, error) {
	if k.one != nil {
		return k.one.openRoot(session, box)
	}
	info := ssh.Marshal(boxBinding{boxVersion, session, k.ID()})
	root, err := hpke.Open(k.hpke, hpke.HKDFSHA256(), hpke.AES256GCM(), info, box)
	if err != nil {
		return nil, err
	}
	if len(root) != 32 {
		return nil, fmt.Errorf("root of %d bytes, not 32", len(root))
	}
	return root, nil
}
