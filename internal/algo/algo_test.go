package algo

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestWhoIsOfferedWhat(t *testing.T) {
	for client, gcmOnly := range map[string]bool{
		"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3":     true,
		"SSH-2.0-OpenSSH_10.0p2":                     true,
		"SSH-2.0-OpenSSH_6.2":                        true,
		"SSH-2.0-OpenSSH_6.6.1":                      true,
		"SSH-2.0-OpenSSH_for_Windows_9.5":            true,
		"SSH-2.0-Go":                                 true,
		"SSH-2.0-libssh_0.10.6":                      true,
		"SSH-2.0-OpenSSH_6.1":                        false,
		"SSH-2.0-OpenSSH_5.3p1":                      false,
		"SSH-2.0-OpenSSH_":                           false,
		"SSH-2.0-OpenSSH_x.y":                        false,
		"SSH-2.0-OpenSSH_99999999999999999999.1":     false,
		"SSH-2.0-libssh_0.8.9":                       false,
		"SSH-2.0-libssh2_1.10.0":                     false,
		"SSH-2.0-paramiko_2.12.0":                    false,
		"SSH-2.0-dropbear_2022.83":                   false,
		"SSH-2.0-PuTTY_Release_0.78":                 false,
		"SSH-2.0-Gopher":                             false,
		"SSH-2.0-":                                   false,
		"":                                           false,
		"OpenSSH_9.2":                                true, // without its prefix nobody gets so far
		"SSH-2.0-\x00OpenSSH_9.2":                    false,
		"SSH-2.0-" + strings.Repeat("OpenSSH_9", 99): false,
	} {
		var c ssh.Config
		HardenFor(&c, client)
		if only := !slices.Contains(c.Ciphers, ssh.CipherAES256CTR); only != gcmOnly {
			t.Errorf("%q: AES-GCM alone: %v, want %v", client, only, gcmOnly)
		}
		if c.Ciphers[0] != ssh.CipherAES128GCM {
			t.Errorf("%q: %s comes first", client, c.Ciphers[0])
		}
	}
}

// sound is everything that may be offered to anybody, whatever they say they are.
var sound = []string{
	"mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org",
	"aes128-gcm@openssh.com", "aes256-gcm@openssh.com", "aes256-ctr", "aes128-ctr",
	"hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com", "hmac-sha2-256", "hmac-sha2-512",
}

func FuzzNothingWeakIsOffered(f *testing.F) {
	for _, seed := range []string{"SSH-2.0-OpenSSH_9.2", "SSH-2.0-Go", "SSH-2.0-libssh_0.9", "SSH-2.0-PuTTY", "", "SSH-1.99-x\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, client string) {
		var c ssh.Config
		HardenFor(&c, client)
		c.SetDefaults()
		for _, list := range [][]string{c.KeyExchanges, c.Ciphers, c.MACs} {
			if len(list) == 0 {
				t.Errorf("%q is offered nothing", client)
			}
			for _, a := range list {
				if !slices.Contains(sound, a) {
					t.Errorf("%q is offered %s", client, a)
				}
			}
		}
	})
}

// TestNoSHA1 reads every list for the names that SHA-1 goes by.
func TestNoSHA1(t *testing.T) {
	var client ssh.Config
	Harden(&client)
	weak := ssh.InsecureAlgorithms()
	for _, a := range slices.Concat(client.KeyExchanges, client.Ciphers, client.MACs, HostKeyAlgorithms, PublicKeyAlgorithms, sound) {
		if strings.Contains(a, "sha1") || a == ssh.KeyAlgoRSA || a == ssh.CertAlgoRSAv01 || strings.Contains(a, "dss") || strings.Contains(a, "dsa-cert-v00") ||
			slices.Contains(slices.Concat(weak.Ciphers, weak.HostKeys, weak.KeyExchanges, weak.MACs, weak.PublicKeyAuths), a) {
			t.Errorf("%s is in a list", a)
		}
	}
	for _, format := range []string{"ssh-rsa", "ssh-dss", ""} {
		if Signature(format) {
			t.Errorf("a CA's signature of the format %q is believed", format)
		}
	}
}

func TestHostKeysSignWithSHA2(t *testing.T) {
	signer := func(key any, err error) ssh.Signer {
		if err != nil {
			t.Fatal(err)
		}
		s, err := ssh.NewSignerFromKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	certified := func(s ssh.Signer) ssh.Signer {
		cert := &ssh.Certificate{Key: s.PublicKey(), CertType: ssh.HostCert, ValidBefore: ssh.CertTimeInfinity}
		if err := cert.SignCert(rand.Reader, s); err != nil {
			t.Fatal(err)
		}
		c, err := ssh.NewCertSigner(cert, s)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	rsaKey, ecdsaKey := signer(rsa.GenerateKey(rand.Reader, 2048)), signer(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	first := newSigner(t)
	offered := hostKeys(t, certified(rsaKey), rsaKey, ecdsaKey, first, newSigner(t), certified(first), unable{rsaKey})
	want := []string{
		ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256,
		ssh.KeyAlgoECDSA256, ssh.KeyAlgoED25519, ssh.CertAlgoED25519v01,
	}
	slices.Sort(offered)
	slices.Sort(want)
	if !slices.Equal(offered, want) {
		t.Errorf("offered are %q, want %q", offered, want)
	}
	if offered := hostKeys(t, unable{rsaKey}, first); !slices.Equal(offered, []string{ssh.KeyAlgoED25519}) {
		t.Errorf("an RSA key that signs with SHA-1 only: offered are %q", offered)
	}
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// unable is a signer that cannot choose its hash.
type unable struct{ ssh.Signer }
