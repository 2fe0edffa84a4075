package ca

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/store"
	"postern/policy"
)

const (
	extensionSerial = "extension" // names the row that numbers what was extended
	// A grant that was asked to last longer so often is no matter of minutes any more.
	maxExtensions = 24
)

// moved is the row of an extended grant that is alive.
type moved struct {
	Number uint64    `json:"number"`
	Ends   time.Time `json:"ends"`
}

// Extend asks for more time for a grant of the caller that is alive. What needs nobody's approval is given at once; one that still waits gives
// way, with whatever was signed for it.
func (ca *CA) Extend(c Caller, id string, by time.Duration, reason string) (control.Request, error) {
	reason, err := cleanReason(reason)
	if err != nil {
		return control.Request{}, err
	}
	if by < time.Second || by > policy.HardMax || by%time.Second != 0 {
		return control.Request{}, refuse("%s is not a time in whole seconds up to %s", by, policy.HardMax)
	}
	var r request
	err = ca.db.Update(func(tx *store.Tx) error {
		if r, err = ca.visible(tx, c, id); err != nil {
			return err
		}
		if r.Person != c.Name {
			return refuse("%s belongs to %s; only they can ask for more time", r.ID, r.Person)
		}
		if r.Sheet != nil {
			return refuse("%s is a sealed grant, and those are not extended; ask for access with: postern request", r.ID)
		}
		if r.Emergency { // it needs nobody's approval, so it would last for ever
			return refuse("%s is an emergency, and those are not extended; ask for access with approvals, or for another emergency", r.ID)
		}
		return ca.fileExtension(tx, c, &r, by, reason)
	})
	if err == nil {
		ca.news.tell()
	}
	return ca.shown(r).Request, err
}

func (ca *CA) fileExtension(tx *store.Tx, c Caller, r *request, by time.Duration, reason string) error {
	if len(r.Extensions) >= maxExtensions {
		return refuse("%s was asked to last longer %d times; ask anew with: postern request", r.ID, maxExtensions)
	}
	now := ca.now().UTC().Truncate(time.Second)
	e := control.Extension{
		Number: len(r.Extensions) + 1, State: control.Pending, ForSeconds: int64(by / time.Second), Ends: r.Ends.Add(by).UTC(),
		Reason: reason, Asked: now, Policy: ca.PolicyDigest(),
	}
	d, err := ca.mayLast(tx, c, *r, e)
	if err != nil {
		return err
	}
	nonce := make([]byte, 16)
	rand.Read(nonce)
	e.Nonce, e.Rules, e.Needs = hex.EncodeToString(nonce), d.Rules, required(*r, d)
	e.Touch, e.PIN = d.Touch || r.Touch, d.PIN || r.PIN
	if before, waits := r.Extending(); waits {
		r.Extensions[before.Number-1].State = control.Withdrawn
	}
	r.Extensions = append(r.Extensions, e)
	if err := ca.recordExtension(tx, c.Name, *r, e); err != nil {
		return err
	}
	if len(e.Needs) == 0 {
		return ca.prolong(tx, r)
	}
	return r.save(tx)
}

func (ca *CA) recordExtension(tx *store.Tx, actor string, r request, e control.Extension) error {
	bare := e.Bare()
	bare.State = e.State
	return ca.record(tx, auditlog.Entry{Type: auditlog.TypeExtension, Actor: actor, Extension: &auditlog.Extension{Request: r.ID, Extension: bare}})
}

// mayLast says whether the grant may last until the end of e: no longer than a request that is made now would, by the policy in force. It is
// asked when the extension is, and again when it is given.
func (ca *CA) mayLast(tx *store.Tx, c Caller, r request, e control.Extension) (policy.Decision, error) {
	now := ca.now()
	if r.State != control.Granted || !now.Before(r.Ends) {
		return policy.Decision{}, refuse("%s is %s; only a grant that is alive can be extended", r.ID, ca.shown(r).State)
	}
	t := r.traits()
	t.Keys = append(t.Keys, c.Key)
	if err := ca.held(tx, t); err != nil {
		return policy.Decision{}, err
	}
	if err := keyAlive(tx, c.Key); err != nil {
		return policy.Decision{}, err
	}
	if _, err := ca.stillApproved(tx, r); err != nil {
		return policy.Decision{}, err
	}
	d, err := ca.decideAt(r, e.Ends.Sub(now), now)
	if err != nil {
		return d, regarding(err, "%s cannot last until %s, %s from now", r.ID, e.Ends.Format(time.RFC3339), e.Ends.Sub(now).Round(time.Second))
	}
	if e.Ends.After(now.Add(min(d.Max, policy.HardMax))) {
		return d, refuse("%s cannot last until %s: at most %s from now", r.ID, e.Ends.Format(time.RFC3339), min(d.Max, policy.HardMax))
	}
	if shut := ca.closes(now, e.Ends, ca.carries(r)); shut.Before(e.Ends) {
		return d, refuse("%s cannot last until %s: the rules allow it until %s", r.ID, e.Ends.Format(time.RFC3339), shut.UTC().Format(time.RFC3339))
	}
	return d, nil
}

