package ca

import (
	"errors"
	"slices"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
)

// shred orders what a decision wants shredded. When somebody wanted the same before, theirs are two voices for one order.
func (ca *CA) shred(tx *store.Tx, out *control.Decided) error {
	d := out.Custody
	voices := shredRows + d.Scope + "/"
	if err := tx.Set(key(voices, d.ID), nil); err != nil {
		return err
	}
	earlier, err := named(tx, voices)
	if err != nil {
		return err
	}
	because, signers := []string{d.ID}, map[string]bool{d.Auditor: true}
	for _, e := range earlier {
		because, signers[e.Auditor] = append(because, e.ID), true
	}
	out.Signers = len(signers)
	sessions, keys, err := ca.shreddable(tx, d)
	if err != nil {
		return err
	}
	for _, k := range keys {
		order := control.Deletion{Key: k.ID, Because: because}
		if err := ca.orderAgain(tx, d.Auditor, k.ID, &order); err != nil {
			return err
		}
		out.Deletions = append(out.Deletions, order)
	}
	for _, s := range sessions {
		order := control.Deletion{Session: s.ID, Bastion: s.Bastion, Because: because}
		if d.Month() == "" { // those of a month are too many for one transaction
			if err := ca.orderAgain(tx, d.Auditor, s.ID, &order); err != nil {
				return err
			}
		}
		out.Deletions = append(out.Deletions, order)
	}
	return stir(tx)
}

// shreddable finds what a scope names, if nothing stands against it.
func (ca *CA) shreddable(tx *store.Tx, d control.Custody) (sessions []control.Session, keys []control.RecordingKey, err error) {
	if m := d.Month(); m != "" {
		if m >= ca.now().UTC().Format(month) {
			return nil, nil, refuse("%s is not over: sessions may still be recorded to its keys; shred single sessions, or wait", m)
		}
		if keys, err = keysOfMonth(tx, m); err != nil {
			return nil, nil, err
		}
		if len(keys) == 0 {
			return nil, nil, refuse("there is no recording key of %s", m)
		}
		sessions, err = sessionsOf(tx, keys)
	} else {
		var s control.Session
		s, err = read[control.Session](tx, key(sessionRows, d.Session()))
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil, refuse("no session %s; list them with: postern sessions", d.Session())
		}
		sessions = []control.Session{s}
	}
	if err != nil {
		return nil, nil, err
	}
	holds, err := named(tx, holdRows)
	if err != nil {
		return nil, nil, err
	}
	for _, s := range sessions {
		if !s.Sealed {
			return nil, nil, refuse("the recording of %s is not sealed to its end yet; shred it when it is", s.ID)
		}
		if h := held(holds, s); h != nil {
			return nil, nil, refuse("%s keeps %s; whoever may, releases it with: postern hold release %s", describeHold(*h), s.ID, h.Scope)
		}
	}
	for _, h := range holds {
		if m := d.Month(); m != "" && (h.Month() == m || h.Scope == "all") {
			return nil, nil, refuse("%s keeps %s; whoever may, releases it with: postern hold release %s", describeHold(h), m, h.Scope)
		}
	}
	return sessions, keys, nil
}

func keysOfMonth(tx *store.Tx, month string) ([]control.RecordingKey, error) {
	var keys []control.RecordingKey
	err := tx.Scan([]byte(recordingRows), func(name, _ []byte) error {
		k, err := read[control.RecordingKey](tx, slices.Clone(name))
		if err == nil && k.Month == month && k.Shredded.IsZero() {
			keys = append(keys, k)
		}
		return err
	})
	return keys, err
}

func sessionsOf(tx *store.Tx, keys []control.RecordingKey) ([]control.Session, error) {
	var list []control.Session
	err := tx.Scan([]byte(sessionRows), func(name, _ []byte) error {
		s, err := read[control.Session](tx, slices.Clone(name))
		if err == nil && slices.ContainsFunc(keys, func(k control.RecordingKey) bool { return k.ID == s.RecordingKey || k.ID == s.KeystrokeKey }) {
			list = append(list, s)
		}
		return err
	})
	return list, err
}

