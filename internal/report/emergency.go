package report

import (
	"strings"

	"postern/internal/control"
)

// Owes says that something is still to be done about it.
func (e Emergency) Owes() bool {
	return e.State == "open" || e.State == "overdue" || e.State == "misused"
}

// Said is the state for people, but for when the review is due.
func (e Emergency) Said() string {
	by := func(names []string) string { return strings.Join(names, ", ") }
	switch e.State {
	case "unused":
		return "never used"
	case "reviewed":
		return strings.TrimPrefix(e.Verdict+", ", ", ") + "reviewed by " + by(e.Reviewed)
	case "misused":
		return "MISUSED, reviewed by " + by(e.Reviewed) + "; nobody has cleared " + e.Person
	case "cleared":
		return "MISUSED, reviewed by " + by(e.Reviewed) + "; cleared by " + by(e.Cleared)
	}
	text := "THE REVIEW IS " + strings.ToUpper(e.State)
	if e.Verdict == misused {
		text = "MISUSED, says " + by(e.Reviewed) + "; " + text
	}
	return text
}

func (l *Ledger) emergency(r *Request) Emergency {
	e := Emergency{Request: r.ID, Person: r.Person, Created: r.Created, Reviewed: []string{}, Due: r.owes.By, State: "open"}
	for _, a := range r.Approvals {
		switch {
		case a.Doubt != "":
		case a.Decision == control.Clear:
			e.Cleared = append(e.Cleared, a.Person)
		case a.Decision == review:
			e.Reviewed = append(e.Reviewed, a.Person)
			if e.Verdict != misused {
				e.Verdict = a.Verdict
			}
		}
	}
	wanted := 0
	for _, need := range r.owes.Needs {
		wanted += need.Count
	}
	switch {
	case len(e.Cleared) > 0:
		e.State = "cleared"
	case len(e.Reviewed) > 0 && len(e.Reviewed) >= wanted && e.Verdict == misused:
		e.State = misused
	case len(e.Reviewed) > 0 && len(e.Reviewed) >= wanted:
		e.State = "reviewed"
	case r.Began.IsZero():
		e.State = "unused"
	case !l.latest.Before(e.Due):
		e.State = "overdue"
	}
	return e
}
