package policy

import (
	"fmt"
	"regexp"
	"time"
)

// MaxReview is the longest that a review may be waited for.
const MaxReview = 14 * 24 * time.Hour

// EmergencyClaim is how long an emergency may stay unused: what is urgent is used now.
const EmergencyClaim = 15 * time.Minute

// Review is what a rule for emergencies wants afterwards: signatures of the people that Needs names, within a time from the request.
type Review struct {
	Max    time.Duration // how long the emergency lasts at most
	Within time.Duration
	Needs  []Need // sorted by group
}

func (r Review) String() string {
	return fmt.Sprintf("%s review %s by %s", Brief(r.Max), Brief(r.Within), needsText(r.Needs))
}

var emergencyForm = regexp.MustCompile(`^(\S+) review (\S+) by (\S.*)$`)

func parseEmergency(value string) (*Review, error) {
	m := emergencyForm.FindStringSubmatch(value)
	if m == nil {
		return nil, fmt.Errorf(`%q is not of the form "30m review 24h by 1 of privacy"`, value)
	}
	var r Review
	var err error
	if r.Max, err = parseDuration(m[1], HardMax); err != nil {
		return nil, err
	}
	if r.Within, err = parseDuration(m[2], MaxReview); err != nil {
		return nil, err
	}
	if r.Within <= r.Max {
		return nil, fmt.Errorf("a review within %s is due before %s are over; give it longer", m[2], m[1])
	}
	r.Needs, err = parseNeeds(m[3])
	return &r, err
}

// emergency makes the duties of a rule those of an emergency: nobody is asked before, everything is kept, and it is short.
func (d *duties) emergency(value string) (err error) {
	if d.review, err = parseEmergency(value); err != nil {
		return err
	}
	// It is over before its review is due, however late it was used.
	d.max, d.claim = d.review.Max, min(EmergencyClaim, d.review.Within-d.review.Max)
	d.keep = keep{FilesFull, Full, Full}
	return nil
}

// notInEmergency are the annotations that say otherwise what @emergency says.
var notInEmergency = []string{"approve", "max", "claim", "files", "streams", "forwards"}

// Stricter unites what two rules for emergencies want.
func (r *Review) Stricter(o *Review) *Review {
	if r == nil || o == nil {
		return r
	}
	return &Review{min(r.Max, o.Max), min(r.Within, o.Within), uniteNeeds(r.Needs, o.Needs)}
}

// applies keeps the permits that a query may go by: those for emergencies in one, the others otherwise. So nobody gets an emergency, and what
// follows from it, by accident, and nobody makes an ordinary rule skip its approvals.
func (q Query) applies(permits rules) rules {
	var left rules
	for _, r := range permits {
		if q.kind(r) {
			left = append(left, r)
		}
	}
	return left
}

// kind says whether a permit is of the kind that the query goes by.
func (q Query) kind(r *rule) bool {
	return (r.duties.review != nil) == q.Emergency && (r.duties.sealed != nil) == q.Sealed
}

// Emergencies are the rules that grant at once, by id.
func (s *Set) Emergencies() map[string]Review {
	found := map[string]Review{}
	for id, r := range s.rules.byID {
		if r.duties.review != nil {
			found[id] = *r.duties.review
		}
	}
	return found
}

// reviewable reports whether enough people besides the one whose emergency it was could sign its review.
func (s *Set) reviewable(r *Review, person string, fido bool) bool {
	return r == nil || s.attainable(duties{needs: r.Needs, touch: fido}, person)
}
