package auditor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"postern/internal/algo"
	"postern/internal/control"
)

// recordingsUser is the login name under which bastions hand out recordings.
const recordingsUser = "recordings"

const (
	dialTime = 10 * time.Second
	// A bastion that was stopped, or a network that is gone, must not look like a recording that takes long.
	askEvery, askFor = 15 * time.Second, 20 * time.Second
)

// dial logs in to the bastion of a pass, which must show a host certificate of the gateway CA in knownHosts for its own name. signer is the one
// whose key the certificate is for.
func dial(ctx context.Context, p control.Pass, signer ssh.Signer, knownHosts string) (*ssh.Client, error) {
	check, err := knownhosts.New(knownHosts)
	if err != nil {
		return nil, err
	}
	public, _, _, _, err := ssh.ParseAuthorizedKey([]byte(p.Certificate))
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
	name := net.JoinHostPort(p.Bastion.Name, "22")
	config := &ssh.ClientConfig{
		User: recordingsUser, Auth: []ssh.AuthMethod{ssh.PublicKeys(login)}, HostKeyAlgorithms: algo.HostCertificateAlgorithms,
		// The certificate must be for the bastion's name: the address is only the way there.
		HostKeyCallback: func(_ string, remote net.Addr, key ssh.PublicKey) error { return check(name, remote, key) },
	}
	algo.Harden(&config.Config)
	conn, err := (&net.Dialer{Timeout: dialTime}).DialContext(ctx, "tcp", p.Bastion.Address)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(time.Now().Add(dialTime)) // a silent server would hold us for ever
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	c, channels, requests, err := ssh.NewClientConn(conn, name, config)
	if err != nil {
		conn.Close()
		return nil, err
	}
	conn.SetDeadline(time.Time{})
	return ssh.NewClient(c, channels, requests), nil
}

// watchOver closes gone when the connection is, and ends a connection whose other side does not answer.
func watchOver(client *ssh.Client, gone chan struct{}) {
	go func() { _ = client.Wait(); close(gone) }()
	for {
		select {
		case <-gone:
			return
		case <-time.After(askEvery):
		}
		late := time.AfterFunc(askFor, func() { client.Close() })
		_, _, err := client.SendRequest("keepalive@openssh.com", true, nil)
		late.Stop()
		if err != nil {
			return
		}
	}
}
