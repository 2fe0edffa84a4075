package main

import (
	"crypto/ed25519"
	"crypto/rand"
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
	Usage: "make the key with which this host logs in to the CA, and print its public half",
	Flags: []cli.Flag{dirFlag},
	Action: func(c *cli.Context) error {
		if _, err := exactly(c); err != nil {
			return err
		}
		if err := required(c, "dir"); err != nil {
			return err
		}
		public, err := makeIdentity(c.String("dir"))
		if err != nil {
			return err
		}
		fmt.Print(public)
		fmt.Fprintln(os.Stderr, "Put this line into hosts.yaml as the agent of this host.")
		return nil
	},
}

var dirFlag = &cli.StringFlag{Name: "dir", Usage: "this program's own `DIR`ectory", EnvVars: []string{"POSTERN_HOST_DIR"}}

func makeIdentity(dir string) (public string, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	path := filepath.Join(dir, "identity")
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s exists already; its public half is %s.pub", path, path)
	}
	name, err := os.Hostname()
	if err != nil {
		return "", err
	}
	comment := "postern-host@" + name
	key, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", err
	}
	block, err := ssh.MarshalPrivateKey(private, comment)
	if err != nil {
		return "", err
	}
	wire, err := ssh.NewPublicKey(key)
	if err != nil {
		return "", err
	}
	line := string(ssh.MarshalAuthorizedKey(wire))
	public = line[:len(line)-1] + " " + comment + "\n"
	if err := onDisk.replace(path+".pub", []byte(public), 0o644, nil); err != nil {
		return "", err
	}
	return public, onDisk.replace(path, pem.EncodeToMemory(block), 0o600, nil)
}

func readIdentity(dir string) (ssh.Signer, error) {
	path := filepath.Join(dir, "identity")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is missing; make it with: postern-host init --dir %s", path, dir)
	}
	if err != nil {
		return nil, err
	}
	signer, err := ssh.ParsePrivateKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return signer, nil
}

func readPublicKey(path string) (ssh.PublicKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}
