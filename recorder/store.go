package recorder

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/store"
)

// Store keeps the recordings of one bastion.
type Store struct {
	// Recovered lists, at OpenStore, finished recordings whose end the CA may not know: those that were open when the
	// process died, and those for which [Store.Told] was not called before it did.
	Recovered []Progress

	cfg     Config
	db      *store.DB
	boxes   *boxKeys
	files   *files
	journal *journal
	sealer  *sealer

	reading sync.RWMutex // held by those who read the database
	shut    bool         // it is closed

	mu     sync.Mutex
	open   map[string]*Writer
	gone   sync.Cond // a writer left open
	closed bool

	scarce   atomic.Bool // what is left of the disk is for emergencies
	weighing sync.Mutex

	stopped chan struct{} // nothing more will be sealed
	sweeper chan struct{}
	swept   chan struct{}
}

// OpenStore opens cfg.Dir, reads the journal back, and seals what was open when the process died. No other process
// may have it open.
func OpenStore(cfg Config) (*Store, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	journalDir := filepath.Join(cfg.Dir, "journal")
	if err := os.MkdirAll(journalDir, 0o700); err != nil {
		return nil, err
	}
	if cfg.Capacity == 0 {
		cfg.Capacity = cfg.room()
	}
	s := &Store{cfg: cfg, open: make(map[string]*Writer), stopped: make(chan struct{}), sweeper: make(chan struct{}), swept: make(chan struct{})}
	s.gone.L = &s.mu
	var err error
	if s.db, err = store.Open(filepath.Join(cfg.Dir, "store"), cfg.StoreKey); err != nil {
		return nil, err
	}
	if s.boxes, err = openBoxKeys(cfg.Dir); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	number, err := s.recover(journalDir)
	if err != nil {
		return nil, errors.Join(err, s.boxes.close(), s.db.Close())
	}
	s.files = openFiles(journalDir, cfg, number)
	s.sealer = newSealer(s)
	s.journal = openJournal(s.files, cfg.Disk, cfg.Capacity, s.dead)
	go s.sealer.run()
	go s.sweep()
	return s, nil
}

