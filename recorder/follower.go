package recorder

import (
	"bufio"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// mostUnsealed bounds the segments whose frames were given out before they were sealed: a bastion seals within minutes.
const mostUnsealed = 1 << 16

// Follower reads a session while it runs, and verifies it as it goes: each frame when it comes, for the chain and the keys say that whoever wrote
// the session wrote it here; the bastion's signatures as segments are sealed.
type Follower struct {
	r            *Reader       // decrypts and chains
	out          outlineReader // of what is sealed
	header       Header
	compartments *compartments
	keys         *keys // of the segment that frames come of
	number       uint64
	count        uint32
	pending      []unsealed
	logged       []logged // of the chain over sealed segments
	frames       []Frame  // good ones not given out yet
	at           time.Duration
	current      bool
	reason       string
	ended        bool
	fault        error
}

// unsealed is a segment that was given out frame by frame.
type unsealed struct {
	frames uint32
	after  [32]byte
}

// Follow reads the beginning of what [Store.Follow] writes. With a nil bastion key signatures are not checked,
// which Summary says.
func Follow(in io.Reader, key PrivateKey, bastion crypto.PublicKey) (*Follower, error) {
	f := &Follower{out: outlineReader{in: fileScanner{r: bufio.NewReaderSize(in, 64<<10)}, bastion: bastion, magic: followMagic}}
	if err := f.out.begin(); err != nil {
		return nil, &Fault{Err: shortened(err)}
	}
	o := f.out.opening
	root, err := o.openRoot(f.out.box, key)
	if err != nil {
		return nil, err
	}
	defer clear(root)
	f.compartments = newCompartments(o.Session, map[string]PrivateKey{})
	f.r = &Reader{sealed: &sealedReader{}, chain: newChain(0, o.sum())}
	f.r.sealed.sum.Segments = 1 // it does not keep the heads of the first
	if f.r.ratchet, err = newRatchet(root, o.sum()); err != nil {
		return nil, err
	}
	if f.r.unpacker, err = newUnpacker(); err != nil {
		return nil, err
	}
	f.header.Session, f.header.Bastion, f.header.Started = o.Session, o.Bastion, o.started()
	return f, nil
}

func (f *Follower) readHeader(frame Frame) error {
	var h Header
	if err := json.Unmarshal(frame.Data, &h); err != nil {
		return fmt.Errorf("%w: header: %w", ErrMalformed, err)
	}
	if h.Session != f.header.Session || !h.Started.Equal(f.header.Started) {
		return fmt.Errorf("%w: the header is of session %.80q", ErrMalformed, h.Session)
	}
	f.header = h
	return nil
}

// Header is the first frame's content, once Next returned that; before, only the session, the bastion and the start.
func (f *Follower) Header() Header { return f.header }

// Expect makes Next compare the chain with what was logged when the recording had that many frames. Call it before the first Next.
func (f *Follower) Expect(frames uint64, head [32]byte) {
	f.r.logged = append(f.r.logged, logged{frames, head})
}

// ExpectSealed is Expect for the chain over sealed segments.
func (f *Follower) ExpectSealed(segments uint64, head [32]byte) {
	f.logged = append(f.logged, logged{segments, head})
}

// OpenCompartment is that of [Reader], before the first Next.
func (f *Follower) OpenCompartment(key PrivateKey) { f.compartments.keys[key.ID()] = key }

// Summary is what the bastion signed so far; what was given out beyond it is not sealed yet.
func (f *Follower) Summary() Summary { return f.out.sum }

// End is the reason the session ended, once Next returned the end frame.
func (f *Follower) End() (reason string, ended bool) { return f.reason, f.ended }

// Now is the time in the session up to which Next gave out what happened. It is current when there was nothing more at that moment.
func (f *Follower) Now() (at time.Duration, current bool) { return f.at, f.current }

// Next returns the next frame of a known type, the header first, waiting until there is one. It returns pulse instead, without a frame, when nothing
// happened for some seconds, and the first time that all was given out that had happened. io.EOF comes after the end of the session was sealed and is
// verified; any other error is a *[Fault] or that of the connection.
func (f *Follower) Next() (frame Frame, pulse bool, err error) {
	for {
		if len(f.frames) > 0 {
			frame, err := f.uncovered()
			if err != nil {
				f.frames, f.fault = nil, err
				continue
			}
			if frame.Type >= TypeHeader && frame.Type <= TypeSealed {
				return frame, false, nil
			}
			continue
		}
		if f.fault != nil {
			return Frame{}, false, f.fault
		}
		if f.load() {
			return Frame{}, true, nil
		}
	}
}

func (f *Follower) uncovered() (Frame, error) {
	frame, err := f.compartments.uncover(f.frames[0])
	if err != nil {
		return frame, f.broken(err)
	}
	f.frames = f.frames[1:]
	f.at, f.current = frame.At, false
	if frame.Type == TypeHeader {
		if err := f.readHeader(frame); err != nil {
			return frame, f.broken(err)
		}
	}
	if frame.Type == TypeEnd {
		f.ended, f.reason = true, string(frame.Data)
	}
	return frame, nil
}

// broken says where the session stops being good, unless it is only the connection that does.
func (f *Follower) broken(err error) error {
	err = shortened(err)
	if !errors.Is(err, ErrAltered) && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrCutShort) {
		return err
	}
	return &Fault{Segment: f.number, Frame: f.r.chain.n - uint64(len(f.frames)), Err: err}
}

