package bastion

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"postern/bastion/meter"
	"postern/recorder"
)

// errFrozen is a disk that neither fails nor works.
var errFrozen = errors.New("frames do not become durable in time")

const (
	largeRead = 32 << 10 // what one SSH packet carries
	smallRead = 1 << 10

	// inFlight bytes of a lane may be read and not yet released, the window of an x/crypto channel, so that a slow disk or reader
	// stops the sender and costs no more memory; nor more than so many pieces, for those of one byte.
	inFlight       = 2 << 20
	piecesInFlight = 64
)

// An idle lane waits in Read with a small buffer; a thousand idle sessions have three thousand of them.
var (
	largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeRead); return &b }}
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallRead); return &b }}
	wideBuffers  = sync.Pool{New: func() any { b := make([]byte, 2*largeRead); return &b }} // what decoders write to; they grow
)

const widest = 1 << 20 // of a buffer that is kept

func borrow(large bool) *[]byte {
	if large {
		return largeBuffers.Get().(*[]byte)
	}
	return smallBuffers.Get().(*[]byte)
}

func giveBack(b *[]byte) {
	*b = (*b)[:cap(*b)]
	switch n := len(*b); {
	case n == smallRead:
		smallBuffers.Put(b)
	case n == largeRead:
		largeBuffers.Put(b)
	case n >= 2*largeRead && n <= widest:
		wideBuffers.Put(b)
	}
}

// held is a piece that was read and recorded and may not be seen yet.
type held struct {
	buf    *[]byte
	n      int
	commit *recorder.Commit // nil: nothing of it needs to be on record
	own    bool             // the bastion says it, not the host
}

// taker puts on record what was read into buf, and says what goes on; it owns buf from then on.
type taker func(buf *[]byte, n int) (held, error)

// lane is one direction of a channel. Recording and releasing are two steps with a queue between them: the first goes on reading
// while the disk is busy, and one flush covers all that came meanwhile.
type lane struct {
	s      *session
	ctx    context.Context // done when nothing more goes on
	from   io.Reader
	to     io.Writer
	take   taker
	counts bool // its bytes are a sign that somebody is there
	out    bool // they are the host's and go to the client

	mechanical func([]byte) bool // but not these; nil: all of them

	queue chan held
	room  *semaphore.Weighted
	gone  chan struct{} // closed when nothing is released any more
	turn  sync.Mutex    // held by a decoder that sends
}

func (s *session) lane(ctx context.Context, from io.Reader, to io.Writer, take taker) *lane {
	return &lane{
		s: s, ctx: ctx, from: from, to: to, take: take,
		queue: make(chan held, piecesInFlight), room: semaphore.NewWeighted(inFlight), gone: make(chan struct{}),
	}
}

// run carries the lane until its source ends, and returns when everything is released.
func (l *lane) run() {
	if l.take == nil {
		l.pass()
		return
	}
	var releaser sync.WaitGroup
	releaser.Go(func() { l.s.b.guard(l.s, l.release) })
	defer releaser.Wait()
	defer l.send(held{}) // the end
	l.s.b.guard(l.s, l.pump)
}

// pump reads and records.
func (l *lane) pump() {
	large := false
	for {
		buf := borrow(large)
		n, err := l.from.Read(*buf)
		large = n >= smallRead
		if n == 0 {
			giveBack(buf)
		} else {
			if l.counts {
				l.touch((*buf)[:n])
			}
			h, terr := l.take(buf, n)
			if h.n > 0 && !l.send(h) {
				return
			}
			if terr != nil {
				l.refused(terr)
				return
			}
		}
		if err != nil || l.ctx.Err() != nil {
			return
		}
	}
}

func (l *lane) touch(p []byte) {
	if l.mechanical == nil || !l.mechanical(p) {
		l.s.touch()
	}
}

// refused ends the session when the recorder cannot go on.
func (l *lane) refused(err error) {
	if !errors.Is(err, errGone) {
		l.s.unrecorded(err)
	}
}

