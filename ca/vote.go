package ca

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/store"
	"postern/policy"
)

// Statement is the text that the caller would sign for a decision about a request. Whose decision it is not is told so here, before they
// sign it and touch a token.
func (ca *CA) Statement(c Caller, decision, id, because string) (string, error) {
	if c.Kind != "person" {
		return "", refuse("only people decide; this key belongs to %s %s", c.Kind, c.Name)
	}
	because, err := ca.because(decision, because)
	if err != nil {
		return "", err
	}
	var text string
	err = ca.db.View(func(tx *store.Tx) error {
		r, err := ca.visible(tx, c, id)
		if err == nil {
			err = ca.mayDecideNow(tx, c, r, decision)
		}
		if err == nil {
			text = statement.About(r.Request, ca.keys.Name, decision, c.Name, because).Text()
		}
		return err
	})
	return text, err
}

func (ca *CA) because(decision, because string) (string, error) {
	switch decision {
	case control.Approve:
		if because != "" {
			return "", refuse("an approval carries no reason of its own")
		}
		return "", nil
	case control.Deny, control.Revoke:
		return cleanReason(because)
	case control.Withdraw:
		if because == "" {
			return "", nil
		}
		return cleanReason(because)
	}
	return "", refuse("unknown decision %q (decisions are: approve, deny, withdraw, revoke, review, clear)", decision)
}

// Vote takes a signed decision: approve, deny or withdraw. The signature must be the caller's own, over exactly
// the statement that this CA renders for that caller, request and decision: so one made for another request,
// person, decision or CA, or over an older text, never fits.
func (ca *CA) Vote(c Caller, id, decision, because string, signature []byte) (control.Request, error) {
	because, err := ca.because(decision, because)
	if err != nil {
		return control.Request{}, err
	}
	var r request
	err = ca.db.Update(func(tx *store.Tx) error {
		if decision == control.Deny || decision == control.Withdraw { // no other ends access
			tx.FromReserve(0)
		}
		if r, err = ca.visible(tx, c, id); err != nil {
			return err
		}
		if err := ca.mayDecideNow(tx, c, r, decision); err != nil {
			return err
		}
		if _, held := r.Held(); held && decision != control.Withdraw {
			return ca.voteHalt(tx, c, &r, decision, because, signature)
		}
		if _, waits := r.Extending(); waits && decision != control.Withdraw {
			return ca.voteExtension(tx, c, &r, decision, because, signature)
		}
		text := statement.About(r.Request, ca.keys.Name, decision, c.Name, because).Text()
		vote, err := ca.signed(tx, c, r, decision, text, signature)
		if err != nil {
			return err
		}
		r.Votes = append(r.Votes, vote)
		err = ca.record(tx, auditlog.Entry{Type: auditlog.TypeVote, Actor: c.Name, Vote: &auditlog.Vote{Request: r.ID, Vote: vote}})
		if err != nil {
			return err
		}
		return ca.count(tx, c, &r, decision, because)
	})
	if err == nil && (decision != control.Approve || len(r.Extensions) > 0 || len(r.Halts) > 0) {
		ca.news.tell()
	}
	return ca.shown(r).Request, err
}

// mayDecideNow says whether this decision is the caller's to make and something is left to decide: all that is looked at but the signature.
func (ca *CA) mayDecideNow(tx *store.Tx, c Caller, r request, decision string) (err error) {
	if state := r.passed(ca.now()); state != "" || !r.live() {
		return refuse("%s is %s; it takes no more decisions", r.ID, cmp.Or(state, r.State))
	}
	h, held := r.Held()
	e, waits := r.Extending()
	switch {
	case decision == control.Withdraw: // to give something back is always allowed
		return ca.mayVote(c, r, decision)
	case held:
		_, err = ca.mayVoteHalt(tx, c, r, h, decision)
	case waits:
		_, err = ca.mayVoteExtension(tx, c, r, e, decision)
	default:
		err = ca.mayVote(c, r, decision)
	}
	if err != nil {
		return err
	}
	return ca.keptFrom(tx, r, decision, c.Name, c.Key)
}

