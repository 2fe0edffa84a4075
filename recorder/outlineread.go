package recorder

import (
	"bufio"
	"context"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// outlineReader reads and verifies an outline.
type outlineReader struct {
	in      fileScanner
	magic   string
	bastion crypto.PublicKey
	opening opening
	box     []byte
	parts   []Part
	sum     Summary
}

// rest reads the segments and the end. What comes before a fault is in o.parts and o.sum.
func (o *outlineReader) rest() error {
	v := newVerifier(o.bastion)
	err := o.items(v)
	if bad, found := v.wait(); found { // then it came before whatever else is wrong
		p := o.parts[bad]
		o.sum.Segments, o.sum.SealedHead = p.Number, p.header.Previous
		o.sum.Frames, o.sum.Head = p.First, p.header.Before
		o.sum.Sealed, o.sum.Interrupted, o.sum.Live = false, false, false
		for _, lost := range o.parts[bad:] {
			o.sum.Bytes -= int64(lost.Sealed)
		}
		o.parts = o.parts[:bad]
		err = fmt.Errorf("%w: the bastion's key did not sign this segment", ErrAltered)
	}
	if err != nil {
		return &Fault{Segment: o.sum.Segments, Frame: o.sum.Frames, Err: shortened(err)}
	}
	return nil
}

func (o *outlineReader) items(v *verifier) error {
	for {
		item := o.in.bytes(1)
		switch {
		case o.in.err != nil:
			return o.in.err
		case item[0] == itemEnd:
			return o.end()
		case item[0] != itemSegment:
			return fmt.Errorf("%w: item of kind %d", ErrMalformed, item[0])
		}
		if err := o.segment(); err != nil {
			return err
		}
		p := o.parts[len(o.parts)-1]
		v.check(len(o.parts)-1, segmentMessage(p.head), p.signature)
	}
}

func (o *outlineReader) begin() (err error) {
	if magic := o.in.bytes(len(o.magic)); o.in.err == nil && string(magic) != o.magic {
		return fmt.Errorf("%w: it begins with %q and this program reads %q", ErrMalformed, magic, o.magic)
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
	o.sum.Box, o.sum.Shredded = o.opening.BoxSum, len(o.box) == 0
	return nil
}

func (o *outlineReader) segment() error {
	p, err := o.part()
	if err == nil {
		err = o.place(&p)
	}
	if err == nil {
		o.parts = append(o.parts, p)
	}
	return err
}

func (o *outlineReader) part() (p Part, err error) {
	p.raw = o.in.string(maxStatement)
	copy(p.body[:], o.in.bytes(sha256.Size))
	if b := o.in.bytes(4); b != nil {
		p.Sealed = binary.BigEndian.Uint32(b)
	}
	p.signature, p.entry = o.in.string(maxStatement), o.in.string(maxIndex)
	return p, o.in.err
}

// place sees that a segment follows the one before, and counts it.
func (o *outlineReader) place(p *Part) (err error) {
	if p.header, err = parseSegmentHeader(p.raw); err != nil {
		return err
	}
	if p.Sealed > maxBody {
		return fmt.Errorf("%w: body of %d bytes", ErrMalformed, p.Sealed)
	}
	if err := (&sealedReader{sum: o.sum}).follows(p.header); err != nil {
		return err
	}
	p.head = sealedHeadOf(p.raw, p.body)
	p.Number, p.First, p.Frames = p.header.Number, p.header.First, p.header.Frames
	o.sum.Segments, o.sum.SealedHead = p.Number+1, p.head
	o.sum.Frames, o.sum.Head = p.First+uint64(p.Frames), p.header.After
	o.sum.Bytes += int64(p.Sealed)
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

// verifier checks signatures beside the reader, for they take most of the time.
type verifier struct {
	key  crypto.PublicKey
	jobs chan signed
	work sync.WaitGroup

	mu  sync.Mutex
	bad int // the first that is; -1: none
}

type signed struct {
	n                  int
	message, signature []byte
}

func newVerifier(key crypto.PublicKey) *verifier {
	v := &verifier{key: key, jobs: make(chan signed, 64), bad: -1}
	for range runtime.GOMAXPROCS(0) {
		v.work.Go(func() {
			for j := range v.jobs {
				if !verify(v.key, j.message, j.signature) {
					v.found(j.n)
				}
			}
		})
	}
	return v
}

func (v *verifier) found(n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.bad < 0 || n < v.bad {
		v.bad = n
	}
}

func (v *verifier) check(n int, message, signature []byte) {
	if v.key != nil {
		v.jobs <- signed{n, message, signature}
	}
}

// wait returns the first that is not good.
func (v *verifier) wait() (n int, found bool) {
	close(v.jobs)
	v.work.Wait()
	return v.bad, v.bad >= 0
}

// CheckOutline verifies all of an outline that can be verified without a key, as [Check] does with a recording.
func CheckOutline(ctx context.Context, src Source, bastion crypto.PublicKey) (Summary, error) {
	outline, err := src.Outline(ctx)
	if err != nil {
		return Summary{}, err
	}
	defer outline.Close()
	o := &outlineReader{in: fileScanner{r: bufio.NewReaderSize(outline, 64<<10)}, magic: outlineMagic, bastion: bastion}
	if err := o.begin(); err != nil {
		return o.sum, &Fault{Err: shortened(err)}
	}
	err = o.rest()
	return o.sum, err
}
