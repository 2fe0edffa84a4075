package verify

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// mostExtensions is how many of one request are looked at: more is a log that wants to use up our time.
const mostExtensions = 1000

// extension follows more time for a grant: asked for, then given or denied. Only what was given moves the end.
func (v *verifier) extension(x auditlog.Extension, actor string, at time.Time) {
	r := v.requests[x.Request]
	if r == nil {
		v.fail("an extension of request %s, which never was", x.Request)
		return
	}
	check := v.extensionDecided
	if x.State == control.Pending {
		check = v.extensionAsked
	}
	if err := check(r, x.Extension, actor, at); err != nil {
		v.fail("extension %d of %s, %s: %v", x.Number, r.ID, x.State, err)
	}
}

func (v *verifier) extensionAsked(r *request, e control.Extension, actor string, at time.Time) error {
	length := time.Duration(min(e.ForSeconds, 1<<30)) * time.Second
	switch {
	case r.Emergency:
		return fmt.Errorf("emergencies are not extended")
	case len(r.Extensions) >= mostExtensions:
		return fmt.Errorf("no request is extended so often")
	case actor != r.Person:
		return fmt.Errorf("it is by %.60q, and the grant is %s's", actor, r.Person)
	case r.State != control.Granted || !at.Before(r.Ends):
		return fmt.Errorf("the grant was %s, and ended %s", r.State, r.Ends.UTC().Format(time.RFC3339))
	case e.Number != len(r.Extensions)+1:
		return fmt.Errorf("it should be number %d", len(r.Extensions)+1)
	case len(e.Votes) > 0:
		return fmt.Errorf("it begins with votes")
	case e.Policy != v.policy.digest:
		return fmt.Errorf("it was decided by policy %s, which was not in force", e.Policy)
	case length <= 0 || !e.Ends.Equal(r.Ends.Add(length)):
		return fmt.Errorf("by %s until %s, and the grant ended %s", length, e.Ends.UTC().Format(time.RFC3339), r.Ends.UTC().Format(time.RFC3339))
	case e.Ends.After(at.Add(longestGrant + rounding)):
		return fmt.Errorf("until %s; nothing longer than %s is ever granted", e.Ends.UTC().Format(time.RFC3339), longestGrant)
	case e.Asked.After(at) || e.Asked.Before(at.Add(-rounding)):
		return fmt.Errorf("it says that it was made at %s", e.Asked.UTC().Format(time.RFC3339))
	case len(e.Nonce) != 32 || slices.ContainsFunc(r.Extensions, func(o control.Extension) bool { return o.Nonce == e.Nonce }):
		return fmt.Errorf("its nonce is not its own")
	case r.Touch && !e.Touch || r.PIN && !e.PIN:
		return fmt.Errorf("the grant wanted a touch or a PIN, and it does not")
	}
	if err := coversNeeds(e.Needs, r.Needs); err != nil {
		return err
	}
	if err := v.lasts(r); err != nil {
		return err
	}
	if n := len(r.Extensions); n > 0 && r.Extensions[n-1].State == control.Pending {
		r.Extensions[n-1].State = control.Withdrawn
	}
	r.Extensions, r.more = append(r.Extensions, e), append(r.more, nil)
	return nil
}

// coversNeeds says whether an extension wants at least the people that the grant wanted.
func coversNeeds(wants, asked []control.Need) error {
	places := 0
	for _, n := range wants {
		if n.Count <= 0 || n.Count > most || len(n.Have) > 0 {
			return fmt.Errorf("it needs %d of %.60q", n.Count, n.Group)
		}
		places += n.Count
	}
	if places > most {
		return fmt.Errorf("it needs more than %d approvals", most)
	}
	for _, need := range asked {
		if !slices.ContainsFunc(wants, func(n control.Need) bool { return n.Group == need.Group && n.Count >= need.Count }) {
			return fmt.Errorf("the grant needed %d of %s, and it does not", need.Count, need.Group)
		}
	}
	return nil
}

