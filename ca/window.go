package ca

import (
	"time"

	"postern/policy"
)

// windowStep is how often the rules are asked again for the time of a grant: hours and weekdays end with a minute.
const windowStep = time.Minute

// closes is when the policy in force stops carrying what it carries at from, and before until; until if it does not. A rule that reads the
// hour, the weekday or the time must hold for the whole of a grant, so one that begins shortly before its window closes is shorter.
func (ca *CA) closes(from, until time.Time, carried func(at time.Time) bool) time.Time {
	if !ca.policy.Load().Timed() {
		return until
	}
	open := from
	for at := from.Truncate(windowStep).Add(windowStep); at.Before(until); at = at.Add(windowStep) {
		if !carried(at) {
			return edge(open, at, carried)
		}
		open = at
	}
	if last := until.Add(-time.Second); last.After(open) && !carried(last) { // it closes in the minute in which the grant would end
		return edge(open, until, carried)
	}
	return until
}

// edge finds the second in which a window closes: it is open at open, and closed at shut.
func edge(open, shut time.Time, carried func(at time.Time) bool) time.Time {
	open = open.Truncate(time.Second)
	for shut.Sub(open) > time.Second {
		middle := open.Add(shut.Sub(open) / 2).Truncate(time.Second)
		if carried(middle) {
			open = middle
		} else {
			shut = middle
		}
	}
	return shut
}

// carries says whether the policy in force would let something begin, at that time, on the approvals the request has.
func (ca *CA) carries(r request) func(at time.Time) bool {
	return func(at time.Time) bool {
		d, err := ca.decideAt(r, r.Asked.For, at)
		if err != nil {
			return false
		}
		met, _ := ca.tally(r, required(r, d))
		return met
	}
}

// allows is like carries for what nobody has approved yet.
func allows(set *policy.Set, person string, ask Ask, source string) func(at time.Time) bool {
	return func(at time.Time) bool {
		_, err := decide(set, person, ask, source, at)
		return err == nil
	}
}
