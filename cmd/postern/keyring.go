package main

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// keyring is what can sign for the person: keys of the agent, a key file, or both.
type keyring struct {
	signers []ssh.Signer
	private any           // the private key of the file, when there was one; what an agent needs to hold a certificate
	public  ssh.PublicKey // of that private key
	agent   agent.ExtendedAgent
	conn    net.Conn
}

func (k *keyring) close() {
	if k.conn != nil {
		k.conn.Close()
	}
}

// openKeyring finds the signers for the key at path, or without a path those of the agent, else of ~/.ssh.
func openKeyring(path string) (*keyring, error) {
	k := &keyring{}
	agentErr := k.dialAgent()
	var err error
	if path != "" {
		err = k.useFile(path, agentErr)
	} else {
		err = k.useAgent(agentErr)
	}
	if err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func (k *keyring) dialAgent() error {
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return errors.New("SSH_AUTH_SOCK is not set")
	}
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return fmt.Errorf("the ssh-agent at SSH_AUTH_SOCK: %w", err)
	}
	k.conn, k.agent = conn, agent.NewClient(conn)
	return nil
}

// agentSigners leaves out certificates: the CA wants to know the key, and signatures by a certificate embed it.
func (k *keyring) agentSigners() ([]ssh.Signer, error) {
	if k.agent == nil {
		return nil, nil
	}
	all, err := k.agent.Signers()
	if err != nil {
		return nil, fmt.Errorf("the ssh-agent at SSH_AUTH_SOCK: %w", err)
	}
	var plain []ssh.Signer
	for _, signer := range all {
		if !strings.Contains(signer.PublicKey().Type(), "-cert-v01@") {
			plain = append(plain, signer)
		}
	}
	return plain, nil
}

func (k *keyring) useAgent(agentErr error) error {
	signers, err := k.agentSigners()
	if err != nil {
		return err
	}
	if k.signers = signers; len(signers) > 0 {
		return nil
	}
	home, _ := os.UserHomeDir()
	for _, name := range []string{"id_ed25519_sk", "id_ed25519", "id_ecdsa_sk", "id_ecdsa", "id_rsa"} {
		path := filepath.Join(home, ".ssh", name)
		if _, err := os.Stat(path); err == nil {
			return k.useFile(path, agentErr)
		}
	}
	if agentErr == nil {
		agentErr = errors.New("the ssh-agent holds no key")
	}
	return fmt.Errorf("no SSH key to sign with: %w, and there is none in ~/.ssh; load one with ssh-add, or set POSTERN_KEY", agentErr)
}

func (k *keyring) useFile(path string, agentErr error) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("your SSH key: %w; name another with POSTERN_KEY or --key", err)
	}
	if public, _, _, _, err := ssh.ParseAuthorizedKey(data); err == nil {
		return k.usePublic(path, public, agentErr)
	}
	private, err := ssh.ParseRawPrivateKey(data)
	var sealed *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &sealed):
		if sealed.PublicKey != nil && k.fromAgent(sealed.PublicKey) {
			return nil
		}
		if private, err = unseal(path, data); err != nil {
			return err
		}
	case err != nil:
		// The private file of a FIDO key holds a handle that only the agent knows how to use.
		if public, perr := publicBeside(path); perr == nil {
			return k.usePublic(path+".pub", public, agentErr)
		}
		return fmt.Errorf("your SSH key: %s: %w; name another with POSTERN_KEY or --key", path, err)
	}
	return k.usePrivate(path, private)
}

func (k *keyring) usePrivate(path string, private any) error {
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	k.signers, k.private, k.public = []ssh.Signer{signer}, private, signer.PublicKey()
	return nil
}

// usePublic signs with the agent's half of a public key, or with the private file beside it.
func (k *keyring) usePublic(path string, public ssh.PublicKey, agentErr error) error {
	if k.fromAgent(public) {
		return nil
	}
	beside, found := strings.CutSuffix(path, ".pub")
	if _, err := os.Stat(beside); found && err == nil && !strings.HasPrefix(public.Type(), "sk-") {
		return k.useFile(beside, agentErr)
	}
	if agentErr != nil {
		return fmt.Errorf("%s is a public key and there is no ssh-agent to sign with it: %w", path, agentErr)
	}
	return fmt.Errorf("the ssh-agent does not hold the key %s; load it with: ssh-add %s", path, beside)
}

func (k *keyring) fromAgent(public ssh.PublicKey) bool {
	signers, err := k.agentSigners()
	if err != nil {
		return false
	}
	for _, signer := range signers {
		if bytes.Equal(signer.PublicKey().Marshal(), public.Marshal()) {
			k.signers = []ssh.Signer{signer}
			return true
		}
	}
	return false
}

func publicBeside(path string) (ssh.PublicKey, error) {
	data, err := os.ReadFile(path + ".pub")
	if err != nil {
		return nil, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey(data)
	return public, err
}

// unseal asks for the passphrase of a key file on the terminal, three times at most.
func unseal(path string, data []byte) (any, error) {
	for range 3 {
		passphrase, err := askSecret("Passphrase of " + path + ": ")
		if err != nil {
			return nil, fmt.Errorf("%s is encrypted: %w; load it in an ssh-agent with: ssh-add %s", path, err, path)
		}
		private, err := ssh.ParseRawPrivateKeyWithPassphrase(data, passphrase)
		if errors.Is(err, x509.IncorrectPasswordError) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return private, nil
	}
	return nil, fmt.Errorf("%s: wrong passphrase", path)
}

// named returns the signer with that fingerprint.
func (k *keyring) named(fingerprint string) (ssh.Signer, error) {
	for _, signer := range k.signers {
		if ssh.FingerprintSHA256(signer.PublicKey()) == fingerprint {
			return signer, nil
		}
	}
	return nil, fmt.Errorf("the key %s is not at hand any more; load it with ssh-add", fingerprint)
}
