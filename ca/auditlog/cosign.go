package auditlog

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// A cosignature is a witness's word that, at a time, a checkpoint was the largest it had seen of that log and that all
// it had seen before was a prefix of it: C2SP tlog-cosignature, the form cosignature/v1.

// cosignatureType is that of Ed25519 keys of witnesses in verifier keys, and in the hash that names them.
const cosignatureType = 0x04

const timestampSize = 8

// Witness is the public half of a witness's key. It is a [note.Verifier] of its cosignatures.
type Witness struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

// ParseWitness reads a verifier key NAME+HASH+KEY of type 4. Those of logs are refused: what a log says of itself is no witness.
func ParseWitness(vkey string) (*Witness, error) {
	vkey = strings.TrimSpace(vkey)
	name, rest, _ := strings.Cut(vkey, "+")
	_, encoded, _ := strings.Cut(rest, "+")
	key, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || len(key) != 1+ed25519.PublicKeySize || !witnessName(name) {
		return nil, fmt.Errorf("witness %.80q: not a verifier key like NAME+HASH+KEY", vkey)
	}
	if key[0] != cosignatureType {
		return nil, fmt.Errorf("witness %s: a key of type %d; those that cosign are of type %d: postern witness vkey prints one", name, key[0], cosignatureType)
	}
	w := newWitness(name, key[1:])
	if w.VerifierKey() != vkey {
		return nil, fmt.Errorf("witness %s: the hash in its verifier key is not that of the key", name)
	}
	return w, nil
}

// witnessName says whether a name can stand in a signed note.
func witnessName(name string) bool {
	return name != "" && len(name) <= 100 && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '+' || r >= 0x7f })
}

func newWitness(name string, key ed25519.PublicKey) *Witness {
	h := sha256.New()
	h.Write(append([]byte(name+"\n"), cosignatureType))
	h.Write(key)
	return &Witness{name, binary.BigEndian.Uint32(h.Sum(nil)), key}
}

// VerifierKey is the line by which others check the witness.
func (w *Witness) VerifierKey() string {
	return fmt.Sprintf("%s+%08x+%s", w.name, w.hash, base64.StdEncoding.EncodeToString(append([]byte{cosignatureType}, w.key...)))
}

// Name implements [note.Verifier].
func (w *Witness) Name() string { return w.name }

// KeyHash implements [note.Verifier].
func (w *Witness) KeyHash() uint32 { return w.hash }

// Verify implements [note.Verifier].
func (w *Witness) Verify(body, signature []byte) bool {
	if len(signature) != timestampSize+ed25519.SignatureSize {
		return false
	}
	at := binary.BigEndian.Uint64(signature)
	return at <= math.MaxInt64 && ed25519.Verify(w.key, cosigned(body, at), signature[timestampSize:])
}

func cosigned(body []byte, at uint64) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", at), body...)
}

// Cosigner is a witness with its private key.
type Cosigner struct {
	Witness
	key ed25519.PrivateKey
	at  time.Time
}

// NewCosigner makes the key of a witness: secret is for [OpenCosigner] and nobody else.
func NewCosigner(name string, seed []byte) (*Cosigner, error) {
	if !witnessName(name) {
		return nil, fmt.Errorf("witness %q: a name is 1 to 100 printable ASCII characters without space and +", name)
	}
	if len(seed) != ed25519.SeedSize {
		return nil, errors.New("key of the witness: not 32 bytes")
	}
	key := ed25519.NewKeyFromSeed(seed)
	return &Cosigner{Witness: *newWitness(name, key.Public().(ed25519.PublicKey)), key: key}, nil
}

// Secret is the private key in the form that notes use, PRIVATE+KEY+NAME+HASH+KEY.
func (c *Cosigner) Secret() string {
	seed := append([]byte{cosignatureType}, c.key.Seed()...)
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", c.name, c.hash, base64.StdEncoding.EncodeToString(seed))
}

// OpenCosigner reads what [Cosigner.Secret] wrote.
func OpenCosigner(secret string) (*Cosigner, error) {
	secret = strings.TrimSpace(secret)
	parts := strings.SplitN(strings.TrimPrefix(secret, "PRIVATE+KEY+"), "+", 3)
	seed, err := base64.StdEncoding.Strict().DecodeString(parts[len(parts)-1])
	if err != nil || len(parts) != 3 || len(seed) != 1+ed25519.SeedSize || seed[0] != cosignatureType {
		return nil, errors.New("not the private key of a witness; postern witness init makes one")
	}
	c, err := NewCosigner(parts[0], seed[1:])
	if err == nil && c.Secret() != secret {
		err = errors.New("private key of the witness: damaged")
	}
	return c, err
}

// Sign implements [note.Signer].
func (c *Cosigner) Sign(body []byte) ([]byte, error) {
	at := uint64(c.at.Unix())
	return append(binary.BigEndian.AppendUint64(nil, at), ed25519.Sign(c.key, cosigned(body, at))...), nil
}

// Cosign adds the witness's signature to a checkpoint of the log with that verifier key, as of a time. Whether the
// checkpoint is consistent with all that was seen before is for the caller to make sure of, before.
func (c *Cosigner) Cosign(checkpoint []byte, vkey string, at time.Time) ([]byte, error) {
	if _, err := OpenCheckpoint(checkpoint, vkey); err != nil {
		return nil, err // it may be a note and no checkpoint
	}
	n, err := openNote(checkpoint, vkey)
	if err != nil {
		return nil, err
	}
	signer := *c
	signer.at = at
	n.UnverifiedSigs = nil // other witnesses' signatures travel on their own
	return note.Sign(n, &signer)
}

func openNote(checkpoint []byte, vkey string, also ...note.Verifier) (*note.Note, error) {
	verifier, err := note.NewVerifier(strings.TrimSpace(vkey))
	if err != nil {
		return nil, fmt.Errorf("log verifier key: %w", err)
	}
	n, err := note.Open(checkpoint, note.VerifierList(append(also, verifier)...))
	if err != nil {
		return nil, fmt.Errorf("checkpoint: %w", err)
	}
	return n, nil
}

// Cosignature is one that verifies.
type Cosignature struct {
	Witness string    `json:"witness"` // name
	Key     string    `json:"key"`     // verifier key
	At      time.Time `json:"at"`
}

// Cosignatures returns which of the witnesses cosigned a checkpoint, each once. A signature that is by none of them is passed
// over; one that claims to be and does not verify is an error.
func Cosignatures(checkpoint []byte, vkey string, witnesses []*Witness) ([]Cosignature, error) {
	if _, err := OpenCheckpoint(checkpoint, vkey); err != nil {
		return nil, err // a note that only the witness signed would do for what follows
	}
	var also []note.Verifier
	for _, w := range witnesses {
		also = append(also, w)
	}
	n, err := openNote(checkpoint, vkey, also...)
	if err != nil {
		return nil, err
	}
	var found []Cosignature
	for _, s := range n.Sigs {
		for _, w := range witnesses {
			if s.Name != w.name || s.Hash != w.hash {
				continue
			}
			raw, err := base64.StdEncoding.Strict().DecodeString(s.Base64)
			if err != nil || len(raw) < 4+timestampSize {
				return nil, fmt.Errorf("cosignature of %s: malformed", w.name)
			}
			at := binary.BigEndian.Uint64(raw[4:])
			found = append(found, Cosignature{w.name, w.VerifierKey(), time.Unix(int64(at), 0).UTC()})
		}
	}
	return found, nil
}
