package ca

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"slices"
	"strings"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/limit"
	"postern/internal/store"
)

const (
	haltSerial = "halt" // names the row that numbers what was decided about halts
	// A grant that was held so often is no matter of one approval more.
	maxHalts = 64
)

// liftRow is what was decided last about a limit that held a live session.
type liftRow struct {
	Number  uint64         `json:"number"`
	Bastion string         `json:"bastion"`
	Lifted  control.Lifted `json:"lifted"`
}

// halt keeps the grant from opening sessions, and asks its approvers whether what is held may go on. What nobody approved, nobody releases.
func (ca *CA) halt(tx *store.Tx, risk control.Risk) error {
	if err := tx.Set(key(heldRows, risk.Request), []byte(risk.Limit)); err != nil {
		return err
	}
	r, err := load(tx, risk.Request)
	if err != nil || r.State != control.Granted || len(r.Halts) >= maxHalts {
		return err
	}
	h := control.Halt{
		Number: len(r.Halts) + 1, State: control.Pending, Session: risk.Session, Limit: risk.Limit, Count: risk.Count, Lifted: risk.Lifted,
		At: risk.At, Needs: ca.releasers(r), Touch: r.Touch, PIN: r.PIN,
	}
	if len(h.Needs) == 0 {
		return nil
	}
	if risk.Session != "" {
		s, err := read[control.Session](tx, key(sessionRows, risk.Session))
		if err != nil {
			return err
		}
		h.Target = s.Target
	}
	nonce := make([]byte, 16)
	rand.Read(nonce)
	h.Nonce = hex.EncodeToString(nonce)
	r.Halts = append(r.Halts, h)
	if err := ca.recordHalt(tx, r, h); err != nil {
		return err
	}
	return r.save(tx)
}

// releasers are who approved the request, or would have to now; of an emergency those who review it.
func (ca *CA) releasers(r request) []control.Need {
	if r.Owes != nil {
		return bare(r.Owes.Needs)
	}
	d, err := ca.decideAgain(r)
	if err != nil { // the policy allows it no more, which who would release it is told
		return bare(r.Needs)
	}
	return required(r, d)
}

func bare(needs []control.Need) []control.Need {
	needs = slices.Clone(needs)
	for i := range needs {
		needs[i].Have = nil
	}
	return needs
}

func (ca *CA) recordHalt(tx *store.Tx, r request, h control.Halt) error {
	told := h.Bare()
	told.State = h.State
	return ca.record(tx, auditlog.Entry{Type: auditlog.TypeHalt, Actor: "ca", Halt: &auditlog.Halt{Request: r.ID, Halt: told}})
}

// voteHalt takes a signed decision about what is held.
func (ca *CA) voteHalt(tx *store.Tx, c Caller, r *request, decision, because string, signature []byte) error {
	h, _ := r.Held()
	want, err := ca.mayVoteHalt(tx, c, *r, h, decision)
	if err != nil {
		return err
	}
	s := statement.About(r.Request, ca.keys.Name, decision, c.Name, because)
	under := *r
	under.Touch, under.PIN = h.Touch, h.PIN
	vote, err := ca.signed(tx, c, under, s.Decision, s.Text(), signature)
	if err != nil {
		return err
	}
	r.Halts = slices.Clone(r.Halts)
	kept := &r.Halts[h.Number-1]
	kept.Votes = append(slices.Clone(kept.Votes), vote)
	err = ca.record(tx, auditlog.Entry{Type: auditlog.TypeVote, Actor: c.Name, Vote: &auditlog.Vote{Request: r.ID, Halt: h.Number, Vote: vote}})
	if err != nil {
		return err
	}
	if decision == control.Deny {
		kept.State = control.Denied
		return ca.decidedHalt(tx, r, *kept, []string{c.Name})
	}
	if met, _ := ca.tally(asIf(*r, kept.Votes, control.Lift), want); !met {
		return r.save(tx)
	}
	kept.State = control.Granted
	return ca.decidedHalt(tx, r, *kept, approversOf(asIf(*r, kept.Votes, control.Lift)))
}

