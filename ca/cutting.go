package ca

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"postern/internal/control"
	"postern/internal/store"
)

// A revocation is one small update however much it hits: its leaf and its row name every request, and from then on [load] says of those that they are
// revoked, whatever their own rows say. Rows that do not fit into that update are moved after it, a part in each update, by [CA.Run]; a CA that died in
// between goes on with the next part.

// partBytes is how much of the rows of requests one update moves. It leaves room for what else is decided in it.
const partBytes = store.MaxUpdate / 3

// cuttingRows hold, by the number of a revocation that is not through, the requests it hits, sorted, a line each.
const cuttingRows = "cutting/"

// cuttingKey is the row that lists the revocations that are not through, oldest first.
var cuttingKey = []byte("cutting")

// cutting is a revocation whose requests are not all moved.
type cutting struct {
	Seq    uint64 `json:"seq"`
	Done   int    `json:"done"` // so many of its requests were
	Reason string `json:"reason"`
}

func unfinished(tx *store.Tx) ([]cutting, error) {
	list, err := read[[]cutting](tx, cuttingKey)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return list, err
}

func cutRequests(tx *store.Tx, seq uint64) ([]string, error) {
	b, err := tx.Get(numbered(cuttingRows, seq))
	return strings.Split(string(b), "\n"), err
}

// struck returns what says by which revocation a request was hit whose row has not been moved yet; 0: by none.
func struck(tx *store.Tx) (func(id string) uint64, error) {
	list, err := unfinished(tx)
	hit := make([][]string, len(list))
	for i, c := range list {
		if err == nil {
			hit[i], err = cutRequests(tx, c.Seq)
		}
	}
	return func(id string) uint64 {
		for i, ids := range hit {
			if _, found := slices.BinarySearch(ids, id); found {
				return list[i].Seq
			}
		}
		return 0
	}, err
}

// loader returns what loads one request after the other, as they are decided to be.
func loader(tx *store.Tx) func(id string) (request, error) {
	var by func(string) uint64
	return func(id string) (request, error) {
		r, err := loadRow(tx, id)
		if err != nil || !r.live() {
			return r, err
		}
		if by == nil {
			if by, err = struck(tx); err != nil {
				return r, err
			}
		}
		if seq := by(r.ID); seq > 0 {
			r.State, r.CutBy = control.Revoked, seq
		}
		return r, nil
	}
}

// load is the request as it is decided to be: one that a revocation hit is revoked, also while its row waits for its turn.
func load(tx *store.Tx, id string) (request, error) { return loader(tx)(id) }

// loadAll reads what was found. A row that is not alive was moved already.
func loadAll(tx *store.Tx, found []alive) ([]request, error) {
	load := loader(tx)
	list := make([]request, 0, len(found))
	for _, a := range found {
		r, err := load(a.id)
		if err != nil {
			return nil, err
		}
		if r.live() {
			list = append(list, r)
		}
	}
	return list, nil
}

// loadRow is the row as it stands, which is for who moves it.
func loadRow(tx *store.Tx, id string) (request, error) {
	return read[request](tx, key(requestRows, id))
}

// weight is what moving a request to revoked costs of an update.
func weight(r *request, reason string) (int, error) {
	row, err := json.Marshal(r)
	if err != nil {
		return 0, err
	}
	why, err := json.Marshal(reason)
	entries := 0 // which are deleted
	for _, k := range r.entry().Keys {
		entries += len(k)
	}
	return store.Cost(0, len(row)) + len(why) + entries + leastWeight, err
}

// leastWeight is keys, the other fields of the leaf, and its hashes.
const leastWeight = 1 << 10

// fits says whether what a revocation hits can be moved in the same update.
func fits(hit []request, reason string) (bool, error) {
	sum := 0
	for i := range hit {
		n, err := weight(&hit[i], reason)
		if sum += n; err != nil || sum > partBytes {
			return false, err
		}
	}
	return true, nil
}

// later has the requests of a revocation moved in parts.
func (ca *CA) later(tx *store.Tx, rev control.Revocation) error {
	list, err := unfinished(tx)
	if err != nil {
		return err
	}
	ids := slices.Clone(rev.Requests)
	slices.Sort(ids)
	if err := tx.Set(numbered(cuttingRows, rev.Seq), []byte(strings.Join(ids, "\n"))); err != nil {
		return err
	}
	// What waits for this looks in an update of its own, which comes after this one.
	select {
	case ca.cuts <- struct{}{}:
	default:
	}
	return write(tx, cuttingKey, append(list, cutting{Seq: rev.Seq, Reason: rev.Reason}))
}

// finishCuts moves what revocations hit, and lets others have their turn between the parts.
func (ca *CA) finishCuts(ctx context.Context) error {
	for ctx.Err() == nil {
		if more, err := ca.cutPart(); err != nil || !more {
			return err
		}
	}
	return nil
}

// cutPart moves one part of the oldest revocation that is not through, and says whether there is more.
func (ca *CA) cutPart() (more bool, err error) {
	err = ca.db.View(func(tx *store.Tx) error {
		list, err := unfinished(tx)
		more = len(list) > 0
		return err
	})
	if err != nil || !more {
		return false, err
	}
	err = ca.db.Update(func(tx *store.Tx) error {
		list, err := unfinished(tx)
		if err != nil || len(list) == 0 {
			more = false
			return err
		}
		through, err := ca.movePart(tx, &list[0])
		if err != nil {
			return err
		}
		if through {
			if err := tx.Delete(numbered(cuttingRows, list[0].Seq)); err != nil {
				return err
			}
			list = list[1:]
		}
		if more = len(list) > 0; !more {
			return tx.Delete(cuttingKey)
		}
		return write(tx, cuttingKey, list)
	})
	return more, err
}

func (ca *CA) movePart(tx *store.Tx, c *cutting) (through bool, err error) {
	ids, err := cutRequests(tx, c.Seq)
	if err != nil {
		return false, err
	}
	for sum := 0; c.Done < len(ids); c.Done++ {
		r, err := loadRow(tx, ids[c.Done])
		if err != nil {
			return false, err
		}
		if !r.live() { // somebody needed it sooner
			continue
		}
		n, err := weight(&r, c.Reason)
		if err != nil {
			return false, err
		}
		if sum += n; sum > partBytes && sum > n {
			return false, nil
		}
		r.CutBy = c.Seq
		if err := ca.become(tx, &r, control.Revoked, c.Reason); err != nil {
			return false, err
		}
	}
	return true, nil
}

// overtake moves a request that was hit before its turn comes: what is written about it next is about one that is revoked.
func (ca *CA) overtake(tx *store.Tx, id string) error {
	r, err := loadRow(tx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil || !r.live() {
		return err
	}
	list, err := unfinished(tx)
	if err != nil {
		return err
	}
	for _, c := range list {
		ids, err := cutRequests(tx, c.Seq)
		if err != nil {
			return err
		}
		if _, hit := slices.BinarySearch(ids, id); hit {
			r.CutBy = c.Seq
			return ca.become(tx, &r, control.Revoked, c.Reason)
		}
	}
	return nil
}
