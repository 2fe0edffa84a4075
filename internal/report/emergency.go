package report

import (
	"slices"
	"strings"

	"postern/internal/control"
)

// Said is the decision, with the verdict of a review.
func (a Approval) Said() string { return strings.TrimSpace(a.Decision + " " + a.Verdict) }

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
	if r.Sheet {
		e.Created = r.Began
	}
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
	switch {
	case len(e.Cleared) > 0:
		e.State = "cleared"
	case r.reviewed && len(e.Reviewed) > 0 && e.Verdict == misused:
		e.State = misused
	case r.reviewed && len(e.Reviewed) > 0:
		e.State = "reviewed"
	case r.Began.IsZero():
		e.State = "unused"
	case !l.latest.Before(e.Due):
		e.State = "overdue"
	}
	return e
}

// mostPlaces bounds what a forged log can have us work out; nobody writes a rule with more reviewers.
const mostPlaces = 100

// complete says whether the reviews there are fill every place, by the groups of that moment: who leaves a group later was in it.
func (l *Ledger) complete(r *Request) bool {
	var places []string
	for _, n := range r.owes.Needs {
		for range min(n.Count, mostPlaces) {
			places = append(places, n.Group)
		}
	}
	var people []string
	for _, a := range r.Approvals {
		if a.Decision == review && a.Person != r.Person && !slices.Contains(people, a.Person) {
			people = append(people, a.Person)
		}
	}
	if len(l.groups) == 0 || len(places) > mostPlaces || len(people) > mostPlaces {
		return len(people) >= len(places)
	}
	return l.seated(places, people)
}

// seated says whether each place can have somebody else, found by augmenting paths.
func (l *Ledger) seated(places, people []string) bool {
	holder := map[int]string{}
	var seat func(person string, tried map[int]bool) bool
	seat = func(person string, tried map[int]bool) bool {
		for i, group := range places {
			if tried[i] || !slices.Contains(l.groups[group], person) {
				continue
			}
			tried[i] = true
			if held, taken := holder[i]; !taken || seat(held, tried) {
				holder[i] = person
				return true
			}
		}
		return false
	}
	for _, person := range people {
		seat(person, map[int]bool{})
	}
	return len(holder) == len(places)
}
