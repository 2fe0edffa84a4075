package sshsig

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"io"
	"math/big"
	"testing"

	"golang.org/x/crypto/ssh"
)

// token is a FIDO key in software; OpenSSH's PROTOCOL.u2f says what it signs.
type token struct {
	flags   byte
	counter uint32
	public  ssh.PublicKey
	ed      ed25519.PrivateKey
	ec      *ecdsa.PrivateKey
}

const application = "ssh:"

func newToken(t testing.TB, kind string) *token {
	t.Helper()
	k := &token{flags: flagPresent}
	var blob []byte
	var err error
	if kind == "ed25519" {
		var public ed25519.PublicKey
		if public, k.ed, err = ed25519.GenerateKey(rand.Reader); err != nil {
			t.Fatal(err)
		}
		blob = ssh.Marshal(struct {
			Type        string
			Key         []byte
			Application string
		}{ssh.KeyAlgoSKED25519, public, application})
	} else {
		if k.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
		point, err := k.ec.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		blob = ssh.Marshal(struct {
			Type, Curve string
			Point       []byte
			Application string
		}{ssh.KeyAlgoSKECDSA256, "nistp256", point, application})
	}
	if k.public, err = ssh.ParsePublicKey(blob); err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *token) PublicKey() ssh.PublicKey { return k.public }

func (k *token) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	k.counter++
	fido := struct {
		Flags   byte
		Counter uint32
	}{k.flags, k.counter}
	app, message := sha256.Sum256([]byte(application)), sha256.Sum256(data)
	signed := append(append(app[:], ssh.Marshal(fido)...), message[:]...)
	sig := &ssh.Signature{Format: k.public.Type(), Rest: ssh.Marshal(fido)}
	if k.ed != nil {
		sig.Blob = ed25519.Sign(k.ed, signed)
		return sig, nil
	}
	digest := sha256.Sum256(signed)
	r, s, err := ecdsa.Sign(rand.Reader, k.ec, digest[:])
	sig.Blob = ssh.Marshal(struct{ R, S *big.Int }{r, s})
	return sig, err
}