// load reads an item. What is good of it comes to f.frames, what is not to f.fault.
func (f *Follower) load() (pulse bool) {
	kind := f.out.in.bytes(1)
	err := f.out.in.err
	if err == nil {
		switch kind[0] {
		case itemFrame:
			err = f.frame()
		case itemSeal:
			err = f.seal()
		case itemSegment:
			err = f.segment()
		case itemNow:
			pulse, err = true, f.now()
		case itemEnd:
			if err = f.end(); err == nil {
				f.fault = io.EOF
				return false
			}
		default:
			err = fmt.Errorf("%w: item of kind %d", ErrMalformed, kind[0])
		}
	}
	if err != nil {
		f.fault = f.broken(err)
	}
	return pulse && err == nil
}

func (f *Follower) now() error {
	b := f.out.in.bytes(8)
	if f.out.in.err != nil {
		return f.out.in.err
	}
	micros := binary.BigEndian.Uint64(b)
	if micros > maxMicros {
		return fmt.Errorf("%w: now is %d µs", ErrMalformed, micros)
	}
	f.at, f.current = max(f.at, time.Duration(micros)*time.Microsecond), true
	return nil
}

// frame reads one that is not sealed yet.
func (f *Follower) frame() error {
	head := f.out.in.bytes(4 + 8)
	sealed := f.out.in.string(maxFrameBody)
	if f.out.in.err != nil {
		return f.out.in.err
	}
	number, n := uint64(binary.BigEndian.Uint32(head)), binary.BigEndian.Uint64(head[4:])
	if n != f.r.chain.n || number != f.number && (number != f.number+1 || f.count == 0) || len(sealed) < frameHead+gcmTag {
		return fmt.Errorf("%w: frame %d of segment %d does not follow frame %d of segment %d", ErrMalformed, n, number, int64(f.r.chain.n)-1, f.number)
	}
	if number != f.number {
		if err := f.close(); err != nil {
			return err
		}
	}
	if err := f.turn(); err != nil {
		return err
	}
	if f.count == segmentFrames {
		return fmt.Errorf("%w: segment %d has more than %d frames", ErrMalformed, number, segmentFrames)
	}
	plain, err := f.r.chain.open(f.keys.frame, nil, sealed)
	if err != nil {
		return fmt.Errorf("%w: frame %d does not decrypt", ErrAltered, n)
	}
	frame, err := parseFrame(plain)
	if err != nil {
		return err
	}
	if err := f.r.checkFrame(frame); err != nil {
		return err
	}
	f.count++
	f.frames = append(f.frames, frame)
	return nil
}

// turn makes the keys of the segment that begins.
func (f *Follower) turn() (err error) {
	if f.keys == nil {
		f.keys, err = f.r.ratchet.next()
	}
	return err
}

