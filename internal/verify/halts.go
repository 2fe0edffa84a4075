package verify

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/limit"
)

// mostHalts is how many of one request are looked at: more is a log that wants to use up our time.
const mostHalts = 1000

// halted is what holds a request, and what was signed about it.
type halted struct {
	control.Halt
	votes []vote
}

// halt follows what a limit holds: it waits for approvals, and is released or not.
func (v *verifier) halt(x auditlog.Halt, at time.Time) {
	r := v.requests[x.Request]
	if r == nil {
		v.fail("what holds request %s, which never was", x.Request)
		return
	}
	risk := v.halting
	v.halting = nil
	var err error
	if x.State == control.Pending {
		err = v.haltBegins(r, x.Halt, risk)
	} else {
		err = v.haltDecided(r, x.Halt, at)
	}
	if err != nil {
		v.fail("halt %d of %s, %s: %v", x.Number, r.ID, x.State, err)
	}
}

// haltBegins is about the limit that was crossed right before.
func (v *verifier) haltBegins(r *request, h control.Halt, risk *control.Risk) error {
	switch {
	case risk == nil || risk.Request != r.ID:
		return fmt.Errorf("no limit was crossed right before")
	case h.Session != risk.Session || h.Limit != risk.Limit || h.Count != risk.Count || h.Lifted != risk.Lifted || !h.At.Equal(risk.At):
		return fmt.Errorf("it says something else than the limit that was crossed right before")
	case len(r.halts) >= mostHalts:
		return fmt.Errorf("no request is held so often")
	case r.State != control.Granted:
		return fmt.Errorf("the request was %s", r.State)
	case h.Number != len(r.halts)+1:
		return fmt.Errorf("it should be number %d", len(r.halts)+1)
	case len(h.Votes) > 0:
		return fmt.Errorf("it begins with votes")
	case len(h.Nonce) != 32 || slices.ContainsFunc(r.halts, func(o halted) bool { return o.Nonce == h.Nonce }):
		return fmt.Errorf("its nonce is not its own")
	case r.Touch && !h.Touch || r.PIN && !h.PIN:
		return fmt.Errorf("the grant wanted a touch or a PIN, and it does not")
	}
	if s := v.sessions[h.Session]; s != nil && s.Target != h.Target || h.Session == "" && h.Target != "" {
		return fmt.Errorf("the session is not on %.100q", h.Target)
	}
	asked := r.Needs
	if r.Owes != nil {
		asked = r.Owes.Needs
	}
	if err := coversNeeds(h.Needs, asked); err != nil {
		return err
	}
	if len(h.Needs) == 0 {
		return fmt.Errorf("nobody would have to release it")
	}
	r.halts = append(r.halts, halted{Halt: h})
	return nil
}

// haltDecided is about one that waits, and says of it what was said when it began.
func (v *verifier) haltDecided(r *request, h control.Halt, at time.Time) error {
	i := h.Number - 1
	if i < 0 || i >= len(r.halts) || r.halts[i].State != control.Pending || !reflect.DeepEqual(r.halts[i].Bare(), h.Bare()) || len(h.Votes) > 0 ||
		coversNeeds(h.Needs, nil) != nil {
		return fmt.Errorf("it is not one that waited")
	}
	kept := &r.halts[i]
	switch {
	case r.State != control.Granted || !at.Before(r.Ends):
		return fmt.Errorf("the grant was %s, and ended %s", r.State, r.Ends.UTC().Format(time.RFC3339))
	case h.State == control.Denied:
		if !slices.ContainsFunc(kept.votes, func(o vote) bool { return o.decision == control.Deny }) {
			return fmt.Errorf("nobody denied it")
		}
		kept.State = control.Denied
		return nil
	case h.State != control.Granted:
		return fmt.Errorf("no such state")
	case !v.filled(h.Needs, kept.lifters(r)):
		return fmt.Errorf("approvals are missing")
	}
	if err := v.lasts(r); err != nil {
		return err
	}
	kept.State = control.Granted
	v.heldBack[r.ID]--
	return nil
}

// lifters are the people who signed that it be released.
func (h *halted) lifters(r *request) []string {
	var people []string
	for _, o := range h.votes {
		if o.decision == control.Lift && o.person != r.Person && !slices.Contains(people, o.person) && !slices.Contains(r.retired, o.person) {
			people = append(people, o.person)
		}
	}
	return people
}

// haltVote is about one that waits.
func (v *verifier) haltVote(r *request, cast auditlog.Vote, at time.Time) error {
	i := cast.Halt - 1
	switch {
	case cast.Extension != 0:
		return fmt.Errorf("it is about an extension, too")
	case i < 0 || i >= len(r.halts) || r.halts[i].State != control.Pending:
		return fmt.Errorf("that did not wait for it")
	case cast.Decision != control.Lift && cast.Decision != control.Deny:
		return fmt.Errorf("no such decision")
	case cast.Person == r.Person:
		return fmt.Errorf("nobody decides about their own request")
	case slices.ContainsFunc(r.halts[i].votes, func(o vote) bool { return o.person == cast.Person }):
		return fmt.Errorf("they had decided already")
	case r.State != control.Granted || !at.Before(r.Ends):
		return fmt.Errorf("the grant was %s, and ended %s", r.State, r.Ends.UTC().Format(time.RFC3339))
	}
	about := r.Request
	about.Touch, about.PIN = r.halts[i].Touch, r.halts[i].PIN
	key, err := v.goodSignature(r, about, cast, at)
	if err != nil {
		return err
	}
	r.halts[i].votes = append(r.halts[i].votes, vote{decision: cast.Decision, person: cast.Person, key: cast.Key, statement: cast.Statement, public: key})
	return nil
}

// saysHalt is the statement that a vote about what holds the request has to be.
func (v *verifier) saysHalt(r *request, cast auditlog.Vote, because string) string {
	about, decision := r.Request, cast.Decision
	about.State, about.Halts = control.Granted, []control.Halt{r.halts[cast.Halt-1].Halt}
	if decision == control.Lift {
		decision = control.Approve
	}
	return statement.About(about, v.ca, decision, cast.Person, because).Text()
}

// liftings are the releases of a limit of a session that were signed.
func (r *request) liftings(session, crossed string) (n uint64) {
	for _, h := range r.halts {
		if h.Session == session && h.Limit == crossed && h.State == control.Granted {
			n++
		}
	}
	return n
}

// freshlyApproved says whether anybody signed for what a limit that is counted at the opening held.
func (r *request) freshlyApproved(l limit.Limit) bool {
	return slices.ContainsFunc(r.votes, func(o vote) bool { return o.decision == control.Approve }) ||
		slices.ContainsFunc(r.halts, func(h halted) bool {
			return h.Session == "" && h.State == control.Granted && strings.HasPrefix(h.Limit, l.Counter+" ")
		})
}