// voteExtension takes a signed decision about the extension that waits.
func (ca *CA) voteExtension(tx *store.Tx, c Caller, r *request, decision, because string, signature []byte) error {
	e, _ := r.Extending()
	want, err := ca.mayVoteExtension(tx, c, *r, e, decision)
	if err != nil {
		return err
	}
	s := statement.About(r.Request, ca.keys.Name, decision, c.Name, because)
	under := *r
	under.Touch, under.PIN = e.Touch, e.PIN
	vote, err := ca.signed(tx, c, under, s.Decision, s.Text(), signature)
	if err != nil {
		return err
	}
	last := &r.Extensions[e.Number-1]
	last.Votes = append(last.Votes, vote)
	err = ca.record(tx, auditlog.Entry{Type: auditlog.TypeVote, Actor: c.Name, Vote: &auditlog.Vote{Request: r.ID, Extension: e.Number, Vote: vote}})
	if err != nil {
		return err
	}
	if decision == control.Deny {
		last.State = control.Denied
		if err := ca.recordExtension(tx, "ca", *r, *last); err != nil {
			return err
		}
		return r.save(tx)
	}
	if met, _ := ca.tally(asIf(*r, last.Votes, control.Extend), want); !met {
		return r.save(tx)
	}
	return ca.prolong(tx, r)
}

// mayVoteExtension says whether the decision is the caller's to make, and what approvals the extension needs.
func (ca *CA) mayVoteExtension(tx *store.Tx, c Caller, r request, e control.Extension, decision string) ([]control.Need, error) {
	switch {
	case c.Name == r.Person:
		return nil, refuse("%s asked for %s; nobody decides about their own request, with any key", c.Name, r.ID)
	case slices.ContainsFunc(e.Votes, func(v control.Vote) bool { return v.Person == c.Name }):
		return nil, refuse("%s has decided about this extension of %s already", c.Name, r.ID)
	}
	want := e.Needs
	if decision == control.Approve {
		d, err := ca.mayLast(tx, c, r, e)
		if err != nil {
			return nil, err
		}
		asked := r
		asked.Needs = e.Needs
		want = required(asked, d)
	}
	set := ca.policy.Load()
	if !slices.ContainsFunc(want, func(n control.Need) bool { return set.InGroup(c.Name, n.Group) }) {
		return nil, refuse("%s is in none of the groups that %s needs (%s)", c.Name, r.ID, wanted(want))
	}
	if decision == control.Approve && !ca.helps(asIf(r, e.Votes, control.Extend), want, c.Name) {
		return nil, refuse("the extension of %s has what it needs of the groups of %s already", r.ID, c.Name)
	}
	return want, nil
}

// asIf is the request as if what was signed with a decision about something of it were its approvals.
func asIf(r request, votes []control.Vote, decision string) request {
	r.Votes = nil
	for _, v := range votes {
		if v.Decision == decision {
			v.Decision = control.Approve
			r.Votes = append(r.Votes, v)
		}
	}
	return r
}

// prolong moves the end of the grant and the deadline of what is live of it. Certificates that were signed keep their end. What a later
// decision of the same committer cuts is cut all the same: bastions never let an extension undo a revocation.
func (ca *CA) prolong(tx *store.Tx, r *request) error {
	e := &r.Extensions[len(r.Extensions)-1]
	e.State, r.Ends = control.Granted, e.Ends
	if r.Ends.After(r.NotAfter) {
		r.NotAfter = r.Ends
	}
	if err := ca.recordExtension(tx, "ca", *r, *e); err != nil {
		return err
	}
	live, err := hitSessions(tx, nil, []request{*r})
	if err != nil {
		return err
	}
	for _, s := range live {
		s.Deadline = r.Ends
		if err := saveSession(tx, s); err != nil {
			return err
		}
	}
	n, err := following(tx, key(serialRows, extensionSerial))
	if err != nil {
		return err
	}
	if err := write(tx, key(movedRows, r.ID), moved{n, r.Ends}); err != nil {
		return err
	}
	return r.save(tx)
}

// Extended lists the grants alive that were extended after the number given, and the last number there is: 0 gives every one.
func (ca *CA) Extended(after uint64) (list []control.Moved, n uint64, err error) {
	now := ca.now()
	err = ca.db.View(func(tx *store.Tx) error {
		if n, err = last(tx, key(serialRows, extensionSerial)); err != nil || n == after {
			return err
		}
		by, err := struck(tx)
		if err != nil {
			return err
		}
		return tx.Scan([]byte(movedRows), func(k, _ []byte) error {
			id := strings.Clone(string(k[len(movedRows):]))
			m, err := read[moved](tx, key(movedRows, id))
			if err == nil && m.Number > after && now.Before(m.Ends) && by(id) == 0 {
				list = append(list, control.Moved{Request: id, Ends: m.Ends})
			}
			return err
		})
	})
	return list, n, err
}
