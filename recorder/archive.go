package recorder

import (
	"bufio"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// Archive is a sealed recording that is read in any order: its outline was fetched and verified, and a segment is fetched when
// it is wanted and held against the outline. Methods may be called from many goroutines.
type Archive struct {
	source  Source
	opening opening
	parts   []Part
	sum     Summary

	mu      sync.Mutex
	states  []ratchet // of each segment, as far as the ratchet was turned
	spare   []*unpacker
	opened  map[string]PrivateKey // keys of compartments
	header  Header
	hasHead bool
}

// Part is one segment, as the outline has it.
type Part struct {
	Number uint64
	First  uint64 // frame
	Frames uint32
	Sealed uint32 // bytes of the body as it is kept

	// Index is what the bastion's indexer said of the segment; nil: nothing. With it come the times of the first and the last frame,
	// since the start of the session, and what the data of all frames comes to.
	Index      []byte
	Begin, End time.Duration
	Bytes      uint64

	raw    []byte
	header segmentHeader
	body   [32]byte
	head   [32]byte // sealed head after this segment
}

// OpenArchive reads the outline and verifies all of it: the bastion's signatures, the order and the number of the segments, the
// end. With a nil bastion key signatures are not checked, which Summary says.
func OpenArchive(ctx context.Context, src Source, key PrivateKey, bastion crypto.PublicKey) (*Archive, error) {
	outline, err := src.Outline(ctx)
	if err != nil {
		return nil, err
	}
	defer outline.Close()
	o := &outlineReader{in: fileScanner{r: bufio.NewReaderSize(outline, 64<<10)}, bastion: bastion}
	if err := o.read(); err != nil {
		return nil, err
	}
	a := &Archive{source: src, opening: o.opening, parts: o.parts, sum: o.sum, opened: map[string]PrivateKey{}}
	if o.opening.KeyID != key.ID() {
		return nil, fmt.Errorf("recording %s: %w: %s; the key given is %s", o.opening.Session, ErrWrongKey, o.opening.KeyID, key.ID())
	}
	if len(o.box) == 0 {
		return nil, fmt.Errorf("recording %s: %w", o.opening.Session, ErrShredded)
	}
	root, err := key.openRoot(o.opening.Session, o.box)
	if err != nil {
		return nil, &Fault{Err: fmt.Errorf("%w: the key box does not open: %w", ErrAltered, err)}
	}
	defer clear(root)
	first, err := newRatchet(root, o.opening.sum())
	if err != nil {
		return nil, err
	}
	a.states = []ratchet{*first}
	a.header.Session, a.header.Bastion, a.header.Started = o.opening.Session, o.opening.Bastion, o.opening.started()
	return a, nil
}

// Summary is what the outline proves.
func (a *Archive) Summary() Summary { return a.sum }

// Parts lists the segments.
func (a *Archive) Parts() []Part { return a.parts }

// ExpectSealed says whether the chain over the first segments is what was logged.
func (a *Archive) ExpectSealed(segments uint64, head [32]byte) error {
	if segments > uint64(len(a.parts)) {
		return &Fault{Segment: uint64(len(a.parts)), Frame: a.sum.Frames,
			Err: fmt.Errorf("%w: it has %d segments, and %d were logged", ErrCutShort, len(a.parts), segments)}
	}
	if segments > 0 && a.parts[segments-1].head != head {
		return &Fault{Segment: segments - 1, Frame: a.parts[segments-1].First,
			Err: expected([]logged{{segments, head}}, segments, a.parts[segments-1].head, "segments")}
	}
	return nil
}

// Header is what the first frame says. Of a live recording of which nothing is sealed yet it has only the session, the bastion
// and the start.
func (a *Archive) Header(ctx context.Context) (Header, error) {
	a.mu.Lock()
	h, known := a.header, a.hasHead || len(a.parts) == 0
	a.mu.Unlock()
	if known {
		return h, nil
	}
	frames, err := a.Frames(ctx, 0)
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(frames[0].Data, &h); err != nil {
		return h, &Fault{Err: fmt.Errorf("%w: header: %w", ErrMalformed, err)}
	}
	if h.Session != a.opening.Session || !h.Started.Equal(a.opening.started()) {
		return h, &Fault{Err: fmt.Errorf("%w: the header is of session %.80q", ErrMalformed, h.Session)}
	}
	a.mu.Lock()
	a.header, a.hasHead = h, true
	a.mu.Unlock()
	return h, nil
}

// Frames fetches one segment, verifies it, and returns its frames of known types. They stay valid.
func (a *Archive) Frames(ctx context.Context, segment uint64) ([]Frame, error) {
	if segment >= uint64(len(a.parts)) {
		return nil, fmt.Errorf("recording %s has no segment %d", a.opening.Session, segment)
	}
	p := a.parts[segment]
	body, err := a.source.Body(ctx, segment)
	if err != nil {
		return nil, err
	}
	if sha256.Sum256(body) != p.body {
		return nil, a.fault(p, fmt.Errorf("%w: the body of segment %d is not the one that was signed", ErrAltered, segment))
	}
	k, err := a.keys(segment)
	if err != nil {
		return nil, err
	}
	defer k.forget()
	frames, err := a.decrypt(p, k, body)
	if err != nil {
		return nil, a.fault(p, err)
	}
	return frames, nil
}

func (a *Archive) fault(p Part, err error) error {
	if f := new(Fault); errors.As(err, &f) {
		return err
	}
	return &Fault{Segment: p.Number, Frame: p.First, Err: err}
}

// keys turns the ratchet to a segment.
func (a *Archive) keys(segment uint64) (*keys, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for uint64(len(a.states)) <= segment {
		r := a.states[len(a.states)-1]
		if _, err := r.next(); err != nil {
			return nil, err
		}
		a.states = append(a.states, r)
	}
	r := a.states[segment]
	return r.next()
}

// decrypt opens a segment with the reader that recordings are read with from end to end.
func (a *Archive) decrypt(p Part, k *keys, body []byte) ([]Frame, error) {
	a.mu.Lock()
	var u *unpacker
	if n := len(a.spare); n > 0 {
		u, a.spare = a.spare[n-1], a.spare[:n-1]
	}
	a.mu.Unlock()
	if u == nil {
		var err error
		if u, err = newUnpacker(); err != nil {
			return nil, err
		}
	}
	r := &Reader{sealed: &sealedReader{}, unpacker: u, chain: newChain(p.header.First, p.header.Before)}
	r.sealed.sum.Segments = p.Number // which frames have a place at the beginning
	var err error
	if p.header.Form == formVerbatim {
		err = r.verbatim(p.header, k, body)
	} else {
		err = r.packed(p.header, k, p.raw, body)
	}
	if err != nil {
		return nil, err
	}
	frames := own(r.frames)
	a.mu.Lock()
	a.spare = append(a.spare, u)
	a.mu.Unlock()
	return frames, nil
}

// own copies frames, whose data the unpacker uses again.
func own(frames []Frame) []Frame {
	total := 0
	for _, f := range frames {
		total += len(f.Data)
	}
	data, list := make([]byte, 0, total), make([]Frame, 0, len(frames))
	for _, f := range frames {
		if f.Type < TypeHeader || f.Type > TypeSealed {
			continue
		}
		begin := len(data)
		data = append(data, f.Data...)
		f.Data = data[begin:len(data):len(data)]
		list = append(list, f)
	}
	return list
}

// outlineReader reads and verifies an outline.
type outlineReader struct {
	in      fileScanner
	bastion crypto.PublicKey
	opening opening
	box     []byte
	parts   []Part
	sum     Summary
}

func (o *outlineReader) read() error {
	if err := o.begin(); err != nil {
		return &Fault{Err: shortened(err)}
	}
	for {
		item := o.in.bytes(1)
		err := o.in.err
		if err == nil && item[0] == itemEnd {
			if err = o.end(); err == nil {
				return nil
			}
		} else if err == nil && item[0] == itemSegment {
			err = o.segment()
		} else if err == nil {
			err = fmt.Errorf("%w: item of kind %d", ErrMalformed, item[0])
		}
		if err != nil {
			return &Fault{Segment: o.sum.Segments, Frame: o.sum.Frames, Err: shortened(err)}
		}
	}
}

func (o *outlineReader) begin() (err error) {
	if magic := o.in.bytes(len(outlineMagic)); o.in.err == nil && string(magic) != outlineMagic {
		return fmt.Errorf("%w: it begins with %q and this program reads %q", ErrMalformed, magic, outlineMagic)
	}
	b := o.in.string(maxStatement)
	o.box = o.in.string(maxBox)
	if o.in.err != nil {
		return o.in.err
	}
	if o.opening, err = parseOpening(b); err != nil {
		return err
	}
	if len(o.box) > 0 && sha256.Sum256(o.box) != o.opening.BoxSum {
		return fmt.Errorf("%w: the key box is not that of the opening", ErrAltered)
	}
	sum := o.opening.sum()
	o.sum.Session, o.sum.Head, o.sum.SealedHead = o.opening.Session, sum, sum
	o.sum.Bastion, o.sum.RecordingKey = o.opening.Bastion, o.opening.KeyID
	return nil
}

func (o *outlineReader) segment() (err error) {
	p := Part{raw: o.in.string(maxStatement)}
	copy(p.body[:], o.in.bytes(sha256.Size))
	if b := o.in.bytes(4); b != nil {
		p.Sealed = binary.BigEndian.Uint32(b)
	}
	signature := o.in.string(maxStatement)
	o.in.string(maxIndex)
	if o.in.err != nil {
		return o.in.err
	}
	p.head = sealedHeadOf(p.raw, p.body)
	if o.bastion != nil && !verify(o.bastion, segmentMessage(p.head), signature) {
		return fmt.Errorf("%w: the bastion's key did not sign this segment", ErrAltered)
	}
	if p.header, err = parseSegmentHeader(p.raw); err != nil {
		return err
	}
	if err := (&sealedReader{sum: o.sum}).follows(p.header); err != nil {
		return err
	}
	p.Number, p.First, p.Frames = p.header.Number, p.header.First, p.header.Frames
	o.sum.Segments, o.sum.SealedHead = p.Number+1, p.head
	o.sum.Frames, o.sum.Head = p.First+uint64(p.Frames), p.header.After
	o.sum.Bytes += int64(p.Sealed)
	o.parts = append(o.parts, p)
	return nil
}

func (o *outlineReader) end() error {
	statement, signature := o.in.string(maxStatement), o.in.string(maxStatement)
	if o.in.err != nil {
		return o.in.err
	}
	if o.bastion != nil && !verify(o.bastion, endMessage(statement), signature) {
		return fmt.Errorf("%w: the bastion's key did not sign the end statement", ErrAltered)
	}
	e, err := parseEnd(statement)
	if err != nil {
		return err
	}
	if e.Session != o.sum.Session || e.Segments != o.sum.Segments || e.Frames != o.sum.Frames || e.Head != o.sum.Head || e.SealedHead != o.sum.SealedHead {
		return fmt.Errorf("%w: the end statement is of %d frames in %d segments, here are %d in %d", ErrAltered, e.Frames, e.Segments, o.sum.Frames, o.sum.Segments)
	}
	if o.in.bytes(1); o.in.err != io.EOF {
		return fmt.Errorf("%w: something follows the end statement", ErrMalformed)
	}
	o.sum.Sealed, o.sum.Interrupted, o.sum.Live = e.State != stateLive, e.State == stateInterrupted, e.State == stateLive
	o.sum.Signed = o.bastion != nil
	return nil
}

const maxIndex = 256 << 10
