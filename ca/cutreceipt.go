package ca

import (
	"errors"
	"fmt"
	"slices"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
)

// CutReceipt takes what a bastion tells of what it did about a revocation. Told twice, it is written once.
func (ca *CA) CutReceipt(c Caller, r control.CutReceipt) error {
	if c.Kind != "bastion" {
		return refuse("only bastions tell what they cut; this key belongs to %s %s", c.Kind, c.Name)
	}
	if r.Parts < 1 || r.Part < 0 || r.Part >= r.Parts || r.Parts > 1000 || len(r.Sessions) > control.MaxCutSessions {
		return refuse("part %d of %d with %d sessions is no receipt", r.Part, r.Parts, len(r.Sessions))
	}
	r.Bastion, r.At, r.Heard = c.Name, ca.now().UTC(), r.Heard.UTC()
	err := ca.db.Update(func(tx *store.Tx) error {
		tx.FromReserve(forRevocations)
		if known, err := last(tx, key(serialRows, revocationSerial)); err != nil || r.Seq == 0 || r.Seq > known {
			return orRefuse(err, "revocation %d never was", r.Seq)
		}
		row := receiptKey(r)
		if told, err := tx.Has(row); err != nil || told {
			return err
		}
		for _, s := range r.Sessions {
			session, err := read[control.Session](tx, key(sessionRows, s.Session))
			if errors.Is(err, store.ErrNotFound) || err == nil && session.Bastion != c.Name {
				return refuse("%s has no session %.40q", c.Name, s.Session)
			}
			if err != nil {
				return err // the bastion tells it again
			}
			if err := checkSurvivors(s); err != nil {
				return err
			}
			for i, text := range s.Survivors {
				s.Survivors[i] = tidy(text)
			}
		}
		if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeCut, Actor: c.Name, Cut: &r}); err != nil {
			return err
		}
		return write(tx, row, r)
	})
	if err == nil {
		ca.news.tell()
	}
	return err
}

func orRefuse(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return refuse(format, args...)
}

// checkSurvivors bounds text that a bastion writes into the log.
func checkSurvivors(s control.CutSession) error {
	if len(s.Survivors) > 128 || slices.ContainsFunc(s.Survivors, func(t string) bool { return len(t) > 200 }) || min(s.Closed, s.Signalled, s.Left) < 0 {
		return refuse("what is told of %s is too much", s.Session)
	}
	return nil
}

func receiptKey(r control.CutReceipt) []byte {
	return append(numbered(receiptRows, r.Seq), fmt.Sprintf("/%s/%d", r.Bastion, r.Part)...)
}

// CutReceipts lists what bastions told about a revocation.
func (ca *CA) CutReceipts(seq uint64) ([]control.CutReceipt, error) {
	var list []control.CutReceipt
	err := ca.db.View(func(tx *store.Tx) error {
		return tx.Scan(append(numbered(receiptRows, seq), '/'), func(k, _ []byte) error {
			r, err := read[control.CutReceipt](tx, slices.Clone(k))
			list = append(list, r)
			return err
		})
	})
	return list, err
}
