package door

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"net"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"

	"postern/internal/sshaudit"
)

func audit(t *testing.T, addr string) sshaudit.Report {
	t.Helper()
	r, err := sshaudit.Run(t.Context(), addr)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// certified is key under a host certificate.
func certified(t *testing.T, key ssh.Signer) ssh.Signer {
	t.Helper()
	cert := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"localhost"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, newSigner(t)); err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSSHAuditFailsNothing(t *testing.T) {
	key := newSigner(t)
	keys := []ssh.Signer{certified(t, key), key}
	addr, _ := open(t, &Door{HostKeys: func() []ssh.Signer { return keys }})
	for name, c := range map[string]struct {
		addr    string
		ciphers []string
	}{
		// ssh-audit says that it is OpenSSH.
		"a client with AES-GCM":    {addr, []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM}},
		"a client without AES-GCM": {disguise(t, addr, "SSH-2.0-PuTTY_Release_0.78"), []string{ssh.CipherAES128GCM, ssh.CipherAES256GCM, ssh.CipherAES256CTR, ssh.CipherAES128CTR}},
	} {
		r := audit(t, c.addr)
		for _, failure := range r.Failures {
			t.Errorf("%s: %s", name, failure)
		}
		if !slices.Equal(r.Ciphers, c.ciphers) {
			t.Errorf("%s is offered %q, want %q", name, r.Ciphers, c.ciphers)
		}
	}
}

// TestSSHAuditCanFail shows that the judge would find something.
func TestSSHAuditCanFail(t *testing.T) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	weak, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	addr, _ := open(t, &Door{HostKeys: func() []ssh.Signer { return []ssh.Signer{weak} }})
	if r := audit(t, addr); len(r.Failures) == 0 {
		t.Error("a host key on a NIST curve passes")
	}
}

// disguise leads to the server at addr, as a client of another version.
func disguise(t *testing.T, addr, version string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer client.Close()
				server, err := net.Dial("tcp", addr)
				if err != nil {
					return
				}
				defer server.Close()
				go func() { _, _ = io.Copy(client, server); client.Close() }()
				said := bufio.NewReader(client)
				if _, err := said.ReadString('\n'); err != nil {
					return
				}
				if _, err := io.WriteString(server, version+"\r\n"); err == nil {
					_, _ = io.Copy(server, said)
				}
			}()
		}
	}()
	return l.Addr().String()
}
