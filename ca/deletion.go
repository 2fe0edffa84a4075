package ca

import (
	"errors"
	"slices"
	"strings"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
)

// maxDeclined bounds text that a bastion writes into the log.
const maxDeclined = 1000

// order writes one down and logs it.
func (ca *CA) order(tx *store.Tx, actor string, d *control.Deletion) (err error) {
	if d.ID, err = unused(tx, deletionRows, "D-", 10); err != nil {
		return err
	}
	d.At = ca.now().UTC()
	logged := *d
	d.State = control.Ordered
	subject := d.Session
	if d.Session == "" {
		subject = d.Key
		if err := tx.Set(key(goingRows, d.ID), nil); err != nil {
			return err
		}
	} else if err := tx.Set(key(awaitedRows+d.Bastion+"/", d.ID), nil); err != nil {
		return err
	}
	return errors.Join(write(tx, key(deletionRows, d.ID), d), tx.Set(key(destroyedRows, subject), []byte(d.ID)),
		ca.record(tx, auditlog.Entry{Type: auditlog.TypeDeletion, Actor: actor, Deletion: &logged}))
}

// Deletions tells a bastion what auditors decided to hold and release, from a number on, and what it is to destroy.
func (ca *CA) Deletions(c Caller, from uint64) (control.Deletions, error) {
	out := control.Deletions{Next: from}
	if c.Kind != "bastion" {
		return out, refuse("only bastions ask for deletions; this key belongs to %s %s", c.Kind, c.Name)
	}
	err := ca.db.View(func(tx *store.Tx) error {
		err := tx.ScanFrom([]byte(heedRows), numbered(heedRows, max(from, 1)), func(_, id []byte) error {
			d, err := read[control.Custody](tx, key(custodyRows, string(id)))
			out.Custody = append(out.Custody, d)
			return err
		})
		if err != nil {
			return err
		}
		n, err := last(tx, key(serialRows, heedSerial))
		if err != nil {
			return err
		}
		out.Next = n + 1
		prefix := awaitedRows + c.Name + "/"
		return tx.Scan([]byte(prefix), func(k, _ []byte) error {
			d, err := spelledOut(tx, string(k[len(prefix):]))
			out.Orders = append(out.Orders, d)
			if err == nil && len(out.Orders) >= orderTogether {
				err = store.ErrStop // the rest when these are answered
			}
			return err
		})
	})
	return out, err
}

// spelledOut is an order with what the auditors signed.
func spelledOut(tx *store.Tx, id string) (control.Deletion, error) {
	d, err := read[control.Deletion](tx, key(deletionRows, id))
	for _, because := range d.Because {
		if err != nil {
			break
		}
		var c control.Custody
		c, err = read[control.Custody](tx, key(custodyRows, because))
		d.Orders = append(d.Orders, c)
	}
	return d, err
}

// CustodyNumber changes whenever a bastion should ask for deletions.
func (ca *CA) CustodyNumber() (n uint64, err error) {
	err = ca.db.View(func(tx *store.Tx) error {
		n, err = last(tx, key(serialRows, custodySerial))
		return err
	})
	return n, err
}

// Deleted takes the receipt of a bastion.
func (ca *CA) Deleted(c Caller, r control.Receipt) error {
	if c.Kind != "bastion" || r.Bastion != c.Name {
		return refuse("the receipt is by bastion %.100q, and %s %s brought it", r.Bastion, c.Kind, c.Name)
	}
	if len(r.Declined) > maxDeclined {
		return refuse("why nothing was destroyed has %d bytes, at most %d fit", len(r.Declined), maxDeclined)
	}
	b, ok := ca.policy.Load().Bastion(c.Name)
	if !ok {
		return refuse("bastion %s left the policy", c.Name)
	}
	public, err := parseKey(b.Key.Line)
	if err != nil {
		return err
	}
	if err := r.Verify(public); err != nil {
		return refuse("%v", err)
	}
	err = ca.db.Update(func(tx *store.Tx) error { return ca.deleted(tx, r) })
	if err == nil {
		err = ca.purge()
	}
	return err
}

func (ca *CA) deleted(tx *store.Tx, r control.Receipt) error {
	d, err := read[control.Deletion](tx, key(deletionRows, r.Order))
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && (d.Session != r.Session || d.Bastion != r.Bastion || r.CA != ca.keys.Name):
		return refuse("%s has no order %s about session %s", r.Bastion, r.Order, r.Session)
	case err != nil:
		return err
	case d.State == control.Destroyed:
		return tx.Delete(key(awaitedRows+d.Bastion+"/", d.ID)) // told before; the first word stands
	case r.Declined == "" && d.Everything && !r.Everything:
		return refuse("order %s is about everything, and the receipt about the key box alone", d.ID)
	}
	again := r.Declined != "" && d.Receipt != nil && d.Receipt.Declined == r.Declined
	d.State, d.Receipt = control.Destroyed, &r
	if r.Declined != "" {
		d.State = control.Declined
		ca.log.Warn("a bastion does not destroy a recording", "bastion", r.Bastion, "session", r.Session, "order", r.Order, "why", r.Declined)
	}
	if err := errors.Join(write(tx, key(deletionRows, d.ID), d), tx.Delete(key(awaitedRows+d.Bastion+"/", d.ID))); err != nil || again {
		return err
	}
	if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeReceipt, Actor: r.Bastion, Receipt: &r}); err != nil {
		return err
	}
	if more, err := awaits(tx, d.Bastion, d.ID); err != nil || more {
		return err // looking through a month after each of its sessions would take for ever
	}
	return ca.finishKeys(tx)
}

// awaits says whether a bastion has orders to answer besides one.
func awaits(tx *store.Tx, bastion, besides string) (more bool, err error) {
	prefix := awaitedRows + bastion + "/"
	err = tx.Scan([]byte(prefix), func(k, _ []byte) error {
		if string(k[len(prefix):]) == besides {
			return nil
		}
		more = true
		return store.ErrStop
	})
	return more, err
}

// AllDeletions lists every order, oldest first.
func (ca *CA) AllDeletions(c Caller) (list []control.Deletion, err error) {
	if !ca.May(c, "audit") && !ca.May(c, "custody") {
		return nil, refuse("%s may not see what was destroyed: no rule permits audit or custody", c.Name)
	}
	err = ca.db.View(func(tx *store.Tx) error {
		return tx.Scan([]byte(deletionRows), func(name, _ []byte) error {
			d, err := read[control.Deletion](tx, slices.Clone(name))
			list = append(list, d)
			return err
		})
	})
	slices.SortFunc(list, func(a, b control.Deletion) int {
		if c := a.At.Compare(b.At); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return list, err
}
