package recorder

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

const (
	segmentData   = 256 << 10 // bytes of data at which a segment is cut
	segmentFrames = 4096
)

// Writer records one session. Its methods may be called from several goroutines.
type Writer struct {
	store   *Store
	opening opening
	box     []byte
	locked  []byte // box as journal and store keep it

	emergency bool // it may use the reserve

	failed chan struct{}
	broken error // guarded by the journal's lock
	cause  error // why it failed; guarded by durably

	mu      sync.Mutex // held while a frame is numbered, encrypted and put in line
	chain   *chain
	ratchet *ratchet
	segment *segment // nil: the next frame begins one
	number  uint32   // of the next segment
	last    time.Duration
	began   time.Time     // when lead had passed since the start
	lead    time.Duration // the rest is measured by the monotonic clock
	closed  bool

	compartments []*Compartment
	contexts     uint32 // compartments that have begun

	durably  sync.Mutex // after mu
	frames   uint64
	head     [32]byte
	segments []*segment // not yet durable as a whole, in order
	over     bool       // the segment that ends the recording is on its way to the sealer

	// For those who follow.
	unsealed []*segment    // that the store does not hold yet, in order
	released uint64        // segments that it holds
	done     bool          // and that is all of them
	news     chan struct{} // closed at the next change; nil: nobody listens

	// The sealer's.
	kept    change                       // what the store holds
	header  Header                       // for the index
	indexer func(uint64, []Frame) []byte // nil: none was begun
	dumb    bool                         // nothing more is said in the index
}

// segment is a run of frames under one key, until it is sealed.
type segment struct {
	w      *Writer
	number uint32
	keys   *keys
	before [32]byte
	first  uint64
	born   time.Time
	count  int // frames; under w.mu
	data   int // bytes of data; under w.mu

	// Under w.durably.
	want        int // frames when it was cut; -1: it is still growing
	at          []where
	heads       []knownHead  // after the larger frames, which the sealer then need not hash again
	opening     *journalFile // holds the opening, which the store needs first
	final       bool
	interrupted bool

	entry []byte // the sealer's: of the index, in the clear, until it is in the store
}

// knownHead is the chain after a frame of a segment.
type knownHead struct {
	index int
	head  [32]byte
}

const worthAHead = 1 << 10 // bytes of a frame from which on hashing it again costs more than keeping its head

// Append records a frame: it is encrypted and on its way when Append returns, in the order of the calls, and f.Data
// is free again. It is durable once the commit says so. Append waits while too much is on its way or unsealed.
func (w *Writer) Append(f Frame) (*Commit, error) {
	if !sealable(f.Type) { // those have a place of their own
		return nil, fmt.Errorf("recording %s: a %v frame is not for Append", w.opening.Session, f.Type)
	}
	if len(f.Data) > MaxData {
		return nil, fmt.Errorf("recording %s: frame of %d bytes is over the limit of %d", w.opening.Session, len(f.Data), MaxData)
	}
	w.store.files.admit()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, w.wrap(ErrClosed)
	}
	if err := w.spared(); err != nil {
		return nil, w.wrap(err)
	}
	return w.append(f, kindFrame)
}

// append puts a frame in line. w.mu is held.
func (w *Writer) append(f Frame, kind byte) (*Commit, error) {
	if err := w.begin(); err != nil {
		return nil, err
	}
	w.stamp(&f)
	body := frameHead + len(f.Data) + gcmTag
	r, b, commit, err := w.store.journal.reserve(w, padded(body))
	if err != nil {
		return nil, w.wrap(err)
	}
	r.seg, r.body, r.frame = w.segment, body, true
	h := record{
		length: uint32(body), kind: kind, recording: w.opening.Number,
		frame: w.chain.n, segment: w.segment.number,
	}
	plain := appendFrame(r.space[recordHead:recordHead], f)
	sealed := w.chain.seal(w.segment.keys.frame, plain)
	r.head = w.chain.head()
	h.bodySum = bodySum(sealed)
	h.put(r.space)
	clear(r.space[recordHead+body:])
	w.store.journal.filled(b)

	w.segment.count++
	w.segment.data += len(f.Data)
	if w.segment.data >= segmentData || w.segment.count >= segmentFrames {
		w.cut(false)
	}
	return commit, nil
}

// begin sees to it that there is a segment to append to.
func (w *Writer) begin() error {
	if w.segment != nil {
		return nil
	}
	k, err := w.ratchet.next()
	if err != nil {
		return w.wrap(err)
	}
	w.segment = &segment{
		w: w, number: w.number, keys: k, before: w.chain.head(), first: w.chain.n,
		born: w.store.now(), want: -1,
	}
	w.number++
	w.durably.Lock()
	w.segments = append(w.segments, w.segment)
	w.unsealed = append(w.unsealed, w.segment)
	w.durably.Unlock()
	return nil
}

// stamp gives f a time that the format can hold.
func (w *Writer) stamp(f *Frame) {
	if f.At == 0 && f.Type != TypeHeader {
		f.At = w.lead + w.store.now().Sub(w.began)
	}
	f.At = max(f.At.Truncate(time.Microsecond), w.last)
	w.last = f.At
}

// cut ends the current segment. w.mu is held.
func (w *Writer) cut(final bool) {
	s := w.segment
	if s == nil {
		return
	}
	w.segment = nil
	w.durably.Lock()
	defer w.durably.Unlock()
	if !w.over { // else the sealer has it already
		s.want, s.final = s.count, final
		w.advance()
	}
}

