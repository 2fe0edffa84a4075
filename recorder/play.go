package recorder

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// Reader plays a sealed recording, and verifies all of it as it goes.
type Reader struct {
	sealed   *sealedReader
	ratchet  *ratchet
	unpacker *unpacker
	header   Header
	logged   []logged // what the CA's log says of the chain over frames

	chain  *chain
	frames []Frame // good ones not given out yet
	fault  error   // what comes after them
	plain  []byte
	seal   []byte
	last   time.Duration
	heads  [][32]byte // after each frame of the segment that Open read
	given  uint64     // frames that left r.frames
	number uint64     // of the segment r.frames are of
	over   bool       // the end frame was read
	ended  bool       // and given out

	compartments *compartments
	reason       string
}

// Open reads the beginning of what [Store.Export] wrote, up to the header. With a nil bastion key signatures are not
// checked, which Summary says.
func Open(r io.Reader, key PrivateKey, bastion crypto.PublicKey) (*Reader, error) {
	s, err := newSealedReader(r, bastion)
	if err != nil {
		return nil, err
	}
	o := s.opening
	root, err := o.openRoot(s.box, key)
	if err != nil {
		return nil, err
	}
	defer clear(root)
	p := &Reader{sealed: s, chain: newChain(0, o.sum()), compartments: newCompartments(o.Session, map[string]PrivateKey{})}
	if p.ratchet, err = newRatchet(root, o.sum()); err != nil {
		return nil, err
	}
	if p.unpacker, err = newUnpacker(); err != nil {
		return nil, err
	}
	p.header.Session, p.header.Bastion, p.header.Started = o.Session, o.Bastion, o.started()
	p.load()
	return p, p.readHeader()
}

func (r *Reader) readHeader() error {
	if len(r.frames) == 0 {
		if r.fault != io.EOF { // that is a live one of which nothing is sealed yet
			return r.fault
		}
		return nil
	}
	var h Header
	if err := json.Unmarshal(r.frames[0].Data, &h); err != nil {
		return &Fault{Err: fmt.Errorf("%w: header: %w", ErrMalformed, err)}
	}
	if h.Session != r.header.Session || !h.Started.Equal(r.header.Started) {
		return &Fault{Err: fmt.Errorf("%w: the header is of session %.80q", ErrMalformed, h.Session)}
	}
	r.header = h
	return nil
}

// Header is the first frame's content. Of a live recording of which nothing is sealed yet it has only the session,
// the bastion and the start.
func (r *Reader) Header() Header { return r.header }

// Expect makes Next compare the chain with what was logged when the recording had that many frames. A recording with
// fewer frames is then cut short, unless it says that it is live: then only the CA knows. Call it before the first Next.
func (r *Reader) Expect(frames uint64, head [32]byte) {
	r.logged = append(r.logged, logged{frames, head})
	// Open read the first segment already, when there was nothing to compare it to.
	for i, h := range r.heads {
		if err := expected(r.logged, uint64(i)+1, h, "frames"); err != nil && i < len(r.frames) {
			r.frames, r.fault = r.frames[:i], &Fault{Frame: uint64(i), Err: err}
		}
	}
}

// ExpectSealed is Expect for the chain over sealed segments.
func (r *Reader) ExpectSealed(segments uint64, head [32]byte) {
	r.sealed.logged = append(r.sealed.logged, logged{segments, head})
	if s := r.sealed; r.fault == nil && s.sum.Segments == segments && s.sum.SealedHead != head {
		r.frames, r.fault = nil, &Fault{Err: expected(s.logged, segments, s.sum.SealedHead, "segments")}
	}
}

// OpenCompartment lets Next give out the frames that were sealed to a key as what they are. Without it, it gives out the [TypeSealed] ones that stand
// for them. It may be called for several keys, before the first Next.
func (r *Reader) OpenCompartment(key PrivateKey) error {
	if r.given > 0 {
		return fmt.Errorf("recording %s: compartments are opened before the first frame is read", r.header.Session)
	}
	r.compartments.keys[key.ID()] = key
	return nil
}

// Next returns the next frame of a known type, the header first. Its Data is valid until the next call. It returns
// io.EOF after the last one; any other error is a *[Fault] that says where the recording stops being good.
func (r *Reader) Next() (Frame, error) {
	for {
		for len(r.frames) == 0 {
			if r.fault != nil {
				return Frame{}, r.fault
			}
			r.load()
		}
		f, err := r.compartments.uncover(r.frames[0])
		if err != nil {
			r.frames, r.fault = nil, &Fault{Segment: r.number, Frame: r.given, Err: err}
			continue
		}
		r.frames = r.frames[1:]
		r.given++
		if f.Type == TypeEnd {
			r.ended, r.reason = true, string(f.Data)
		}
		if f.Type >= TypeHeader && f.Type <= TypeSealed {
			return f, nil
		}
	}
}

