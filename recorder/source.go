package recorder

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
)

// A Source gives the parts of one sealed recording in any order. What it says is believed only as far as signatures and
// hashes go, so it may be a file that somebody handed over or a bastion.
type Source interface {
	// Outline is the recording without the bodies of its segments; FORMAT.md, Outline.
	Outline(context.Context) (io.ReadCloser, error)
	// Body is that of one segment.
	Body(ctx context.Context, segment uint64) ([]byte, error)
}

// Exported is a [Source] of what [Store.Export] wrote. It has no index.
type Exported struct {
	r       io.ReaderAt
	outline []byte // as a bastion would send it
	bodies  []span
}

type span struct {
	at     int64
	length uint32
}

// OpenExported finds the segments of a sealed recording. Nothing is verified here: [OpenArchive] does that.
func OpenExported(r io.ReaderAt, size int64) (*Exported, error) {
	in := &fileScanner{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, size), 64<<10)}
	f := &Exported{r: r}
	if magic := in.bytes(len(recordingMagic)); string(magic) != recordingMagic {
		return nil, &Fault{Err: fmt.Errorf("%w: it begins with %.20q", ErrMalformed, magic)}
	}
	f.outline = append(f.outline, outlineMagic...)
	f.outline = appendString(f.outline, in.string(maxStatement))
	f.outline = appendString(f.outline, in.string(maxBox))
	for in.err == nil {
		item := in.bytes(1)
		if in.err != nil {
			break
		}
		f.outline = append(f.outline, item...)
		switch item[0] {
		case itemSegment:
			f.segment(in)
		case itemEnd:
			f.outline = appendString(f.outline, in.string(maxStatement))
			f.outline = appendString(f.outline, in.string(maxStatement))
			if in.err == nil && in.at != size {
				in.err = fmt.Errorf("%w: something follows the end statement", ErrMalformed)
			}
			if in.err == nil {
				return f, nil
			}
		default:
			in.err = fmt.Errorf("%w: item of kind %d", ErrMalformed, item[0])
		}
	}
	return nil, &Fault{Segment: uint64(len(f.bodies)), Err: shortened(in.err)}
}

func (f *Exported) segment(in *fileScanner) {
	header := in.string(maxStatement)
	at := in.at + 4
	body := in.string(maxBody)
	signature := in.string(maxStatement)
	sum := sha256.Sum256(body)
	f.outline = append(f.outline, outlined{Header: header, Body: sum, Length: uint32(len(body)), Signature: signature}.marshal()...)
	f.bodies = append(f.bodies, span{at, uint32(len(body))})
}

// Outline implements [Source].
func (f *Exported) Outline(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(f.outline)), nil
}

// Body implements [Source].
func (f *Exported) Body(_ context.Context, segment uint64) ([]byte, error) {
	if segment >= uint64(len(f.bodies)) {
		return nil, fmt.Errorf("segment %d of %d", segment, len(f.bodies))
	}
	b := make([]byte, f.bodies[segment].length)
	if _, err := f.r.ReadAt(b, f.bodies[segment].at); err != nil {
		return nil, err
	}
	return b, nil
}

// fileScanner reads strings and keeps its first error.
type fileScanner struct {
	r   *bufio.Reader
	at  int64
	err error
}

func (s *fileScanner) bytes(n int) []byte {
	if s.err != nil {
		return nil
	}
	b := make([]byte, n)
	var got int
	got, s.err = io.ReadFull(s.r, b)
	s.at += int64(got)
	return b
}

func (s *fileScanner) string(most uint32) []byte {
	head := s.bytes(4)
	if s.err != nil {
		return nil
	}
	n := binary.BigEndian.Uint32(head)
	if n > most {
		s.err = fmt.Errorf("%w: %d bytes where at most %d may be", ErrMalformed, n, most)
		return nil
	}
	return s.bytes(int(n))
}
