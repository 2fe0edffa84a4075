package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/dgraph-io/badger/v4"
	"golang.org/x/sys/unix"
)

// emptiedKey counts how often the reserve went to Badger.
var emptiedKey = []byte("store/reserve")

// Reserve allocates a file of so many bytes for updates that are taken when the disk is full. It takes them only where [Room] is left besides: else the
// disk would be full by it.
func (db *DB) Reserve(size int64) error {
	done := make(chan error, 1)
	select {
	case <-db.stopped:
		return ErrClosed
	case db.reserves <- reserving{size, done}:
		return <-done
	}
}

type reserving struct {
	size int64
	done chan error
}

// make is Reserve in the committer's turn.
func (db *DB) make(size int64) error {
	if db.spare != nil && db.spare.sure >= size && db.spare.broken == nil && db.spare.there() {
		return nil
	}
	err := db.roomy(size - allocated(filepath.Join(db.dir, reserveFile)))
	if err == nil {
		err = db.settle()
	}
	if err == nil && db.spare != nil && db.spare.broken != nil { // what it has that is nobody's is not to be read
		err = db.settled(db.badger.NewTransaction(true))
	}
	if err != nil {
		return err
	}
	r, err := openReserve(db.dir, db.key, os.O_CREATE)
	if err != nil {
		return err
	}
	if r.epoch, err = db.emptiedTimes(); err == nil {
		err = r.allocate(size)
	}
	if err == nil && !r.blank() {
		err = r.emptied(r.epoch)
	}
	if err != nil {
		return errors.Join(err, r.file.Close())
	}
	if db.spare != nil {
		db.spare.file.Close()
	}
	db.spare = r
	db.account()
	return nil
}

// allocated is what a file has of the disk.
func allocated(file string) int64 {
	var st unix.Stat_t
	if unix.Stat(file, &st) != nil {
		return 0
	}
	return min(st.Blocks*512, st.Size)
}

// roomy says whether there is room for so many bytes more. To have Badger take what the reserve holds takes a log, a table, and one that both are merged to.
func (db *DB) roomy(more int64) error { return db.room(db.dir, max(more, 0)+3*db.owed.Load()) }

// account is what [DB.Room] goes by.
func (db *DB) account() {
	owed := int64(0)
	if len(db.parked) > 0 {
		owed = db.spare.used
	}
	db.owed.Store(owed)
	db.spared.Store(db.spare.left())
}

// Room says whether the store takes what anybody wants to write; if not, spare is how much the reserve takes of what may go there.
func (db *DB) Room() (spare int64, err error) { return db.spared.Load(), db.roomy(0) }

// FromReserve has this update go into the reserve if there is no room on the disk, provided that so many bytes are left there afterwards.
func (tx *Tx) FromReserve(leave int64) {
	if !tx.may || leave < tx.leave {
		tx.may, tx.leave = true, leave
	}
}

// park is batch when there is no room: what may goes into the reserve.
func (db *DB) park(first *update, full error) {
	full = fmt.Errorf("store: %w", full)
	txn := db.badger.NewTransaction(false)
	defer txn.Discard()
	rows, under := map[string][]byte{}, maps.Clone(db.parked)
	if under == nil {
		under = map[string][]byte{}
	}
	var accepted []*update
	size := int64(0)
	for u := first; u != nil; u = db.next(len(accepted), int(size)) {
		tx := &Tx{txn: txn, under: under, overlay: map[string][]byte{}}
		err := run(tx, u.fn)
		cost := int64(len(encodeRows(tx.overlay)))
		switch {
		case err != nil:
		case len(tx.overlay) == 0: // it only looked
		case !tx.may:
			err = full
		case size+cost+tx.leave > db.spare.left():
			err = fmt.Errorf("%w, and of the reserve %d KB are left", full, db.spare.left()>>10)
		}
		if err != nil {
			u.done <- err
			continue
		}
		accepted = append(accepted, u)
		size += cost
		maps.Copy(under, tx.overlay)
		maps.Copy(rows, tx.overlay)
	}
	var err error
	if len(rows) > 0 {
		err = db.spare.put(encodeRows(rows))
	}
	if err == nil {
		db.seam.Lock()
		db.parked = under
		db.seam.Unlock()
	}
	db.account()
	for _, u := range accepted {
		u.done <- err
	}
	db.tell()
}

// settledTogether is how many rows one transaction of Badger's surely takes, however small they are.
const settledTogether = 8 << 10

// settle has Badger take what the reserve holds. It may die in between: then the next process does it once more, and nothing else was written meanwhile.
func (db *DB) settle() error {
	if len(db.parked) == 0 {
		return nil
	}
	txn, size, count := db.badger.NewTransaction(true), 0, 0
	for _, k := range slices.Sorted(maps.Keys(db.parked)) {
		size += Cost(len(k), len(db.parked[k]))
		if count++; size > maxBatchBytes || count > settledTogether {
			if err := txn.Commit(); err != nil {
				return err
			}
			txn, size, count = db.badger.NewTransaction(true), 0, 0
		}
		if err := tell(txn, k, db.parked[k]); err != nil {
			txn.Discard()
			return err
		}
	}
	return db.settled(txn)
}

// settled commits the last of it, with the number by which the file begins anew.
func (db *DB) settled(txn *badger.Txn) error {
	defer txn.Discard()
	epoch := db.spare.epoch + 1
	if err := txn.Set(emptiedKey, binary.BigEndian.AppendUint64(nil, epoch)); err != nil {
		return err
	}
	// Whoever looks sees either what was laid over Badger's rows, or Badger's rows that say the same.
	db.seam.Lock()
	err := txn.Commit()
	if err == nil {
		db.parked = nil
	}
	db.seam.Unlock()
	if db.spare.broken = err; err == nil { // else the next process may take nothing of what is written now for new
		db.spare.emptied(epoch)
	}
	db.account()
	return err
}

func (db *DB) emptiedTimes() (n uint64, err error) {
	err = db.View(func(tx *Tx) error {
		b, err := tx.Get(emptiedKey)
		if err == nil && len(b) == 8 {
			n = binary.BigEndian.Uint64(b)
		}
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	})
	return n, err
}

// recover reads what an earlier process left in the reserve.
func (db *DB) recover() error {
	r, err := openReserve(db.dir, db.key, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.epoch, err = db.emptiedTimes(); err == nil {
		db.parked, err = r.read()
	}
	if err == nil {
		db.spare = r
		db.account()
		if err = db.roomy(0); err == nil {
			err = db.settle()
		}
	}
	if err != nil {
		db.spare = nil
		return errors.Join(err, r.file.Close())
	}
	return nil
}
