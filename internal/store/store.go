// Package store keeps rows in Badger, the one place that knows it.
//
// Start with [Open]. Writes go through a single committer that runs the closures handed to [DB.Update] one
// after another and makes many of them durable with one synced transaction: so a closure sees what every
// earlier one wrote, two closures never conflict, and an acknowledged write survives a crash.
package store

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
)

// ErrNotFound is what Get says of a key that is not there.
var ErrNotFound = errors.New("not found")

// ErrClosed is what Update says once the store is closed.
var ErrClosed = errors.New("store is closed")

const (
	memTable = 16 << 20
	// A transaction may hold 15 % of a memtable; half of that leaves room for Badger's own accounting.
	maxBatchBytes = memTable / 100 * 15 / 2
	maxBatchSize  = 512
	// Larger values go to the value log: they would only be copied from level to level.
	valueThreshold = 64 << 10
)

// MaxUpdate is the most that one Update may write, as [Cost] counts.
const MaxUpdate = maxBatchBytes / 2

// Cost is what a row counts against [MaxUpdate]: long values lie elsewhere and count nothing.
func Cost(key, value int) int {
	if value < valueThreshold {
		return key + value
	}
	return key
}

// MostCost is the cost of a row with a key of this length, whatever its value.
func MostCost(key int) int { return key + valueThreshold }

// DB is one Badger directory. All its methods may be called from many goroutines.
type DB struct {
	dir      string
	key      []byte
	badger   *badger.DB
	updates  chan *update
	drops    chan *drop
	reserves chan reserving
	quit     chan struct{}
	stopped  chan struct{}
	once     sync.Once

	spare  *reserve // the committer's; nil: there is none
	spared atomic.Int64
	seam   sync.RWMutex      // held to look at both, and while rows go from one to the other
	parked map[string][]byte // what the reserve holds; never changed, only replaced
	owed   atomic.Int64      // how much that is
	room   func(dir string, more int64) error

	mu      sync.Mutex
	changed chan struct{} // closed at the next commit; nil: nobody waits
}

type update struct {
	fn   func(*Tx) error
	done chan error
}

// Open opens or makes the store in dir, encrypted when key (32 bytes) is given.
func Open(dir string, key []byte) (*DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := roomIn(dir, 0); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	opt := badger.DefaultOptions(dir).
		WithLogger(quiet{}).
		WithSyncWrites(true).
		WithMemTableSize(memTable).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2).
		WithBlockCacheSize(16 << 20).
		WithIndexCacheSize(16 << 20).
		WithValueThreshold(valueThreshold).
		WithValueLogFileSize(256 << 20).
		WithCompression(options.None).
		WithDetectConflicts(false). // one committer: nothing to conflict with
		WithVerifyValueChecksum(true)
	if key != nil {
		opt = opt.WithEncryptionKey(key)
	}
	b, err := badger.Open(opt)
	if err != nil {
		return nil, fmt.Errorf("store %s: %w", dir, cmp.Or(taken(dir), err))
	}
	db := &DB{
		dir: dir, key: key, badger: b, room: roomIn,
		updates:  make(chan *update, maxBatchSize),
		drops:    make(chan *drop),
		reserves: make(chan reserving),
		quit:     make(chan struct{}),
		stopped:  make(chan struct{}),
	}
	if err := db.recover(); err != nil {
		return nil, errors.Join(fmt.Errorf("store %s: %w", dir, err), b.Close())
	}
	go db.commit()
	return db, nil
}

// Close waits for the updates that were accepted and closes the directory. Without [Room] the files stay as they are, as after a crash: they are read
// back when the store is opened by the next process.
func (db *DB) Close() error {
	err := ErrClosed
	db.once.Do(func() {
		close(db.quit)
		<-db.stopped
		if db.spare != nil {
			defer db.spare.file.Close()
		}
		if err = db.room(db.dir, 0); err == nil {
			err = db.badger.Close()
		}
	})
	return err
}

// View runs fn on a snapshot of what is durable.
func (db *DB) View(fn func(*Tx) error) error {
	db.seam.RLock()
	tx := &Tx{txn: db.badger.NewTransaction(false), under: db.parked}
	db.seam.RUnlock()
	defer tx.txn.Discard()
	return fn(tx)
}

// Update runs fn in its turn and returns once what it wrote is durable. When fn returns an error nothing it
// wrote is kept, and Update returns that error. fn must not call Update.
func (db *DB) Update(fn func(*Tx) error) error {
	u := &update{fn: fn, done: make(chan error, 1)}
	select {
	case <-db.quit:
		return ErrClosed
	case db.updates <- u:
	}
	select {
	case err := <-u.done:
		return err
	case <-db.stopped:
		// The committer may have answered in the moment before it stopped.
		select {
		case err := <-u.done:
			return err
		default:
			return ErrClosed
		}
	}
}

func (db *DB) commit() {
	defer close(db.stopped)
	for {
		select {
		case u := <-db.updates:
			db.batch(u)
		case d := <-db.drops:
			err := db.roomy(0)
			if err == nil {
				err = db.settle()
			}
			if err == nil {
				err = db.badger.DropPrefix(d.keys...)
			}
			d.done <- err
		case r := <-db.reserves:
			r.done <- db.make(r.size)
		case <-db.quit:
			for {
				select {
				case u := <-db.updates:
					db.batch(u)
				default:
					return
				}
			}
		}
	}
}

