package recorder

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/klauspost/compress/zstd"
)

const (
	storedRaw  = 0
	storedZstd = 1
	maxRaw     = 1 << 20
	zstdWindow = 1 << 20
)

// packer turns the frames of a segment into its plaintext body. It is one goroutine's and reuses its buffers.
type packer struct {
	thorough, quick *zstd.Encoder
	raw, out        []byte
}

func newPacker() *packer {
	encoder := func(level zstd.EncoderLevel) *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(zstdWindow), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
		if err != nil {
			panic("recorder: zstd: " + err.Error()) // the options are constants
		}
		return e
	}
	return &packer{thorough: encoder(zstd.SpeedDefault), quick: encoder(zstd.SpeedFastest)}
}

// pack returns compression, length and content; valid until the next call.
func (p *packer) pack(frames []Frame, hurry bool) []byte {
	p.raw = appendTable(p.raw[:0], frames)
	encoder := p.thorough
	if hurry {
		encoder = p.quick
	}
	p.out = append(p.out[:0], storedZstd)
	p.out = binary.BigEndian.AppendUint32(p.out, uint32(len(p.raw)))
	p.out = encoder.EncodeAll(p.raw, p.out)
	if len(p.out)-5 >= len(p.raw) {
		p.out[0] = storedRaw
		p.out = append(p.out[:5], p.raw...)
	}
	return p.out
}

// appendTable writes the columns and the data of frames.
func appendTable(b []byte, frames []Frame) []byte {
	for _, f := range frames {
		b = append(b, byte(f.Type))
	}
	for _, f := range frames {
		b = binary.AppendUvarint(b, uint64(f.Channel))
	}
	for _, f := range frames {
		b = append(b, f.Stream)
	}
	var last time.Duration
	for _, f := range frames {
		b = binary.AppendUvarint(b, uint64((f.At-last)/time.Microsecond))
		last = f.At
	}
	for _, f := range frames {
		b = binary.AppendUvarint(b, uint64(len(f.Data)))
	}
	for _, f := range frames {
		b = append(b, f.Data...)
	}
	return b
}

// unpacker reads what a packer wrote.
type unpacker struct {
	zstd   *zstd.Decoder
	raw    []byte
	frames []Frame
}

func newUnpacker() (*unpacker, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(maxRaw), zstd.WithDecoderMaxWindow(zstdWindow))
	return &unpacker{zstd: d}, err
}

// unpack returns the frames of a plaintext body; they are valid until the next call.
func (u *unpacker) unpack(b []byte, count int) ([]Frame, error) {
	if len(b) < 5 {
		return nil, fmt.Errorf("%w: packed body of %d bytes", ErrMalformed, len(b))
	}
	compression, length, b := b[0], binary.BigEndian.Uint32(b[1:]), b[5:]
	switch compression {
	case storedRaw:
	case storedZstd:
		var err error
		if u.raw, err = u.zstd.DecodeAll(b, u.raw[:0]); err != nil {
			return nil, fmt.Errorf("%w: packed body: %w", ErrMalformed, err)
		}
		b = u.raw
	default:
		return nil, fmt.Errorf("%w: packed body of compression %d", ErrMalformed, compression)
	}
	if length > maxRaw || int(length) != len(b) {
		return nil, fmt.Errorf("%w: packed body of %d bytes, not %d", ErrMalformed, len(b), length)
	}
	var err error
	u.frames, err = parseTable(u.frames[:0], b, count)
	return u.frames, err
}

// parseTable appends the count frames of a table to dst. Their data aliases b.
func parseTable(dst []Frame, b []byte, count int) ([]Frame, error) {
	t := table{b: b}
	base := len(dst)
	for _, typ := range t.bytes(count) {
		dst = append(dst, Frame{Type: Type(typ)})
	}
	frames := dst[base:]
	for i := range frames {
		frames[i].Channel = uint32(t.uvarint(1<<32 - 1))
	}
	for i, stream := range t.bytes(len(frames)) {
		frames[i].Stream = stream
	}
	var at uint64
	for i := range frames {
		at += t.uvarint(maxMicros - at)
		frames[i].At = time.Duration(at) * time.Microsecond
	}
	lengths := t
	for range frames {
		t.uvarint(MaxData)
	}
	for i := range frames {
		frames[i].Data = t.bytes(int(lengths.uvarint(MaxData)))
	}
	if t.bad || len(t.b) != 0 {
		return dst[:base], fmt.Errorf("%w: table of %d frames", ErrMalformed, count)
	}
	return dst, nil
}

// table reads columns. After something bad it returns nothing any more.
type table struct {
	b   []byte
	bad bool
}

func (t *table) bytes(n int) []byte {
	if t.bad || n > len(t.b) {
		t.bad = true
		return nil
	}
	head := t.b[:n:n]
	t.b = t.b[n:]
	return head
}

func (t *table) uvarint(most uint64) uint64 {
	v, n := binary.Uvarint(t.b)
	// The shortest form has no zero in its last byte, unless it is the only one.
	if t.bad || n <= 0 || v > most || n > 1 && t.b[n-1] == 0 {
		t.bad = true
		return 0
	}
	t.b = t.b[n:]
	return v
}