// mayVote says so of a request that waits for approvals.
func (ca *CA) mayVote(c Caller, r request, decision string) error {
	if decision == control.Withdraw {
		if c.Name == r.Person || (approved(r, c.Name) && !slices.Contains(r.Retired, c.Name)) {
			return nil
		}
		return refuse("%s neither asked for %s nor approved it, so there is nothing to withdraw", c.Name, r.ID)
	}
	if c.Name == r.Person {
		return refuse("%s asked for %s; nobody decides about their own request, with any key", c.Name, r.ID)
	}
	if r.Sheet != nil && r.Sheet.ByHolder(c.Name) {
		return refuse("%s would let %s in; nobody decides about their own access, with any key", r.ID, c.Name)
	}
	if voted(r, c.Name) {
		return refuse("%s has decided about %s already", c.Name, r.ID)
	}
	if r.State != control.Pending {
		return refuse("%s is %s; nothing is left to %s", r.ID, r.State, decision)
	}
	d, err := ca.decideAgain(r)
	if err != nil {
		return err
	}
	set, want := ca.policy.Load(), required(r, d)
	if !slices.ContainsFunc(want, func(n control.Need) bool { return set.InGroup(c.Name, n.Group) }) {
		return refuse("%s is in none of the groups that %s needs (%s)", c.Name, r.ID, wanted(want))
	}
	if decision == control.Approve && !ca.helps(r, want, c.Name) {
		return refuse("%s has what it needs of the groups of %s already", r.ID, c.Name)
	}
	return nil
}

// count draws the consequence of a vote.
func (ca *CA) count(tx *store.Tx, c Caller, r *request, decision, because string) error {
	switch {
	case decision == control.Deny:
		return ca.become(tx, r, control.Denied, "denied by "+c.Name)
	case decision == control.Withdraw && c.Name == r.Person:
		return ca.giveBack(tx, c, r, because)
	case decision == control.Withdraw:
		r.Retired = append(r.Retired, c.Name)
		if r.State == control.Pending {
			return r.save(tx)
		}
		vote := r.Votes[len(r.Votes)-1]
		_, err := ca.cut(tx, control.Revocation{
			Kind: "request", Value: r.ID, Reason: "approval withdrawn by " + c.Name + suffix(because), By: c.Name,
			Statement: vote.Statement, Signature: vote.Signature,
		}, []request{*r})
		r.State = control.Revoked
		return err
	}
	d, err := ca.decideAgain(*r)
	if err != nil {
		return err
	}
	met, _ := ca.tally(*r, required(*r, d))
	if !met {
		return r.save(tx)
	}
	return ca.become(tx, r, control.Approved, "every approval is there")
}

// giveBack ends the requester's own request; what is live of it is cut.
func (ca *CA) giveBack(tx *store.Tx, c Caller, r *request, because string) error {
	if r.State == control.Granted {
		vote := r.Votes[len(r.Votes)-1]
		_, err := ca.cut(tx, control.Revocation{
			Kind: "request", Value: r.ID, Reason: "given back by " + c.Name + suffix(because), By: c.Name,
			Statement: vote.Statement, Signature: vote.Signature,
		}, []request{*r})
		r.State = control.Revoked
		return err
	}
	return ca.become(tx, r, control.Withdrawn, "withdrawn by "+c.Name)
}

// decideAgain asks the policy in force now about a request made earlier: what it no longer allows ends there. Forwards lead
// nowhere that was not asked for, and what the approvers were told is recorded stays recorded.
func (ca *CA) decideAgain(r request) (policy.Decision, error) {
	return ca.decideAt(r, r.Asked.For, ca.now())
}

// decideAt is the answer for the request as if it were for that long and made at that time.
func (ca *CA) decideAt(r request, length time.Duration, at time.Time) (policy.Decision, error) {
	ask := r.Asked
	ask.Only, ask.For = r.Capabilities, length
	d, err := decideFor(ca.policy.Load(), r.Person, ask, r.Source, at)
	if err != nil {
		return d, err
	}
	d.Destinations = common(d.Destinations, r.Destinations)
	if slices.Contains(r.Capabilities, policy.ForwardLocal) && len(d.Destinations) == 0 {
		return d, refuse("the policy in force lets no forward lead where %s asked for (%s); ask again", r.ID, strings.Join(r.Destinations, ", "))
	}
	if d.Limits, err = limitsOf(r, d); err != nil {
		return d, err
	}
	if r.Record != nil {
		d.Keystrokes = d.Keystrokes || r.Record.Keystrokes
		d.Files = policy.MoreFiles(d.Files, r.Record.Files)
		d.Streams, d.Forwards = policy.MoreOf(d.Streams, r.Record.Streams), policy.MoreOf(d.Forwards, r.Record.Forwards)
		d.RetainDays = policy.Longer(d.RetainDays, r.Record.RetainDays)
	}
	return d, nil
}

// stillApproved says whether the policy in force now, and the approvals there are, carry the request.
func (ca *CA) stillApproved(tx *store.Tx, r request) (policy.Decision, error) {
	if err := entered(tx, r); err != nil {
		return policy.Decision{}, err
	}
	d, err := ca.decideAgain(r)
	if err != nil {
		return d, err
	}
	if met, have := ca.tally(r, required(r, d)); !met {
		return d, refuse("%s is still waiting for %s; approve it with: postern approve %s", r.ID, missing(have), r.ID)
	}
	return d, ca.stillSigned(tx, r, d)
}