// orderAgain makes an order, or has the bastion judge again one that it did not carry out, with more voices.
func (ca *CA) orderAgain(tx *store.Tx, actor, subject string, d *control.Deletion) error {
	id, err := tx.Get(key(destroyedRows, subject))
	if errors.Is(err, store.ErrNotFound) {
		return ca.order(tx, actor, d)
	}
	if err != nil {
		return err
	}
	before, err := read[control.Deletion](tx, key(deletionRows, string(id)))
	if err != nil {
		return err
	}
	if before.State == control.Destroyed {
		*d = before
		return nil
	}
	if before.RetainDays > 0 { // that was the policy's, this is an auditor's
		if err := tx.Delete(key(awaitedRows+before.Bastion+"/", before.ID)); err != nil {
			return err
		}
		return ca.order(tx, actor, d)
	}
	before.Because, before.State = d.Because, control.Ordered
	*d = before
	if d.Session != "" {
		if err := tx.Set(key(awaitedRows+d.Bastion+"/", d.ID), nil); err != nil {
			return err
		}
	}
	return write(tx, key(deletionRows, d.ID), d)
}

// orderMonths makes the orders for the sessions of months that are to be shredded, many transactions of them, and what it does not come to
// is made at the next chance. Then it lets go of the boxes of the months of which nothing is left.
func (ca *CA) orderMonths() error {
	var missing []control.Deletion
	var open []control.Deletion
	err := ca.db.View(func(tx *store.Tx) (err error) {
		if open, err = openKeys(tx); err != nil {
			return err
		}
		for _, o := range open {
			list, err := ordersOf(tx, o)
			if err != nil {
				return err
			}
			missing = append(missing, list...)
		}
		return nil
	})
	if err != nil || len(open) == 0 {
		return err
	}
	for part := range slices.Chunk(missing, orderTogether) {
		err := ca.db.Update(func(tx *store.Tx) error {
			for i := range part {
				if err := ca.orderAgain(tx, "ca", part[i].Session, &part[i]); err != nil {
					return err
				}
			}
			return stir(tx)
		})
		if err != nil {
			return err
		}
	}
	ca.news.tell()
	return ca.db.Update(ca.finishKeys)
}

// ordersOf lists what is still to be ordered, or to be ordered with more voices, before the box of a key can go.
func ordersOf(tx *store.Tx, o control.Deletion) (list []control.Deletion, err error) {
	sessions, err := sessionsOf(tx, []control.RecordingKey{{ID: o.Key}})
	for _, s := range sessions {
		if err != nil {
			return nil, err
		}
		var before control.Deletion
		if before, err = orderOf(tx, s.ID); err == nil && before.State != control.Destroyed && !slices.Equal(before.Because, o.Because) {
			list = append(list, control.Deletion{Session: s.ID, Bastion: s.Bastion, Because: o.Because})
		}
	}
	return list, err
}

// openKeys lists the orders about boxes of recording keys that are still there.
func openKeys(tx *store.Tx) (open []control.Deletion, err error) {
	err = tx.Scan([]byte(goingRows), func(name, _ []byte) error {
		d, err := read[control.Deletion](tx, key(deletionRows, string(name[len(goingRows):])))
		if err == nil && d.State != control.Destroyed {
			open = append(open, d)
		}
		return err
	})
	return open, err
}

// finishKeys lets go of the boxes of a shredded month when no bastion keeps a key box of its sessions any more. Not before: a bastion
// may want more auditors to say so, and then nothing has happened yet.
func (ca *CA) finishKeys(tx *store.Tx) error {
	open, err := openKeys(tx)
	for _, d := range open {
		if err == nil {
			err = ca.finishKey(tx, d)
		}
	}
	return err
}

func (ca *CA) finishKey(tx *store.Tx, d control.Deletion) error {
	k, err := read[control.RecordingKey](tx, key(recordingRows, d.Key))
	if err != nil {
		return err
	}
	sessions, err := sessionsOf(tx, []control.RecordingKey{k})
	if err != nil {
		return err
	}
	for _, s := range sessions {
		if order, err := orderOf(tx, s.ID); err != nil || order.State != control.Destroyed {
			return err
		}
	}
	k.Shredded = ca.now().UTC()
	d.State, d.Receipt = control.Destroyed, &control.Receipt{Order: d.ID, CA: ca.keys.Name, Key: k.ID, Box: k.CurrentSum(), At: k.Shredded}
	return errors.Join(write(tx, key(recordingRows, k.ID), k), write(tx, key(deletionRows, d.ID), d), tx.Delete(key(goingRows, d.ID)),
		ca.record(tx, auditlog.Entry{Type: auditlog.TypeReceipt, Actor: "ca", Receipt: d.Receipt}))
}

// orderOf is the last order about a session, or none.
func orderOf(tx *store.Tx, session string) (control.Deletion, error) {
	id, err := tx.Get(key(destroyedRows, session))
	if errors.Is(err, store.ErrNotFound) {
		return control.Deletion{}, nil
	}
	if err != nil {
		return control.Deletion{}, err
	}
	return read[control.Deletion](tx, key(deletionRows, string(id)))
}
