package ca

import (
	"errors"
	"slices"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
)

const (
	month     = "2006-01"
	maxPublic = 4 << 10
	maxBox    = 64 << 10
)

// AddRecordingKey takes the public half of a month's key, signed by an auditor. The newest of a month and purpose is the one
// that sessions, or what is typed in them, are recorded to.
func (ca *CA) AddRecordingKey(c Caller, k control.RecordingKey) (control.RecordingKey, error) {
	if !ca.May(c, "recording-key") {
		return k, refuse("%s may not add recording keys: no rule permits it", c.Name)
	}
	if k.Auditor != c.Name {
		return k, refuse("the key names auditor %s, but %s brought it", k.Auditor, c.Name)
	}
	if k.Purpose != "" && k.Purpose != control.Keystrokes {
		return k, refuse("recording key for %q: there is no such purpose (it is %s, or none for sessions)", k.Purpose, control.Keystrokes)
	}
	if len(k.Public) > maxPublic || len(k.Box) > maxBox {
		return k, refuse("public half of %d bytes and box of %d bytes: at most %d and %d fit", len(k.Public), len(k.Box), maxPublic, maxBox)
	}
	signer, err := k.Verify()
	if err != nil {
		return k, refuse("%v", err)
	}
	err = ca.db.Update(func(tx *store.Tx) error {
		if err := ca.ownKey(tx, c.Name, signer); err != nil {
			return err
		}
		if taken, err := tx.Has(key(recordingRows, k.ID)); err != nil || taken {
			return errors.Join(err, refuse("%s is there already", k.ID))
		}
		k.Added = ca.now().UTC()
		if err := write(tx, key(recordingRows, k.ID), k); err != nil {
			return err
		}
		if err := tx.Set(current(k.Month, k.Purpose), []byte(k.ID)); err != nil {
			return err
		}
		return ca.record(tx, auditlog.Entry{Type: auditlog.TypeRecordingKey, Actor: c.Name, RecordingKey: &k})
	})
	return k, err
}

// RecordingKeys lists all of them, oldest first.
func (ca *CA) RecordingKeys() ([]control.RecordingKey, error) {
	var list []control.RecordingKey
	err := ca.db.View(func(tx *store.Tx) error {
		return tx.Scan([]byte(recordingRows), func(k, _ []byte) error {
			rk, err := read[control.RecordingKey](tx, slices.Clone(k))
			list = append(list, rk)
			return err
		})
	})
	slices.SortFunc(list, func(a, b control.RecordingKey) int { return a.Added.Compare(b.Added) })
	return list, err
}

// current is the row of a month's key. Keys of sessions were there before there was another purpose.
func current(month, purpose string) []byte {
	if purpose != "" {
		month += "/" + purpose
	}
	return key(monthRows, month)
}

// currentKey is this month's for a purpose. Without one nothing is recorded, so nothing is opened.
func (ca *CA) currentKey(tx *store.Tx, purpose string) (control.RecordingKey, error) {
	now := ca.now().UTC().Format(month)
	id, err := tx.Get(current(now, purpose))
	switch {
	case errors.Is(err, store.ErrNotFound) && purpose == control.Keystrokes:
		return control.RecordingKey{}, refuse("the policy wants what is typed recorded and there is no key of %s to seal it to, so this session does not open; an auditor makes one with: postern recording-key new --keystrokes --month %s --recipient RECIPIENT", now, now)
	case errors.Is(err, store.ErrNotFound):
		return control.RecordingKey{}, refuse("no recording key for %s, so no session opens; an auditor makes one with: postern recording-key new --month %s", now, now)
	}
	if err != nil {
		return control.RecordingKey{}, err
	}
	return keyCalled(tx, string(id))
}

func keyCalled(tx *store.Tx, id string) (control.RecordingKey, error) {
	return read[control.RecordingKey](tx, key(recordingRows, id))
}

// Audit lets an auditor at one recording: it is logged first, then a certificate of minutes is signed that the
// bastion which keeps the recording accepts for that one and nothing else.
func (ca *CA) Audit(c Caller, session, reason string, pub ssh.PublicKey) (control.Audit, error) {
	var out control.Audit
	if !ca.May(c, "audit") {
		return out, refuse("%s may not read recordings: no rule permits it", c.Name)
	}
	reason, err := cleanReason(reason)
	if err != nil {
		return out, err
	}
	err = ca.db.Update(func(tx *store.Tx) error {
		s, err := read[control.Session](tx, key(sessionRows, session))
		if errors.Is(err, store.ErrNotFound) {
			return refuse("no session %s; list them with: postern sessions", session)
		}
		if err != nil {
			return err
		}
		b, ok := ca.policy.Load().Bastion(s.Bastion)
		if !ok {
			return refuse("bastion %s, which keeps %s, is not in the policy", s.Bastion, session)
		}
		if out.RecordingKey, err = keyCalled(tx, s.RecordingKey); err != nil {
			return err
		}
		if s.KeystrokeKey != "" {
			keystrokes, err := keyCalled(tx, s.KeystrokeKey)
			if err != nil {
				return err
			}
			out.KeystrokeKey = &keystrokes
		}
		if err := ca.ownKey(tx, c.Name, pub); err != nil {
			return err
		}
		view := &auditlog.View{Session: session, Reason: reason, Key: ssh.FingerprintSHA256(pub)}
		if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeView, Actor: c.Name, View: view}); err != nil {
			return err
		}
		out.Session, out.Bastion = s, control.Place{Name: b.Name, Address: b.Address, Key: b.Key.Line}
		cert := &ssh.Certificate{
			Key: pub, CertType: ssh.UserCert, KeyId: c.Name + " audit " + session,
			ValidPrincipals: []string{"recordings@" + b.Name},
			Permissions:     ssh.Permissions{Extensions: map[string]string{AuditExtension: session}},
		}
		ca.valid(cert, ca.now().Add(auditLife))
		made, err := ca.sign(tx, userCA, cert, auditlog.Certificate{Session: session})
		out.Certificate = made.Certificate
		return err
	})
	return out, err
}