// close ends a segment all of whose frames were given out.
func (f *Follower) close() error {
	if len(f.pending) >= mostUnsealed {
		return fmt.Errorf("%w: %d segments came and none was sealed", ErrMalformed, len(f.pending))
	}
	f.pending = append(f.pending, unsealed{f.count, f.r.chain.head()})
	f.keys.forget()
	f.keys, f.count = nil, 0
	f.number++
	return nil
}

// seal reads that a segment was sealed whose frames were all given out.
func (f *Follower) seal() error {
	if len(f.pending) == 0 && f.count > 0 {
		if err := f.close(); err != nil {
			return err
		}
	}
	p, err := f.out.part()
	if err == nil && len(p.entry) > 0 {
		err = fmt.Errorf("%w: an index entry where none belongs", ErrMalformed)
	}
	if err == nil {
		err = f.accept(&p)
	}
	if err != nil {
		return err
	}
	if len(f.pending) == 0 || p.header.Frames != f.pending[0].frames || p.header.After != f.pending[0].after {
		return fmt.Errorf("%w: segment %d as it was sealed is not what was shown", ErrAltered, p.Number)
	}
	f.pending = f.pending[1:]
	return nil
}

// accept takes a segment if the bastion signed it and this is its place.
func (f *Follower) accept(p *Part) error {
	head := sealedHeadOf(p.raw, p.body)
	if f.out.bastion != nil && !verify(f.out.bastion, segmentMessage(head), p.signature) {
		return fmt.Errorf("%w: the bastion's key did not sign segment %d", ErrAltered, f.out.sum.Segments)
	}
	if err := f.out.place(p); err != nil {
		return err
	}
	return expected(f.logged, p.Number+1, p.head, "segments")
}

// segment reads one whose frames were not given out, or not all.
func (f *Follower) segment() error {
	p := Part{raw: f.out.in.string(maxStatement)}
	body := f.out.in.string(maxBody)
	p.body, p.Sealed = sha256.Sum256(body), uint32(len(body))
	p.signature = f.out.in.string(maxStatement)
	if f.out.in.err != nil {
		return f.out.in.err
	}
	if len(f.pending) > 0 || f.count == 0 && f.r.over {
		return fmt.Errorf("%w: segment %d comes where none can be", ErrMalformed, f.number)
	}
	if err := f.accept(&p); err != nil {
		return err
	}
	if err := f.turn(); err != nil {
		return err
	}
	frames, err := f.unpack(p, body)
	shown := min(int(f.count), len(frames))
	f.frames = own(frames[shown:])
	if err != nil {
		return err
	}
	if p.header.Frames <= f.count {
		return fmt.Errorf("%w: segment %d has %d frames, and %d were shown", ErrAltered, p.Number, p.header.Frames, f.count)
	}
	f.keys.forget()
	f.keys, f.count = nil, 0
	f.number++
	return nil
}

// unpack decrypts a segment from its beginning, and sees to it that its first frames are those that were shown.
func (f *Follower) unpack(p Part, body []byte) (frames []Frame, err error) {
	r := f.r
	before := r.logged
	if f.count > 0 {
		r.logged = append(slices.Clone(before), logged{r.chain.n, r.chain.head()})
	}
	r.chain, r.frames, r.last, r.over = newChain(p.header.First, p.header.Before), r.frames[:0], 0, false
	if p.header.Form == formVerbatim {
		err = r.verbatim(p.header, f.keys, body)
	} else {
		err = r.packed(p.header, f.keys, p.raw, body)
	}
	r.logged = before
	return r.frames, err
}

// end reads the last item.
func (f *Follower) end() error {
	if len(f.pending) > 0 || f.count > 0 {
		return fmt.Errorf("%w: frames were shown that are not sealed", ErrAltered)
	}
	if err := f.out.end(); err != nil {
		return err
	}
	if err := errors.Join(unreached(f.r.logged, f.r.chain.n, "frames"), unreached(f.logged, f.out.sum.Segments, "segments")); err != nil {
		return err
	}
	if s := f.out.sum; s.Live || s.Sealed && !s.Interrupted && !f.r.over {
		return fmt.Errorf("%w: it ends and is not complete", ErrMalformed)
	}
	return nil
}
