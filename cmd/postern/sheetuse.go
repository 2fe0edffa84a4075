package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"postern/internal/algo"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/sheet"
)

// sheetUser is the login name under which bastions take sheets.
const sheetUser = "sheet"

const presentTime = 20 * time.Second

var sheetUseCommand = &cli.Command{
	Name:      "use",
	Usage:     "present a sheet to its bastion, while the CA is down; then log in with ssh as ever, once",
	ArgsUsage: "FILE",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "address", Usage: "`HOST:PORT` of the bastion, if it is not where it was"},
		&cli.StringFlag{Name: "passphrase-file", Usage: "read the passphrase from `FILE` instead of asking"},
	},
	Action: func(c *cli.Context) error {
		args, err := command.Exactly(c, "FILE")
		if err != nil {
			return err
		}
		text, err := os.ReadFile(args[0])
		if err != nil {
			return err
		}
		// What is mistyped is told before anybody is asked for anything.
		if _, err := sheet.Check(string(text)); err != nil {
			return fmt.Errorf("%s: %w", args[0], err)
		}
		made, err := openSheet(c, string(text))
		if err != nil {
			return err
		}
		terms, err := control.ParseTerms(made.Terms)
		if err != nil {
			return err
		}
		settings, err := settingsOf(c)
		if err != nil {
			return err
		}
		keys, err := openKeyring(settings.Key)
		if err != nil {
			return err
		}
		defer keys.close()
		return settings.useSheet(c, made, terms, keys)
	},
}

func openSheet(c *cli.Context, text string) (control.Made, error) {
	if path := c.String("passphrase-file"); path != "" {
		b, err := os.ReadFile(path)
		if err != nil {
			return control.Made{}, err
		}
		return sheet.Read(text, string(b))
	}
	for n := 1; ; n++ {
		passphrase, err := askSecret("Passphrase of the sheet: ")
		if err != nil {
			return control.Made{}, fmt.Errorf("%w; or say --passphrase-file FILE", err)
		}
		made, err := sheet.Read(text, string(passphrase))
		if err == nil || n == 3 {
			return made, err
		}
		fmt.Fprintf(os.Stderr, "postern: %v\n", err)
	}
}

// useSheet presents the sheet with the certificate of the one holder whose key is at hand, and leaves that certificate where ssh looks.
func (s settings) useSheet(c *cli.Context, made control.Made, terms control.Terms, keys *keyring) error {
	cert, signer, err := ofHolder(made, keys)
	if err != nil {
		return err
	}
	if until := time.Unix(int64(cert.ValidBefore), 0); !time.Now().Before(until) {
		return fmt.Errorf("the sheet was good until %s", when(until, time.Now()))
	}
	said, err := s.present(c.Context, cmp.Or(c.String("address"), terms.Reached), cert, signer, made, terms)
	if err != nil {
		return err
	}
	if err := storeCertificate(s.certificates(), cert); err != nil {
		return err
	}
	fmt.Printf("%s  %s\n%s\n", colour(bold, terms.Request), word(said), colour(green, sshWords(terms.Target)))
	return nil
}

func ofHolder(made control.Made, keys *keyring) (*ssh.Certificate, ssh.Signer, error) {
	var holders []string
	for _, wire := range made.Certificates {
		public, err := ssh.ParsePublicKey(wire)
		cert, ok := public.(*ssh.Certificate)
		if err != nil || !ok {
			return nil, nil, errors.New("the sheet holds something else than certificates")
		}
		if signer, err := keys.named(ssh.FingerprintSHA256(cert.Key)); err == nil {
			return cert, signer, nil
		}
		holders = append(holders, word(cert.KeyId)+" with key "+ssh.FingerprintSHA256(cert.Key))
	}
	return nil, nil, fmt.Errorf("the sheet is for %s, and none of these keys is at hand", strings.Join(holders, ", "))
}

// present hands the sheet to the bastion, which must show a host certificate of the gateway CA for its own name.
func (s settings) present(ctx context.Context, address string, cert *ssh.Certificate, signer ssh.Signer, made control.Made, terms control.Terms) (string, error) {
	check, err := knownhosts.New(s.knownHosts())
	if err != nil {
		return "", err
	}
	login, err := ssh.NewCertSigner(cert, signer)
	if err != nil {
		return "", err
	}
	var banner string
	name := net.JoinHostPort(terms.Bastion, "22")
	config := &ssh.ClientConfig{
		User: sheetUser, Auth: []ssh.AuthMethod{ssh.PublicKeys(login)}, HostKeyAlgorithms: algo.HostCertificateAlgorithms,
		HostKeyCallback: func(_ string, remote net.Addr, key ssh.PublicKey) error { return check(name, remote, key) },
		BannerCallback:  func(message string) error { banner = message; return nil },
	}
	algo.Harden(&config.Config)
	ctx, cancel := context.WithTimeout(ctx, presentTime)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return "", fmt.Errorf("bastion %s: %w; say where it is with --address HOST:PORT", word(terms.Bastion), err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c, channels, requests, err := ssh.NewClientConn(conn, name, config)
	if err != nil && banner != "" {
		return "", errors.New(strings.TrimPrefix(strings.TrimSpace(banner), "postern: "))
	}
	if err != nil {
		return "", fmt.Errorf("bastion %s: %w", word(terms.Bastion), err)
	}
	client := ssh.NewClient(c, channels, requests)
	defer client.Close()
	return hand(client, made)
}

func hand(client *ssh.Client, made control.Made) (string, error) {
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	defer session.Close()
	made.Certificates = nil // the bastion has seen the one that counts
	text, err := json.Marshal(made)
	if err != nil {
		return "", err
	}
	session.Stdin = bytes.NewReader(text)
	out, err := session.Output("present")
	said := strings.TrimSpace(string(out))
	if refused := new(ssh.ExitError); errors.As(err, &refused) {
		return "", errors.New(said)
	}
	return said, err
}
