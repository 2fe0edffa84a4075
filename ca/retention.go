package ca

import (
	"errors"
	"slices"
	"time"

	"postern/internal/control"
	"postern/internal/store"
)

// orderTogether is how many recordings one transaction orders destroyed.
const orderTogether = 100

// Retention orders destroyed what has been kept as long as the policy wants, and says what it ordered, with what a hold keeps. A dry run
// only says so.
func (ca *CA) Retention(c Caller, dry bool) ([]control.Deletion, error) {
	if !ca.May(c, "custody") {
		return nil, refuse("%s may not have recordings destroyed: no rule permits custody", c.Name)
	}
	return ca.retain(c.Name, dry)
}

func (ca *CA) retain(actor string, dry bool) ([]control.Deletion, error) {
	due, err := ca.due()
	if err != nil || dry {
		return due, err
	}
	for part := range slices.Chunk(due, orderTogether) {
		err := ca.db.Update(func(tx *store.Tx) error {
			for i := range part {
				if err := ca.orderDue(tx, actor, &part[i]); err != nil {
					return err
				}
			}
			return stir(tx)
		})
		if err != nil {
			return due, err
		}
	}
	if len(due) > 0 {
		ca.news.tell()
	}
	return due, nil
}

// due lists what is to go, as far as it can be told outside a transaction: an order looks again.
func (ca *CA) due() ([]control.Deletion, error) {
	var list []control.Deletion
	now := ca.now()
	err := ca.db.View(func(tx *store.Tx) error {
		holds, err := named(tx, holdRows)
		if err != nil {
			return err
		}
		return tx.Scan([]byte(sessionRows), func(k, _ []byte) error {
			s, err := read[control.Session](tx, slices.Clone(k))
			if err != nil || !Due(s, now) {
				return err
			}
			if gone, err := tx.Has(key(destroyedRows, s.ID)); err != nil || gone {
				return err
			}
			d := control.Deletion{Session: s.ID, Bastion: s.Bastion, RetainDays: s.RetainDays, Everything: true}
			if h := held(holds, s); h != nil {
				d.Held = describeHold(*h)
			}
			list = append(list, d)
			return nil
		})
	})
	return list, err
}

// Due says whether a recording has been kept as long as the policy wanted when its session opened.
func Due(s control.Session, now time.Time) bool {
	return s.Sealed && s.RetainDays > 0 && !s.Ended.IsZero() && now.After(s.Ended.Add(time.Duration(s.RetainDays)*24*time.Hour))
}

func (ca *CA) orderDue(tx *store.Tx, actor string, d *control.Deletion) error {
	if gone, err := tx.Has(key(destroyedRows, d.Session)); err != nil || gone || d.Held != "" {
		return err
	}
	holds, err := named(tx, holdRows)
	if err != nil {
		return err
	}
	s, err := read[control.Session](tx, key(sessionRows, d.Session))
	if err != nil {
		return err
	}
	if h := held(holds, s); h != nil {
		d.Held = describeHold(*h)
		return nil
	}
	return ca.order(tx, actor, d)
}

// keepCustody is done once a day.
func (ca *CA) keepCustody() error {
	ca.remind()
	if err := errors.Join(ca.ask(), ca.orderMonths()); err != nil {
		return err
	}
	list, err := ca.retain("ca", false)
	for _, d := range list {
		if d.Held == "" {
			ca.log.Info("retention: a recording is to be destroyed", "session", d.Session, "bastion", d.Bastion, "order", d.ID)
		}
	}
	return errors.Join(err, ca.purge())
}

// ask has bastions judge once more what they declined for being held or too young.
func (ca *CA) ask() error {
	declined, err := ca.declined()
	if err != nil || len(declined) == 0 {
		return err
	}
	err = ca.db.Update(func(tx *store.Tx) error {
		for _, d := range declined[:min(len(declined), 10*orderTogether)] {
			if err := tx.Set(key(awaitedRows+d.Bastion+"/", d.ID), nil); err != nil {
				return err
			}
		}
		return stir(tx)
	})
	ca.news.tell()
	return err
}

func (ca *CA) declined() (list []control.Deletion, err error) {
	err = ca.db.View(func(tx *store.Tx) error {
		return tx.Scan([]byte(deletionRows), func(name, _ []byte) error {
			d, err := read[control.Deletion](tx, slices.Clone(name))
			if err == nil && d.State == control.Declined && d.RetainDays > 0 {
				list = append(list, d)
			}
			return err
		})
	})
	return list, err
}

// ending is how many days before the end of a month its successor is missed.
const ending = 5

// remind warns of a month for which nothing could be recorded.
func (ca *CA) remind() {
	now := ca.now().UTC()
	next := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	if next.Sub(now) > ending*24*time.Hour {
		return
	}
	err := ca.db.View(func(tx *store.Tx) error {
		there, err := tx.Has(current(next.Format(month), ""))
		if err == nil && !there {
			ca.log.Warn("no recording key for the next month, so no session will open; an auditor makes one with: postern recording-key new --month "+next.Format(month), "month", next.Format(month))
		}
		return err
	})
	if err != nil {
		ca.log.Error("recording keys", "err", err)
	}
}
