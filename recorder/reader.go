package recorder

import (
	"bufio"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Summary is what a recording is, as far as it was read.
type Summary struct {
	Progress
	Live         bool // exported while the session ran, so that more may follow
	Signed       bool // by the bastion's key that was given
	Bastion      string
	RecordingKey string
	Bytes        int64
	Box          [32]byte // hash of the key box
	Shredded     bool     // the box itself was destroyed
}

// Fault is where a recording stops being good.
type Fault struct {
	Segment uint64 // the first that is not good
	Frame   uint64 // the first that is not, or cannot be known to be, good
	Err     error  // wraps ErrCutShort, ErrAltered or ErrMalformed
}

func (f *Fault) Error() string {
	return fmt.Sprintf("at segment %d, frame %d: %v", f.Segment, f.Frame, f.Err)
}

func (f *Fault) Unwrap() error { return f.Err }

// sealedReader reads and verifies the outer structure, for which nobody needs a key.
type sealedReader struct {
	in      *bufio.Reader
	bastion crypto.PublicKey
	opening opening
	box     []byte
	sum     Summary
	done    bool
	pending [32]byte // sealed head, if the segment is accepted
	logged  []logged
}

// logged is what the CA's log says the chain over sealed segments was.
type logged struct {
	count uint64
	head  [32]byte
}

func newSealedReader(r io.Reader, bastion crypto.PublicKey) (*sealedReader, error) {
	s := &sealedReader{in: bufio.NewReaderSize(r, 64<<10), bastion: bastion}
	if err := s.begin(); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *sealedReader) begin() error {
	magic := make([]byte, len(recordingMagic))
	n, err := io.ReadFull(s.in, magic)
	if err != nil && string(magic[:n]) == recordingMagic[:n] {
		return s.fault(shortened(err))
	}
	if string(magic) != recordingMagic {
		if string(magic[:18]) == recordingMagic[:18] {
			return s.fault(fmt.Errorf("%w: it begins with %q and this program reads %q; use a newer postern", ErrMalformed, magic, recordingMagic))
		}
		return s.fault(fmt.Errorf("%w: it begins with %q", ErrMalformed, magic))
	}
	s.sum.Bytes = int64(n)
	b, err := s.string(maxStatement)
	if err != nil {
		return s.fault(err)
	}
	if s.box, err = s.string(maxBox); err != nil {
		return s.fault(err)
	}
	if s.opening, err = parseOpening(b); err != nil {
		return s.fault(err)
	}
	if len(s.box) > 0 && sha256.Sum256(s.box) != s.opening.BoxSum {
		return s.fault(fmt.Errorf("%w: the key box is not that of the opening", ErrAltered))
	}
	o := s.opening.sum()
	s.sum.Session, s.sum.Head, s.sum.SealedHead = s.opening.Session, o, o
	s.sum.Bastion, s.sum.RecordingKey = s.opening.Bastion, s.opening.KeyID
	s.sum.Box, s.sum.Shredded = s.opening.BoxSum, len(s.box) == 0
	return nil
}

// next returns a segment whose signature, place and number are good, or io.EOF after a good end. The caller looks at
// what is in the segment and accepts it.
func (s *sealedReader) next() (h segmentHeader, header, body []byte, err error) {
	if s.done {
		return h, nil, nil, io.EOF
	}
	item, err := s.in.ReadByte()
	if err != nil {
		return h, nil, nil, s.fault(shortened(err))
	}
	s.sum.Bytes++
	switch item {
	case itemSegment:
		return s.segment()
	case itemEnd:
		return h, nil, nil, s.end()
	}
	return h, nil, nil, s.fault(fmt.Errorf("%w: item of kind %d", ErrMalformed, item))
}

func (s *sealedReader) segment() (h segmentHeader, header, body []byte, err error) {
	if header, err = s.string(maxStatement); err != nil {
		return h, nil, nil, s.fault(err)
	}
	if body, err = s.string(maxBody); err != nil {
		return h, nil, nil, s.fault(err)
	}
	signature, err := s.string(maxStatement)
	if err != nil {
		return h, nil, nil, s.fault(err)
	}
	head := sealedHead(header, body)
	if s.bastion != nil && !verify(s.bastion, segmentMessage(head), signature) {
		return h, nil, nil, s.fault(fmt.Errorf("%w: the bastion's key did not sign this segment", ErrAltered))
	}
	if h, err = parseSegmentHeader(header); err == nil {
		err = s.follows(h)
	}
	if err != nil {
		return h, nil, nil, s.fault(err)
	}
	if err := expected(s.logged, h.Number+1, head, "segments"); err != nil {
		return h, nil, nil, s.fault(err)
	}
	s.pending = head
	return h, header, body, nil
}

// accept counts a segment whose content is good too.
func (s *sealedReader) accept(h segmentHeader) {
	s.sum.Segments, s.sum.SealedHead = h.Number+1, s.pending
	s.sum.Frames, s.sum.Head = h.First+uint64(h.Frames), h.After
}

// follows says whether a segment continues what was read.
func (s *sealedReader) follows(h segmentHeader) error {
	switch {
	case h.Session != s.sum.Session:
		return fmt.Errorf("%w: segment of session %s in a recording of %s", ErrAltered, h.Session, s.sum.Session)
	case h.Number != s.sum.Segments:
		return fmt.Errorf("%w: segment %d stands where segment %d belongs", ErrAltered, h.Number, s.sum.Segments)
	case h.Previous != s.sum.SealedHead:
		return fmt.Errorf("%w: segment %d does not follow the one before", ErrAltered, h.Number)
	case h.First != s.sum.Frames || h.Before != s.sum.Head:
		return fmt.Errorf("%w: frame %d of segment %d does not follow frame %d", ErrAltered, h.First, h.Number, int64(s.sum.Frames)-1)
	}
	return nil
}

func (s *sealedReader) end() error {
	statement, err := s.string(maxStatement)
	if err != nil {
		return s.fault(err)
	}
	signature, err := s.string(maxStatement)
	if err != nil {
		return s.fault(err)
	}
	if s.bastion != nil && !verify(s.bastion, endMessage(statement), signature) {
		return s.fault(fmt.Errorf("%w: the bastion's key did not sign the end statement", ErrAltered))
	}
	e, err := parseEnd(statement)
	if err != nil {
		return s.fault(err)
	}
	if e.Session != s.sum.Session || e.Segments != s.sum.Segments || e.Frames != s.sum.Frames ||
		e.Head != s.sum.Head || e.SealedHead != s.sum.SealedHead {
		return s.fault(fmt.Errorf("%w: the end statement is of %d frames in %d segments, here are %d in %d",
			ErrAltered, e.Frames, e.Segments, s.sum.Frames, s.sum.Segments))
	}
	if _, err := s.in.ReadByte(); err != io.EOF {
		return s.fault(fmt.Errorf("%w: something follows the end statement", ErrMalformed))
	}
	if err := unreached(s.logged, s.sum.Segments, "segments"); err != nil {
		return s.fault(err)
	}
	s.sum.Sealed, s.sum.Interrupted, s.sum.Live = e.State != stateLive, e.State == stateInterrupted, e.State == stateLive
	s.sum.Signed = s.bastion != nil
	s.done = true
	return io.EOF
}

// string reads a string of at most that many bytes. It believes the length only as far as bytes come.
func (s *sealedReader) string(most uint32) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return nil, shortened(err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > most {
		return nil, fmt.Errorf("%w: %d bytes where at most %d may be", ErrMalformed, n, most)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.in, b); err != nil {
		return nil, shortened(err)
	}
	s.sum.Bytes += 4 + int64(n)
	return b, nil
}

func (s *sealedReader) fault(err error) error {
	var f *Fault
	if errors.As(err, &f) {
		return err
	}
	return &Fault{Segment: s.sum.Segments, Frame: s.sum.Frames, Err: err}
}

// checkVerbatim recomputes the chain of a verbatim segment, for which nobody needs a key.
func checkVerbatim(h segmentHeader, body []byte) error {
	if h.Form != formVerbatim {
		return nil
	}
	chain := newChain(h.First, h.Before)
	for range h.Frames {
		sealed, rest, err := nextVerbatim(body)
		if err != nil {
			return err
		}
		chain.step(sealed)
		body = rest
	}
	if len(body) != 0 {
		return fmt.Errorf("%w: %d bytes follow the last frame of a segment", ErrMalformed, len(body))
	}
	if chain.head() != h.After {
		return fmt.Errorf("%w: the frames of segment %d are not those of its header", ErrAltered, h.Number)
	}
	return nil
}

func shortened(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: the file ends before its end statement", ErrCutShort)
	}
	return err
}

func expected(list []logged, count uint64, head [32]byte, what string) error {
	for _, l := range list {
		if l.count == count && l.head != head {
			return fmt.Errorf("%w: after %d %s its head is %x, and %x was logged", ErrAltered, count, what, head, l.head)
		}
	}
	return nil
}

func unreached(list []logged, count uint64, what string) error {
	for _, l := range list {
		if l.count > count {
			return fmt.Errorf("%w: it has %d %s, and %d were logged", ErrCutShort, count, what, l.count)
		}
	}
	return nil
}

// Check verifies everything that can be verified without the private half: signatures, the chain of sealed segments,
// the count of frames, and the end. The Summary is good up to the error, which is a *[Fault].
func Check(r io.Reader, bastion crypto.PublicKey) (Summary, error) {
	s, err := newSealedReader(r, bastion)
	if err != nil {
		return Summary{}, err
	}
	for {
		h, _, body, err := s.next()
		if err == io.EOF {
			return s.sum, nil
		}
		if err != nil {
			return s.sum, err
		}
		if err := checkVerbatim(h, body); err != nil {
			return s.sum, s.fault(err)
		}
		s.accept(h)
	}
}