// send queues a piece, or the end. False: nothing goes on any more.
func (l *lane) send(h held) bool {
	if h.n > 0 && l.room.Acquire(l.ctx, int64(min(h.n, inFlight))) != nil {
		return false
	}
	select {
	case l.queue <- h:
		return true
	case <-l.gone:
	case <-l.ctx.Done():
	}
	return false
}

// release writes what has become durable. When the reader is gone it goes on taking from the queue, so that nothing upstream waits for it.
func (l *lane) release() {
	defer close(l.gone)
	open := true
	for {
		var h held
		select {
		case h = <-l.queue:
		case <-l.ctx.Done():
			return
		}
		if h.n == 0 {
			return
		}
		open = open && (h.commit == nil || l.s.durable(l.ctx, h.commit)) && l.s.kept()
		if open {
			open = l.deliver((*h.buf)[:h.n], h.own)
		}
		giveBack(h.buf)
		l.room.Release(int64(min(h.n, inFlight)))
	}
}

// deliver writes what the limits let pass. It is the one place where what a host says goes to its client: what is too much waits, and what comes after
// it, until the limit is released or the session ends.
func (l *lane) deliver(b []byte, own bool) bool {
	for len(b) > 0 {
		if !l.s.risk.wait(l.ctx) || l.s.halted.Load() { // it may have waited long
			return false
		}
		pass, crossed := len(b), []crossing(nil)
		if l.out && !own {
			pass, crossed = l.s.risk.bytesOut(len(b))
		}
		var err error
		if pass > 0 {
			_, err = l.to.Write(b[:pass])
		}
		l.s.act(crossed)
		if err != nil {
			return false
		}
		b = b[pass:]
	}
	return true
}

// pass copies without recording: keystrokes, where the policy does not ask for them.
func (l *lane) pass() {
	large := false
	for {
		buf := borrow(large)
		n, err := l.from.Read(*buf)
		large = n >= smallRead
		if n > 0 {
			l.touch((*buf)[:n])
			if l.ctx.Err() == nil && l.s.kept() {
				if !l.deliver((*buf)[:n], false) && err == nil {
					err = errGone
				}
			}
		}
		giveBack(buf)
		if err != nil || l.ctx.Err() != nil {
			return
		}
	}
}

// scribe records for one taker. Append waits when the journal is full, so it needs a bound of its own: a session that cannot be recorded in
// time ends. Waiting for a slow reader is no part of that.
type scribe struct {
	s    *session
	late *time.Timer
}

func (s *session) scribe() *scribe {
	late := time.AfterFunc(time.Hour, func() { s.unrecorded(errFrozen) })
	late.Stop()
	return &scribe{s, late}
}

// record records frames with f and returns the commit that covers them all.
func (r *scribe) record(f func(recorder.Frame) (*recorder.Commit, error), frames ...recorder.Frame) (last *recorder.Commit, err error) {
	r.late.Reset(r.s.b.Limits.FreezeTime)
	defer r.late.Stop()
	for _, frame := range frames {
		if last, err = f(frame); err != nil {
			return nil, err
		}
	}
	return last, nil
}

// log records what a log collected about a channel.
func (r *scribe) log(channel uint32, log *meter.Log) (*recorder.Commit, error) {
	frames := log.Frames()
	for i := range frames {
		frames[i].Channel = channel
	}
	return r.record(r.s.rec.Append, frames...)
}

// durable waits for a frame; false: the session, or what ctx is for, is ending.
func (s *session) durable(ctx context.Context, commit *recorder.Commit) bool {
	if commit == nil {
		return false
	}
	select {
	case <-commit.Done():
	default:
		late := time.NewTimer(s.b.Limits.FreezeTime)
		defer late.Stop()
		select {
		case <-commit.Done():
		case <-late.C:
			s.unrecorded(errFrozen)
			return false
		case <-ctx.Done():
			return false
		}
	}
	if err := commit.Err(); err != nil {
		s.unrecorded(err)
		return false
	}
	return true
}
