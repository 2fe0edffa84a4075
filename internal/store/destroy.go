package store

import (
	"errors"

	"github.com/dgraph-io/badger/v4"
)

// drop is a wish to have rows destroyed.
type drop struct {
	keys [][]byte
	done chan error
}

// Destroy removes every row whose key begins with one of keys, all its earlier values with it: nothing of them is left in the files of
// the store when it returns, whereas [Tx.Delete] only marks them and leaves the bytes until Badger compacts, which may be never. It
// rewrites every table that has such a row while no update runs, so it is for rare occasions. A row that was deleted before is not found
// any more: destroy it instead.
func (db *DB) Destroy(keys ...[]byte) error {
	d := &drop{keys: keys, done: make(chan error, 1)}
	select {
	case <-db.stopped:
		return ErrClosed
	case db.drops <- d:
		return <-d.done
	}
}

// Reclaim gives the room of long values that were deleted back to the disk, as far as that is worth the writing.
func (db *DB) Reclaim() error {
	for {
		err := db.badger.RunValueLogGC(0.5)
		if errors.Is(err, badger.ErrNoRewrite) || errors.Is(err, badger.ErrRejected) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
