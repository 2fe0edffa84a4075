package verify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// emergency makes sure that what was granted at once was so by rules of its policy that say so, and owes what they want; and that no other request
// names such a rule, because that would waive approvals.
func (v *verifier) emergency(asked control.Request) error {
	if !asked.Emergency {
		for _, id := range asked.Rules {
			if _, urgent := v.policy.emergencies[id]; urgent {
				return fmt.Errorf("it is no emergency, and its rule %s is for those", id)
			}
		}
		if asked.Owes != nil {
			return fmt.Errorf("it is no emergency and owes a review")
		}
		return nil
	}
	owes := asked.Owes
	switch {
	case owes == nil || !owes.Done.IsZero() || owes.Verdict != "" || !owes.Cleared.IsZero():
		return fmt.Errorf("an emergency that owes no review")
	case len(asked.Rules) == 0:
		return fmt.Errorf("an emergency without a rule for it")
	case len(asked.Needs) > 0:
		return fmt.Errorf("an emergency that needs approvals")
	case asked.Record == nil || asked.Record.Files != "full" || asked.Record.Streams >= 0 || asked.Record.Forwards >= 0:
		return fmt.Errorf("an emergency of which not everything is recorded")
	case asked.NotAfter.After(owes.By):
		return fmt.Errorf("its review is due %s, before it is over", owes.By.UTC().Format(time.RFC3339))
	}
	for _, id := range asked.Rules {
		if err := v.byRule(asked, id); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) byRule(asked control.Request, id string) error {
	rule, urgent := v.policy.emergencies[id]
	if !urgent {
		return fmt.Errorf("an emergency by rule %.60q, and its policy has no such rule for emergencies", id)
	}
	if asked.ForSeconds > rule.MaxSeconds {
		return fmt.Errorf("for %d seconds; rule %s gives at most %d", asked.ForSeconds, id, rule.MaxSeconds)
	}
	if due := asked.Created.Add(time.Duration(rule.ReviewSeconds) * time.Second); asked.Owes.By.After(due) {
		return fmt.Errorf("its review is due %s, and rule %s wants it by %s", asked.Owes.By.UTC().Format(time.RFC3339), id, due.UTC().Format(time.RFC3339))
	}
	for _, need := range rule.Needs {
		if !slices.ContainsFunc(asked.Owes.Needs, func(n control.Need) bool { return n.Group == need.Group && n.Count >= need.Count }) {
			return fmt.Errorf("rule %s wants its review by %d of %s", id, need.Count, need.Group)
		}
	}
	return nil
}

// urge checks a request that was just filed, and remembers what it owes.
func (v *verifier) urge(r *request) {
	if err := v.emergency(r.Request); err != nil {
		v.fail("request %s: %v", r.ID, err)
	}
	if !r.Emergency || r.Owes == nil {
		r.Emergency, r.Owes = false, nil
		return
	}
	if err := v.owesNothing(r.Person, v.clock); err != nil {
		v.fail("request %s: %v", r.ID, err)
	}
	owes := *r.Owes // the report keeps what was asked
	r.Owes = &owes
	places := 0
	for _, need := range owes.Needs {
		places += max(0, min(need.Count, most+1))
	}
	if places > most {
		v.fail("request %s wants its review by more than %d", r.ID, most)
		owes.Needs = []control.Need{{Count: 1}} // which nobody meets
	}
	v.owing[r.Person] = append(v.owing[r.Person], r)
}

// owesNothing finds an emergency of the person whose review was overdue at a time, or that was found misused: until that is settled there is no other one.
func (v *verifier) owesNothing(person string, at time.Time) error {
	for _, r := range v.owing[person] {
		if r.Owes.Misuse() {
			return fmt.Errorf("%s, an emergency of %s's, was found misused, and nobody has cleared them", r.ID, person)
		}
		if r.Overdue(at.Add(-rounding)) {
			return fmt.Errorf("the review of %s, an emergency of %s's, was due %s and was not signed", r.ID, person, r.Owes.By.UTC().Format(time.RFC3339))
		}
	}
	return nil
}

// over says whether somebody may say anything about an emergency that is over.
func (v *verifier) over(r *request, person string) error {
	switch {
	case r.Owes == nil:
		return fmt.Errorf("it was no emergency")
	case person == r.Person || person == r.Owing():
		return fmt.Errorf("nobody reviews their own emergency")
	case r.live():
		return fmt.Errorf("it was %s, and not over", r.State)
	case r.Began.IsZero():
		return fmt.Errorf("it was never used")
	case !slices.ContainsFunc(r.Owes.Needs, func(n control.Need) bool { return v.policy.in(person, n.Group) }):
		return fmt.Errorf("they are in none of the groups that review it")
	}
	return nil
}

// reviews says whether somebody may sign the review of a request, and is counted for it.
func (v *verifier) reviews(r *request, person string) error {
	if r.Owes != nil && !r.Owes.Done.IsZero() {
		return fmt.Errorf("its review was complete already")
	}
	return v.over(r, person)
}

// clears says whether somebody may let the person have emergencies again.
func (v *verifier) clears(r *request, person string) error {
	if err := v.over(r, person); err != nil {
		return err
	}
	found := slices.ContainsFunc(r.votes, func(o vote) bool { return o.person == person && o.verdict == control.Misused })
	switch {
	case r.Owes.Done.IsZero() || !r.Owes.Misuse():
		return fmt.Errorf("there was nothing to clear")
	case found:
		return fmt.Errorf("they found the misuse themselves")
	}
	return nil
}

// reviewed counts one more finding about a request.
func (v *verifier) reviewed(r *request, last vote, at time.Time) {
	if last.decision == control.Clear {
		r.Owes.Cleared = at
	} else {
		var people []string
		for _, vote := range r.votes {
			if vote.decision == control.Review {
				people = append(people, vote.person)
			}
		}
		r.Owes.Found(last.verdict, v.filled(r.Owes.Needs, people), at)
	}
	if r.Owes.Settled() {
		v.owing[r.Owing()] = slices.DeleteFunc(v.owing[r.Owing()], func(o *request) bool { return o == r })
	}
}

// overdue is the CA's word that a review did not come; it must be true, and comes once.
func (v *verifier) overdue(late control.Overdue, at time.Time) {
	r := v.requests[late.Request]
	switch {
	case r == nil:
		v.fail("the review of request %s is overdue, which never was", late.Request)
	case r.Owing() != late.Person || r.Owes == nil || !r.Owes.By.Equal(late.By):
		v.fail("the review of %s is overdue: it is not %s's, or was not due %s", r.ID, late.Person, late.By.UTC().Format(time.RFC3339))
	case !r.Overdue(at.Add(rounding)):
		v.fail("the review of %s is overdue: it was signed, or not due, or the request was never used", r.ID)
	case r.late:
		v.fail("the review of %s is overdue: a second time", r.ID)
	default:
		r.late = true
	}
}

// urgent finds rules for emergencies that no policy directory can hold.
func (v *verifier) urgent(p auditlog.Policy) {
	for _, id := range sortedKeys(p.Emergencies) {
		rule := p.Emergencies[id]
		bad := rule.MaxSeconds <= 0 || rule.MaxSeconds > int64(longestGrant/time.Second) || rule.ReviewSeconds <= rule.MaxSeconds || len(rule.Needs) == 0
		for _, need := range rule.Needs {
			bad = bad || need.Count <= 0 || need.Count > most || strings.TrimSpace(need.Group) == ""
		}
		if bad {
			v.fail("policy: rule %s grants at once in a way that none can", id)
		}
	}
}
