package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

// state is how the host stands, read from the files that sshd reads: not from what was fetched, which may not be what is in force.
func (a *agent) state() control.HostState {
	var s control.HostState
	list := a.revoked.current()
	info, err := os.Stat(a.revoked.path)
	if list == nil || err != nil {
		s.KRLMissing = true
	} else {
		s.KRLVersion, s.KRLWritten = list.Version, info.ModTime().UTC()
	}
	if a.certificate != nil {
		s.CertificateEnds = a.certificate.ends()
	}
	return s
}

// ends is when the certificate of the host's key ends; zero: there is none.
func (h *hostCertificate) ends() time.Time {
	b, err := os.ReadFile(h.path)
	if err != nil {
		return time.Time{}
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(b)
	if err != nil {
		return time.Time{}
	}
	cert, ok := key.(*ssh.Certificate)
	if !ok || cert.ValidBefore > 1<<40 { // one without end, or nonsense
		return time.Time{}
	}
	return time.Unix(int64(cert.ValidBefore), 0).UTC()
}

// speak tells the CA how the host stands.
func (a *agent) speak(ctx context.Context, client *control.Client) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	said, err := json.Marshal(a.state())
	if err != nil {
		return err
	}
	_, err = client.Run(ctx, bytes.NewReader(said), "host-state", "--json")
	return a.refused("state of this host", err)
}
