// Package envelope puts the private half of a host key into an envelope that one bastion opens, and no other, for terms that cannot be changed.
// Start with [Seal] and [Key.Open]. An envelope is HPKE (RFC 9180) with X25519, HKDF-SHA256 and AES-256-GCM, the exact bytes of the terms in its
// info; its plaintext is the 32 bytes of an Ed25519 seed. X25519 alone, because an envelope is typed from paper, and what is in it is worth nothing
// when its certificate is over: 90 days at most.
package envelope

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/hpke"
	"errors"
	"fmt"
)

// Size is how many bytes an envelope has.
const Size = 32 + ed25519.SeedSize + 16

const version = "postern-sheet-v1\x00"

func suite() (hpke.KEM, hpke.KDF, hpke.AEAD) {
	return hpke.DHKEM(ecdh.X25519()), hpke.HKDFSHA256(), hpke.AES256GCM()
}

// Key is what a bastion opens envelopes with.
type Key struct{ hpke hpke.PrivateKey }

// NewKey makes one.
func NewKey() (Key, error) {
	kem, _, _ := suite()
	k, err := kem.GenerateKey()
	return Key{k}, err
}

// ParseKey reads what [Key.Marshal] wrote.
func ParseKey(b []byte) (Key, error) {
	kem, _, _ := suite()
	k, err := kem.NewPrivateKey(b)
	if err != nil {
		return Key{}, fmt.Errorf("the key for sheets: %w", err)
	}
	return Key{k}, nil
}

// Marshal returns the 32 bytes of the private half.
func (k Key) Marshal() ([]byte, error) { return k.hpke.Bytes() }

// Public returns the bytes of the public half.
func (k Key) Public() []byte { return k.hpke.PublicKey().Bytes() }

// Seal puts a private key into an envelope for the owner of public.
func Seal(public []byte, terms []byte, private ed25519.PrivateKey) ([]byte, error) {
	kem, kdf, aead := suite()
	to, err := kem.NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("the bastion's key for sheets: %w", err)
	}
	return hpke.Seal(to, kdf, aead, info(terms), private.Seed())
}

// Check says whether public is a key that [Seal] takes.
func Check(public []byte) error {
	kem, _, _ := suite()
	_, err := kem.NewPublicKey(public)
	return err
}

// Open takes the private key out again. The terms are those it was sealed for, to the byte.
func (k Key) Open(envelope, terms []byte) (ed25519.PrivateKey, error) {
	_, kdf, aead := suite()
	seed, err := hpke.Open(k.hpke, kdf, aead, info(terms), envelope)
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, errors.New("the envelope does not open: it is for another bastion or other terms, or it was altered")
	}
	defer clear(seed)
	return ed25519.NewKeyFromSeed(seed), nil
}

func info(terms []byte) []byte { return append([]byte(version), terms...) }
