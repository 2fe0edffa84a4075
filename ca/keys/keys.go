// Package keys makes and opens the CA's keys through go.step.sm/crypto, so that a file can later be an HSM.
//
// Start with [Init] and [Open]. Seven OpenSSH key files under keys/: the four CA keys, the key that signs
// checkpoints of the audit log, the control plane's own host key, and the one the state is encrypted with. With a
// passphrase all private halves are encrypted at rest (bcrypt-pbkdf, AES-256-CTR: what ssh-keygen makes).
package keys

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.step.sm/crypto/kms/apiv1"
	_ "go.step.sm/crypto/kms/softkms" // registers softkms:
	"go.step.sm/crypto/pemutil"
	"golang.org/x/crypto/ssh"
)

// The names of the key files.
const (
	User    = "user_ca"
	Session = "session_ca"
	Host    = "host_ca"
	Gateway = "gateway_ca"
	log     = "log"
	store   = "store"
	sshHost = "ssh_host"
)

var names = []string{User, Session, Host, Gateway, log, store, sshHost}

// Set is every secret the CA holds.
type Set struct {
	Name                         string // of the CA, in its host certificate and log
	User, Session, Host, Gateway ssh.Signer
	SSHHost                      ssh.Signer
	Log                          crypto.Signer
	Store                        []byte // 32 bytes
}

// Init makes the keys of a CA called name under dir. It never replaces one.
func Init(dir, name string, passphrase []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	keyDir := filepath.Join(dir, "keys")
	if err := os.MkdirAll(keyDir, 0o700); err != nil {
		return err
	}
	for _, n := range names {
		if _, err := os.Lstat(filepath.Join(keyDir, n)); err == nil {
			return fmt.Errorf("%s holds keys already; a second CA needs a directory of its own", keyDir)
		}
	}
	kms, err := open()
	if err != nil {
		return err
	}
	defer kms.Close()
	for _, n := range names {
		if err := create(kms, filepath.Join(keyDir, n), n+" of "+name, passphrase); err != nil {
			return fmt.Errorf("key %s: %w", n, err)
		}
	}
	return os.WriteFile(filepath.Join(keyDir, "name"), []byte(name+"\n"), 0o600)
}

// create makes one key. softkms generates but does not persist, so the file is ours to write.
func create(kms apiv1.KeyManager, path, comment string, passphrase []byte) error {
	made, err := kms.CreateKey(&apiv1.CreateKeyRequest{Name: path, SignatureAlgorithm: apiv1.PureEd25519})
	if err != nil {
		return err
	}
	opts := []pemutil.Options{pemutil.WithComment(comment)}
	if len(passphrase) > 0 {
		opts = append(opts, pemutil.WithPassword(passphrase))
	}
	block, err := pemutil.SerializeOpenSSHPrivateKey(made.PrivateKey, opts...)
	if err != nil {
		return err
	}
	pub, err := ssh.NewPublicKey(made.PublicKey)
	if err != nil {
		return err
	}
	if err := write(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(pub))) + " " + comment + "\n"
	return write(path+".pub", []byte(line), 0o644)
}

func write(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}

// Open reads the keys under dir. passphrase is nil when they are not encrypted.
func Open(dir string, passphrase []byte) (*Set, error) {
	keyDir := filepath.Join(dir, "keys")
	name, err := os.ReadFile(filepath.Join(keyDir, "name"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("no CA keys in %s; make them with: postern-ca init --dir %s", keyDir, dir)
	}
	if err != nil {
		return nil, err
	}
	kms, err := open()
	if err != nil {
		return nil, err
	}
	defer kms.Close()
	signers := map[string]crypto.Signer{}
	for _, n := range names {
		if signers[n], err = load(kms, filepath.Join(keyDir, n), passphrase); err != nil {
			return nil, fmt.Errorf("key %s: %w", filepath.Join(keyDir, n), err)
		}
	}
	return assemble(strings.TrimSpace(string(name)), signers)
}

func assemble(name string, signers map[string]crypto.Signer) (*Set, error) {
	s := &Set{Name: name, Log: signers[log]}
	for n, to := range map[string]*ssh.Signer{
		User: &s.User, Session: &s.Session, Host: &s.Host, Gateway: &s.Gateway, sshHost: &s.SSHHost,
	} {
		signer, err := ssh.NewSignerFromSigner(signers[n])
		if err != nil {
			return nil, fmt.Errorf("key %s: %w", n, err)
		}
		*to = signer
	}
	seed, ok := signers[store].(ed25519.PrivateKey)
	if !ok {
		return nil, errors.New("key store: not an Ed25519 file key")
	}
	var err error
	s.Store, err = hkdf.Key(sha256.New, seed.Seed(), nil, "postern ca state v1", 32)
	return s, err
}

func open() (apiv1.KeyManager, error) {
	fn, ok := apiv1.LoadKeyManagerNewFunc(apiv1.SoftKMS)
	if !ok {
		return nil, errors.New("softkms is not built in")
	}
	return fn(context.Background(), apiv1.Options{Type: apiv1.SoftKMS})
}

func load(kms apiv1.KeyManager, path string, passphrase []byte) (crypto.Signer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("mode is %04o, others may read it; set it with: chmod 600 %s", mode, path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	// softkms would ask for the passphrase on a terminal that a daemon does not have.
	var missing *ssh.PassphraseMissingError
	if _, err := ssh.ParseRawPrivateKey(raw); errors.As(err, &missing) && len(passphrase) == 0 {
		return nil, errors.New("it is encrypted; give --passphrase-file")
	}
	req := &apiv1.CreateSignerRequest{SigningKey: path}
	if missing != nil {
		req.Password = passphrase
	}
	return kms.CreateSigner(req)
}

// checkName keeps the name fit for a host certificate, a known_hosts line and a note.
func checkName(name string) error {
	if name == "" || len(name) > 64 || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" || name[0] == '-' {
		return fmt.Errorf("CA name %q: use lower case letters, digits, dots and dashes", name)
	}
	return nil
}
