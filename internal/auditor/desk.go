package auditor

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// Desk is where an auditor works: the CA that is asked and told, the keys that sign and open.
type Desk struct {
	CA         *control.Client
	Sign       func(fingerprint string) (ssh.Signer, error) // the auditor's SSH key
	Home       string                                       // POSTERN_HOME, with the identity
	KnownHosts string
	Ask        func(prompt string) ([]byte, error) // for the passphrase of the identity

	identity Identity
}

// View is what is done with recordings, and why. It is in the audit log, signed by the auditor, before the first byte comes.
type View struct {
	Kind       string // replay, web, watch, search, export, verify, report or evidence
	Reason     string
	Keystrokes bool // with what was typed
}

// Access is the right to some recordings, for as long as it is open.
type Access struct {
	desk   *Desk
	audits map[string]control.Audit
	order  []string
	files  []*os.File
	view   View
}

// View asks for recordings. Access is to all of them or there is an error.
func (d *Desk) View(ctx context.Context, v View, sessions ...string) (*Access, error) {
	a := &Access{desk: d, audits: map[string]control.Audit{}, view: v}
	for _, id := range sessions {
		audit, err := control.Call[control.Audit](ctx, d.CA, nil, "audit", id, "--reason", v.Kind+": "+v.Reason)
		if err != nil {
			return nil, err
		}
		a.audits[audit.Session.ID] = audit
		a.order = append(a.order, audit.Session.ID)
	}
	return a, nil
}

// Sessions are those of the view, in the order they were asked for.
func (a *Access) Sessions() (list []control.Session) {
	for _, id := range a.order {
		list = append(list, a.audits[id].Session)
	}
	return list
}

// Archive opens the recording of a session: its outline is fetched and verified, and held against what the CA says was logged. Its segments come as they are wanted.
func (a *Access) Archive(ctx context.Context, session string) (*recorder.Archive, error) {
	audit, ok := a.audits[session]
	if !ok {
		return nil, fmt.Errorf("session %s is not part of this view", session)
	}
	key, err := a.key(audit)
	if err != nil {
		return nil, err
	}
	cert, _, _, _, err := ssh.ParseAuthorizedKey([]byte(audit.Certificate))
	if err != nil {
		return nil, err
	}
	signer, err := a.desk.Sign(ssh.FingerprintSHA256(cert.(*ssh.Certificate).Key))
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp("", "postern-recording-*")
	if err != nil {
		return nil, err
	}
	os.Remove(f.Name())
	a.files = append(a.files, f)
	if err := Fetch(ctx, audit, signer, a.desk.KnownHosts, f); err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	source, err := recorder.OpenExported(f, info.Size())
	if err != nil {
		return nil, err
	}
	bastion, _, _, _, err := ssh.ParseAuthorizedKey([]byte(audit.Bastion.Key))
	if err != nil {
		return nil, fmt.Errorf("key of bastion %s: %w", audit.Bastion.Name, err)
	}
	return recorder.OpenArchive(ctx, source, key, bastion.(ssh.CryptoPublicKey).CryptoPublicKey())
}

func (a *Access) key(audit control.Audit) (recorder.PrivateKey, error) {
	if _, err := audit.RecordingKey.Verify(); err != nil {
		return recorder.PrivateKey{}, err
	}
	if a.desk.identity == nil {
		var err error
		if a.desk.identity, err = Open(a.desk.Home, a.desk.Ask); err != nil {
			return recorder.PrivateKey{}, err
		}
	}
	return OpenRecordingKey(audit.RecordingKey, a.desk.identity)
}

// Close ends the connections to the bastions.
func (a *Access) Close() (err error) {
	for _, f := range a.files {
		err = errors.Join(err, f.Close())
	}
	return err
}
