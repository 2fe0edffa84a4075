package ca

import (
	"errors"
	"time"

	"postern/internal/store"
)

// longestKeep is for how long at most any CA lets a bastion keep sessions without it.
const longestKeep = 24 * time.Hour

var lentKey = []byte("lent")

// lent is the row by which one process of a CA knows what those before it promised to bastions.
type lent struct {
	Until       time.Time `json:"until"` // the latest moment at which what they lent ends
	KeepSeconds float64   `json:"keep_seconds"`
}

// Lend notes, before this process answers bastions, for how long it lets them keep sessions. It returns until when a bastion may keep them that
// an earlier process answered last: it was answered before this moment.
func (ca *CA) Lend(keep time.Duration) (until time.Time, err error) {
	now := ca.now()
	err = ca.db.Update(func(tx *store.Tx) error {
		tx.FromReserve(0)
		before, err := read[lent](tx, lentKey)
		switch {
		case errors.Is(err, store.ErrNotFound):
			if until, err = firstLend(tx, now); err != nil {
				return err
			}
		case err != nil:
			return err
		default:
			until = now.Add(time.Duration(before.KeepSeconds * float64(time.Second)))
			if before.Until.After(until) {
				until = before.Until
			}
		}
		return write(tx, lentKey, lent{until, keep.Seconds()})
	})
	return until, err
}

// firstLend is for the first process that notes what it lends. One before it, which did not, may have lent for long, if there ever was a session.
func firstLend(tx *store.Tx, now time.Time) (time.Time, error) {
	sessions, err := last(tx, key(serialRows, sessionCA))
	if sessions > 0 {
		now = now.Add(longestKeep)
	}
	return now, err
}

// Bastions are those of the policy in force.
func (ca *CA) Bastions() []string {
	var names []string
	for _, b := range ca.policy.Load().Bastions() {
		names = append(names, b.Name)
	}
	return names
}
