package ca

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
)

// The rows of what auditors decided about keeping and destroying.
const (
	custodyRows   = "custody/"   // C-… to control.Custody
	holdRows      = "hold/"      // C-… of holds that were not released
	heedRows      = "heed/"      // number to C-…: holds and releases, which bastions have to know
	bookRows      = "book/"      // A-… to C-…, the enrolment of a recipient that was not retired
	shredRows     = "shred/"     // scope / C-… of what auditors want shredded
	deletionRows  = "deletion/"  // D-… to control.Deletion
	awaitedRows   = "awaited/"   // bastion / D-… that it has not answered
	destroyedRows = "destroyed/" // S-… or K-… to D-…: its order
	goingRows     = "going/"     // D-… of orders about recording keys whose boxes are still there
)

// The names of dense numbers under serialRows.
const (
	heedSerial    = "heed"
	custodySerial = "custody" // what a bastion is told has changed
)

// freshness is how far an auditor's clock may be off, and how long what they signed may be under way: a decision that somebody kept
// back must not come into force when it suits them.
const freshness = 15 * time.Minute

// errDry undoes a transaction that was only tried.
var errDry = errors.New("dry run")

// Decide takes a decision of an auditor about keeping and destroying. A dry run says what would come of it, wants no signature and
// changes nothing.
func (ca *CA) Decide(c Caller, d control.Custody, dry bool) (control.Decided, error) {
	out := control.Decided{Custody: d}
	if err := ca.mayDecide(c, d); err != nil {
		return out, err
	}
	if err := d.Form(); err != nil {
		return out, refuse("%s %s: %v", d.Act, d.Scope, err)
	}
	err := ca.db.Update(func(tx *store.Tx) error {
		if !dry {
			if err := ca.signedBy(tx, c, d); err != nil {
				return err
			}
		}
		d.At = ca.now().UTC()
		out = control.Decided{Custody: d}
		if err := errors.Join(write(tx, key(custodyRows, d.ID), d), ca.record(tx, auditlog.Entry{Type: auditlog.TypeCustody, Actor: c.Name, Custody: &d})); err != nil {
			return err
		}
		if err := ca.effect(tx, &out); err != nil {
			return err
		}
		if dry {
			return errDry
		}
		return nil
	})
	if errors.Is(err, errDry) {
		return out, nil
	}
	if err == nil {
		ca.news.tell()
		err = errors.Join(ca.orderMonths(), ca.purge())
	}
	return out, err
}

func (ca *CA) mayDecide(c Caller, d control.Custody) error {
	action := "custody"
	if d.Act == control.Enrol || d.Act == control.Retire {
		action = "recording-key"
	}
	switch off := ca.now().Sub(d.Signed).Abs(); {
	case !ca.May(c, action):
		return refuse("%s may not %s: no rule permits %s", c.Name, d.Act, action)
	case d.Auditor != c.Name:
		return refuse("the decision names auditor %s, but %s brought it", d.Auditor, c.Name)
	case d.CA != ca.keys.Name:
		return refuse("the decision is for CA %q; this is %s", d.CA, ca.keys.Name)
	case off > freshness:
		return refuse("the decision was signed at %s, which is %s off; set the clock, or sign it anew", d.Signed.Format(time.RFC3339), off.Round(time.Second))
	}
	return nil
}

func (ca *CA) signedBy(tx *store.Tx, c Caller, d control.Custody) error {
	signer, err := d.Verify()
	if err != nil {
		return refuse("%v", err)
	}
	if err := ca.ownKey(tx, c.Name, signer); err != nil {
		return err
	}
	if taken, err := tx.Has(key(custodyRows, d.ID)); err != nil || taken {
		return errors.Join(err, refuse("%s was decided already", d.ID))
	}
	return nil
}

// effect is what a decision does.
func (ca *CA) effect(tx *store.Tx, out *control.Decided) error {
	d := out.Custody
	switch d.Act {
	case control.Hold:
		if err := ca.isThere(tx, d); err != nil {
			return err
		}
		return errors.Join(tx.Set(key(holdRows, d.ID), nil), heed(tx, d))
	case control.Release:
		if held, err := tx.Has(key(holdRows, d.Hold)); err != nil || !held {
			return errors.Join(err, refuse("there is no hold %s; list them with: postern hold list", d.Hold))
		}
		if h, err := read[control.Custody](tx, key(custodyRows, d.Hold)); err != nil || h.Scope != d.Scope {
			return errors.Join(err, refuse("hold %s is on %s and not on %s", d.Hold, h.Scope, d.Scope))
		}
		return errors.Join(tx.Delete(key(holdRows, d.Hold)), heed(tx, d))
	case control.Enrol:
		return enrol(tx, d)
	case control.Retire:
		if there, err := tx.Has(key(bookRows, d.Recipient.ID)); err != nil || !there {
			return errors.Join(err, refuse("no recipient %s is enrolled", d.Recipient.Label()))
		}
		return tx.Delete(key(bookRows, d.Recipient.ID))
	case control.Shred:
		return ca.shred(tx, out)
	}
	return refuse("there is no decision %q", d.Act)
}

