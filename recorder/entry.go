package recorder

import (
	"encoding/binary"
	"fmt"
	"runtime/debug"
	"time"
)

const (
	maxIndex   = 256 << 10 // bytes of a sealed entry of the index
	entryTimes = 8 + 8 + 8 // begin, end, bytes
	indexAD    = "postern-index-v1"
)

// index returns what seals the entry of the segment that encode made last, or nil if there is none to be.
func (x *sealer) index(s *segment, form byte) func(head [32]byte) ([]byte, error) {
	if form != formPacked {
		s.w.dumb = true // whoever indexes may not miss a segment
		return nil
	}
	if s.entry == nil { // else this is the second time, and the indexer has seen it
		s.entry = appendTimes(nil, x.frames)
		if said := x.ask(s); len(said) <= maxIndex-entryTimes-gcmTag {
			s.entry = append(s.entry, said...)
		}
	}
	return func(head [32]byte) ([]byte, error) { return sealEntry(s.keys.index[:], head, s.entry) }
}

// ask lets the indexer look at a segment. It reads what hosts and clients said, so it may be made to panic.
func (x *sealer) ask(s *segment) (said []byte) {
	w, cfg := s.w, x.store.cfg
	if cfg.Index == nil || w.dumb {
		return nil
	}
	if _, high := x.store.files.pressure(); high {
		// Sessions would wait for the journal next. An index is a comfort that an auditor's machine can make as well.
		cfg.Log.Warn("more is recorded than can be indexed; the rest of this recording is not", "session", w.opening.Session, "from_segment", s.number)
		w.dumb, w.indexer = true, nil
		return nil
	}
	defer func() {
		if p := recover(); p != nil {
			cfg.Log.Error("the indexer broke; the recording goes on without an index", "session", w.opening.Session, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			w.dumb, w.indexer, said = true, nil, nil
		}
	}()
	if w.indexer == nil {
		w.indexer = cfg.Index(w.header)
	}
	return w.indexer(s.first, x.frames)
}

func appendTimes(b []byte, frames []Frame) []byte {
	var data uint64
	for _, f := range frames {
		data += uint64(len(f.Data))
	}
	b = binary.BigEndian.AppendUint64(b, uint64(frames[0].At/time.Microsecond))
	b = binary.BigEndian.AppendUint64(b, uint64(frames[len(frames)-1].At/time.Microsecond))
	return binary.BigEndian.AppendUint64(b, data)
}

// sealEntry binds an entry to its segment and all before it. A key seals one entry, so the nonce may be the same.
func sealEntry(key []byte, head [32]byte, entry []byte) ([]byte, error) {
	gcm, err := newGCM(key)
	if err != nil {
		return nil, err
	}
	return gcm.Seal(nil, make([]byte, gcm.NonceSize()), entry, append([]byte(indexAD), head[:]...)), nil
}

// openEntry reads an entry into p.
func (p *Part) openEntry(key, sealed []byte) error {
	gcm, err := newGCM(key)
	if err != nil {
		return err
	}
	b, err := gcm.Open(nil, make([]byte, gcm.NonceSize()), sealed, append([]byte(indexAD), p.head[:]...))
	if err != nil {
		return fmt.Errorf("%w: the index entry of segment %d does not open", ErrAltered, p.Number)
	}
	if len(b) < entryTimes {
		return fmt.Errorf("%w: index entry of %d bytes", ErrMalformed, len(b))
	}
	begin, end := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	if begin > end || end > maxMicros {
		return fmt.Errorf("%w: index entry from %d to %d µs", ErrMalformed, begin, end)
	}
	p.Begin, p.End = time.Duration(begin)*time.Microsecond, time.Duration(end)*time.Microsecond
	p.Bytes = binary.BigEndian.Uint64(b[16:])
	if len(b) > entryTimes {
		p.Index = b[entryTimes:]
	}
	return nil
}
