package recorder

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

const (
	journalName = "journal-"
	spareName   = "spare-"
	spareFiles  = 4 // kept for reuse; more are given back to the disk
)

// journalFile is one preallocated file.
type journalFile struct {
	fileHeader
	f        *os.File
	unsealed atomic.Int64 // records in it that no sealed segment holds yet
	end      int64        // where the next record goes; only the committer looks
}

// where is the place of a frame's ciphertext in the journal.
type where struct {
	file   *journalFile
	offset uint32
	length uint32
}

// files keeps the files of the journal: those that hold frames, one that is ready ahead of need, and a few to use
// again. Making a file is slow and may fail, so a goroutine of its own does it while there still is room.
type files struct {
	dir  string
	size int64
	most int // files in use at which new frames wait
	disk Disk
	room func(size int64) error // whether a file may be made

	mu      sync.Mutex
	change  sync.Cond
	used    []*journalFile // oldest first; the last is being written
	next    *journalFile
	failure error // why there is no next; cleared to try again
	spares  []*os.File
	ballast *os.File    // kept for when no other can be made; of the goroutine that makes files
	wants   bool        // that there is one
	hoard   bool        // it is time to make it
	aside   atomic.Bool // it is in use
	number  uint64      // of the file made last
	lost    bool        // nothing is written any more, so nobody may wait for room
	stuck   bool        // nothing is sealed until there is room on the disk, so there is no use in waiting
	stop    bool
	stopped chan struct{}
}

func openFiles(dir string, cfg Config, number uint64) *files {
	fs := &files{dir: dir, size: cfg.FileSize, most: max(2, int(cfg.Capacity/cfg.FileSize)), disk: cfg.Disk, room: cfg.roomFor, number: number, wants: cfg.LowSpace > 0, hoard: cfg.LowSpace > 0}
	fs.change.L = &fs.mu
	fs.stopped = make(chan struct{})
	go fs.keep()
	return fs
}

// take returns the next file, now in use. It waits while that is being made, and fails when it cannot be.
func (fs *files) take() (*journalFile, error) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.next == nil { // what failed before may work now
		fs.failure = nil
		fs.change.Broadcast()
	}
	for fs.next == nil && fs.failure == nil {
		fs.change.Wait()
	}
	if fs.next == nil {
		return nil, fs.failure
	}
	f := fs.next
	fs.next = nil
	fs.used = append(fs.used, f)
	fs.change.Broadcast()
	return f, nil
}

// admit waits while too much is not yet sealed. When nothing can be sealed the journal grows as long as the disk lets it, and then fails with a word.
func (fs *files) admit() {
	fs.mu.Lock()
	for len(fs.used) > fs.most && !fs.stop && !fs.lost && !fs.stuck {
		fs.change.Wait()
	}
	fs.mu.Unlock()
}

// sealing says whether anything can be sealed, and whether that is news.
func (fs *files) sealing(can bool) (news bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	news = fs.stuck == can
	fs.stuck = !can
	fs.change.Broadcast()
	return news
}

// trouble is why the next file could not be made. Asking has it tried again.
func (fs *files) trouble() error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	err := fs.failure
	if err != nil {
		fs.failure = nil
		fs.change.Broadcast()
	}
	return err
}

// open lets all through that wait in admit, to learn that nothing is recorded any more.
func (fs *files) open() {
	fs.mu.Lock()
	fs.lost = true
	fs.change.Broadcast()
	fs.mu.Unlock()
}

// pressure is true when over half of the capacity waits to be sealed; oldest is the file to free first.
func (fs *files) pressure() (oldest *journalFile, high bool) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if len(fs.used) < 2 {
		return nil, false
	}
	return fs.used[0], len(fs.used) > fs.most/2
}

// sealed counts records of f that need f no longer.
func (fs *files) sealed(f *journalFile, records int) {
	if f.unsealed.Add(int64(-records)) == 0 {
		fs.mu.Lock()
		fs.change.Broadcast()
		fs.mu.Unlock()
	}
}

// keep makes the next file and retires old ones until close.
func (fs *files) keep() {
	defer close(fs.stopped)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for !fs.stop {
		switch {
		case len(fs.used) > 1 && fs.used[0].unsealed.Load() == 0:
			fs.retire()
		case fs.next == nil && fs.failure == nil:
			fs.unlocked(fs.prepare)
		case fs.hoard && fs.ballast == nil:
			fs.hoard = false // until a file is given back
			fs.unlocked(fs.putAside)
		default:
			fs.change.Wait()
		}
	}
}

// unlocked runs fn without the lock.
func (fs *files) unlocked(fn func()) {
	fs.mu.Unlock()
	defer fs.mu.Lock()
	fn()
}