// batch runs first and whatever waits behind it, and commits them with one sync.
func (db *DB) batch(first *update) {
	err := db.roomy(0)
	if err != nil && db.spare != nil {
		db.park(first, err)
		return
	}
	if err == nil {
		err = db.settle()
	}
	if err != nil {
		first.done <- fmt.Errorf("store: %w", err)
		return
	}
	txn := db.badger.NewTransaction(true)
	defer txn.Discard()
	var accepted []*update
	size := 0
	for u := first; u != nil && err == nil; u = db.next(len(accepted), size) {
		tx := &Tx{txn: txn, overlay: map[string][]byte{}}
		if refused := run(tx, u.fn); refused != nil {
			u.done <- refused
			continue
		}
		accepted = append(accepted, u)
		size += tx.size()
		err = tx.apply()
	}
	// What one update could only half apply must not be committed, so then the whole batch fails.
	if err == nil {
		err = txn.Commit()
	}
	if err != nil {
		err = fmt.Errorf("store %s: %w", db.dir, err)
	}
	for _, u := range accepted {
		u.done <- err
	}
	db.tell()
}

// Changed returns a channel that is closed when something was committed after this call. Take it before you look: then nothing falls
// between the two.
func (db *DB) Changed() <-chan struct{} {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.changed == nil {
		db.changed = make(chan struct{})
	}
	return db.changed
}

func (db *DB) tell() {
	db.mu.Lock()
	defer db.mu.Unlock()
	if db.changed != nil {
		close(db.changed)
		db.changed = nil
	}
}

func (db *DB) next(count, size int) *update {
	if count >= maxBatchSize || size >= maxBatchBytes {
		return nil
	}
	select {
	case u := <-db.updates:
		return u
	default:
		return nil
	}
}

// run lets fn write into the overlay of tx, so that one refused update does not spoil the batch it travels in.
func run(tx *Tx, fn func(*Tx) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("internal error: update panicked: %v", p)
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	if n := tx.size(); n > MaxUpdate {
		return fmt.Errorf("update of %d bytes is over the limit of %d", n, MaxUpdate)
	}
	return nil
}

// Tx reads, and inside Update writes, rows. It is valid until the closure returns.
type Tx struct {
	txn     *badger.Txn
	under   map[string][]byte // what lies over Badger's rows; nil value: deleted
	overlay map[string][]byte // what this closure wrote, over that

	may   bool // it may go into the reserve,
	leave int64
}

func (tx *Tx) size() (n int) {
	for k, v := range tx.overlay {
		n += Cost(len(k), len(v))
	}
	return n
}

// apply moves the overlay into the transaction.
func (tx *Tx) apply() error {
	for k, v := range tx.overlay {
		if err := tell(tx.txn, k, v); err != nil {
			return err
		}
	}
	return nil
}

// tell has Badger set a row, or delete it.
func tell(txn *badger.Txn, key string, value []byte) error {
	if value == nil {
		return txn.Delete([]byte(key))
	}
	return txn.Set([]byte(key), value)
}

// Get returns a copy of the value of key, or ErrNotFound.
func (tx *Tx) Get(key []byte) ([]byte, error) {
	if v, ok := tx.written(string(key)); ok {
		if v == nil {
			return nil, ErrNotFound
		}
		return bytes.Clone(v), nil
	}
	item, err := tx.txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return nil, ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("row %q: %w", key, err)
	}
	return item.ValueCopy(nil)
}

// written is the last word on a row that Badger has not been told; nil: deleted.
func (tx *Tx) written(key string) ([]byte, bool) {
	v, ok := tx.overlay[key]
	if !ok {
		v, ok = tx.under[key]
	}
	return v, ok
}

// Has tells whether key is there.
func (tx *Tx) Has(key []byte) (bool, error) {
	_, err := tx.Get(key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Set writes a row. The slices are copied.
func (tx *Tx) Set(key, value []byte) error {
	if tx.overlay == nil {
		return errors.New("write in a read-only transaction")
	}
	v := make([]byte, len(value)) // never nil: nil means deleted
	copy(v, value)
	tx.overlay[string(key)] = v
	return nil
}

// Delete removes a row; a missing one is no error.
func (tx *Tx) Delete(key []byte) error {
	if tx.overlay == nil {
		return errors.New("delete in a read-only transaction")
	}
	tx.overlay[string(key)] = nil
	return nil
}

// ErrStop ends a scan early.
var ErrStop = errors.New("stop")

// quiet drops Badger's progress reports and keeps its complaints.
type quiet struct{}

func (quiet) Errorf(format string, args ...any) {
	slog.Error("badger", "text", fmt.Sprintf(format, args...))
}
func (quiet) Warningf(format string, args ...any) {
	slog.Warn("badger", "text", fmt.Sprintf(format, args...))
}
func (quiet) Infof(string, ...any)  {}
func (quiet) Debugf(string, ...any) {}
