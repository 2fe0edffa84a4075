package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// token is OpenSSH's software FIDO token.
const token = "/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so"

// keyFile makes a key with the real ssh-keygen.
func keyFile(t *testing.T, passphrase string, words ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "id")
	args := append([]string{"-q", "-N", passphrase, "-C", "test", "-f", path}, words...)
	if out, err := exec.Command("ssh-keygen", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// startAgent starts a real ssh-agent with these keys.
func startAgent(t *testing.T, keys ...string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	command := exec.Command("ssh-agent", "-P", "/usr/lib/*", "-D", "-a", socket)
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { command.Process.Kill(); command.Wait(); os.RemoveAll(dir) })
	out.Read(make([]byte, 1)) // it prints its socket once it listens
	t.Setenv("SSH_AUTH_SOCK", socket)
	for _, key := range keys {
		add := exec.Command("ssh-add", "-q", "-S", token, key)
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("ssh-add: %v: %s", err, out)
		}
	}
}

func fingerprintOf(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		t.Fatal(err)
	}
	return ssh.FingerprintSHA256(key)
}

func TestKeyring(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	first, second := keyFile(t, "", "-t", "ed25519"), keyFile(t, "", "-t", "ecdsa")
	startAgent(t, first, second)
	for _, test := range []struct{ key, want string }{
		{"", first}, {first, first}, {second + ".pub", second}, {second, second},
	} {
		k, err := openKeyring(test.key)
		if err != nil {
			t.Errorf("%s: %v", test.key, err)
			continue
		}
		if got := ssh.FingerprintSHA256(k.signers[0].PublicKey()); got != fingerprintOf(t, test.want) {
			t.Errorf("%s: signs with %s", test.key, got)
		}
		if _, err := k.signers[0].Sign(rand.Reader, []byte("x")); err != nil {
			t.Errorf("%s: %v", test.key, err)
		}
		k.close()
	}
	if _, err := openKeyring(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("opened a key that is not there")
	}
	if _, err := openKeyring("keyring_test.go"); err == nil || !strings.Contains(err.Error(), "name another with POSTERN_KEY") {
		t.Errorf("a file that is no key: %v", err)
	}
	other := keyFile(t, "", "-t", "ed25519")
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if _, err := openKeyring(other + ".pub"); err == nil || !strings.Contains(err.Error(), "ssh-add") {
		t.Errorf("a public key nobody holds: %v", err)
	}
}

// An encrypted key file is no question to the person when the agent holds it already.
func TestEncryptedKeyInAgent(t *testing.T) {
	sealed := keyFile(t, "secret", "-t", "ed25519")
	askpass := filepath.Join(t.TempDir(), "askpass")
	if err := os.WriteFile(askpass, []byte("#!/bin/sh\necho secret\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSH_ASKPASS", askpass)
	t.Setenv("SSH_ASKPASS_REQUIRE", "force")
	startAgent(t, sealed)
	k, err := openKeyring(sealed)
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	if k.private != nil || ssh.FingerprintSHA256(k.signers[0].PublicKey()) != fingerprintOf(t, sealed) {
		t.Error("the agent's half was not used")
	}
}

// Where the policy wants a touch, the token signs even if one logged in with another key.
func TestTokenInAgent(t *testing.T) {
	if _, err := os.Stat(token); err != nil {
		t.Fatalf("%v; install it with: apt-get install openssh-tests", err)
	}
	t.Setenv("HOME", t.TempDir())
	fido, plain := keyFile(t, "", "-t", "ed25519-sk", "-w", token), keyFile(t, "", "-t", "ed25519")
	startAgent(t, plain, fido)
	k, err := openKeyring("")
	if err != nil {
		t.Fatal(err)
	}
	defer k.close()
	for touch, want := range map[bool]string{false: plain, true: fido} {
		signer, err := k.forDecision(fingerprintOf(t, plain), touch)
		if err != nil || ssh.FingerprintSHA256(signer.PublicKey()) != fingerprintOf(t, want) {
			t.Fatalf("touch %v: %v", touch, err)
		}
		if _, err := signShown("text\n", signer, true); err != nil {
			t.Errorf("touch %v: %v", touch, err)
		}
	}
	// Its file alone names it; the agent uses it.
	only, err := openKeyring(fido)
	if err != nil {
		t.Fatal(err)
	}
	defer only.close()
	if len(only.signers) != 1 || !isToken(only.signers[0]) {
		t.Error("the token was not found by its file")
	}
	without, err := openKeyring(plain)
	if err != nil {
		t.Fatal(err)
	}
	defer without.close()
	if _, err := without.forDecision(fingerprintOf(t, plain), true); err == nil {
		t.Error("a plain key stood for a token")
	}
}

func TestNoKeyAtAll(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("SSH_AUTH_SOCK", "")
	if _, err := openKeyring(""); err == nil || !strings.Contains(err.Error(), "POSTERN_KEY") {
		t.Error(err)
	}
	startAgent(t)
	if _, err := openKeyring(""); err == nil || !strings.Contains(err.Error(), "holds no key") {
		t.Error(err)
	}
}

func TestStoreCertificate(t *testing.T) {
	_, ca, _ := ed25519.GenerateKey(nil)
	signer, err := ssh.NewSignerFromKey(ca)
	if err != nil {
		t.Fatal(err)
	}
	cert := &ssh.Certificate{Key: signer.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"root@phi1", "root@phi2"}, ValidBefore: uint64(time.Now().Unix())}
	if err := cert.SignCert(rand.Reader, signer); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "home", "certs")
	for range 2 { // the second time it replaces
		if err := storeCertificate(dir, cert); err != nil {
			t.Fatal(err)
		}
	}
	line := ssh.MarshalAuthorizedKey(cert)
	for _, name := range []string{"root@phi1-cert.pub", "root+phi1-cert.pub", "root@phi2-cert.pub", "bastion-cert.pub"} {
		path := filepath.Join(dir, name)
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(data, line) {
			t.Errorf("%s: %v", name, err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".new-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, evil := range []string{"../../x@y", "a/b@c", ".ssh@x", "-x@y", "a\nb@c"} {
		cert.ValidPrincipals = []string{evil}
		if err := storeCertificate(dir, cert); err == nil {
			t.Errorf("wrote a file for principal %q", evil)
		}
	}
}

func TestShort(t *testing.T) {
	for d, want := range map[time.Duration]string{
		45 * time.Second: "45s", 90 * time.Second: "1m30s", 15 * time.Minute: "15m", 12*time.Minute + 40*time.Second: "13m",
		8*time.Hour - time.Second: "8h", 3*time.Hour + 20*time.Minute: "3h20m", 49 * time.Hour: "2d", 0: "0s", time.Hour: "1h",
	} {
		if got := short(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
