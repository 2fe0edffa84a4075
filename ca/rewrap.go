package ca

import (
	"bytes"
	"errors"
	"strings"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
)

// Rewrap takes the private half of a recording key sealed to other recipients. It says which box it was made from, so that of two
// auditors who do this at once the second learns of the first; and only the new box is kept.
func (ca *CA) Rewrap(c Caller, r control.Rewrap, dry bool) (control.RecordingKey, error) {
	var k control.RecordingKey
	if !ca.May(c, "recording-key") {
		return k, refuse("%s may not seal recording keys anew: no rule permits recording-key", c.Name)
	}
	if r.Auditor != c.Name {
		return k, refuse("the rewrap names auditor %s, but %s brought it", r.Auditor, c.Name)
	}
	if len(r.Box) == 0 || len(r.Box) > maxBox || r.Reason == "" {
		return k, refuse("a rewrap comes with a reason, and a box of at most %d bytes", maxBox)
	}
	signer, err := r.Verify()
	if err != nil {
		return k, refuse("%v", err)
	}
	err = ca.db.Update(func(tx *store.Tx) error {
		if err := ca.ownKey(tx, c.Name, signer); err != nil {
			return err
		}
		if k, err = ca.rewrapped(tx, r); err != nil {
			return err
		}
		logged := k.Rewrap.Logged()
		if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeRewrap, Actor: c.Name, Rewrap: &logged}); err != nil {
			return err
		}
		if dry {
			return errDry
		}
		return saveKey(tx, k)
	})
	if errors.Is(err, errDry) {
		return k, nil
	}
	if err == nil {
		err = ca.purge()
	}
	return k, err
}

func (ca *CA) rewrapped(tx *store.Tx, r control.Rewrap) (control.RecordingKey, error) {
	k, err := keyCalled(tx, r.Key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return k, refuse("no recording key %s", r.Key)
	case err != nil:
		return k, err
	case !k.Shredded.IsZero():
		return k, refuse("the box of recording key %s was destroyed on %s", k.ID, k.Shredded.Format("2006-01-02"))
	case k.CurrentSum() != r.Before:
		return k, refuse("somebody else has sealed recording key %s anew; try again", k.ID)
	}
	if err := keepsRecovery(tx, k.ID, r.Recipients); err != nil {
		return k, err
	}
	// What the recipients are stays in the row, for whoever seals it anew the next time.
	k.Box, r.Box = r.Box, nil
	r.At = ca.now().UTC()
	k.Rewrap = &r
	return k, nil
}

// purge destroys boxes that are not those of their keys any more, in the files of the store too. It is done after the transaction that
// made them so, and again at the next chance when we died in between.
func (ca *CA) purge() error {
	var past [][]byte
	err := ca.db.View(func(tx *store.Tx) error {
		return tx.Scan([]byte(boxRows), func(name, _ []byte) error {
			id, sum, _ := strings.Cut(string(name[len(boxRows):]), "/")
			k, err := read[control.RecordingKey](tx, key(recordingRows, id))
			if err == nil && (!k.Shredded.IsZero() || k.CurrentSum() != sum) {
				past = append(past, bytes.Clone(name))
			}
			return err
		})
	})
	if err != nil || len(past) == 0 {
		return err
	}
	return ca.db.Destroy(past...)
}