// retire takes the oldest file out of use. In order: a missing file then says that all older ones were sealed too.
func (fs *files) retire() {
	f := fs.used[0]
	fs.used = append(fs.used[:0], fs.used[1:]...)
	fs.change.Broadcast()
	fs.unlocked(func() { fs.release(f) })
}

func (fs *files) release(f *journalFile) {
	// If the rename is lost in a crash the file is read again, and its frames found to be sealed.
	spare := filepath.Join(fs.dir, fmt.Sprintf("%s%016x", spareName, f.number))
	if os.Rename(f.f.Name(), spare) != nil {
		f.f.Close()
		return
	}
	fs.hoard = fs.wants && fs.ballast == nil
	if f.f.Close(); len(fs.spares) >= spareFiles || int64(f.size) != fs.size {
		os.Remove(spare)
		return
	}
	if again, err := os.OpenFile(spare, os.O_RDWR, 0); err == nil {
		fs.spares = append(fs.spares, again)
	}
}

// prepare makes the next file, durable with its header under its name, so that taking it costs nothing.
func (fs *files) prepare() {
	f, err := fs.make()
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.next, fs.failure = f, err
	fs.change.Broadcast()
}

func (fs *files) make() (_ *journalFile, err error) {
	raw, err := fs.blank()
	if err != nil {
		return nil, err
	}
	f := &journalFile{end: fileHead}
	fs.number++
	f.number, f.size = fs.number, uint64(fs.size)
	rand.Read(f.epoch[:])
	if err := fs.disk.Write(raw, [][]byte{f.marshal()}, 0); err != nil {
		return nil, fs.give(raw, err)
	}
	// A full sync: the size must be durable too, and this is not the hot path.
	if err := errors.Join(fs.disk.Sync(raw), raw.Sync()); err != nil {
		return nil, fs.give(raw, err)
	}
	name := filepath.Join(fs.dir, fmt.Sprintf("%s%016x", journalName, f.number))
	if err := os.Rename(raw.Name(), name); err != nil {
		return nil, fs.give(raw, err)
	}
	raw.Close()
	if f.f, err = os.OpenFile(name, os.O_RDWR, 0); err != nil {
		return nil, err
	}
	return f, syncDir(fs.dir)
}

// give removes a file that could not be made.
func (fs *files) give(raw *os.File, err error) error {
	raw.Close()
	os.Remove(raw.Name())
	return fmt.Errorf("journal %s: %w", fs.dir, err)
}

// blank is a spare file, or a new one.
func (fs *files) blank() (*os.File, error) {
	if n := len(fs.spares); n > 0 {
		f := fs.spares[n-1]
		fs.spares = fs.spares[:n-1]
		return f, nil
	}
	f, err := fs.allocated()
	if err != nil && fs.ballast != nil {
		f, fs.ballast = fs.ballast, nil
		fs.aside.Store(true)
		return f, nil
	}
	return f, err
}

// allocated is a file that the disk has room for.
func (fs *files) allocated() (*os.File, error) {
	if err := fs.room(fs.size); err != nil {
		return nil, fmt.Errorf("journal %s: a file of %d MiB: %w", fs.dir, fs.size>>20, err)
	}
	name := filepath.Join(fs.dir, fmt.Sprintf("%s%016x", spareName, fs.number+1))
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := fs.disk.Allocate(f, fs.size); err != nil {
		return nil, fs.give(f, fmt.Errorf("a file of %d MiB: %w", fs.size>>20, err))
	}
	return f, nil
}

// putAside makes the file that is kept for when no other can be made: of one that was given back, or anew.
func (fs *files) putAside() {
	f, err := fs.blank()
	if err != nil {
		return // what cannot be had is asked for again when a file is given back
	}
	name := filepath.Join(fs.dir, spareName+"aside")
	if err := os.Rename(f.Name(), name); err != nil {
		fs.give(f, err)
		return
	}
	f.Close()
	if fs.ballast, err = os.OpenFile(name, os.O_RDWR, 0); err == nil {
		fs.aside.Store(false)
	}
}

// close stops making files, and removes those nobody needs.
func (fs *files) close() {
	fs.mu.Lock()
	fs.stop = true
	fs.change.Broadcast()
	fs.mu.Unlock()
	<-fs.stopped
	if fs.ballast != nil {
		fs.spares = append(fs.spares, fs.ballast)
	}
	for _, f := range fs.spares {
		f.Close()
		os.Remove(f.Name())
	}
	if fs.next != nil {
		fs.used = append(fs.used, fs.next)
	}
	for _, f := range fs.used {
		f.f.Close()
		if f.unsealed.Load() == 0 {
			os.Remove(f.f.Name())
		}
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
