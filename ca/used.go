package ca

import (
	"errors"
	"slices"

	"postern/internal/control"
	"postern/internal/limit"
	"postern/internal/store"
)

// maxCounted bounds what a bastion may say that a session counted.
const maxCounted = 1 << 60

// used is what the sessions of a request that ended have counted, by limit.
func used(tx *store.Tx, request string) (map[string]uint64, error) {
	counts, err := read[map[string]uint64](tx, key(usedRows, request))
	if errors.Is(err, store.ErrNotFound) {
		return map[string]uint64{}, nil
	}
	return counts, err
}

// spend adds what a session counted that ended. Limits that it did not have are not its bastion's to count.
func spend(tx *store.Tx, s control.Session, counts map[string]uint64) error {
	if alive, err := tx.Has(key(liveRows, s.Request)); err != nil || !alive || len(counts) == 0 {
		return err
	}
	total, err := used(tx, s.Request)
	if err != nil {
		return err
	}
	for text, n := range counts {
		total[text] = min(total[text]+n, maxCounted)
	}
	return write(tx, key(usedRows, s.Request), total)
}

// afresh is after a release.
func afresh(tx *store.Tx, request, text string) error {
	total, err := used(tx, request)
	if err != nil {
		return err
	}
	delete(total, text)
	return write(tx, key(usedRows, request), total)
}

// checkCounts refuses what a session cannot have counted.
func checkCounts(s control.Session, counts map[string]uint64) error {
	if len(counts) == 0 {
		return nil
	}
	list, err := limit.Parse(s.Limits)
	if err != nil {
		return err
	}
	for text, n := range counts {
		known := slices.ContainsFunc(list, func(l limit.Limit) bool { return l.String() == text && !l.AtOpening() && l.Counter != limit.Paths })
		if !known || n > maxCounted {
			return refuse("%s has no limit %.300q that could be at %d", s.ID, text, n)
		}
	}
	return nil
}
