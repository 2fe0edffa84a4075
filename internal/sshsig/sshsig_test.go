package sshsig

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

const namespace = "approval@postern"

var message = []byte("version 1\ndecision approve\nrequest R-7K2M4Q\n")

// keygen runs ssh-keygen, the judge of this package.
func keygen(t *testing.T, stdin []byte, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("ssh-keygen", args...)
	cmd.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Logf("ssh-keygen %s: %v: %s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out), err
}

// newKey lets ssh-keygen make a key and returns its path and signer.
func newKey(t *testing.T, args ...string) (path string, signer ssh.Signer) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "key")
	if _, err := keygen(t, nil, append([]string{"-q", "-N", "", "-f", path}, args...)...); err != nil {
		t.Fatal(err)
	}
	private, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if signer, err = ssh.ParsePrivateKey(private); err != nil {
		t.Fatal(err)
	}
	return path, signer
}

func goKey(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

// opensshVerify asks ssh-keygen -Y verify.
func opensshVerify(t *testing.T, key ssh.PublicKey, signature, message []byte) error {
	t.Helper()
	dir := t.TempDir()
	allowed := filepath.Join(dir, "allowed")
	sig := filepath.Join(dir, "sig")
	write(t, allowed, "bob "+string(ssh.MarshalAuthorizedKey(key)))
	write(t, sig, string(signature))
	_, err := keygen(t, message, "-Y", "verify", "-f", allowed, "-I", "bob", "-n", namespace, "-s", sig)
	return err
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestBothDirectionsWithOpenSSH(t *testing.T) {
	for name, args := range map[string][]string{
		"ed25519":   {"-t", "ed25519"},
		"ecdsa-256": {"-t", "ecdsa", "-b", "256"},
		"ecdsa-384": {"-t", "ecdsa", "-b", "384"},
		"ecdsa-521": {"-t", "ecdsa", "-b", "521"},
		"rsa-2048":  {"-t", "rsa", "-b", "2048"},
		"rsa-3072":  {"-t", "rsa", "-b", "3072"},
	} {
		t.Run(name, func(t *testing.T) {
			path, signer := newKey(t, args...)
			ours, err := Sign(signer, namespace, message)
			if err != nil {
				t.Fatal(err)
			}
			if err := opensshVerify(t, signer.PublicKey(), ours, message); err != nil {
				t.Errorf("OpenSSH refuses our signature: %v\n%s", err, ours)
			}
			for _, hash := range []string{"sha256", "sha512"} {
				theirs, err := keygen(t, message, "-Y", "sign", "-f", path, "-n", namespace, "-O", "hashalg="+hash)
				if err != nil {
					t.Fatal(err)
				}
				sig, err := Verify([]byte(theirs), namespace, message)
				if err != nil {
					t.Fatalf("we refuse the signature of OpenSSH: %v\n%s", err, theirs)
				}
				if !bytes.Equal(sig.Key.Marshal(), signer.PublicKey().Marshal()) || sig.Hash != hash {
					t.Errorf("signature tells key %s and hash %s", ssh.FingerprintSHA256(sig.Key), sig.Hash)
				}
			}
		})
	}
}

// The software token of OpenSSH's own test suite stands for a FIDO key.
func TestFIDOTokenOfOpenSSH(t *testing.T) {
	const provider = "/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so"
	if _, err := os.Stat(provider); err != nil {
		t.Fatalf("the software FIDO token is missing; install it with: apt-get install openssh-tests (%v)", err)
	}
	t.Setenv("SSH_SK_PROVIDER", provider)
	for _, kind := range []string{"ed25519-sk", "ecdsa-sk"} {
		for name, touch := range map[string]bool{"touch": true, "no touch": false} {
			t.Run(kind+" "+name, func(t *testing.T) {
				path := filepath.Join(t.TempDir(), "key")
				args := []string{"-q", "-N", "", "-f", path, "-t", kind, "-w", provider}
				if !touch {
					args = append(args, "-O", "no-touch-required")
				}
				if _, err := keygen(t, nil, args...); err != nil {
					t.Fatal(err)
				}
				theirs, err := keygen(t, message, "-Y", "sign", "-f", path, "-n", namespace)
				if err != nil {
					t.Fatal(err)
				}
				sig, err := Verify([]byte(theirs), namespace, message)
				if touch {
					if err != nil {
						t.Fatal(err)
					}
					if !sig.Presence || sig.Verified || sig.Counter == 0 {
						t.Errorf("flags are read wrongly: %+v", sig)
					}
					return
				}
				if err == nil || !strings.Contains(err.Error(), "nobody touched") {
					t.Errorf("a signature without a touch: %v", err)
				}
				public, _ := os.ReadFile(path + ".pub")
				key, _, _, _, err := ssh.ParseAuthorizedKey(public)
				if err != nil {
					t.Fatal(err)
				}
				if err := opensshVerify(t, key, []byte(theirs), message); err != nil {
					t.Errorf("ssh-keygen -Y verify was expected to accept what we refuse: %v", err)
				}
			})
		}
	}
}

func TestPINIsReported(t *testing.T) {
	for _, token := range []*token{newToken(t, "ed25519"), newToken(t, "ecdsa")} {
		token.flags = flagPresent | flagVerified
		token.counter = 41
		out, err := Sign(token, namespace, message)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := Verify(out, namespace, message)
		if err != nil {
			t.Fatal(err)
		}
		if !sig.Presence || !sig.Verified || sig.Counter != 42 {
			t.Errorf("%s: %+v", token.PublicKey().Type(), sig)
		}
		if err := opensshVerify(t, token.PublicKey(), out, message); err != nil {
			t.Errorf("the signature of our token is no good for OpenSSH: %v", err)
		}
		for _, flags := range []byte{0, flagVerified, 0xfe} {
			token.flags = flags
			if _, err := Sign(token, namespace, message); err == nil || !strings.Contains(err.Error(), "nobody touched") {
				t.Errorf("%s with flags %#x: %v", token.PublicKey().Type(), flags, err)
			}
		}
	}
}
