// Package algo is the one list of SSH algorithms that every server and client of postern speaks.
//
// The defaults of golang.org/x/crypto/ssh still hold SHA-1 key exchange and MACs, ssh-rsa and DSA, so nothing here relies on
// them: call [Harden] on every ssh.Config, and set the host key and public key lists beside it.
package algo

import (
	"slices"

	"golang.org/x/crypto/ssh"
)

// Harden sets key exchange, ciphers and MACs of a server or client.
//
// Only AES-GCM is offered: the client's order decides, OpenSSH's first choice is chacha20, and without AES instructions for
// it a relay of two SSH layers pays a third more CPU. The MACs are never used with an AEAD cipher; they are set so that
// nobody finds SHA-1 on offer.
func Harden(c *ssh.Config) {
	c.KeyExchanges = []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519, ssh.KeyExchangeECDHP256}
	c.Ciphers = []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM}
	c.MACs = []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM}
}

// HostCertificateAlgorithms are for a client that accepts host certificates only. Do not change the lists of this package.
var HostCertificateAlgorithms = []string{
	ssh.CertAlgoED25519v01,
	ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
	ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01,
}

// HostKeyAlgorithms are for a client that accepts plain host keys too, certificates first.
var HostKeyAlgorithms = slices.Concat(HostCertificateAlgorithms, []string{
	ssh.KeyAlgoED25519,
	ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521,
	ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
})

// PublicKeyAlgorithms are the signatures with which a client may authenticate. A certificate uses the algorithm of the
// key inside it.
var PublicKeyAlgorithms = []string{
	ssh.KeyAlgoED25519, ssh.KeyAlgoSKED25519,
	ssh.KeyAlgoECDSA256, ssh.KeyAlgoECDSA384, ssh.KeyAlgoECDSA521, ssh.KeyAlgoSKECDSA256,
	ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
}

// Signature says whether a CA's signature of that format is strong enough to be believed. x/crypto's CertChecker does not
// look at it, so ssh-rsa (SHA-1) would pass.
func Signature(format string) bool { return slices.Contains(PublicKeyAlgorithms, format) }
