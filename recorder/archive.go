package recorder

import (
	"bufio"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Archive is a sealed recording that is read in any order: its outline was fetched and verified, and a segment is fetched when
// it is wanted and held against the outline. Methods may be called from many goroutines.
type Archive struct {
	source  Source
	opening opening
	parts   []Part
	states  []ratchet // of each segment
	sum     Summary

	mu      sync.Mutex
	spare   []*unpacker
	opened  map[string]PrivateKey    // keys of compartments
	parked  map[uint64]*compartments // as they are before a segment
	header  Header
	hasHead bool
}

// Part is one segment, as the outline has it.
type Part struct {
	Number uint64
	First  uint64 // frame
	Frames uint32
	Sealed uint32 // bytes of the body as it is kept

	// Index is what the bastion's indexer said of the segment; nil: nothing. Times, since the start of the session, are those of the first and the last
	// frame, and Bytes is what the data of all frames comes to. All are zero if there is no entry: in recordings of earlier versions, and in what a
	// bastion had not sealed when it died.
	Index      []byte
	Begin, End time.Duration
	Bytes      uint64

	raw       []byte
	header    segmentHeader
	body      [32]byte
	head      [32]byte // sealed head after this segment
	signature []byte
	entry     []byte // sealed
}

// OpenArchive reads the outline and verifies all of it: the bastion's signatures, the order and the number of the segments, the
// end, and that the index is of this recording. With a nil bastion key signatures are not checked, which Summary says.
//
// When the outline stops being good, the error is a *[Fault], and what came before can be read all the same: the Archive is not nil, unless
// it does not even begin well.
func OpenArchive(ctx context.Context, src Source, key PrivateKey, bastion crypto.PublicKey) (*Archive, error) {
	outline, err := src.Outline(ctx)
	if err != nil {
		return nil, err
	}
	defer outline.Close()
	o := &outlineReader{in: fileScanner{r: bufio.NewReaderSize(outline, 64<<10)}, magic: outlineMagic, bastion: bastion}
	if err := o.begin(); err != nil {
		return nil, &Fault{Err: shortened(err)}
	}
	root, err := o.opening.openRoot(o.box, key)
	if err != nil {
		return nil, err
	}
	defer clear(root)
	first, err := newRatchet(root, o.opening.sum())
	if err != nil {
		return nil, err
	}
	fault := o.rest()
	a := &Archive{source: src, opening: o.opening, parts: o.parts, sum: o.sum, opened: map[string]PrivateKey{}, parked: map[uint64]*compartments{}}
	a.header.Session, a.header.Bastion, a.header.Started = o.opening.Session, o.opening.Bastion, o.opening.started()
	if err := a.unlock(first); fault == nil {
		fault = err
	}
	return a, fault
}

// unlock turns the ratchet through all segments, and opens the index on the way. An entry that does not open is a fault, and its segment
// can be read all the same.
func (a *Archive) unlock(r *ratchet) (fault error) {
	a.states = make([]ratchet, len(a.parts))
	for i := range a.parts {
		p := &a.parts[i]
		a.states[i] = *r
		k, err := r.next()
		if err != nil {
			return err
		}
		if len(p.entry) > 0 {
			err = p.openEntry(k.index[:], p.entry)
		}
		k.forget()
		if p.entry = nil; err != nil && fault == nil {
			fault = a.fault(*p, 0, err)
		}
	}
	return fault
}

// openRoot opens the key box.
func (o opening) openRoot(box []byte, key PrivateKey) ([]byte, error) {
	if o.KeyID != key.ID() {
		return nil, fmt.Errorf("recording %s: %w: %s; the key given is %s", o.Session, ErrWrongKey, o.KeyID, key.ID())
	}
	if len(box) == 0 {
		return nil, fmt.Errorf("recording %s: %w", o.Session, ErrShredded)
	}
	root, err := key.openRoot(o.Session, box)
	if err != nil {
		return nil, &Fault{Err: fmt.Errorf("%w: the key box does not open: %w", ErrAltered, err)}
	}
	return root, nil
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

// OpenCompartment lets Frames give out the frames that were sealed to a key as what they are. Without it, it gives out the [TypeSealed] ones that stand
// for them.
func (a *Archive) OpenCompartment(key PrivateKey) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.opened[key.ID()] = key
	clear(a.parked)
}

// Frames fetches one segment, verifies it, and returns its frames of known types. They stay valid. With an error, which is a *[Fault] if it is about
// the recording, come those that are good all the same.
func (a *Archive) Frames(ctx context.Context, segment uint64) ([]Frame, error) {
	frames, err := a.outer(ctx, segment)
	uncovered, fault := a.uncover(ctx, segment, frames)
	if fault != nil {
		err = fault
	}
	known := uncovered[:0]
	for _, f := range uncovered {
		if f.Type >= TypeHeader && f.Type <= TypeSealed {
			known = append(known, f)
		}
	}
	return known, err
}

// outer are the frames of a segment, those of compartments as they are.
func (a *Archive) outer(ctx context.Context, segment uint64) ([]Frame, error) {
	if segment >= uint64(len(a.parts)) {
		return nil, fmt.Errorf("recording %s has no segment %d", a.opening.Session, segment)
	}
	p := a.parts[segment]
	body, err := a.source.Body(ctx, segment)
	if err != nil {
		return nil, err
	}
	if uint32(len(body)) != p.Sealed || sha256.Sum256(body) != p.body {
		return nil, a.fault(p, 0, fmt.Errorf("%w: the body of segment %d is not the one that was signed", ErrAltered, segment))
	}
	state := a.states[segment]
	k, err := state.next()
	if err != nil {
		return nil, err
	}
	defer k.forget()
	frames, err := a.decrypt(p, k, body)
	if err != nil {
		return frames, a.fault(p, len(frames), err)
	}
	return frames, nil
}

// fault says where a segment stops being good, behind so many frames.
func (a *Archive) fault(p Part, good int, err error) error {
	if f := new(Fault); errors.As(err, &f) {
		return err
	}
	return &Fault{Segment: p.Number, Frame: p.First + uint64(good), Err: err}
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
	frames := own(r.frames)
	a.mu.Lock()
	a.spare = append(a.spare, u)
	a.mu.Unlock()
	return frames, err
}

// own copies frames, whose data the unpacker uses again.
func own(frames []Frame) []Frame {
	total := 0
	for _, f := range frames {
		total += len(f.Data)
	}
	data, list := make([]byte, 0, total), make([]Frame, 0, len(frames))
	for _, f := range frames {
		begin := len(data)
		data = append(data, f.Data...)
		f.Data = data[begin:len(data):len(data)]
		list = append(list, f)
	}
	return list
}
