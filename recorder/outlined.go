package recorder

import (
	"bufio"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
)

// Outlined is what an outline proves to who has no key: signed by the bastion, segment by segment.
type Outlined struct {
	Summary
	Bodies [][sha256.Size]byte // hash of the body of each segment

	sealed []logged            // head after each segment
	chain  map[uint64][32]byte // after so many frames, at the ends of segments
}

// ReadOutline verifies an outline as [CheckOutline] does, and keeps what segments and logged heads are held against.
func ReadOutline(ctx context.Context, src Source, bastion crypto.PublicKey) (*Outlined, error) {
	outline, err := src.Outline(ctx)
	if err != nil {
		return nil, err
	}
	defer outline.Close()
	r := &outlineReader{in: fileScanner{r: bufio.NewReaderSize(outline, 64<<10)}, magic: outlineMagic, bastion: bastion}
	if err := r.begin(); err != nil {
		return nil, &Fault{Err: shortened(err)}
	}
	err = r.rest()
	o := &Outlined{Summary: r.sum, chain: map[uint64][32]byte{}}
	for _, p := range r.parts {
		o.Bodies = append(o.Bodies, p.body)
		o.sealed = append(o.sealed, logged{p.Number + 1, p.head})
		o.chain[p.First+uint64(p.Frames)] = p.header.After
	}
	return o, err
}

// ExpectSealed says whether the chain over the first segments is what was logged.
func (o *Outlined) ExpectSealed(segments uint64, head [32]byte) error {
	if segments > uint64(len(o.sealed)) {
		return fmt.Errorf("%w: it has %d segments, and %d were logged", ErrCutShort, len(o.sealed), segments)
	}
	if segments == 0 {
		return nil
	}
	return expected([]logged{{segments, head}}, segments, o.sealed[segments-1].head, "segments")
}

// Expect says whether the chain over the first frames is what was logged, where a segment ends with them; others show only to who
// opens the frames.
func (o *Outlined) Expect(frames uint64, head [32]byte) error {
	if got, known := o.chain[frames]; known {
		return expected([]logged{{frames, head}}, frames, got, "frames")
	}
	return nil
}

// CheckLogged is [Check] of a recording that must also pass through what was logged of it: the chain over segments after so many of them,
// and the one over frames after so many of those, as far as a segment ends there.
func CheckLogged(r io.Reader, bastion crypto.PublicKey, segments, frames map[uint64][32]byte) (Summary, error) {
	s, err := newSealedReader(r, bastion)
	if err != nil {
		return Summary{}, err
	}
	for count, head := range segments {
		if count > 0 {
			s.logged = append(s.logged, logged{count, head})
		}
	}
	for {
		h, _, body, err := s.next()
		if err == io.EOF {
			return s.sum, nil
		}
		if err == nil {
			err = checkVerbatim(h, body)
		}
		end := h.First + uint64(h.Frames)
		if head, known := frames[end]; err == nil && known {
			err = expected([]logged{{end, head}}, end, h.After, "frames")
		}
		if err != nil {
			return s.sum, s.fault(err)
		}
		s.accept(h)
	}
}

// BareOutline reads an outline and leaves the index out, which no signature covers and which tells of all segments to who has the key.
func BareOutline(r io.Reader) ([]byte, error) {
	in := &fileScanner{r: bufio.NewReaderSize(r, 64<<10)}
	out := in.bytes(len(outlineMagic))
	if in.err == nil && string(out) != outlineMagic {
		return nil, &Fault{Err: fmt.Errorf("%w: it begins with %q", ErrMalformed, out)}
	}
	out = appendString(appendString(out, in.string(maxStatement)), in.string(maxBox))
	for n := uint64(0); in.err == nil; n++ {
		item := in.bytes(1)
		out = append(out, item...)
		switch {
		case in.err != nil:
		case item[0] == itemSegment:
			p := outlined{Header: in.string(maxStatement)}
			copy(p.Body[:], in.bytes(sha256.Size))
			if b := in.bytes(4); b != nil {
				p.Length = binary.BigEndian.Uint32(b)
			}
			p.Signature = in.string(maxStatement)
			in.string(maxIndex)
			out = append(out, p.marshal()...)
		case item[0] == itemEnd:
			out = appendString(appendString(out, in.string(maxStatement)), in.string(maxStatement))
			if in.err == nil {
				return out, nil
			}
		default:
			in.err = fmt.Errorf("%w: item of kind %d", ErrMalformed, item[0])
		}
	}
	return nil, &Fault{Err: shortened(in.err)}
}
