package ca

import (
	"errors"
	"slices"
	"strings"

	"postern/internal/control"
	"postern/internal/store"
)

// Request returns one request. Its requester, those who could decide about it, auditors and operators see it.
func (ca *CA) Request(c Caller, id string) (control.Request, error) {
	var r request
	err := ca.db.View(func(tx *store.Tx) (err error) {
		r, err = ca.visible(tx, c, id)
		return err
	})
	return r.Request, err
}

// Requests lists the requests the caller may see, oldest first; the ones that are over only when asked for.
func (ca *CA) Requests(c Caller, all bool) ([]control.Request, error) {
	var list []control.Request
	err := ca.db.View(func(tx *store.Tx) error {
		rows := liveRows
		if all {
			rows = requestRows
		}
		load := loader(tx)
		return tx.Scan([]byte(rows), func(k, _ []byte) error {
			r, err := load(string(k[len(rows):]))
			if err == nil && ca.sees(c, r) && (all || r.live()) {
				list = append(list, ca.shown(r).Request)
			}
			return err
		})
	})
	slices.SortFunc(list, func(a, b control.Request) int { return a.Created.Compare(b.Created) })
	return list, err
}

// visible hides what is not the caller's business as if it were not there.
func (ca *CA) visible(tx *store.Tx, c Caller, id string) (request, error) {
	r, err := load(tx, strings.ToUpper(id))
	if errors.Is(err, store.ErrNotFound) || (err == nil && !ca.sees(c, r)) {
		return request{}, refuse("no request %s is there for you to see; those that are: postern requests --all", id)
	}
	return ca.shown(r), err
}

func (ca *CA) sees(c Caller, r request) bool {
	set := ca.policy.Load()
	if c.Kind != "person" {
		return false
	}
	wanted := r.Needs
	if r.Owes != nil {
		wanted = r.Owes.Needs
	}
	if e, waits := r.Extending(); waits {
		wanted = append(slices.Clone(wanted), e.Needs...)
	}
	if h, held := r.Held(); held {
		wanted = append(slices.Clone(wanted), h.Needs...)
	}
	inNeed := slices.ContainsFunc(wanted, func(n control.Need) bool { return set.InGroup(c.Name, n.Group) })
	return c.Name == r.Person || r.Sheet != nil && r.Sheet.ByHolder(c.Name) || inNeed || voted(r, c.Name) || set.May(c.Name, "revoke") || set.May(c.Name, "audit")
}

// shown adds what is worked out rather than stored: who has approved what, and time that has passed unswept.
func (ca *CA) shown(r request) request {
	_, r.Needs = ca.tally(r, r.Needs)
	if r.Owes != nil {
		owes := *r.Owes
		_, owes.Needs = ca.reviewed(r)
		r.Owes = &owes
	}
	r.Extensions = slices.Clone(r.Extensions)
	for i, e := range r.Extensions {
		_, r.Extensions[i].Needs = ca.tally(asIf(r, e.Votes, control.Extend), e.Needs)
	}
	r.Halts = slices.Clone(r.Halts)
	for i, h := range r.Halts {
		_, r.Halts[i].Needs = ca.tally(asIf(r, h.Votes, control.Lift), h.Needs)
	}
	if state := r.passed(ca.now()); state != "" {
		r.State = state
	}
	return r
}

// Asked is a request as the CA knows it, for who tells others about it.
func (ca *CA) Asked(id string) (control.Request, bool) {
	var r request
	err := ca.db.View(func(tx *store.Tx) (err error) {
		r, err = load(tx, id)
		return err
	})
	return r.Request, err == nil
}
