package policy

import (
	"slices"
	"strings"
)

// Approvers returns the names of the people in the group who could approve a request of the requester, sorted.
// With fido set only those who own a FIDO key count.
func (s *Set) Approvers(group, requester string, fido bool) []string {
	var names []string
	for _, p := range s.members[group] {
		if p.Name != requester && (!fido || slices.ContainsFunc(p.Keys, Key.FIDO)) {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return names
}

// fido reports whether approvals take a FIDO key.
func (d duties) fido() bool { return d.touch || d.pin }

// attainable reports whether the requester could gather every approval from different people: nobody approves
// their own request, and who is in two of the groups stands for one of them.
func (s *Set) attainable(d duties, requester string) bool {
	a := assignment{stands: map[string]int{}}
	for _, need := range d.needs {
		able := s.Approvers(need.Group, requester, d.fido())
		if len(able) < need.Count {
			return false
		}
		for range need.Count {
			a.slots = append(a.slots, able)
		}
	}
	for slot := range a.slots {
		if !a.place(slot, map[string]bool{}) {
			return false
		}
	}
	return true
}

// assignment gives each approval wanted (slot) to one person: bipartite matching by augmenting paths.
type assignment struct {
	slots  [][]string     // who could fill it
	stands map[string]int // person: slot they fill
}

func (a *assignment) place(slot int, tried map[string]bool) bool {
	for _, person := range a.slots[slot] {
		if tried[person] {
			continue
		}
		tried[person] = true
		taken, busy := a.stands[person]
		if !busy || a.place(taken, tried) {
			a.stands[person] = slot
			return true
		}
	}
	return false
}

func needsText(needs []Need) string {
	parts := make([]string, 0, len(needs))
	for _, need := range needs {
		parts = append(parts, need.String())
	}
	return strings.Join(parts, ", ")
}
