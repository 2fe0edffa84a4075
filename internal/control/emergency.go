package control

import (
	"fmt"
	"strings"
	"time"
)

// The verdicts of a review.
const (
	Justified = "justified"
	Misused   = "misused" // it was no emergency, or what was done in it was not for it
)

// ReviewOf is what an emergency owes afterwards: statements of decision review, signed by the people of Needs before By.
type ReviewOf struct {
	By      time.Time `json:"by"`
	Needs   []Need    `json:"needs"`
	Done    time.Time `json:"done,omitzero"`     // when the last one was signed
	Verdict string    `json:"verdict,omitempty"` // misused as soon as one reviewer says so, justified when all are there and say so; empty in logs of before there were verdicts
	Cleared time.Time `json:"cleared,omitzero"`  // when somebody else let the person have emergencies again after one was misused
}

// Found counts the verdict of one more review, the last one if done.
func (r *ReviewOf) Found(verdict string, done bool, at time.Time) {
	if r.Verdict != Misused && (verdict == Misused || done) {
		r.Verdict = verdict
	}
	if done {
		r.Done = at
	}
}

// Misuse says whether the emergency was found misused, and nobody cleared its person.
func (r ReviewOf) Misuse() bool { return r.Verdict == Misused && r.Cleared.IsZero() }

// Settled says that nothing more is owed.
func (r ReviewOf) Settled() bool { return !r.Done.IsZero() && !r.Misuse() }

// String is it as statements and digests have it: "review by 2026-11-23T12:00:00Z of 1 of privacy".
func (r ReviewOf) String() string {
	var needs []string
	for _, n := range r.Needs {
		needs = append(needs, fmt.Sprintf("%d of %s", n.Count, n.Group))
	}
	return "review by " + r.By.UTC().Format(time.RFC3339) + " of " + strings.Join(needs, ", ")
}

// Overdue says whether the review of an emergency that was used should be there and is not.
func (r Request) Overdue(now time.Time) bool {
	return r.Owes != nil && !r.Began.IsZero() && r.Owes.Done.IsZero() && !now.Before(r.Owes.By)
}

// Overdue is the entry of the log that a review did not come in time.
type Overdue struct {
	Request string    `json:"request"`
	Person  string    `json:"person"` // whose emergency it was
	By      time.Time `json:"by"`
}