// required is what the request was told it needs and what the policy in force wants, both: a policy that relaxes
// helps requests made after it, and the log shows for each certificate the approvals it names.
func required(r request, d policy.Decision) []control.Need {
	want := needs(d.Needs)
	for _, n := range r.Needs {
		i := slices.IndexFunc(want, func(w control.Need) bool { return w.Group == n.Group })
		if i < 0 {
			want = append(want, control.Need{Count: n.Count, Group: n.Group})
		} else {
			want[i].Count = max(want[i].Count, n.Count)
		}
	}
	return want
}

// tally says whether the approvals meet the needs, and who stands for which. Nobody stands for two, and nobody
// for their own request: a row that said otherwise would still not count.
func (ca *CA) tally(r request, want []control.Need) (bool, []control.Need) {
	set := ca.policy.Load()
	var voters []string
	for _, v := range r.Votes {
		if v.Decision == control.Approve && v.Person != r.Person && (r.Sheet == nil || !r.Sheet.ByHolder(v.Person)) && !slices.Contains(r.Retired, v.Person) && !slices.Contains(voters, v.Person) {
			voters = append(voters, v.Person)
		}
	}
	return assign(want, voters, set.InGroup)
}

// helps says whether one more approval by person would fill a place that is open.
func (ca *CA) helps(r request, want []control.Need, person string) bool {
	filled := func(r request) (n int) {
		_, have := ca.tally(r, want)
		for _, need := range have {
			n += len(need.Have)
		}
		return n
	}
	more := r
	more.Votes = append(slices.Clone(r.Votes), control.Vote{Decision: control.Approve, Person: person})
	return filled(more) > filled(r)
}

// assign gives each place of each need to a different voter, as many as can be: a matching in a bipartite graph,
// found by augmenting paths, so that the order of the approvals does not matter.
func assign(want []control.Need, voters []string, inGroup func(person, group string) bool) (bool, []control.Need) {
	var places []int // index of the need each place belongs to
	for i, n := range want {
		for range n.Count {
			places = append(places, i)
		}
	}
	holder := make([]int, len(places)) // voter of each place, -1 none
	for i := range holder {
		holder[i] = -1
	}
	var seat func(voter int, tried []bool) bool
	seat = func(voter int, tried []bool) bool {
		for p, need := range places {
			if tried[p] || !inGroup(voters[voter], want[need].Group) {
				continue
			}
			tried[p] = true
			if holder[p] < 0 || seat(holder[p], tried) {
				holder[p] = voter
				return true
			}
		}
		return false
	}
	for v := range voters {
		seat(v, make([]bool, len(places)))
	}
	have, met := slices.Clone(want), true
	for i := range have {
		have[i].Have = nil
	}
	for p, v := range holder {
		if v < 0 {
			met = false
			continue
		}
		have[places[p]].Have = append(have[places[p]].Have, voters[v])
	}
	return met, have
}

func voted(r request, person string) bool {
	return slices.ContainsFunc(r.Votes, func(v control.Vote) bool { return v.Person == person })
}

func approved(r request, person string) bool {
	return slices.ContainsFunc(r.carriers(), func(v control.Vote) bool { return v.Person == person })
}

// carriers are the signed decisions that what is alive of the request rests on: its approvals, those of its extensions and of what was released, also of one
// that waits for more.
func (r *request) carriers() (all []control.Vote) {
	for _, v := range r.Votes {
		if v.Decision == control.Approve {
			all = append(all, v)
		}
	}
	for _, e := range r.Extensions {
		for _, v := range e.Votes {
			if v.Decision == control.Extend && (e.State == control.Granted || e.State == control.Pending) {
				all = append(all, v)
			}
		}
	}
	for _, h := range r.Halts {
		for _, v := range h.Votes {
			if v.Decision == control.Lift && h.State != control.Denied {
				all = append(all, v)
			}
		}
	}
	return all
}

// approvalsDigest names the approvals in a certificate: over the statements, because a signature can be altered
// and still be valid.
func approvalsDigest(r request) string {
	h := sha256.New()
	for _, v := range r.Votes {
		if v.Decision == control.Approve && !slices.Contains(r.Retired, v.Person) {
			fmt.Fprintf(h, "%d %s %s\n", len(v.Statement), v.Key, v.Statement)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

func wanted(ns []control.Need) string {
	var s string
	for i, n := range ns {
		if i > 0 {
			s += ", "
		}
		s += fmt.Sprintf("%d of %s", n.Count, n.Group)
	}
	return s
}

func missing(ns []control.Need) string {
	var open []control.Need
	for _, n := range ns {
		if left := n.Count - len(n.Have); left > 0 {
			open = append(open, control.Need{Count: left, Group: n.Group})
		}
	}
	return wanted(open)
}

func suffix(because string) string {
	if because == "" {
		return ""
	}
	return ": " + because
}