func (c *Config) complete() error {
	if c.Dir == "" || c.Signer == nil {
		return errors.New("recorder: Dir and Signer must be set")
	}
	if _, err := sign(c.Signer, nil); err != nil {
		return err
	}
	defaultTo(&c.FileSize, 64<<20)
	defaultTo(&c.LowSpace, 512<<20)
	defaultTo(&c.Reserve, c.LowSpace/2)
	c.Sealing = max(c.Sealing, c.Reserve/2, store.Room)
	defaultTo(&c.SegmentAge, 60*time.Second)
	if c.FileSize < minFile || c.FileSize > maxFile {
		return fmt.Errorf("recorder: journal files of %d bytes; they have %d to %d", c.FileSize, minFile, int64(maxFile))
	}
	if c.LowSpace > 0 && (c.Reserve < 0 || c.Reserve > c.LowSpace) {
		return fmt.Errorf("recorder: a reserve of %d bytes; it has 0 to LowSpace, %d", c.Reserve, c.LowSpace)
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Disk = c.Disk.orReal()
	return nil
}

// room is how much may wait for the sealer: a burst of a few gigabytes passes at full speed and is sealed afterwards,
// and a small disk is not filled with what could have been sealed.
func (c *Config) room() int64 {
	const most = 4 << 30
	free, err := c.Disk.Free(c.Dir)
	if err != nil {
		return most / 4
	}
	return min(most, max(free/4, 4*c.FileSize))
}

func defaultTo[T comparable](v *T, value T) {
	if *v == *new(T) {
		*v = value
	}
}

func (s *Store) now() time.Time { return s.cfg.Now() }

// Space reports whether a new session may start: nil, or an [ErrFull] that names the directory and what is free.
func (s *Store) Space() error { return s.Room(false) }

// Err is nil while the journal works. After that no frame is acknowledged until the process starts again.
func (s *Store) Err() error { return s.journal.final() }

// Create begins the recording of a session, sealed to a recording key. The header is durable when it returns.
func (s *Store) Create(h Header, to PublicKey) (*Writer, error) {
	if !validSession(h.Session) {
		return nil, fmt.Errorf("session ID %q: it has 1 to %d letters, digits, '-' and '_'", h.Session, MaxIdentity)
	}
	if err := s.Room(h.Emergency); err != nil {
		return nil, err
	}
	if h.Started.IsZero() {
		h.Started = s.now()
	}
	h.Started = h.Started.UTC().Truncate(time.Microsecond)
	w, err := s.writer(h, to)
	if err != nil {
		return nil, err
	}
	w.header, w.emergency = h, h.Emergency
	if err := s.admit(w); err != nil {
		return nil, err
	}
	commit, err := w.start(h)
	if err == nil {
		err = commit.Err()
	}
	if err != nil {
		s.leave(w)
		return nil, err
	}
	return w, nil
}

// view reads the database, which must not be closed meanwhile. fn does not wait for anybody.
func (s *Store) view(fn func(*store.Tx) error) error {
	s.reading.RLock()
	defer s.reading.RUnlock()
	if s.shut {
		return ErrClosed
	}
	return s.db.View(fn)
}

// writer makes the secrets of a recording.
func (s *Store) writer(h Header, to PublicKey) (*Writer, error) {
	root := make([]byte, 32)
	rand.Read(root)
	defer clear(root)
	box, err := to.sealRoot(h.Session, root)
	if err != nil {
		return nil, fmt.Errorf("recording key %s: %w", to.ID(), err)
	}
	w := &Writer{store: s, box: box, failed: make(chan struct{}), began: s.now()}
	w.lead = max(0, w.began.Sub(h.Started))
	w.opening = opening{
		Version: openingVersion, Session: h.Session, Bastion: h.Bastion,
		Started: uint64(h.Started.UnixMicro()), KeyID: to.ID(), BoxSum: sha256.Sum256(box),
	}
	rand.Read(w.opening.Number[:])
	if _, err := parseOpening(w.opening.marshal()); err != nil {
		return nil, err
	}
	if w.locked, err = s.boxes.lock(w.opening.Number, box); err != nil {
		return nil, err
	}
	sum := w.opening.sum()
	w.head, w.chain = sum, newChain(0, sum)
	w.ratchet, err = newRatchet(root, sum)
	return w, err
}

// admit makes w one of the open recordings, under an ID that was never used.
func (s *Store) admit(w *Writer) error {
	id := w.opening.Session
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if s.open[id] != nil {
		return fmt.Errorf("recording %s: %w", id, ErrExists)
	}
	err := s.view(func(tx *store.Tx) error {
		if used, err := tx.Has([]byte(openingRows + id)); used || err != nil {
			return errors.Join(fmt.Errorf("recording %s: %w", id, ErrExists), err)
		}
		return nil
	})
	if err == nil {
		s.open[id] = w
	}
	return err
}

func (s *Store) leave(w *Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open[w.opening.Session] == w {
		delete(s.open, w.opening.Session)
		s.gone.Broadcast()
	}
}

// start writes the opening, without which nobody could read the rest after a crash, and the header.
func (w *Writer) start(h Header) (*Commit, error) {
	data, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxData {
		return nil, w.wrap(fmt.Errorf("header of %d bytes is over the limit of %d", len(data), MaxData))
	}
	w.store.files.admit()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.begin(); err != nil {
		return nil, err
	}
	body := ssh.Marshal(beginning{w.opening.marshal(), w.locked})
	r, b, _, err := w.store.journal.reserve(w, padded(len(body)))
	if err != nil {
		return nil, w.wrap(err)
	}
	r.seg, r.body = w.segment, len(body)
	clear(r.space)
	copy(r.space[recordHead:], body)
	head := record{length: uint32(len(body)), kind: kindOpening, recording: w.opening.Number, bodySum: bodySum(body)}
	head.put(r.space)
	w.store.journal.filled(b)
	return w.append(Frame{Type: TypeHeader, Channel: Global, Data: data}, kindFrame)
}

// Close ends the recordings that are still open, seals everything and closes the store.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return ErrClosed
	}
	s.closed = true
	var open []*Writer
	for _, w := range s.open {
		open = append(open, w)
	}
	s.mu.Unlock()
	for _, w := range open {
		// One that failed or is closed already is on its way to the sealer anyhow.
		if _, err := w.end("the bastion stopped"); err != nil {
			continue
		}
	}
	close(s.sweeper)
	<-s.swept
	s.journal.close()
	s.sealer.finish()
	close(s.stopped)
	s.files.close()
	s.reading.Lock()
	s.shut = true
	s.reading.Unlock()
	return errors.Join(s.boxes.close(), s.db.Close())
}

// dead ends every recording after the journal failed for good.
func (s *Store) dead(err error) {
	s.cfg.Log.Error("the journal cannot be written any more; every session ends", "error", err)
	s.mu.Lock()
	var open []*Writer
	for _, w := range s.open {
		open = append(open, w)
	}
	s.mu.Unlock()
	for _, w := range open {
		w.abandon(err)
	}
}

// sweep cuts segments that are old, or that keep the oldest journal file from being used again when room gets short.
func (s *Store) sweep() {
	defer close(s.swept)
	tick := time.NewTicker(min(time.Second, s.cfg.SegmentAge/4+time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s.cutOld()
			s.watch()
		case <-s.sweeper:
			return
		}
	}
}

func (s *Store) cutOld() {
	oldest, high := s.files.pressure()
	before := s.now().Add(-s.cfg.SegmentAge)
	for _, w := range s.writers() {
		w.forget(before)
		w.cutIf(func(seg *segment) bool {
			return !seg.born.After(before) || high && seg.holds(oldest.number)
		})
	}
}

// holds says whether a segment keeps a file with this number, or an older one, in use.
func (g *segment) holds(number uint64) bool {
	g.w.durably.Lock()
	defer g.w.durably.Unlock()
	return len(g.at) > 0 && g.at[0].file.number <= number
}