// mayVoteHalt says whether the decision is the caller's to make, and what approvals it needs.
func (ca *CA) mayVoteHalt(tx *store.Tx, c Caller, r request, h control.Halt, decision string) ([]control.Need, error) {
	switch {
	case c.Name == r.Person:
		return nil, refuse("%s asked for %s; nobody decides about their own request, with any key", c.Name, r.ID)
	case slices.ContainsFunc(h.Votes, func(v control.Vote) bool { return v.Person == c.Name }):
		return nil, refuse("%s has decided about what holds %s already", c.Name, r.ID)
	}
	want := bare(h.Needs)
	if decision == control.Approve {
		d, err := ca.decideAgain(r)
		if err != nil {
			return nil, err
		}
		if _, err := ca.stillApproved(tx, r); err != nil {
			return nil, err
		}
		asked := r
		asked.Needs = want
		want = required(asked, d)
		if r.Owes != nil {
			want = bare(h.Needs)
		}
	}
	set := ca.policy.Load()
	if !slices.ContainsFunc(want, func(n control.Need) bool { return set.InGroup(c.Name, n.Group) }) {
		return nil, refuse("%s is in none of the groups that may release %s (%s)", c.Name, r.ID, wanted(want))
	}
	if decision == control.Approve && !ca.helps(asIf(r, h.Votes, control.Lift), want, c.Name) {
		return nil, refuse("what holds %s has what it needs of the groups of %s already", r.ID, c.Name)
	}
	return want, nil
}

func approversOf(r request) (names []string) {
	for _, v := range r.Votes {
		if v.Decision == control.Approve && !slices.Contains(r.Retired, v.Person) {
			names = append(names, v.Person)
		}
	}
	return names
}

// decidedHalt logs what became of a halt, and has the bastion hear of it if the session is there still. The grant opens sessions again when nothing holds
// it any more.
func (ca *CA) decidedHalt(tx *store.Tx, r *request, h control.Halt, by []string) error {
	if err := ca.recordHalt(tx, *r, h); err != nil {
		return err
	}
	if h.State == control.Granted {
		if err := afresh(tx, r.ID, h.Limit); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(r.Halts, func(o control.Halt) bool { return o.State != control.Granted }) {
		if err := tx.Delete(key(heldRows, r.ID)); err != nil {
			return err
		}
	}
	if h.Session != "" {
		s, err := read[control.Session](tx, key(sessionRows, h.Session))
		if err != nil {
			return err
		}
		if s.Ended.IsZero() {
			n, err := following(tx, key(serialRows, haltSerial))
			if err != nil {
				return err
			}
			row := liftRow{n, s.Bastion, control.Lifted{Session: s.ID, Limit: h.Limit, Before: h.Lifted, Denied: h.State == control.Denied, By: by}}
			if err := write(tx, key(liftRows, s.ID+"/"+h.Limit), row); err != nil {
				return err
			}
		}
	}
	return r.save(tx)
}

// Lifts lists what was decided about halts of live sessions of a bastion after the number given, and the last number there is: 0 gives every one.
func (ca *CA) Lifts(bastion string, after uint64) (list []control.Lifted, n uint64, err error) {
	err = ca.db.View(func(tx *store.Tx) error {
		if n, err = last(tx, key(serialRows, haltSerial)); err != nil || n == after {
			return err
		}
		return tx.Scan([]byte(liftRows), func(k, _ []byte) error {
			row, err := read[liftRow](tx, slices.Clone(k))
			if err == nil && row.Number > after && row.Bastion == bastion {
				list = append(list, row.Lifted)
			}
			return err
		})
	})
	return list, n, err
}

// forgetLifts is for a session that ended.
func forgetLifts(tx *store.Tx, session string) error {
	var past [][]byte
	err := tx.Scan([]byte(liftRows+session+"/"), func(k, _ []byte) error {
		past = append(past, slices.Clone(k))
		return nil
	})
	for _, k := range past {
		if err == nil {
			err = tx.Delete(k)
		}
	}
	return err
}

// toldBefore says whether that crossing was told, and remembers it. A limit of a session is crossed again only when it was released in between.
func toldBefore(tx *store.Tx, r request, told control.Risk) (bool, error) {
	row := key(riskRows, told.Session+"/"+told.Limit)
	known, err := tx.Get(row)
	times := uint64(len(slices.DeleteFunc(slices.Clone(r.Halts), func(h control.Halt) bool {
		return h.Session != told.Session || h.Limit != told.Limit || h.State != control.Granted
	})))
	switch {
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return false, err
	case err == nil && (len(known) < 8 || binary.BigEndian.Uint64(known) >= told.Lifted):
		return true, nil
	case told.Lifted != times:
		return false, refuse("the limit %.300q of %s was released %d times, not %d", told.Limit, told.Session, times, told.Lifted)
	}
	return false, tx.Set(row, binary.BigEndian.AppendUint64(nil, told.Lifted))
}

// releasedSince says whether approvers released the grant from a limit that is counted when sessions open.
func releasedSince(r request, l limit.Limit, since int64) bool {
	return slices.ContainsFunc(r.Halts, func(h control.Halt) bool {
		return h.Session == "" && h.State == control.Granted && strings.HasPrefix(h.Limit, l.Counter+" ") && h.At.Unix() >= since
	})
}
