package bastion

import (
	"errors"
	"io"
	"sync"
	"time"

	"postern/recorder"
)

// errFrozen is a disk that neither fails nor works.
var errFrozen = errors.New("frames do not become durable in time")

const (
	largeRead = 32 << 10 // what one SSH packet carries
	smallRead = 1 << 10

	// inFlight frames of a stream may be read and not yet released: 2 MiB, the window of an x/crypto channel, so that a slow disk or
	// reader stops the sender and costs no more memory.
	inFlight = 64
)

// An idle stream waits in Read with a small buffer; a thousand idle sessions have three thousand of them.
var (
	largeBuffers = sync.Pool{New: func() any { b := make([]byte, largeRead); return &b }}
	smallBuffers = sync.Pool{New: func() any { b := make([]byte, smallRead); return &b }}
)

func borrow(large bool) *[]byte {
	if large {
		return largeBuffers.Get().(*[]byte)
	}
	return smallBuffers.Get().(*[]byte)
}

func giveBack(b *[]byte) {
	if len(*b) == largeRead {
		largeBuffers.Put(b)
	} else {
		smallBuffers.Put(b)
	}
}

// flow is one direction of a channel.
type flow struct {
	stream byte
	from   io.Reader
	to     io.Writer
	record bool // else the bytes pass at once
	counts bool // its bytes are a sign that somebody is there
}

// held is a piece that was read and recorded and may not be seen yet.
type held struct {
	buf    *[]byte
	n      int
	commit *recorder.Commit
}

// pump carries a flow until its end. Recording and releasing are two steps with a queue between them: the first goes on reading while the
// disk is busy, and one flush covers all that came meanwhile.
func (c *channel) pump(f flow) {
	if !f.record {
		c.pass(f)
		return
	}
	queue := make(chan held, inFlight)
	var releaser sync.WaitGroup
	releaser.Go(func() { c.s.b.guard(c.s, func() { c.release(queue, f.to) }) })
	defer releaser.Wait()
	defer close(queue)
	// Append waits when the journal is full, so it needs a bound of its own.
	late := time.AfterFunc(time.Hour, func() { c.s.unrecorded(errFrozen) })
	defer late.Stop()
	late.Stop()
	large := false
	for {
		buf := borrow(large)
		n, err := f.from.Read(*buf)
		large = n >= smallRead
		if n > 0 {
			if f.counts {
				c.s.touch()
			}
			late.Reset(c.s.b.Limits.FreezeTime)
			commit, rerr := c.s.rec.Append(recorder.Frame{Type: recorder.TypeData, Channel: c.id, Stream: f.stream, Data: (*buf)[:n]})
			late.Stop()
			if rerr != nil {
				c.s.unrecorded(rerr)
				return
			}
			select {
			case queue <- held{buf, n, commit}:
			case <-c.s.ctx.Done():
				return
			}
		} else {
			giveBack(buf)
		}
		if err != nil || c.s.ctx.Err() != nil {
			return
		}
	}
}

// release writes what has become durable. When the reader is gone it goes on taking from the queue, so that nothing upstream waits for it.
func (c *channel) release(queue <-chan held, to io.Writer) {
	open := true
	for h := range queue {
		if open && c.durable(h.commit) {
			_, err := to.Write((*h.buf)[:h.n])
			open = err == nil
		} else {
			open = false
		}
		giveBack(h.buf)
	}
}

// pass copies without recording: keystrokes, where the policy does not ask for them.
func (c *channel) pass(f flow) {
	large := false
	for {
		buf := borrow(large)
		n, err := f.from.Read(*buf)
		large = n >= smallRead
		if n > 0 {
			c.s.touch()
			if c.s.ctx.Err() == nil {
				if _, werr := f.to.Write((*buf)[:n]); werr != nil {
					err = werr
				}
			}
		}
		giveBack(buf)
		if err != nil || c.s.ctx.Err() != nil {
			return
		}
	}
}
