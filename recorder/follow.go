package recorder

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/store"
)

const followMagic = "postern follow 1\n"

// The items of a followed recording, beside those of a sealed one.
const (
	itemFrame = 3 // a ciphertext as it is in the journal
	itemSeal  = 4 // the segment of which all frames were sent is sealed
	itemNow   = 5 // nothing more has happened so far
)

const (
	followBytes = 64 << 10        // of ciphertexts read from the journal at a time, unless one frame has more
	followPulse = 5 * time.Second // between two signs of life while nothing happens
)

// Follow writes what is sealed of a session and then, while it runs, the ciphertexts of its frames as they become durable, until its end is sealed: for
// [Follow]. Nobody waits for w: who takes nothing for long is given what was sealed meanwhile.
func (s *Store) Follow(ctx context.Context, session string, w io.Writer) error {
	c, err := s.sealedSoFar(session)
	if err == nil {
		err = s.deleted(session)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	live := s.open[session]
	s.mu.Unlock()
	f := &following{store: s, session: session, live: live, w: w}
	if live != nil {
		f.past, _ = live.Head()
	}
	if err := f.write(append([]byte(followMagic), ssh.Marshal(beginning{c.opening, c.box})...)); err != nil {
		return err
	}
	for {
		news := f.listen()
		more, err := f.advance()
		switch {
		case err != nil:
			return err
		case f.over:
			return nil
		case more:
			if err := f.present(); err != nil {
				return err
			}
			continue
		}
		if err := f.wait(ctx, news); err != nil {
			return err
		}
	}
}

// following is one who is shown a session: a place in it, and nothing else that grows.
type following struct {
	store   *Store
	session string
	live    *Writer // nil: the session had ended when this began
	w       io.Writer

	number uint64 // segment that is being sent
	next   uint64 // frame
	sealed uint64 // segments whose sealing was told
	past   uint64 // frames that had happened when this began; 0: it was told that they are sent
	idle   bool   // it was told that nothing more has happened
	last   bool   // nothing will change any more
	over   bool
}

func (f *following) write(b []byte) error {
	_, err := f.w.Write(b)
	return err
}

// listen returns what is closed when there may be something new.
func (f *following) listen() <-chan struct{} {
	if f.live == nil {
		return nil
	}
	w := f.live
	w.durably.Lock()
	defer w.durably.Unlock()
	if w.news == nil {
		w.news = make(chan struct{})
	}
	return w.news
}

func (f *following) wait(ctx context.Context, news <-chan struct{}) error {
	if !f.idle {
		f.idle = true
		if err := f.now(); err != nil {
			return err
		}
	}
	pulse := time.NewTimer(followPulse)
	defer pulse.Stop()
	select {
	case <-news:
		return nil
	case <-pulse.C:
		return f.now()
	case <-f.store.stopped:
		if f.last {
			return ErrClosed
		}
		f.last = true // and it may be that the end was sealed just before
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// present tells, once, that what comes from here on happens now. Of a session that streams there may be no moment at which all was sent.
func (f *following) present() error {
	if f.past == 0 || f.next < f.past {
		return nil
	}
	f.past, f.idle = 0, true
	return f.now()
}

func (f *following) now() error {
	var at time.Duration
	if w := f.live; w != nil {
		at = max(0, w.lead+f.store.now().Sub(w.began))
	}
	return f.write(binary.BigEndian.AppendUint64([]byte{itemNow}, uint64(at/time.Microsecond)))
}

// advance sends something, if there is something to send.
func (f *following) advance() (more bool, err error) {
	if f.live != nil {
		if more, err = f.frames(); more || err != nil {
			return more, err
		}
	}
	return f.settled()
}

// frames sends some that are in the journal and not sealed.
func (f *following) frames() (bool, error) {
	at, unpin := f.pin()
	if len(at) == 0 {
		return false, nil
	}
	page, err := readSpan(at)
	unpin()
	if err != nil {
		return false, err
	}
	defer freePage(page)
	f.idle = false
	var head [1 + 4 + 8 + 4]byte
	for _, a := range at {
		head[0] = itemFrame
		binary.BigEndian.PutUint32(head[1:], uint32(f.number))
		binary.BigEndian.PutUint64(head[5:], f.next)
		binary.BigEndian.PutUint32(head[13:], a.length)
		begin := a.offset - at[0].offset
		if err := errors.Join(f.write(head[:]), f.write((*page)[begin:begin+a.length])); err != nil {
			return false, err
		}
		f.next++
	}
	return true, nil
}

// pin returns where the next frames of the segment lie, and keeps that file until unpin. When all of a segment were sent, it goes on to the next.
func (f *following) pin() (at []where, unpin func()) {
	w := f.live
	w.durably.Lock()
	defer w.durably.Unlock()
	for _, g := range w.unsealed {
		if uint64(g.number) != f.number {
			continue
		}
		if sent := f.next - g.first; sent < uint64(len(g.at)) {
			at = slices.Clone(together(g.at[sent:]))
			break
		}
		if g.want < 0 || len(g.at) < g.want || g.want == 0 {
			return nil, nil
		}
		f.number++
	}
	if len(at) == 0 {
		return nil, nil
	}
	// Its segment is not sealed, so the file is in use and stays so.
	file := at[0].file
	file.unsealed.Add(1)
	return at, func() { f.store.files.sealed(file, 1) }
}

// together are the first of some frames, as many as are read at a time.
func together(at []where) []where {
	n := 1
	for n < len(at) && at[n].file == at[0].file && at[n].offset+at[n].length-at[0].offset <= followBytes {
		n++
	}
	return at[:n]
}

// readSpan reads what lies from the first to the last of some frames.
func readSpan(at []where) (*[]byte, error) {
	last := at[len(at)-1]
	n := int(last.offset + last.length - at[0].offset)
	page := framePages.Get().(*[]byte)
	*page = slices.Grow((*page)[:0], n)[:n]
	if _, err := at[0].file.f.ReadAt(*page, int64(at[0].offset)); err != nil {
		freePage(page)
		return nil, fmt.Errorf("journal %s: read %d bytes at %d: %w", at[0].file.f.Name(), n, at[0].offset, err)
	}
	return page, nil
}

var framePages = sync.Pool{New: func() any { return new([]byte) }}

// freePage keeps the usual ones for others.
func freePage(page *[]byte) {
	if cap(*page) <= 2*followBytes {
		framePages.Put(page)
	}
}

// settled tells what became sealed: of segments that were sent that they are, and segments that were not, as they are. In the end it says so.
func (f *following) settled() (more bool, err error) {
	if !f.unsettled() {
		return false, nil
	}
	c, err := f.store.sealedSoFar(f.session)
	if err != nil {
		return false, err
	}
	if f.sealed < c.Segments {
		return true, f.tell()
	}
	if !c.Sealed {
		return false, nil
	}
	f.over = true
	return false, f.store.writeEnd(c, f.w)
}

// unsettled says whether the store may have something that was not told.
func (f *following) unsettled() bool {
	w := f.live
	if w == nil {
		return true
	}
	w.durably.Lock()
	defer w.durably.Unlock()
	return w.done || w.released > f.sealed
}

// tell sends the segment that was sealed next: that it is, if all of its frames were sent; else the whole of it.
func (f *following) tell() error {
	var item []byte
	kind := byte(itemSeal)
	err := f.store.view(func(tx *store.Tx) error {
		o, err := outlineRow(tx, f.session, f.sealed)
		if err != nil {
			return err
		}
		o.Index = nil // of use to who has the segment
		item = o.marshal()
		if f.sealed < f.number {
			return nil
		}
		h, err := parseSegmentHeader(o.Header)
		if err == nil && f.next != h.First+uint64(h.Frames) {
			kind = itemSegment
			item, err = tx.Get(segmentKey(f.session, f.sealed))
		}
		f.number, f.next = h.Number+1, h.First+uint64(h.Frames)
		return err
	})
	if err != nil {
		return fmt.Errorf("recording %s: segment %d: %w", f.session, f.sealed, err)
	}
	f.sealed++
	f.idle = false
	return errors.Join(f.write([]byte{kind}), f.write(item))
}

// Gone reports whether an error of [Store.Follow] is no fault of the recording: the one who followed went away, or the bastion stops.
func Gone(err error) bool { return errors.Is(err, ErrClosed) || errors.Is(err, context.Canceled) }
