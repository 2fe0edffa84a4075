package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func newSigner(t testing.TB) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

// newCert signs key as the CAs of postern do.
func newCert(t testing.TB, ca ssh.Signer, key ssh.PublicKey, c ssh.Certificate) *ssh.Certificate {
	t.Helper()
	c.Key = key
	if c.ValidBefore == 0 {
		c.ValidAfter, c.ValidBefore = uint64(time.Now().Add(-time.Minute).Unix()), uint64(time.Now().Add(time.Hour).Unix())
	}
	if err := c.SignCert(rand.Reader, ca); err != nil {
		t.Fatal(err)
	}
	return &c
}

// sshd is a real one, run by ssh itself for each login, without a port.
type sshd struct {
	t       testing.TB
	dir     string
	account string
	ca      ssh.Signer
	revoked revokedKeys
}

func newSSHD(t testing.TB) *sshd {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s := &sshd{t: t, dir: t.TempDir(), account: me.Username}
	s.revoked = revokedKeys{path: s.file("revoked_keys"), disk: onDisk}
	var hostKey []byte
	s.ca, _ = newSigner(t)
	_, hostKey = newSigner(t)
	put(t, s.file("host"), string(hostKey))
	put(t, s.file("session_ca.pub"), string(ssh.MarshalAuthorizedKey(s.ca.PublicKey())))
	line, err := principal(s.account, "phi1")
	if err != nil {
		t.Fatal(err)
	}
	put(t, s.file("principals"), line+"\n")
	pam := "no"
	if shadow, err := os.ReadFile("/etc/shadow"); err == nil && strings.HasPrefix("\n"+string(shadow), "\nroot:!") {
		pam = "yes" // else sshd refuses every key of a locked root
	}
	put(t, s.file("sshd_config"), fmt.Sprintf("HostKey %s\nTrustedUserCAKeys %s\nAuthorizedPrincipalsFile %s\nRevokedKeys %s\n"+
		"AuthorizedKeysFile none\nStrictModes no\nPidFile none\nPermitRootLogin yes\nUsePAM %s\n",
		s.file("host"), s.file("session_ca.pub"), s.file("principals"), s.revoked.path, pam))
	return s
}

func (s *sshd) file(name string) string { return filepath.Join(s.dir, name) }

// login tries a certificate with that serial.
func (s *sshd) login(serial uint64) error {
	s.t.Helper()
	return s.run(serial, "true")
}

// run runs a command there, logged in with a certificate of that serial.
func (s *sshd) run(serial uint64, command string) error {
	key, private := newSigner(s.t)
	cert := newCert(s.t, s.ca, key.PublicKey(), ssh.Certificate{Serial: serial, CertType: ssh.UserCert, KeyId: "alice R-7K2M4Q S-1",
		ValidPrincipals: []string{s.account + "@phi1"}})
	id := s.file(fmt.Sprintf("id%d", serial))
	put(s.t, id, string(private))
	put(s.t, id+"-cert.pub", string(ssh.MarshalAuthorizedKey(cert)))
	out, err := exec.Command("ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-i", id,
		"-o", "ProxyCommand=/usr/sbin/sshd -i -e -f "+s.file("sshd_config"), s.account+"@phi1", command).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

func (s *sshd) install(file []byte) {
	s.t.Helper()
	if _, _, err := s.revoked.install(file); err != nil {
		s.t.Fatal(err)
	}
}

func TestRealSSHDObeys(t *testing.T) {
	s := newSSHD(t)
	now := time.Now()
	if s.login(7) == nil {
		t.Fatal("sshd let somebody in without a revocation list")
	}
	s.install(list(t, 1, now))
	if err := s.login(7); err != nil {
		t.Fatalf("nothing is revoked, but sshd refuses: %v", err)
	}
	s.install(list(t, 2, now, 7))
	if s.login(7) == nil {
		t.Error("serial 7 is revoked, but sshd let it in")
	}
	if err := s.login(8); err != nil {
		t.Errorf("serial 8 is not revoked, but sshd refuses: %v", err)
	}
	if _, _, err := s.revoked.install(list(t, 1, now)); err == nil || s.login(7) == nil {
		t.Errorf("an old list takes a revocation back: %v", err)
	}

	// The reason for tidy: this file lets the revoked one in again.
	whole := read(t, s.revoked.path)
	put(t, s.revoked.path, whole[:strings.Index(whole, "bytes]")+len("bytes]")])
	if err := s.login(7); err != nil {
		t.Logf("this sshd refuses a list that ends after the header: %v", err)
	}
	if removed, err := s.revoked.tidy(); removed == nil || err != nil {
		t.Fatal(removed, err)
	}
	if s.login(7) == nil || s.login(8) == nil {
		t.Error("sshd let somebody in while there is no list")
	}
	s.install([]byte(whole))
	if s.login(7) == nil {
		t.Error("serial 7 is revoked, but sshd let it in")
	}
	if err := s.login(8); err != nil {
		t.Error(err)
	}
}

func TestSSHDTakesTheConfiguration(t *testing.T) {
	s := newSSHD(t)
	hostCA, _ := newSigner(t)
	host, err := ssh.ParsePrivateKey([]byte(read(t, s.file("host"))))
	if err != nil {
		t.Fatal(err)
	}
	cert := newCert(t, hostCA, host.PublicKey(), ssh.Certificate{CertType: ssh.HostCert, ValidPrincipals: []string{"phi1"}})
	put(t, s.file("host-cert.pub"), string(ssh.MarshalAuthorizedKey(cert)))
	text, err := sshdConfig{Name: "phi1", Trust: s.dir, RevokedKeys: s.revoked.path, Program: "/usr/local/bin/postern-host",
		HostKey: s.file("host"), HostCertificate: s.file("host-cert.pub")}.text()
	if err != nil {
		t.Fatal(err)
	}
	put(t, s.file("printed"), text)
	out, err := exec.Command("/usr/sbin/sshd", "-T", "-f", s.file("printed")).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s\n%s", err, out, text)
	}
	for _, want := range []string{
		"authorizedprincipalscommand /usr/local/bin/postern-host principals %u --name phi1",
		"trustedusercakeys " + s.file("session_ca.pub"), "revokedkeys " + s.revoked.path, "authorizedkeysfile none",
		"passwordauthentication no", "hostcertificate " + s.file("host-cert.pub"),
	} {
		if !strings.Contains(string(out), want+"\n") {
			t.Errorf("sshd -T does not say %q", want)
		}
	}
	for _, bad := range []sshdConfig{
		{Name: "phi1\nPermitRootLogin yes", Trust: "/t", RevokedKeys: "/r", Program: "/p"},
		{Name: "phi 1", Trust: "/t", RevokedKeys: "/r", Program: "/p"},
		{Name: "phi1", Trust: "t", RevokedKeys: "/r", Program: "/p"},
		{Name: "phi1", Trust: "/t", RevokedKeys: "/r", Program: "/p --name x"},
	} {
		if text, err := bad.text(); err == nil {
			t.Errorf("made a configuration of %+v:\n%s", bad, text)
		}
	}
}