// isThere finds the mistyped scope before it holds nothing.
func (ca *CA) isThere(tx *store.Tx, d control.Custody) error {
	kind, value, _ := strings.Cut(d.Scope, ":")
	rows := map[string]string{"session": sessionRows, "request": requestRows}[kind]
	if rows == "" {
		return nil // people, hosts and months come and go
	}
	if there, err := tx.Has(key(rows, value)); err != nil || !there {
		return errors.Join(err, refuse("there is no %s %s", kind, value))
	}
	return nil
}

// heed numbers what bastions have to know.
func heed(tx *store.Tx, d control.Custody) error {
	n, err := following(tx, key(serialRows, heedSerial))
	if err != nil {
		return err
	}
	return errors.Join(tx.Set(numbered(heedRows, n), []byte(d.ID)), stir(tx))
}

// stir has bastions ask.
func stir(tx *store.Tx) error {
	_, err := following(tx, key(serialRows, custodySerial))
	return err
}

// Holds lists the holds in force, oldest first.
func (ca *CA) Holds() (list []control.Custody, err error) {
	err = ca.db.View(func(tx *store.Tx) error {
		list, err = named(tx, holdRows)
		return err
	})
	return list, err
}

// named reads the decisions whose IDs stand behind a prefix.
func named(tx *store.Tx, prefix string) ([]control.Custody, error) {
	var list []control.Custody
	err := tx.Scan([]byte(prefix), func(k, _ []byte) error {
		d, err := read[control.Custody](tx, key(custodyRows, string(k[len(prefix):])))
		list = append(list, d)
		return err
	})
	slices.SortFunc(list, func(a, b control.Custody) int { return a.At.Compare(b.At) })
	return list, err
}

// held is the hold that covers a session, if there is one.
func held(holds []control.Custody, s control.Session) *control.Custody {
	i := slices.IndexFunc(holds, func(h control.Custody) bool { return h.Covers(control.SubjectOf(s)) })
	if i < 0 {
		return nil
	}
	return &holds[i]
}

func describeHold(h control.Custody) string {
	return fmt.Sprintf("hold %s on %s by %s since %s", h.ID, h.Scope, h.Auditor, h.At.UTC().Format("2006-01-02"))
}

// enrol takes a recipient into the book.
func enrol(tx *store.Tx, d control.Custody) error {
	book, err := book(tx)
	if err != nil {
		return err
	}
	for _, other := range book {
		switch {
		case other.Recipient.ID == d.Recipient.ID:
			return refuse("recipient %s is enrolled as %s", d.Recipient.ID, other.Recipient.Label())
		case other.Recipient.Name == d.Recipient.Name:
			return refuse("%s is the name of another recipient, %s; retire that one first", d.Recipient.Name, other.Recipient.ID)
		}
	}
	return tx.Set(key(bookRows, d.Recipient.ID), []byte(d.ID))
}

// Book lists the enrolments in force, oldest first.
func (ca *CA) Book() (list []control.Custody, err error) {
	err = ca.db.View(func(tx *store.Tx) error {
		list, err = book(tx)
		return err
	})
	return list, err
}

func book(tx *store.Tx) ([]control.Custody, error) {
	var list []control.Custody
	err := tx.Scan([]byte(bookRows), func(_, id []byte) error {
		d, err := read[control.Custody](tx, key(custodyRows, string(id)))
		list = append(list, d)
		return err
	})
	slices.SortFunc(list, func(a, b control.Custody) int { return a.At.Compare(b.At) })
	return list, err
}

// keepsRecovery refuses a box that a recovery recipient of the book does not open.
func keepsRecovery(tx *store.Tx, id string, to []control.Recipient) error {
	list, err := book(tx)
	if err != nil {
		return err
	}
	for _, d := range list {
		r := d.Recipient
		if r.Recovery && !slices.ContainsFunc(to, func(o control.Recipient) bool { return o.ID == r.ID }) {
			return refuse("key %s is not sealed to the recovery recipient %s (%s); if that one is not to be used any more, retire it with: postern auditor retire %s", id, r.Name, r.ID, r.Name)
		}
	}
	return nil
}