// cutIf cuts the current segment if old says so of it.
func (w *Writer) cutIf(old func(*segment) bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.segment != nil && w.segment.count > 0 && old(w.segment) {
		w.cut(false)
	}
}

// durable takes note of a record that is on the disk.
func (w *Writer) durable(r *reserved) {
	w.durably.Lock()
	defer w.durably.Unlock()
	if !r.frame {
		r.seg.opening = r.at.file
		return
	}
	if r.body >= worthAHead {
		r.seg.heads = append(r.seg.heads, knownHead{len(r.seg.at), r.head})
	}
	r.seg.at = append(r.seg.at, r.at)
	w.frames++
	w.head = r.head
	w.advance()
	w.tell()
}

// advance hands segments to the sealer that are cut and durable as a whole. w.durably is held.
func (w *Writer) advance() {
	for len(w.segments) > 0 && !w.over {
		s := w.segments[0]
		if s.want < 0 || len(s.at) < s.want {
			return
		}
		w.segments = w.segments[1:]
		w.over = s.final
		w.store.sealer.add(s)
	}
}

// tell wakes those who follow. w.durably is held.
func (w *Writer) tell() {
	if w.news != nil {
		close(w.news)
		w.news = nil
	}
}

// sealed notes that the store holds a segment.
func (w *Writer) sealed(g *segment) {
	w.durably.Lock()
	defer w.durably.Unlock()
	if len(w.unsealed) > 0 && w.unsealed[0] == g {
		w.unsealed = w.unsealed[1:]
	}
	if len(g.at) > 0 {
		w.released++
	}
	w.done = w.done || g.final
	w.tell()
}

// abandon ends a recording that lost a frame: what is durable of it is sealed as interrupted.
func (w *Writer) abandon(cause error) {
	w.durably.Lock()
	defer w.durably.Unlock()
	if w.over {
		return
	}
	w.cause = cause
	close(w.failed)
	if len(w.segments) == 0 {
		w.segments = []*segment{{w: w, before: w.head, first: w.frames, keys: new(keys)}}
	}
	for _, lost := range w.segments[1:] {
		lost.keys.forget()
		w.unsealed = slices.DeleteFunc(w.unsealed, func(g *segment) bool { return g == lost })
	}
	s := w.segments[0]
	s.want, s.final, s.interrupted = len(s.at), true, true
	w.segments = w.segments[:1]
	w.advance()
}

// Head is the number of durable frames and the chain over them.
func (w *Writer) Head() (frames uint64, head [32]byte) {
	w.durably.Lock()
	defer w.durably.Unlock()
	return w.frames, w.head
}

// Failed is closed when the writer broke and can record nothing any more: the session must end.
func (w *Writer) Failed() <-chan struct{} { return w.failed }

// Why is what broke the writer, after Failed.
func (w *Writer) Why() error {
	w.durably.Lock()
	defer w.durably.Unlock()
	return w.cause
}

// Close ends the recording with a reason for people. It returns when the end is durable; sealing follows.
func (w *Writer) Close(reason string) error {
	commit, err := w.end(reason)
	if err != nil {
		return err
	}
	return commit.Err()
}

func (w *Writer) end(reason string) (*Commit, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, w.wrap(ErrClosed)
	}
	w.closed = true
	for _, c := range w.compartments {
		c.sender = nil
	}
	if len(reason) > MaxData {
		reason = reason[:MaxData]
	}
	commit, err := w.append(Frame{Type: TypeEnd, Channel: Global, Data: []byte(reason)}, kindLast)
	if err != nil {
		return nil, err
	}
	w.cut(true)
	return commit, nil
}

func (w *Writer) wrap(err error) error {
	return fmt.Errorf("recording %s: %w", w.opening.Session, err)
}

// opening is how every recording begins.
type opening struct {
	Version string
	Session string
	Bastion string
	Started uint64
	Number  [16]byte
	KeyID   string
	BoxSum  [32]byte
}

const openingVersion = "postern-recording-v1"

func (o opening) marshal() []byte { return ssh.Marshal(o) }

func (o opening) sum() [32]byte { return sha256.Sum256(o.marshal()) }

func (o opening) started() time.Time { return time.UnixMicro(int64(o.Started)).UTC() }

func parseOpening(b []byte) (o opening, err error) {
	if len(b) > maxStatement {
		return o, fmt.Errorf("%w: opening of %d bytes", ErrMalformed, len(b))
	}
	if err := ssh.Unmarshal(b, &o); err != nil {
		return o, fmt.Errorf("%w: opening: %w", ErrMalformed, err)
	}
	if o.Version != openingVersion {
		return o, fmt.Errorf("%w: opening of version %.40q, this reads %s", ErrMalformed, o.Version, openingVersion)
	}
	if !validSession(o.Session) || len(o.Bastion) > 255 || len(o.KeyID) > 64 || o.Started > maxMicros {
		return o, fmt.Errorf("%w: opening of session %.80q", ErrMalformed, o.Session)
	}
	return o, nil
}

func validSession(id string) bool {
	for _, c := range []byte(id) {
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', c == '-', c == '_':
		default:
			return false
		}
	}
	return id != "" && len(id) <= MaxIdentity
}
