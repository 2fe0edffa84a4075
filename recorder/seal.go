package recorder

import (
	"slices"
	"sync"
	"time"

	"postern/internal/store"
)

// A transaction of the store is synced, so it takes many segments at a time; but few while sessions are busy, so that it is short.
const (
	sealTogether = 64                     // segments in one transaction of the store, and
	sealBytes    = 4 << 20                // bytes of frames in them, the first not counted,
	busyBytes    = 384 << 10              // and while sessions are busy
	busyRate     = 8 << 20                // bytes a second over which they are
	longestRest  = 250 * time.Millisecond // between two transactions, while they are
)

// sealer turns durable segments into sealed ones, one goroutine for all sessions, beside the hot path. It reads the
// frames back from the journal, so that however far it falls behind no plaintext waits in memory.
type sealer struct {
	store  *Store
	packer *packer
	window window
	frames []Frame
	plain  []byte
	busy   bool // sessions were, when the last transaction was made

	mu     sync.Mutex
	queue  []*segment
	change sync.Cond
	stop   bool
	held   bool // by a test

	quit    chan struct{}
	stopped chan struct{}
}

func newSealer(s *Store) *sealer {
	x := &sealer{store: s, packer: newPacker(), quit: make(chan struct{}), stopped: make(chan struct{})}
	x.change.L = &x.mu
	return x
}

func (x *sealer) add(s *segment) {
	x.mu.Lock()
	x.queue = append(x.queue, s)
	x.change.Signal()
	x.mu.Unlock()
}

// finish seals what is in the queue and stops.
func (x *sealer) finish() {
	x.mu.Lock()
	x.stop = true
	x.change.Signal()
	x.mu.Unlock()
	close(x.quit)
	<-x.stopped
}

func (x *sealer) run() {
	defer close(x.stopped)
	for {
		segments := x.take()
		if segments == nil {
			return
		}
		for len(segments) > 0 {
			if !x.allowed() {
				if !x.pause(time.Second) {
					return
				}
				continue
			}
			began, written := time.Now(), x.store.journal.written.Load()
			n := x.seal(segments)
			if n == 0 && !x.pause(time.Second) {
				return // what is in the journal is sealed when the process starts again
			}
			segments = segments[n:]
			x.rest(time.Since(began), x.store.journal.written.Load()-written)
		}
	}
}

// allowed says whether the disk has room for what is sealed. What is not sealed is safe in the journal.
func (x *sealer) allowed() bool {
	err := x.store.roomToSeal()
	if news := x.store.files.sealing(err == nil); news && err != nil {
		x.store.cfg.Log.Error("nothing is sealed", "error", err)
	} else if news {
		x.store.cfg.Log.Info("there is room again, and recordings are sealed")
	}
	return err == nil
}

// take waits for segments. Nil means stop.
func (x *sealer) take() []*segment {
	x.mu.Lock()
	defer x.mu.Unlock()
	for (len(x.queue) == 0 || x.held) && !x.stop {
		x.change.Wait()
	}
	if len(x.queue) == 0 {
		return nil
	}
	n := min(len(x.queue), sealTogether)
	segments := append([]*segment(nil), x.queue[:n]...)
	x.queue = append(x.queue[:0], x.queue[n:]...)
	return segments
}

// rest leaves the processor to sessions that are busy, as long as the journal has room.
func (x *sealer) rest(worked time.Duration, written int64) {
	if x.busy = float64(written) >= busyRate*worked.Seconds(); !x.busy {
		return
	}
	if _, high := x.store.files.pressure(); !high {
		x.pause(min(8*worked, longestRest))
	}
}

func (x *sealer) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-x.quit:
		return false
	}
}

// seal makes the first of some segments durable in the store, as many as one transaction takes, and reports progress. None means that it must be
// tried again.
func (x *sealer) seal(segments []*segment) (sealed int) {
	l := lot{changes: make(map[*Writer]*change), most: sealBytes}
	if x.busy {
		l.most = busyBytes
	}
	for _, s := range segments {
		c := l.take(s)
		if c == nil {
			break
		}
		if err := x.addTo(c, s); err != nil {
			x.store.cfg.Log.Error("sealing a recording; it will be tried again", "session", s.w.opening.Session, "error", err)
			l.leave(s.w)
			break
		}
		l.took(c)
		sealed++
	}
	if sealed == 0 {
		return 0
	}
	if err := x.store.keep(l.order); err != nil {
		x.store.cfg.Log.Error("keeping a sealed recording; it will be tried again", "error", err)
		return 0
	}
	for _, s := range segments[:sealed] {
		x.store.release(s)
	}
	for w, c := range l.changes {
		c.known, c.segments = true, nil
		w.kept = *c
	}
	for _, c := range l.order {
		x.store.report(c.Progress)
	}
	return sealed
}

