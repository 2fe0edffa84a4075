package bastion

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/algo"
	"postern/internal/socket"
)

func newSessionKey() (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(private)
}

// dial logs in to the host with the session's certificate. One timer covers the connection and the handshake: x/crypto's own timeout
// ends with the connection, and a silent host would hold a session for ever.
func (s *session) dial(key ssh.Signer) (ssh.Conn, error) {
	config, err := s.hostConfig(key)
	if err != nil {
		s.log.Error("the CA's answer is unusable", "error", err)
		return nil, failed{"host", errors.New("the CA's answer is unusable; tell your operator")}
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.b.Limits.DialTime)
	defer cancel()
	tcp, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.reply.Address)
	if err != nil {
		return nil, s.unreachable(err)
	}
	wire := socket.New(tcp, 0)
	stop := context.AfterFunc(ctx, func() { wire.Close() })
	var conn ssh.Conn
	var chans <-chan ssh.NewChannel
	var reqs <-chan *ssh.Request
	err = survive(func() (err error) {
		conn, chans, reqs, err = ssh.NewClientConn(wire, s.reply.Address, config)
		return err
	})
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		wire.Close()
		return nil, s.unreachable(err)
	}
	// What a host asks of the connection (hostkeys-00, keepalives) is between it and us.
	go ssh.DiscardRequests(reqs)
	go s.hostChannels(chans)
	return conn, nil
}

// hostChannels serves what the host opens, once the session has begun: what happens is recorded.
func (s *session) hostChannels(chans <-chan ssh.NewChannel) {
	select {
	case <-s.begun:
	case <-s.ctx.Done():
	}
	for ch := range chans {
		if s.ctx.Err() != nil || s.pace() != nil {
			_ = ch.Reject(ssh.Prohibited, errEnded.Error())
			continue
		}
		go s.b.guard(s, func() { s.backward(ch) })
	}
}

func (s *session) unreachable(err error) error {
	s.log.Error("host", "address", s.reply.Address, "error", err)
	why := "it does not answer as it should"
	var op *net.OpError
	switch {
	case errors.Is(err, context.DeadlineExceeded), os.IsTimeout(err):
		why = fmt.Sprintf("no answer within %s", s.b.Limits.DialTime)
	case errors.As(err, &op) && op.Op == "dial":
		why = op.Err.Error()
	}
	return failed{"host", fmt.Errorf("%s cannot be reached: %s (session %s)", s.reply.HostName, why, s.reply.Session.ID)}
}

func (s *session) hostConfig(key ssh.Signer) (*ssh.ClientConfig, error) {
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.reply.Certificate))
	if err != nil {
		return nil, fmt.Errorf("session certificate: %w", err)
	}
	cert, ok := parsed.(*ssh.Certificate)
	if !ok || !bytes.Equal(cert.Key.Marshal(), key.PublicKey().Marshal()) {
		return nil, errors.New("session certificate: not one for this session's key")
	}
	signer, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		return nil, fmt.Errorf("session certificate: %w", err)
	}
	c := &ssh.ClientConfig{
		User: s.account, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, ClientVersion: "SSH-2.0-" + Version,
		HostKeyAlgorithms: algo.HostCertificateAlgorithms, HostKeyCallback: s.checkHost,
	}
	algo.Harden(&c.Config)
	if s.reply.HostKey != "" {
		pinned, _, _, _, err := ssh.ParseAuthorizedKey([]byte(s.reply.HostKey))
		if err != nil {
			return nil, fmt.Errorf("pinned host key: %w", err)
		}
		c.HostKeyCallback = ssh.FixedHostKey(pinned)
		c.HostKeyAlgorithms = keyAlgorithms(pinned.Type())
	}
	return c, nil
}

func keyAlgorithms(kind string) []string {
	if kind == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{kind}
}

// checkHost accepts a certificate of the host CA for that host's name and nothing else, whatever address was dialled.
func (s *session) checkHost(_ string, _ net.Addr, key ssh.PublicKey) error {
	cert, ok := key.(*ssh.Certificate)
	switch {
	case !ok:
		return errors.New("the host has no certificate")
	case cert.CertType != ssh.HostCert:
		return errors.New("the host shows a user certificate")
	case !bytes.Equal(cert.SignatureKey.Marshal(), s.b.HostCA.Marshal()):
		return errors.New("the host's certificate is of another CA")
	case !algo.Signature(cert.Signature.Format):
		return fmt.Errorf("the host's certificate is signed with %s", cert.Signature.Format)
	case !slices.Contains(cert.ValidPrincipals, s.reply.HostName):
		return fmt.Errorf("the host's certificate is for %q, not for %s", cert.ValidPrincipals, s.reply.HostName)
	}
	return (&ssh.CertChecker{Clock: func() time.Time { return s.b.Now() }}).CheckCert(s.reply.HostName, cert)
}
