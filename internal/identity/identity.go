// Package identity makes and reads the SSH key that a machine of ours is known by: DIR/identity, an Ed25519 key in OpenSSH's
// format without a passphrase, and DIR/identity.pub. Start with [Make] and [Read]. A key that exists is never replaced, and one
// that others could read is not used.
package identity

import (
	"crypto"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

const file = "identity"

// Key is one private key in the two forms it is used in.
type Key struct {
	SSH    ssh.Signer    // to log in and to be certified
	Signer crypto.Signer // to sign anything else
}

// Make makes the key of a program under dir, and dir when it is missing. public is the line in identity.pub.
func Make(dir, program string) (public string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	private, public, err := generate(comment(program))
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, file)
	err = place(path, private, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("%s exists already and is kept; its public half is %s.pub", path, path)
	}
	if err != nil {
		return "", err
	}
	// Without its key a public half is worth nothing: this is one that was left behind.
	if err := os.Remove(path + ".pub"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err := place(path+".pub", []byte(public), 0o644); err != nil {
		return "", err
	}
	return public, syncDir(dir)
}

func generate(comment string) (private []byte, public string, err error) {
	key, secret, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, "", err
	}
	block, err := ssh.MarshalPrivateKey(secret, comment)
	if err != nil {
		return nil, "", err
	}
	half, err := ssh.NewPublicKey(key)
	if err != nil {
		return nil, "", err
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(half))) + " " + comment + "\n"
	return pem.EncodeToMemory(block), line, nil
}

func comment(program string) string {
	if host, err := os.Hostname(); err == nil {
		return program + "@" + host
	}
	return program
}

// place writes a file that is whole as soon as it has its name, and fails with fs.ErrExist when the name is taken.
func place(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return os.Link(f.Name(), path) // a rename would replace
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// Read reads the key that Make made for a program under dir.
func Read(dir, program string) (*Key, error) {
	path := filepath.Join(dir, file)
	b, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing; make it with: %s init --dir %s", path, program, dir)
	}
	if err != nil {
		return nil, err
	}
	key, err := parse(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// readPrivate reads a file that nobody but its owner may read.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%s: mode is %04o, others may read it; set it with: chmod 600 %s", path, mode, path)
	}
	return io.ReadAll(f)
}

func parse(b []byte) (*Key, error) {
	raw, err := ssh.ParseRawPrivateKey(b)
	if err != nil {
		return nil, err
	}
	// The one type that x/crypto returns by pointer although only the value is what everybody else takes for a key.
	if p, ok := raw.(*ed25519.PrivateKey); ok {
		raw = *p
	}
	key, ok := raw.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("a %T cannot sign", raw)
	}
	signer, err := ssh.NewSignerFromSigner(key)
	return &Key{SSH: signer, Signer: key}, err
}
