package main

import (
	"crypto"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"
)

var initCommand = &cli.Command{
	Name:  "init",
	Usage: "make the key that is this bastion's identity, and print its public half",
	Flags: []cli.Flag{dirFlag},
	Action: func(c *cli.Context) error {
		if err := errors.Join(noArguments(c), required(c, "dir")); err != nil {
			return err
		}
		public, err := makeIdentity(c.String("dir"))
		if err != nil {
			return err
		}
		fmt.Print(public)
		fmt.Fprintln(os.Stderr, "Put this line into hosts.yaml as the key of this bastion.")
		return nil
	},
}

// identity is one key for three things: it logs in to the CA, the gateway CA certifies it for the names the bastion speaks for, and it signs
// what is recorded.
type identity struct {
	ssh ssh.Signer
	key crypto.Signer
}

func makeIdentity(dir string) (public string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, "postern-bastion")
	if err != nil {
		return "", err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "identity")
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("%s exists already; its public half is %s.pub", path, path)
	}
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.Write(pem.EncodeToMemory(block)); err != nil {
		return "", err
	}
	if err := f.Sync(); err != nil {
		return "", err
	}
	public = string(ssh.MarshalAuthorizedKey(signer.PublicKey()))
	return public, os.WriteFile(path+".pub", []byte(public), 0o644)
}

func readIdentity(dir string) (identity, error) {
	path := filepath.Join(dir, "identity")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, fmt.Errorf("%s is missing; make it with: postern-bastion init --dir %s", path, dir)
	}
	if err != nil {
		return identity{}, err
	}
	raw, err := ssh.ParseRawPrivateKey(b)
	if err != nil {
		return identity{}, fmt.Errorf("%s: %w", path, err)
	}
	key, ok := raw.(crypto.Signer)
	if !ok {
		return identity{}, fmt.Errorf("%s: a %T cannot sign", path, raw)
	}
	if p, ok := raw.(*ed25519.PrivateKey); ok {
		key = *p
	}
	signer, err := ssh.NewSignerFromSigner(key)
	return identity{signer, key}, err
}

// readKeys reads a file of authorized_keys lines.
func readKeys(path string) ([]ssh.PublicKey, error) {
	rest, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var keys []ssh.PublicKey
	for len(rest) > 0 {
		key, _, _, more, err := ssh.ParseAuthorizedKey(rest)
		if err != nil {
			break // nothing but comments and blank lines is left
		}
		keys, rest = append(keys, key), more
	}
	return keys, nil
}

func readKey(path string) (ssh.PublicKey, error) {
	keys, err := readKeys(path)
	if err == nil && len(keys) != 1 {
		err = fmt.Errorf("%s holds %d public keys, not one", path, len(keys))
	}
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}