// lot is what goes into one transaction of the store. What a segment comes to is known when it is packed, so there is always room for the worst: a
// lot that the store refuses would be refused for ever.
type lot struct {
	changes map[*Writer]*change
	order   []*change
	most    int // bytes of frames
	bytes   int
	cost    int // of the rows, to the store
}

// costOfRows is what the rows of a recording cost at most beside its segments: opening and key box, and a few of some hundred bytes.
const costOfRows = maxStatement + maxBox + 1<<10

// take returns the change that a segment belongs to, or nil if there is no room for it.
func (l *lot) take(s *segment) *change {
	session := s.w.opening.Session
	worst := costOfRows + store.MostCost(len(segmentKey(session, 0))) + store.MostCost(len(outlineKey(session, 0)))
	first := len(l.order) == 0
	if l.bytes += s.size(); !first && (l.bytes > l.most || l.cost+worst > store.MaxUpdate) {
		return nil
	}
	if first {
		l.bytes = 0
	}
	c := l.changes[s.w]
	if c == nil {
		c = s.w.change()
		l.changes[s.w] = c
		l.order = append(l.order, c)
		l.cost += costOfRows
	}
	return c
}

// leave takes a recording out of which nothing is in the lot.
func (l *lot) leave(w *Writer) {
	if c := l.changes[w]; len(c.segments) == 0 {
		delete(l.changes, w)
		l.order = slices.DeleteFunc(l.order, func(o *change) bool { return o == c })
	}
}

// took counts what the last segment of c came to.
func (l *lot) took(c *change) {
	for _, r := range c.segments[max(0, len(c.segments)-rowsOfSegment):] {
		l.cost += store.Cost(len(r.key), len(r.value))
	}
}

// addTo changes nothing when it fails.
func (x *sealer) addTo(c *change, s *segment) error {
	if len(s.at) > 0 {
		if err := x.addSegment(c, s); err != nil {
			return err
		}
	}
	if s.final {
		c.Sealed, c.Interrupted = true, s.interrupted
	}
	return nil
}

func (x *sealer) addSegment(c *change, s *segment) error {
	header := segmentHeader{
		Version: segmentVersion, Session: s.w.opening.Session, Number: uint64(s.number), Form: formPacked,
		First: s.first, Frames: uint32(len(s.at)), Before: s.before, Previous: c.SealedHead,
	}
	body, err := x.encode(s, &header)
	if err != nil {
		return err
	}
	return c.add(header, body, x.store.cfg.Signer, x.index(s, header.Form))
}

// encode reads the frames of s back and makes the body of its sealed segment. The result is valid until the next call.
func (x *sealer) encode(s *segment, header *segmentHeader) ([]byte, error) {
	chain := newChain(s.first, s.before)
	x.frames, x.plain = x.frames[:0], x.plain[:0]
	if need := s.size(); cap(x.plain) < need {
		x.plain = make([]byte, 0, need) // frames alias it, so it must not move
	}
	x.window.forget()
	heads := s.heads
	for i, at := range s.at {
		sealed, err := x.window.read(s.at[i:])
		if err != nil {
			return nil, err
		}
		begin := len(x.plain)
		plain, err := chain.peek(s.keys.frame, x.plain, sealed)
		if err != nil {
			x.store.cfg.Log.Error("the disk gave back a frame that is not what was written; its segment is kept as it is, and will be found altered",
				"session", header.Session, "frame", chain.n, "file", at.file.f.Name(), "offset", at.offset)
			return x.verbatim(s, header)
		}
		x.plain = plain
		if len(heads) > 0 && heads[0].index == i {
			chain.jump(heads[0].head)
			heads = heads[1:]
		} else {
			chain.step(sealed)
		}
		f, err := parseFrame(x.plain[begin:])
		if err != nil {
			return nil, err
		}
		x.frames = append(x.frames, f)
	}
	header.After = chain.head()
	_, hurry := x.store.files.pressure()
	return sealBody(s.keys.seal[:], header.marshal(), x.packer.pack(x.frames, hurry))
}

// size is the bytes of the ciphertexts of a segment that is complete.
func (s *segment) size() (n int) {
	for _, at := range s.at {
		n += int(at.length)
	}
	return n
}

// verbatim is encode for a segment that cannot be decrypted.
func (x *sealer) verbatim(s *segment, header *segmentHeader) ([]byte, error) {
	return verbatimBody(&x.window, s.at, header)
}

func sealBody(key, header, plain []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return gcm.Seal(nil, make([]byte, gcm.NonceSize()), plain, header), nil
}
