// Package algo is the one list of SSH algorithms that every server and client of postern speaks.
//
// The defaults of golang.org/x/crypto/ssh still hold SHA-1 key exchange and MACs, ssh-rsa and DSA, so nothing here relies on
// them: call [Harden] on the ssh.Config of a client and [HardenFor] on that of a server, and set the host key and public key
// lists beside it. The library adds strict key exchange by itself, and the older name of curve25519-sha256.
package algo

import (
	"crypto/rand"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Harden sets key exchange, ciphers and MACs of a client.
//
// Only AES-GCM is offered. The MACs are never used with an AEAD cipher; they are set so that nobody finds SHA-1 on offer. A
// host that runs in FIPS mode knows no Curve25519, so P-256 comes last.
func Harden(c *ssh.Config) {
	c.KeyExchanges = []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519, ssh.KeyExchangeECDHP256}
	c.Ciphers = []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM}
	c.MACs = []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM}
}

// HardenFor sets key exchange, ciphers and MACs of a server for a client that identified itself with that line.
//
// The client's order decides, and clients that know AES-GCM mostly prefer something else: OpenSSH before 10 chacha20, and a relay
// of two SSH layers then pays a third more CPU. So they are offered nothing else. Clients that lack it, or are not known, are
// offered AES-CTR too, with the MACs that libssh2 before 1.11 and dropbear know. Chacha20 is never offered: no client in use needs
// it, and without strict key exchange it is the cipher that Terrapin (CVE-2023-48795) breaks.
//
// The line proves nothing. A client that lies in it gets a slower cipher, or none in common; every list here is sound.
func HardenFor(c *ssh.Config, client string) {
	c.KeyExchanges = []string{ssh.KeyExchangeMLKEM768X25519, ssh.KeyExchangeCurve25519}
	c.Ciphers = []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM}
	c.MACs = []string{ssh.HMACSHA256ETM, ssh.HMACSHA512ETM}
	if !knowsGCM(client) {
		c.Ciphers = append(c.Ciphers, ssh.CipherAES256CTR, ssh.CipherAES128CTR)
		c.MACs = append(c.MACs, ssh.HMACSHA256, ssh.HMACSHA512)
	}
}

// withGCM are the clients that know AES-GCM, by how their software version begins, and the first release that does.
var withGCM = []struct {
	prefix       string
	major, minor int
}{
	{"OpenSSH_for_Windows_", 0, 0},
	{"OpenSSH_", 6, 2},
	{"libssh_", 0, 9},
}

func knowsGCM(client string) bool {
	software, _, _ := strings.Cut(strings.TrimPrefix(client, "SSH-2.0-"), " ")
	if software == "Go" {
		return true
	}
	for _, k := range withGCM {
		if release, ok := strings.CutPrefix(software, k.prefix); ok {
			major, minor := number(release)
			return major > k.major || major == k.major && minor >= k.minor
		}
	}
	return false
}

// number reads 9.2 of 9.2p1. What is none reads as 0.0.
func number(release string) (major, minor int) {
	first, rest, _ := strings.Cut(release, ".")
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		rest = rest[:end]
	}
	major, err := strconv.Atoi(first)
	if err != nil {
		return 0, 0
	}
	minor, _ = strconv.Atoi(rest)
	return major, minor
}

// HostKeys sets the host keys and host certificates that a server shows. The first of each type wins. An RSA key signs with SHA-2
// only: left alone, the library would offer ssh-rsa, which is SHA-1, with it.
func HostKeys(c *ssh.ServerConfig, keys ...ssh.Signer) {
	shown := map[string]bool{}
	for _, key := range keys {
		kind := key.PublicKey().Type()
		if shown[kind] {
			continue
		}
		if kind == ssh.KeyAlgoRSA || kind == ssh.CertAlgoRSAv01 {
			several, ok := key.(ssh.AlgorithmSigner)
			if !ok {
				continue
			}
			strong, err := ssh.NewSignerWithAlgorithms(several, []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256})
			if err != nil {
				continue
			}
			key = strong
		}
		shown[kind] = true
		c.AddHostKey(key)
	}
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

// What one connection gets of key exchanges before it is slowed down. Ten thousand times less often is usual.
const (
	ExchangesPerSecond = 20
	ExchangeBurst      = 200
)

// OnKeyExchange has the library call wait before each key exchange of a connection, the first and every later one: a client may ask for new
// keys as often as it likes, and each time costs as much as a login. It shows in what the library asks Config.Rand for: 32 bytes are the
// private half of an X25519 exchange, which is part of every key exchange that [HardenFor] offers.
func OnKeyExchange(c *ssh.Config, wait func()) { c.Rand = entropy{wait} }

type entropy struct{ wait func() }

func (e entropy) Read(p []byte) (int, error) {
	if len(p) == 32 {
		e.wait()
	}
	return rand.Read(p)
}
