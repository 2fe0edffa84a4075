// Package sshsig makes and checks SSH signatures: what "ssh-keygen -Y sign" writes and OpenSSH's PROTOCOL.sshsig
// describes.
//
// Start with [Verify]. It is stricter than ssh-keygen -Y verify on purpose, because a signature is kept as evidence for
// years and must mean one thing only: it accepts exactly the bytes that a signer writes (no text around the armour, no
// second encoding of the same signature), no certificate in the place of the key, no SHA-1, no DSA, no short RSA key, and
// no FIDO signature that was made without a touch.
package sshsig

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// MinRSABits is the shortest RSA modulus that Sign and Verify accept.
const MinRSABits = 2048

const (
	magic   = "SSHSIG"
	version = 1

	flagPresent  = 0x01
	flagVerified = 0x04
)

// Signature is what a good signature tells.
type Signature struct {
	Key  ssh.PublicKey // never a certificate
	Hash string        // sha256 or sha512: how the message was hashed

	// The rest is meaningful for FIDO keys only (their type starts with "sk-").
	Presence bool   // somebody touched the token; Verify refuses signatures without
	Verified bool   // and gave it a PIN or a fingerprint
	Counter  uint32 // of the token
}

// envelope is the signature in the armour: PROTOCOL.sshsig, section 2, after the magic.
type envelope struct {
	Version   uint32
	PublicKey []byte
	Namespace string
	Reserved  []byte
	Hash      string
	Signature []byte
}

// signed is what the key signs: PROTOCOL.sshsig, section 3, after the magic.
type signed struct {
	Namespace string
	Reserved  []byte
	Hash      string
	Digest    []byte
}

// Sign signs message for namespace and returns the armoured signature, which [Verify] accepts. The message is hashed with
// SHA-512; an RSA key signs with rsa-sha2-512, for which the signer must be an [ssh.AlgorithmSigner], as those of
// x/crypto and of the agent are.
func Sign(signer ssh.Signer, namespace string, message []byte) ([]byte, error) {
	key := signer.PublicKey()
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if namespace == "" {
		return nil, errors.New("sshsig: empty namespace")
	}
	const hash = "sha512"
	sig, err := signWith(signer, toSign(namespace, hash, message))
	if err != nil {
		return nil, fmt.Errorf("sshsig: sign with %s: %w", ssh.FingerprintSHA256(key), err)
	}
	out := armour(envelope{
		Version:   version,
		PublicKey: key.Marshal(),
		Namespace: namespace,
		Hash:      hash,
		Signature: ssh.Marshal(sig),
	}.marshal())
	// An agent may answer with another algorithm than it was asked for, a token without a touch: the person who signs
	// should learn it, not the one who verifies.
	if _, err := Verify(out, namespace, message); err != nil {
		return nil, fmt.Errorf("%w (in the signature just made)", err)
	}
	return out, nil
}

func signWith(signer ssh.Signer, data []byte) (*ssh.Signature, error) {
	if signer.PublicKey().Type() != ssh.KeyAlgoRSA {
		return signer.Sign(rand.Reader, data)
	}
	rsa, ok := signer.(ssh.AlgorithmSigner)
	if !ok {
		return nil, errors.New("this RSA signer only makes SHA-1 signatures")
	}
	return rsa.SignWithAlgorithm(rand.Reader, data, ssh.KeyAlgoRSASHA512)
}

// Verify checks an armoured signature over message and says which key made it. Whether that key may sign is for the caller
// to decide.
func Verify(armoured []byte, namespace string, message []byte) (*Signature, error) {
	env, key, sig, err := parse(armoured)
	if err != nil {
		return nil, err
	}
	if namespace == "" || env.Namespace != namespace {
		return nil, fmt.Errorf("sshsig: signature is for namespace %q, not %q; sign with: ssh-keygen -Y sign -n %s",
			env.Namespace, namespace, namespace)
	}
	found := &Signature{Key: key, Hash: env.Hash}
	if isFIDO(key) {
		if err := found.readFlags(sig.Rest); err != nil {
			return nil, err
		}
	}
	if err := key.Verify(toSign(namespace, env.Hash, message), sig); err != nil {
		return nil, fmt.Errorf("sshsig: signature of %s does not fit the message: %w", ssh.FingerprintSHA256(key), err)
	}
	return found, nil
}

// readFlags reads what a FIDO token appends to its signature: a byte of flags and a counter.
func (s *Signature) readFlags(rest []byte) error {
	var fido struct {
		Flags   byte
		Counter uint32
	}
	if err := ssh.Unmarshal(rest, &fido); err != nil {
		return fmt.Errorf("sshsig: flags of the FIDO signature: %w", err)
	}
	s.Presence = fido.Flags&flagPresent != 0
	s.Verified = fido.Flags&flagVerified != 0
	s.Counter = fido.Counter
	if !s.Presence {
		return fmt.Errorf("sshsig: nobody touched the FIDO key %s for this signature; sign again with a key that was made without no-touch-required",
			ssh.FingerprintSHA256(s.Key))
	}
	return nil
}

