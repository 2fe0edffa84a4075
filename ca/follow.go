package ca

import (
	"context"
	"slices"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
)

// batch is how many bytes of leaves are read at once for who follows the log: a slow reader holds up neither us nor the memory of the store.
const batch = 1 << 20

// Follow calls fn with the log's leaves from index from on, for each batch that is committed, until ctx ends. Between two calls nothing of
// the store is held, so fn may take as long as it likes; nobody waits for it.
func (ca *CA) Follow(ctx context.Context, from int64, fn func([]control.Leaf) error) error {
	for ctx.Err() == nil {
		changed := ca.db.Changed()
		leaves, err := ca.some(from)
		if err != nil {
			return err
		}
		if len(leaves) > 0 {
			if err := fn(leaves); err != nil {
				return err
			}
			from += int64(len(leaves))
			continue
		}
		select {
		case <-ctx.Done():
		case <-changed:
		}
	}
	return nil
}

// Moved returns a channel that is closed when something was committed. Take it before you look.
func (ca *CA) Moved() <-chan struct{} { return ca.db.Changed() }

// some reads the next leaves, of a batch at most.
func (ca *CA) some(from int64) (leaves []control.Leaf, err error) {
	size := 0
	err = ca.db.View(func(tx *store.Tx) error {
		return auditlog.Leaves(tx, from, 0, func(i int64, data []byte) error {
			leaves = append(leaves, control.Leaf{Index: i, Data: slices.Clone(data)})
			if size += len(data); size > batch {
				return store.ErrStop
			}
			return nil
		})
	})
	return leaves, err
}

// Size is how many leaves the log has.
func (ca *CA) Size() (n int64, err error) {
	err = ca.db.View(func(tx *store.Tx) error {
		n, err = auditlog.Size(tx)
		return err
	})
	return n, err
}
