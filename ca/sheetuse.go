package ca

import (
	"errors"
	"slices"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
)

// The reasons for which the CA revokes a sealed grant by itself. internal/verify knows them.
const (
	sheetSpent   = "its sheet was used"
	sheetDropped = "the policy in force no longer carries its sheet"
)

// UseSheet takes what a bastion tells of a sheet that it took while there was no CA. Whoever says it is checked, and what they say is written: whether it
// should have been is for who verifies to find, and must not be lost because somebody's clock was wrong.
func (ca *CA) UseSheet(c Caller, u control.SheetUse) error {
	if c.Kind != "bastion" || u.Bastion != c.Name || u.CA != ca.keys.Name {
		return refuse("a bastion tells of its own sheets; this is %s %s", c.Kind, c.Name)
	}
	if len(u.Client) > 200 || len(u.RecordingKey) > 64 || len(u.KeystrokeKey) > 64 {
		return refuse("what is told of %s is too long", u.Request)
	}
	u.Again, u.ReviewBy = false, time.Time{}
	err := ca.db.Update(func(tx *store.Tx) error {
		if err := keyAlive(tx, c.Key); err != nil {
			return err
		}
		if err := ca.ofBastion(u.Bastion, u.Verify); err != nil {
			return err
		}
		if err := ca.overtake(tx, u.Request); err != nil {
			return err
		}
		r, err := ca.ofUse(tx, u)
		if err != nil {
			return err
		}
		row := key(sheetUseRows, u.Request+"/"+u.Nonce)
		if told, err := tx.Has(row); err != nil || told {
			return err
		}
		if u.Again = !r.Sheet.Used.IsZero(); !u.Again {
			u.ReviewBy = ca.now().UTC().Add(time.Duration(r.Sheet.ReviewSeconds) * time.Second).Truncate(time.Second)
		}
		if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeSheetUse, Actor: c.Name, SheetUse: &u}); err != nil {
			return err
		}
		if err := write(tx, row, u); err != nil {
			return err
		}
		if u.Again {
			ca.log.Error("a sheet was used twice: the bastion was restored from a backup, or lies", "request", u.Request, "bastion", u.Bastion, "person", u.Person)
			return nil
		}
		return ca.merge(tx, r, u)
	})
	if err == nil {
		ca.news.tell()
	}
	return err
}

// ofUse finds the sealed grant that a use is of. What could not come of its sheet is refused: it names no sheet that there is.
func (ca *CA) ofUse(tx *store.Tx, u control.SheetUse) (request, error) {
	r, err := load(tx, u.Request)
	if errors.Is(err, store.ErrNotFound) || err == nil && (r.Sheet == nil || r.Sheet.Session == "") {
		return r, refuse("there is no sheet of %.40q", u.Request)
	}
	if err != nil {
		return r, err
	}
	person, held := r.Sheet.Holds(u.Key)
	certified := slices.ContainsFunc(r.Issued, func(i issued) bool { return i.CA == userCA && i.Serial == u.Serial && i.Key == u.Key })
	if r.Sheet.Bastion != u.Bastion || r.Sheet.Session != u.Session || r.Targets[0] != u.Target || !held || person != u.Person || !certified {
		return r, refuse("the sheet of %s is of another bastion, session, target or person", u.Request)
	}
	return r, nil
}

// merge makes a session of the first use, and an emergency that owes its review of the grant.
func (ca *CA) merge(tx *store.Tx, r request, u control.SheetUse) error {
	sheet, err := read[auditlog.Sheet](tx, key(sheetRows, r.ID))
	if err != nil {
		return err
	}
	terms, err := control.ParseTerms([]byte(sheet.Terms))
	if err != nil {
		return err
	}
	r.Sheet.Used, r.Sheet.UsedBy, r.Began = u.Started, u.Person, u.Started
	if now := ca.now().UTC(); r.Sheet.Used.After(now) {
		r.Sheet.Used = now // else by a clock that is ahead its certificate would stay good
	}
	r.Owes = &control.ReviewOf{By: u.ReviewBy, Needs: r.Sheet.ReviewNeeds}
	if err := tx.Set(reviewRow(u.Person, r.ID), nil); err != nil {
		return err
	}
	if err := r.save(tx); err != nil {
		return err
	}
	session := control.Session{
		ID: u.Session, Request: r.ID, Person: u.Person, Key: u.Key, Serial: u.Serial, Target: u.Target, Bastion: u.Bastion, Client: u.Client,
		Started: u.Started.UTC(), Deadline: u.Deadline.UTC(), RecordingKey: u.RecordingKey, KeystrokeKey: u.KeystrokeKey,
		RetainDays: terms.Record.RetainDays, Limits: terms.Limits,
	}
	if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeSession, Actor: u.Bastion, Session: &session}); err != nil {
		return err
	}
	return saveSession(tx, session)
}

// spent revokes a sealed grant whose session is over: the key that opened the host was in the bastion's memory, and its certificate is good
// for weeks. While the session lasts the bastion has the host anyway, and to cut off who saves a life would serve nobody.
func (ca *CA) spent(tx *store.Tx, id string) error {
	r, err := load(tx, id)
	if err != nil || r.Sheet == nil || r.Sheet.Used.IsZero() || !r.live() {
		return err
	}
	return ca.dropSheet(tx, r, sheetSpent)
}

func (ca *CA) dropSheet(tx *store.Tx, r request, why string) error {
	_, err := ca.cut(tx, control.Revocation{Kind: "request", Value: r.ID, Reason: why, By: control.ByPolicy}, []request{r})
	return err
}

// sweepSheets revokes sheets whose session must be over, though nobody told its end, and, when the policy has changed, those that it no longer
// carries: nobody asks it again when they are used.
func (ca *CA) sweepSheets(now time.Time) error {
	var due []string
	digest := ca.PolicyDigest()
	judge := ca.sheetsJudged != digest
	err := ca.db.View(func(tx *store.Tx) error {
		return eachLive(tx, func(r request) error {
			if r.Sheet != nil && r.State == control.Granted && ca.overdone(tx, r, now, judge) != "" {
				due = append(due, r.ID)
			}
			return nil
		})
	})
	for _, id := range due {
		if err == nil {
			err = ca.db.Update(func(tx *store.Tx) error {
				r, err := load(tx, id)
				if err != nil || r.State != control.Granted {
					return err
				}
				if why := ca.overdone(tx, r, now, judge); why != "" {
					return ca.dropSheet(tx, r, why)
				}
				return nil
			})
		}
	}
	if err == nil {
		ca.sheetsJudged = digest
	}
	if len(due) > 0 {
		ca.news.tell()
	}
	return err
}

// overdone is why a sheet that was handed out is to be revoked; empty: it is not.
func (ca *CA) overdone(tx *store.Tx, r request, now time.Time, judge bool) string {
	if !r.Sheet.Used.IsZero() {
		if now.After(r.Sheet.Used.Add(time.Duration(r.ForSeconds)*time.Second + lostAfter)) {
			return sheetSpent
		}
		return ""
	}
	if !judge {
		return ""
	}
	// As of when it was asked for: a sheet is for any hour.
	d, err := ca.decideAt(r, r.Asked.For, r.Created)
	if err == nil {
		if met, _ := ca.tally(r, required(r, d)); !met {
			return sheetDropped
		}
		err = ca.holdersLive(tx, r)
	}
	if err == nil {
		err = ca.stillSigned(tx, r, d)
	}
	if err != nil || int64(d.Sealed.Valid/time.Second) < int64(r.Sheet.Until.Sub(r.Created)/time.Second) {
		return sheetDropped
	}
	return ""
}
