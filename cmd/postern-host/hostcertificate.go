package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

const reloadTime = 30 * time.Second

// hostCertificate is the certificate of the host's own key, which sshd shows to the bastion.
type hostCertificate struct {
	key    ssh.PublicKey // of the host
	ca     ssh.PublicKey // the host CA
	path   string
	reload string // command that makes sshd read the file again; empty: none
	disk   disk

	reloadDue bool
}

// due reports whether a new certificate is needed: there is none for this key and CA, or half of its life is over.
func (h *hostCertificate) due(now time.Time) bool {
	b, err := os.ReadFile(h.path)
	if err != nil {
		return true
	}
	cert, err := h.check(b, now)
	if err != nil {
		return true
	}
	from, until := time.Unix(int64(cert.ValidAfter), 0), time.Unix(int64(cert.ValidBefore), 0)
	return now.After(from.Add(until.Sub(from) / 2))
}

// check parses a certificate file and refuses what clients of this host would refuse.
func (h *hostCertificate) check(line []byte, now time.Time) (*ssh.Certificate, error) {
	key, _, _, rest, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		return nil, fmt.Errorf("host certificate: %w", err)
	}
	cert, ok := key.(*ssh.Certificate)
	switch {
	case !ok || len(bytes.TrimSpace(rest)) > 0:
		return nil, errors.New("host certificate: this is not one certificate")
	case cert.CertType != ssh.HostCert:
		return nil, errors.New("host certificate: this is a user certificate")
	case !bytes.Equal(cert.Key.Marshal(), h.key.Marshal()):
		return nil, errors.New("host certificate: it is for another key than this host's")
	case !bytes.Equal(cert.SignatureKey.Marshal(), h.ca.Marshal()):
		return nil, errors.New("host certificate: another CA than the host CA signed it")
	case len(cert.ValidPrincipals) == 0:
		return nil, errors.New("host certificate: it is valid for any host")
	case cert.ValidBefore == ssh.CertTimeInfinity:
		return nil, errors.New("host certificate: it never expires")
	}
	checker := ssh.CertChecker{Clock: func() time.Time { return now }}
	if err := checker.CheckCert(cert.ValidPrincipals[0], cert); err != nil {
		return nil, fmt.Errorf("host certificate: %w", err)
	}
	return cert, nil
}

// install writes the certificate and has sshd read it.
func (h *hostCertificate) install(ctx context.Context, line string, now time.Time) (*ssh.Certificate, error) {
	line = strings.TrimSpace(line) + "\n"
	cert, err := h.check([]byte(line), now)
	if err != nil {
		return nil, err
	}
	if err := h.disk.replace(h.path, []byte(line), 0o644, nil); err != nil {
		return nil, err
	}
	h.reloadDue = true
	return cert, h.reloadIfDue(ctx)
}

func (h *hostCertificate) reloadIfDue(ctx context.Context) error {
	if !h.reloadDue || h.reload == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reloadTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", h.reload)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("reload %q: %w: %s", h.reload, err, bytes.TrimSpace(out))
	}
	h.reloadDue = false
	return nil
}
