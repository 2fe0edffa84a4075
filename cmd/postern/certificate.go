package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/sshconfig"
)

var noAgentFlag = &cli.BoolFlag{Name: "no-agent", Usage: "keep the certificate out of the ssh-agent"}

var certificateCommand = &cli.Command{
	Name:      "certificate",
	Usage:     "take the certificate of an approved request; its time starts now",
	ArgsUsage: "R-…",
	Flags:     []cli.Flag{noAgentFlag, jsonFlag},
	Action: func(c *cli.Context) error {
		args, err := command.Exactly(c, "R-…")
		if err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		return ca.takeCertificate(c, args[0])
	},
}

// takeCertificate fetches the certificate, checks it, stores it for ssh and says what to type next.
func (c *client) takeCertificate(cc *cli.Context, request string) error {
	answer, err := control.Call[control.Certificate](cc.Context, c.Client, nil, "certificate", request)
	if err != nil {
		return err
	}
	cert, err := c.ours(answer)
	if err != nil {
		return err
	}
	if err := storeCertificate(c.settings.certificates(), cert); err != nil {
		return err
	}
	inAgent, err := c.giveToAgent(cc, cert)
	if err != nil {
		fmt.Fprintf(os.Stderr, "postern: %v; the file is enough for ssh\n", err)
	}
	if cc.Bool("json") {
		return jsonLine(os.Stdout, answer)
	}
	return printCertificate(request, cert, inAgent)
}

// ours checks that the certificate is one for a key we hold: ssh would only say "permission denied" later.
func (c *client) ours(answer control.Certificate) (*ssh.Certificate, error) {
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(answer.Certificate))
	if err != nil {
		return nil, fmt.Errorf("certificate from the CA: %w", err)
	}
	cert, ok := public.(*ssh.Certificate)
	if !ok || cert.CertType != ssh.UserCert || len(cert.ValidPrincipals) == 0 {
		return nil, errors.New("the CA answered with something else than a user certificate")
	}
	if _, err := c.keys.named(ssh.FingerprintSHA256(cert.Key)); err != nil {
		return nil, fmt.Errorf("the certificate is for another key: %w", err)
	}
	return cert, nil
}

// storeCertificate writes the files that the lines of "postern ssh-config" name.
func storeCertificate(dir string, cert *ssh.Certificate) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	line := ssh.MarshalAuthorizedKey(cert)
	for _, principal := range cert.ValidPrincipals {
		if strings.ContainsAny(principal, "/\\\x00\n") || principal[0] == '.' || principal[0] == '-' {
			return fmt.Errorf("the certificate's principal %q is not account@host", principal)
		}
		for _, name := range sshconfig.Names(principal) {
			if err := writeFile(filepath.Join(dir, name), line); err != nil {
				return err
			}
		}
	}
	if err := writeFile(filepath.Join(dir, identityFile), ssh.MarshalAuthorizedKey(cert.Key)); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, sshconfig.BastionCertificate), line)
}

// identityFile is the key of the certificates, for who has it in an agent only.
const identityFile = "identity.pub"

// writeFile replaces a file at once, for its owner only: an ssh that starts meanwhile reads the old one or the new one.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// giveToAgent adds the certificate for as long as it lives. An agent takes a certificate with its private key only, so a
// key that lives in the agent alone, or in a token, goes by the file.
func (c *client) giveToAgent(cc *cli.Context, cert *ssh.Certificate) (bool, error) {
	if cc.Bool("no-agent") || c.keys.agent == nil || c.keys.private == nil ||
		!bytes.Equal(c.keys.public.Marshal(), cert.Key.Marshal()) {
		return false, nil
	}
	left := time.Until(time.Unix(int64(cert.ValidBefore), 0))
	if left < time.Second {
		return false, errors.New("the certificate is over already; is this machine's clock right?")
	}
	err := c.keys.agent.Add(agent.AddedKey{
		PrivateKey:   c.keys.private,
		Certificate:  cert,
		Comment:      "postern " + cert.KeyId,
		LifetimeSecs: uint32(left.Seconds()),
	})
	if err != nil {
		return false, fmt.Errorf("the ssh-agent refused the certificate: %w", err)
	}
	return true, nil
}

func printCertificate(request string, cert *ssh.Certificate, inAgent bool) error {
	until := time.Unix(int64(cert.ValidBefore), 0)
	where := ""
	if inAgent {
		where = ", in your agent too"
	}
	fmt.Printf("%s  certificate %d until %s%s\n", colour(bold, request), cert.Serial, when(until, time.Now()), where)
	for _, target := range cert.ValidPrincipals {
		fmt.Println(colour(green, sshWords(target)))
	}
	return nil
}
