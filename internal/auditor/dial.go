package auditor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"postern/internal/algo"
	"postern/internal/control"
)

// recordingsUser is the login name under which bastions hand out recordings.
const recordingsUser = "recordings"

const dialTime = 10 * time.Second

// Fetch copies the sealed recording that a lets us at from the bastion to w. The bastion must show a host certificate of
// the gateway CA in knownHosts for its own name. signer is the one whose key the certificate in a is for.
func Fetch(ctx context.Context, a control.Audit, signer ssh.Signer, knownHosts string, w io.Writer) error {
	conn, err := dial(ctx, a, signer, knownHosts)
	if err != nil {
		return fmt.Errorf("bastion %s at %s: %w", a.Bastion.Name, a.Bastion.Address, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s, err := conn.NewSession()
	if err != nil {
		return err
	}
	defer s.Close()
	var said bytes.Buffer
	s.Stdout, s.Stderr = w, &said
	err = s.Run("recording " + a.Session.ID)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	var exit *ssh.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("bastion %s: %s", a.Bastion.Name, strings.TrimPrefix(strings.TrimSpace(said.String()), "postern: "))
	}
	return err
}

func dial(ctx context.Context, a control.Audit, signer ssh.Signer, knownHosts string) (*ssh.Client, error) {
	check, err := knownhosts.New(knownHosts)
	if err != nil {
		return nil, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(a.Certificate))
	if err != nil {
		return nil, fmt.Errorf("certificate from the CA: %w", err)
	}
	cert, ok := public.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("the CA answered with something else than a certificate")
	}
	login, err := ssh.NewCertSigner(cert, signer)
	if err != nil {
		return nil, err
	}
	name := net.JoinHostPort(a.Bastion.Name, "22")
	config := &ssh.ClientConfig{
		User: recordingsUser, Auth: []ssh.AuthMethod{ssh.PublicKeys(login)}, HostKeyAlgorithms: algo.HostCertificateAlgorithms,
		// The certificate must be for the bastion's name: the address is only the way there.
		HostKeyCallback: func(_ string, remote net.Addr, key ssh.PublicKey) error { return check(name, remote, key) },
	}
	algo.Harden(&config.Config)
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", a.Bastion.Address)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(dialTime)) // a silent server would hold us for ever
	c, channels, requests, err := ssh.NewClientConn(conn, name, config)
	if err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	return ssh.NewClient(c, channels, requests), nil
}
