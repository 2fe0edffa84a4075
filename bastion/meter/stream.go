package meter

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"

	"postern/recorder"
)

const (
	sampleEvery = 1 << 20 // bytes of a stream beyond what is kept from one sample to the next
	sampleSize  = 4 << 10
)

// Stream follows one stream of bytes: its beginning is kept, and of what comes after there is a hash, and a sample here and there.
type Stream struct {
	log    *Log
	stream byte
	keep   uint64
	all    bool
	bytes  uint64
	hash   hash.Hash // nil: everything is kept, so whoever has the recording has the hash
	sample uint64    // where the next sample is due
	done   bool
}

// NewStream follows a stream of which keep bytes are recorded; below 0: all.
func NewStream(log *Log, stream byte, keep int64) *Stream {
	s := &Stream{log: log, stream: stream, all: keep < 0, keep: uint64(max(keep, 0))}
	if !s.all {
		s.hash = sha256.New()
	}
	return s
}

// Pass takes the next bytes of the stream, at most [recorder.MaxData]. The log refers to b until it is reset.
func (s *Stream) Pass(b []byte) {
	if s.hash != nil {
		s.hash.Write(b)
	}
	if kept := s.room(len(b)); kept > 0 {
		s.log.add(recorder.Frame{Type: recorder.TypeData, Stream: s.stream, Data: b[:kept]})
		s.bytes += uint64(kept)
		b = b[kept:]
	}
	if len(b) == 0 {
		return
	}
	e := recorder.Extent{Offset: s.bytes, Length: uint32(len(b))}
	s.hash.Sum(e.Sum[:0])
	if s.bytes >= s.sample {
		e.Kept = b[:min(len(b), sampleSize)]
		s.sample = s.bytes + sampleEvery
	}
	s.log.extent(s.stream, e)
	s.bytes += uint64(len(b))
}

func (s *Stream) room(n int) int {
	if s.all {
		return n
	}
	return int(min(uint64(n), s.keep-min(s.keep, s.bytes)))
}

// Bytes passed so far.
func (s *Stream) Bytes() uint64 { return s.bytes }

// Done tells what all of the stream was. Only the first call counts.
func (s *Stream) Done() {
	if s.done {
		return
	}
	s.done = true
	told := recorder.Stream{Bytes: s.bytes, Kept: s.bytes}
	if s.hash != nil {
		told.Kept = min(s.bytes, s.keep)
		told.SHA256 = hex.EncodeToString(s.hash.Sum(nil))
	}
	s.log.event(s.stream, recorder.EventStream, told)
}
