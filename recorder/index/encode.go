package index

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// FORMAT.md, Index entry.
const (
	version      = 1
	plainJSON    = 0
	zstdJSON     = 1
	compressFrom = 256       // bytes of JSON
	mostJSON     = 1 << 20   // that a reader takes
	MostEntry    = 256 << 10 // bytes that Segment returns, at most
)

var errEntry = errors.New("index entry that this program does not read")

var encoder = sync.OnceValue(func() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(128<<10), zstd.WithLowerEncoderMem(true))
	if err != nil {
		panic(err) // of the options
	}
	return e
})

var decoder = sync.OnceValue(func() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(mostJSON), zstd.WithDecoderMaxWindow(1<<20))
	if err != nil {
		panic(err)
	}
	return d
})

// encode writes an entry. What an [Indexer] makes fits; if it should not, the lists go that are of least use.
func (e *Entry) encode() []byte {
	for try := 0; ; try++ {
		b := e.marshal()
		if len(b) <= MostEntry {
			return b
		}
		e.Cut = true
		switch try {
		case 0:
			e.Activity, e.Anchors, e.Marks = nil, nil, nil
		case 1:
			e.Files, e.Forwards = nil, nil
		default:
			*e = Entry{Begin: e.Begin, End: e.End, Output: e.Output, Input: e.Input, Drawn: true, Cut: true}
		}
	}
}

func (e *Entry) marshal() []byte {
	var object bytes.Buffer
	enc := json.NewEncoder(&object)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(e); err != nil {
		panic(fmt.Sprintf("index entry: %v", err)) // strings and numbers always encode
	}
	text := bytes.TrimSuffix(object.Bytes(), []byte("\n"))
	b := append(make([]byte, 0, 6+len(e.Words)+len(text)), version, plainJSON)
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Words)))
	b = append(b, e.Words...)
	if len(text) < compressFrom {
		return append(b, text...)
	}
	b[1] = zstdJSON
	return encoder().EncodeAll(text, b)
}

// Parse reads what [Indexer.Segment] wrote.
func Parse(b []byte) (Entry, error) {
	if len(b) < 6 || b[0] != version || b[1] > zstdJSON {
		return Entry{}, fmt.Errorf("%w: it begins with %x", errEntry, b[:min(len(b), 2)])
	}
	n, rest := binary.BigEndian.Uint32(b[2:]), b[6:]
	if uint64(n) > uint64(len(rest)) || n > 0 && !Filter(rest[:n]).good() {
		return Entry{}, fmt.Errorf("%w: words of %d bytes", errEntry, n)
	}
	words, text := rest[:n:n], rest[n:]
	if b[1] == zstdJSON {
		var err error
		if text, err = decoder().DecodeAll(text, nil); err != nil {
			return Entry{}, fmt.Errorf("%w: %w", errEntry, err)
		}
	}
	var e Entry
	dec := json.NewDecoder(bytes.NewReader(text))
	if err := dec.Decode(&e); err != nil {
		return Entry{}, fmt.Errorf("%w: %w", errEntry, err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return Entry{}, fmt.Errorf("%w: something follows the object", errEntry)
	}
	if n > 0 {
		e.Words = Filter(words)
	}
	return e, nil
}
