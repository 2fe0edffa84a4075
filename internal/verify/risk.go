package verify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/internal/control"
	"postern/internal/limit"
)

// risk checks that a limit which was crossed is one that the session or request had, and that what was done is what it says. That it was crossed is the
// bastion's word, or for what is counted when a session opens the CA's.
func (v *verifier) risk(r control.Risk, actor string, at time.Time) {
	what := fmt.Sprintf("limit %.300s of %s", r.Limit, r.Request)
	req := v.requests[r.Request]
	if req == nil {
		if !v.partial {
			v.fail("%s: request %s never was", what, r.Request)
		}
		return
	}
	list, err := limit.Parse(req.Limits)
	s := v.sessions[r.Session]
	switch {
	case s != nil && (s.Request != r.Request || s.Bastion != r.Bastion || r.At.Before(s.Started.Add(-skew))):
		v.fail("%s: session %s is not of that request, bastion and time", what, r.Session)
	case s == nil && r.Session != "" && v.partial:
		if r.Action == limit.Hold {
			v.holds(&r)
		}
		return // its limits are not there to compare with
	case s == nil && r.Session != "":
		v.fail("%s: session %s never was", what, r.Session)
	case s != nil && err == nil:
		// What is counted when a session opens is counted against the request's own limits, which stricter ones may stand for in the session's.
		list = slices.DeleteFunc(list, func(l limit.Limit) bool { return !l.AtOpening() })
		var more limit.List
		more, err = limit.Parse(s.Limits)
		list = append(list, more...)
	}
	i := slices.IndexFunc(list, func(l limit.Limit) bool { return l.String() == r.Limit })
	if err != nil || i < 0 {
		v.fail("%s: neither the request nor the session has it", what)
		return
	}
	l := list[i]
	opening := l.AtOpening()
	once := fmt.Sprintf("%s %s %d", r.Session, r.Limit, r.Lifted)
	switch {
	case actor != r.Bastion || v.policy.bastions[r.Bastion] == nil:
		v.fail("%s: it is told of %s by %s", what, r.Bastion, actor)
	case r.Person != req.Person:
		v.fail("%s: it is told of %s", what, r.Person)
	case r.Count <= l.Most:
		v.fail("%s: %d does not cross it", what, r.Count)
	case r.Action != l.Action:
		v.fail("%s: what was done was %s", what, r.Action)
	case r.At.After(at.Add(skew)):
		v.fail("%s: it was crossed at %s, after it was told", what, r.At.UTC().Format(time.RFC3339))
	case !opening && (r.Session == "" || r.Passed):
		v.fail("%s: it is crossed in a session, and in none else", what)
	case opening && (r.Session == "") != (l.Stops() && !r.Passed):
		v.fail("%s: session %q opened or not, against what the limit says", what, r.Session)
	case r.Lifted != 0 && r.Lifted != req.liftings(r.Session, r.Limit):
		v.fail("%s: it says that it was released %d times before", what, r.Lifted)
	case r.Passed && (l.Action != limit.Hold || !req.freshlyApproved(l)):
		v.fail("%s: it was passed without a fresh approval", what)
	case r.Session != "" && v.crossings[once]:
		v.fail("%s: it was crossed in %s before", what, r.Session)
	}
	v.crossings[once] = true
	switch {
	case l.Action == limit.Hold && !r.Passed:
		v.holds(&r)
	case l.Revokes() && v.hitsAny(r.Cuts()):
		v.crossed = &r
	}
}

// holds is for a limit that keeps a request from opening sessions: what waits for approvals follows, if anybody can give them.
func (v *verifier) holds(r *control.Risk) {
	v.heldBack[r.Request]++
	v.halting = r
}

func (v *verifier) hitsAny(t control.Target) bool {
	for _, r := range v.requests {
		if r.live() && t.Hits(r.traits()) {
			return true
		}
	}
	return false
}

// followed makes sure that what a limit cuts is cut in the next leaves: the states of the requests and then the revocation.
func (v *verifier) followed(revoked, state bool) {
	if v.crossed == nil || state || revoked {
		return
	}
	v.fail("limit %.300s of %s was crossed, and nothing was revoked", v.crossed.Limit, v.crossed.Request)
	v.crossed = nil
}

// byPolicy checks a revocation that nobody signed: it follows its crossing, and says and hits what that says.
func (v *verifier) byPolicy(cut control.Revocation) error {
	if is, err := v.bySheet(cut); is {
		return err
	}
	r := v.crossed
	v.crossed = nil
	switch {
	case r == nil && v.partial:
		return nil
	case r == nil:
		return fmt.Errorf("nobody signed it, and no limit was crossed right before")
	case cut.Target().String() != r.Cuts().String():
		return fmt.Errorf("the limit that was crossed cuts %s", r.Cuts())
	case cut.Reason != r.Reason():
		return fmt.Errorf("it is for another reason than the limit that was crossed: %.200q", cut.Reason)
	case !cut.Holds.IsZero() || cut.Statement != "":
		return fmt.Errorf("a limit neither holds for a time nor signs")
	}
	for _, id := range cut.Requests {
		if hit := v.requests[id]; hit != nil && !cut.Target().Hits(hit.traits()) {
			return fmt.Errorf("the limit that was crossed does not hit %s", id)
		}
	}
	return nil
}

// limited checks the thresholds of a session: those of its request, or stricter ones of a later policy. That the rules say so is bound by the policy's digest.
func (v *verifier) limited(s *session, r *request) error {
	asked, err := limit.Parse(r.Limits)
	if err != nil {
		return err
	}
	list, err := limit.Parse(s.Limits)
	switch {
	case err != nil:
		return err
	case list.String() != s.Limits:
		return fmt.Errorf("its limits are not written as they are: %.200q", s.Limits)
	case !list.Covers(asked):
		return fmt.Errorf("it is limited to %.200q, the request was to %.200q", s.Limits, r.Limits)
	case v.heldBack[r.ID] > 0:
		return fmt.Errorf("%s was held by a limit", r.ID)
	}
	return nil
}

// counted checks that what a session is said to have used up are limits it had. How much of them is its bastion's word.
func (v *verifier) counted(s *session, p control.Progress) {
	if len(p.Counts) == 0 {
		return
	}
	list, err := limit.Parse(s.Limits)
	for text := range p.Counts {
		if err != nil || p.End == "" || !slices.ContainsFunc(list, func(l limit.Limit) bool { return l.String() == text }) {
			v.fail("%s is said to have counted %.300q, which it had not, or not ended", p.Session, text)
		}
	}
}

// askedLimits checks how a request is limited.
func askedLimits(r control.Request) error {
	list, err := limit.Parse(r.Limits)
	if err == nil && list.String() != r.Limits {
		err = fmt.Errorf("its limits are not written as they are: %.200q", strings.TrimSpace(r.Limits))
	}
	return err
}