// lasts says whether what a grant rests on was still there when it was to last longer.
func (v *verifier) lasts(r *request) error {
	if !v.needsMet(r) {
		return fmt.Errorf("%s lacked approvals then", r.ID)
	}
	if err := v.held(r.traits()); err != nil {
		return err
	}
	return v.approvalsLive(r)
}

// extensionDecided is about the one that waits, and says of it what was said when it was asked for.
func (v *verifier) extensionDecided(r *request, e control.Extension, actor string, at time.Time) error {
	waiting, waits := r.Extending()
	if !waits || !reflect.DeepEqual(waiting.Bare(), e.Bare()) || len(e.Votes) > 0 || coversNeeds(e.Needs, nil) != nil {
		return fmt.Errorf("it is not the one that was asked for")
	}
	i := e.Number - 1
	switch {
	case actor != clockwork:
		return fmt.Errorf("it is logged as of %.60q", actor)
	case !at.Before(r.Ends):
		return fmt.Errorf("after the grant ended, %s", r.Ends.UTC().Format(time.RFC3339))
	case e.State == control.Denied:
		if !slices.ContainsFunc(r.more[i], func(o vote) bool { return o.decision == control.Deny }) {
			return fmt.Errorf("nobody denied it")
		}
		r.Extensions[i].State = control.Denied
		return nil
	case e.State != control.Granted:
		return fmt.Errorf("no such state")
	case !v.filled(e.Needs, r.extenders(i)):
		return fmt.Errorf("approvals are missing")
	}
	if err := v.lasts(r); err != nil {
		return err
	}
	r.Extensions[i].State, r.Ends = control.Granted, e.Ends
	if r.Ends.After(r.NotAfter) {
		r.NotAfter = r.Ends
	}
	for _, s := range r.sessions {
		if s.Ended.IsZero() {
			s.Deadline = r.Ends
		}
	}
	return nil
}

// extenders are the people who signed that the extension be given.
func (r *request) extenders(i int) []string {
	var people []string
	for _, o := range r.more[i] {
		if o.decision == control.Extend && !slices.Contains(people, o.person) && !slices.Contains(r.retired, o.person) {
			people = append(people, o.person)
		}
	}
	return people
}

// extensionVote is about the extension that waits.
func (v *verifier) extensionVote(r *request, cast auditlog.Vote, at time.Time) error {
	e, waits := r.Extending()
	switch {
	case !waits || e.Number != cast.Extension:
		return fmt.Errorf("that extension did not wait for it")
	case cast.Decision != control.Extend && cast.Decision != control.Deny:
		return fmt.Errorf("no such decision")
	case cast.Person == r.Person:
		return fmt.Errorf("nobody decides about their own request")
	case slices.ContainsFunc(r.more[e.Number-1], func(o vote) bool { return o.person == cast.Person }):
		return fmt.Errorf("they had decided already")
	case !at.Before(r.Ends):
		return fmt.Errorf("it came after %s, too late", r.Ends.UTC().Format(time.RFC3339))
	}
	about := r.Request
	about.Touch, about.PIN = e.Touch, e.PIN
	key, err := v.goodSignature(r, about, cast, at)
	if err != nil {
		return err
	}
	if !strings.Contains(cast.Statement, "\nextension: ") {
		return fmt.Errorf("what was signed is about no extension")
	}
	r.more[e.Number-1] = append(r.more[e.Number-1], vote{decision: cast.Decision, person: cast.Person, key: cast.Key, statement: cast.Statement, public: key})
	return nil
}

// carriers are the signed decisions that what is alive of the request rests on: its approvals, those of its extensions and of what was released, also
// of one that waits for more.
func (r *request) carriers() (all []vote) {
	for _, o := range r.votes {
		if o.decision == control.Approve {
			all = append(all, o)
		}
	}
	for i, e := range r.Extensions {
		for _, o := range r.more[i] {
			if o.decision == control.Extend && (e.State == control.Granted || e.State == control.Pending) {
				all = append(all, o)
			}
		}
	}
	for _, h := range r.halts {
		for _, o := range h.votes {
			if o.decision == control.Lift && h.State != control.Denied {
				all = append(all, o)
			}
		}
	}
	return all
}
