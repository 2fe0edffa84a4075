package ca

import (
	"errors"
	"fmt"
	"slices"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
)

const (
	month     = "2006-01"
	maxPublic = 4 << 10
	maxBox    = 60 << 10
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
	if len(k.Box) == 0 || !k.Shredded.IsZero() || k.Rewrap != nil {
		return k, refuse("a new key comes with its box")
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
		if err := keepsRecovery(tx, k.ID, k.Recipients); err != nil {
			return err
		}
		k.Added = ca.now().UTC()
		if err := saveKey(tx, k); err != nil {
			return err
		}
		if err := tx.Set(current(k.Month, k.Purpose), []byte(k.ID)); err != nil {
			return err
		}
		logged := k.Logged()
		return ca.record(tx, auditlog.Entry{Type: auditlog.TypeRecordingKey, Actor: c.Name, RecordingKey: &logged})
	})
	return k, err
}

// RecordingKeys lists all of them, oldest first.
func (ca *CA) RecordingKeys() ([]control.RecordingKey, error) {
	var list []control.RecordingKey
	err := ca.db.View(func(tx *store.Tx) error {
		return tx.Scan([]byte(recordingRows), func(k, _ []byte) error {
			rk, err := keyCalled(tx, string(k[len(recordingRows):]))
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

// keyCalled is a key with its box, if that was not destroyed.
func keyCalled(tx *store.Tx, id string) (control.RecordingKey, error) {
	k, err := read[control.RecordingKey](tx, key(recordingRows, id))
	if err != nil || !k.Shredded.IsZero() {
		return k, err
	}
	k.Box, err = tx.Get(boxRow(k))
	return k, err
}

// saveKey keeps the box apart, in a row of its own for each: so that it can be destroyed, and nothing else with it.
func saveKey(tx *store.Tx, k control.RecordingKey) error {
	if len(k.Box) > 0 {
		if err := tx.Set(boxRow(k), k.Box); err != nil {
			return err
		}
	}
	k.Box = nil
	return write(tx, key(recordingRows, k.ID), k)
}

func boxRow(k control.RecordingKey) []byte { return key(boxRows, k.ID+"/"+k.CurrentSum()) }

// checkKeys refuses state of before boxes had rows of their own: those are in the log, where nothing can destroy them.
func checkKeys(tx *store.Tx) error {
	return tx.Scan([]byte(recordingRows), func(name, _ []byte) error {
		k, err := read[control.RecordingKey](tx, slices.Clone(name))
		if err == nil && k.BoxSum == "" {
			err = fmt.Errorf("recording key %s is from before version 1, and its private half is in the log for ever; make a new CA with: postern-ca init", k.ID)
		}
		return err
	})
}
