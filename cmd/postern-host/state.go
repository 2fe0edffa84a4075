package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
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
	if a.cannotEnd != nil {
		s.Ends, s.CannotEnd = true, fmt.Sprintf("%.150s", a.cannotEnd)
	}
	if a.ending == nil {
		return s
	}
	s.Ends = true
	if err := a.ending.logins.tidy(time.Now()); err != nil {
		a.log.Error("cannot see what runs here", "error", err)
		s.CannotEnd = "it cannot see what runs there"
	} else if err := a.ending.logins.proc.Able(); err != nil {
		s.CannotEnd = err.Error()
	}
	s.Logins = a.ending.logins.serials()
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

// speak tells the CA how the host stands, and begins what it orders.
func (a *agent) speak(ctx context.Context, client *control.Client) error {
	answering, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	said, err := json.Marshal(a.state())
	if err != nil {
		return err
	}
	answer, err := client.Run(answering, bytes.NewReader(said), "host-state", "--json")
	if err != nil || a.ending == nil || len(answer) == 0 { // a CA of before orders nothing
		return a.refused("state of this host", err)
	}
	var orders control.HostOrders
	if err := json.Unmarshal(answer, &orders); err != nil {
		return fmt.Errorf("the CA's orders: %w", err)
	}
	a.ending.obey(orders.End)
	return nil
}