// End is the reason the session ended, once Next returned the end frame.
func (r *Reader) End() (reason string, ended bool) { return r.reason, r.ended }

// Summary is what was verified so far.
func (r *Reader) Summary() Summary { return r.sealed.sum }

// load reads a segment. What is good of it comes to r.frames, and what is not to r.fault.
func (r *Reader) load() {
	h, header, body, err := r.sealed.next()
	if err == io.EOF {
		err = r.atEnd()
	}
	if err != nil {
		r.fault = err
		return
	}
	k, err := r.ratchet.next()
	if err != nil {
		r.fault = err
		return
	}
	r.frames, r.number = r.frames[:0], h.Number
	if h.Form == formVerbatim {
		err = r.verbatim(h, k, body)
	} else {
		err = r.packed(h, k, header, body)
	}
	if err == nil {
		r.sealed.accept(h)
		return
	}
	if f := new(Fault); !errors.As(err, &f) {
		err = &Fault{Segment: h.Number, Frame: h.First + uint64(len(r.frames)), Err: err}
	}
	r.fault = err
}

func (r *Reader) atEnd() error {
	s := r.sealed.sum
	if err := unreached(r.logged, r.chain.n, "frames"); err != nil && !s.Live {
		return r.sealed.fault(err)
	}
	if s.Sealed && !s.Interrupted && !r.over {
		return r.sealed.fault(fmt.Errorf("%w: it is called complete and has no end frame", ErrMalformed))
	}
	return io.EOF
}

// packed decrypts a segment, and encrypts its frames again to see that they are those of the chain.
func (r *Reader) packed(h segmentHeader, k *keys, header, body []byte) error {
	gcm, err := newGCM(k.seal[:])
	if err != nil {
		return err
	}
	if r.seal, err = gcm.Open(r.seal[:0], make([]byte, gcm.NonceSize()), body, header); err != nil {
		return fmt.Errorf("%w: segment %d does not decrypt", ErrAltered, h.Number)
	}
	frames, err := r.unpacker.unpack(r.seal, int(h.Frames))
	if err != nil {
		return err
	}
	for i, f := range frames {
		r.plain = appendFrame(r.plain[:0], f)
		r.chain.seal(k.frame, append(r.plain, make([]byte, gcmTag)...)[:len(r.plain)])
		if err := r.checkFrame(f); err != nil {
			r.frames = frames[:i]
			return err
		}
	}
	if r.chain.head() != h.After {
		return fmt.Errorf("%w: the frames of segment %d are not those of its header", ErrAltered, h.Number)
	}
	r.frames = frames
	return nil
}

// verbatim decrypts the frames of a segment one by one, so that those before an altered one are good.
func (r *Reader) verbatim(h segmentHeader, k *keys, body []byte) error {
	structure := checkVerbatim(h, body)
	if errors.Is(structure, ErrMalformed) {
		return structure
	}
	r.plain = make([]byte, 0, len(body)) // the frames alias it
	for range h.Frames {
		sealed, rest, err := nextVerbatim(body)
		if err != nil {
			return err
		}
		body = rest
		begin := len(r.plain)
		plain, err := r.chain.open(k.frame, r.plain, sealed)
		if err != nil {
			return fmt.Errorf("%w: frame %d does not decrypt", ErrAltered, r.chain.n)
		}
		r.plain = plain
		f, err := parseFrame(r.plain[begin:])
		if err != nil {
			return err
		}
		if err := r.checkFrame(f); err != nil {
			return err
		}
		r.frames = append(r.frames, f)
	}
	return structure
}

// checkFrame says whether f, which was just chained, may stand where it stands.
func (r *Reader) checkFrame(f Frame) error {
	n := r.chain.n - 1
	switch {
	case (f.Type == TypeHeader) != (n == 0):
		return fmt.Errorf("%w: frame %d is a %v frame", ErrMalformed, n, f.Type)
	case r.over:
		return fmt.Errorf("%w: frame %d follows the end frame", ErrMalformed, n)
	case f.At < r.last:
		return fmt.Errorf("%w: frame %d is before the frame before it", ErrMalformed, n)
	}
	r.last = f.At
	r.over = f.Type == TypeEnd
	if r.sealed.sum.Segments == 0 {
		r.heads = append(r.heads, r.chain.head())
	}
	return expected(r.logged, n+1, r.chain.head(), "frames")
}