// parse takes the signature out of its armour. It refuses everything that Sign and ssh-keygen would not write, so that no
// two texts are the same signature.
func parse(armoured []byte) (env envelope, key ssh.PublicKey, sig *ssh.Signature, err error) {
	blob, err := unarmour(armoured)
	if err != nil {
		return env, nil, nil, err
	}
	if !bytes.HasPrefix(blob, []byte(magic)) {
		return env, nil, nil, errors.New("sshsig: the armour holds something else than a signature")
	}
	if err := ssh.Unmarshal(blob[len(magic):], &env); err != nil {
		return env, nil, nil, fmt.Errorf("sshsig: signature is cut or malformed: %w", err)
	}
	switch {
	case env.Version != version:
		return env, nil, nil, fmt.Errorf("sshsig: signature version %d, not %d", env.Version, version)
	case len(env.Reserved) != 0:
		return env, nil, nil, errors.New("sshsig: the reserved field is not empty")
	case env.Hash != "sha256" && env.Hash != "sha512":
		return env, nil, nil, fmt.Errorf("sshsig: message hash %q (allowed are sha256 and sha512)", env.Hash)
	}
	if key, err = parseKey(env.PublicKey); err != nil {
		return env, nil, nil, err
	}
	if sig, err = parseSignature(env.Signature, key); err != nil {
		return env, nil, nil, err
	}
	return env, key, sig, nil
}

func parseKey(blob []byte) (ssh.PublicKey, error) {
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return nil, fmt.Errorf("sshsig: key in the signature: %w", err)
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if !bytes.Equal(key.Marshal(), blob) {
		return nil, errors.New("sshsig: key in the signature is not encoded canonically")
	}
	return key, nil
}

func checkKey(key ssh.PublicKey) error {
	// By name, because a certificate of an agent is not an *ssh.Certificate.
	if strings.Contains(key.Type(), "-cert-v01@") {
		return fmt.Errorf("sshsig: signed with a certificate (%s); sign with the plain key: ssh-keygen -Y sign -f KEY, where no KEY-cert.pub lies beside it and none is in the agent",
			key.Type())
	}
	switch key.Type() {
	case ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519, ssh.KeyAlgoSKECDSA256,
		ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521:
		return nil
	case ssh.KeyAlgoRSA:
		if bits := modulus(key).BitLen(); bits < MinRSABits {
			return fmt.Errorf("sshsig: RSA key %s has %d bits; at least %d are needed", ssh.FingerprintSHA256(key), bits, MinRSABits)
		}
		return nil
	}
	return fmt.Errorf("sshsig: key type %s may not sign; use ssh-ed25519, ecdsa, rsa or a FIDO key", key.Type())
}

// parseSignature reads the inner signature and checks that there is no other way to write it.
func parseSignature(blob []byte, key ssh.PublicKey) (*ssh.Signature, error) {
	sig := new(ssh.Signature)
	if err := ssh.Unmarshal(blob, sig); err != nil {
		return nil, fmt.Errorf("sshsig: inner signature: %w", err)
	}
	if !slices.Contains(formats(key), sig.Format) {
		return nil, fmt.Errorf("sshsig: %s signature by a key of type %s (allowed is %s)", sig.Format, key.Type(), formats(key))
	}
	if len(sig.Rest) != 0 && !isFIDO(key) {
		return nil, errors.New("sshsig: bytes after the inner signature")
	}
	switch key.Type() {
	case ssh.KeyAlgoRSA:
		// x/crypto and OpenSSH pad short signatures of old PuTTYs; we want one encoding.
		if want := (modulus(key).BitLen() + 7) / 8; len(sig.Blob) != want {
			return nil, fmt.Errorf("sshsig: RSA signature of %d bytes, not %d", len(sig.Blob), want)
		}
	case ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256:
		var rs struct{ R, S *big.Int }
		if err := ssh.Unmarshal(sig.Blob, &rs); err != nil {
			return nil, fmt.Errorf("sshsig: ECDSA signature: %w", err)
		}
		if rs.R.Sign() <= 0 || rs.S.Sign() <= 0 || !bytes.Equal(ssh.Marshal(rs), sig.Blob) {
			return nil, errors.New("sshsig: ECDSA signature is not encoded canonically")
		}
	}
	return sig, nil
}

// formats are the signature algorithms with which a key of that type may sign.
func formats(key ssh.PublicKey) []string {
	if key.Type() == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{key.Type()}
}

func isFIDO(key ssh.PublicKey) bool {
	return key.Type() == ssh.KeyAlgoSKED25519 || key.Type() == ssh.KeyAlgoSKECDSA256
}

// modulus reads N from the wire form, which works for keys of an agent too.
func modulus(key ssh.PublicKey) *big.Int {
	var w struct {
		Type string
		E, N *big.Int
	}
	if err := ssh.Unmarshal(key.Marshal(), &w); err != nil {
		return new(big.Int)
	}
	return w.N
}

func (e envelope) marshal() []byte { return append([]byte(magic), ssh.Marshal(e)...) }

func toSign(namespace, hash string, message []byte) []byte {
	var digest []byte
	if hash == "sha256" {
		d := sha256.Sum256(message)
		digest = d[:]
	} else {
		d := sha512.Sum512(message)
		digest = d[:]
	}
	return append([]byte(magic), ssh.Marshal(signed{Namespace: namespace, Hash: hash, Digest: digest})...)
}
