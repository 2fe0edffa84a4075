package recorder

import (
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/crypto/ssh"

	"postern/internal/store"
)

// The rows of the store.
//
//	opening/SESSION          opening and locked key box
//	row/SESSION              entry
//	number/NUMBER            session ID, by the recording number
//	open/SESSION             present until no segment will follow
//	untold/SESSION           present from then on until Told
//	segment/SESSION/NUMBER   sealedSegment
//	outline/SESSION/NUMBER   outlined, the same segment in an outline; earlier versions left none
const (
	openingRows = "opening/"
	entryRows   = "row/"
	numberRows  = "number/"
	openRows    = "open/"
	untoldRows  = "untold/"
	segmentRows = "segment/"
	outlineRows = "outline/"
)

func segmentKey(session string, number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(segmentRows+session+"/"), number)
}

func outlineKey(session string, number uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte(outlineRows+session+"/"), number)
}

// beginning is the row that a reader needs first.
type beginning struct {
	Opening []byte
	Box     []byte
}

// entry is the row of a recording that grows with it.
type entry struct {
	Frames     uint64
	Head       [32]byte
	Segments   uint64
	SealedHead [32]byte
	State      byte
	Bytes      uint64
}

// change is what one transaction adds to a recording, and then what the store holds of it.
type change struct {
	Progress
	opening  []byte
	box      []byte // locked; of one that is read, sealedSoFar unlocks it
	number   [16]byte
	known    bool // the store has the beginning
	bytes    int64
	segments []row
}

type row struct{ key, value []byte }

const rowsOfSegment = 2

// change begins one for the sealer.
func (w *Writer) change() *change {
	if w.kept.known {
		c := w.kept
		return &c
	}
	return newChange(w.opening, w.locked)
}

// newChange is for a recording that is not in the store.
func newChange(o opening, box []byte) *change {
	sum := o.sum()
	return &change{
		Progress: Progress{Session: o.Session, Head: sum, SealedHead: sum},
		opening:  o.marshal(), box: box, number: o.Number,
	}
}

// add signs a segment and counts it. entry seals what the index says of it; nil: nothing.
func (c *change) add(h segmentHeader, body []byte, signer crypto.Signer, entry func(head [32]byte) ([]byte, error)) error {
	header, sum := h.marshal(), sha256.Sum256(body)
	head := sealedHeadOf(header, sum)
	signature, err := sign(signer, segmentMessage(head))
	if err != nil {
		return fmt.Errorf("signing a segment: %w", err)
	}
	o := outlined{Header: header, Body: sum, Length: uint32(len(body)), Signature: signature}
	if entry != nil {
		if o.Index, err = entry(head); err != nil {
			return fmt.Errorf("sealing the index of a segment: %w", err)
		}
	}
	value := sealedSegment{header, body, signature}.marshal()
	c.segments = append(c.segments, row{segmentKey(h.Session, h.Number), value}, row{outlineKey(h.Session, h.Number), o.marshal()})
	c.bytes += int64(len(value))
	c.Frames, c.Head = h.First+uint64(h.Frames), h.After
	c.Segments, c.SealedHead = h.Number+1, head
	return nil
}

func (c *change) state() byte {
	switch {
	case !c.Sealed:
		return stateLive
	case c.Interrupted:
		return stateInterrupted
	}
	return stateComplete
}

// empty is true for a recording whose header never became durable: Create said so, and there is nothing to keep.
func (c *change) empty() bool { return !c.known && c.Frames == 0 }

func (c *change) write(tx *store.Tx) error {
	if !c.known {
		if err := errors.Join(
			tx.Set([]byte(openingRows+c.Session), ssh.Marshal(beginning{c.opening, c.box})),
			tx.Set(append([]byte(numberRows), c.number[:]...), []byte(c.Session)),
			tx.Set([]byte(openRows+c.Session), nil)); err != nil {
			return err
		}
	}
	for _, r := range c.segments {
		if err := tx.Set(r.key, r.value); err != nil {
			return err
		}
	}
	if c.Sealed {
		if err := errors.Join(tx.Delete([]byte(openRows+c.Session)), tx.Set([]byte(untoldRows+c.Session), nil)); err != nil {
			return err
		}
	}
	e := entry{c.Frames, c.Head, c.Segments, c.SealedHead, c.state(), uint64(c.bytes)}
	return tx.Set([]byte(entryRows+c.Session), ssh.Marshal(e))
}

// keep makes changes durable.
func (s *Store) keep(changes []*change) error {
	return s.db.Update(func(tx *store.Tx) error {
		for _, c := range changes {
			if c.empty() {
				continue
			}
			if err := c.write(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

// load reads what the store holds of a recording.
func load(tx *store.Tx, session string) (*change, opening, error) {
	var b beginning
	var e entry
	if err := read(tx, openingRows+session, &b); err != nil {
		return nil, opening{}, err
	}
	if err := read(tx, entryRows+session, &e); err != nil {
		return nil, opening{}, err
	}
	o, err := parseOpening(b.Opening)
	if err != nil {
		return nil, o, fmt.Errorf("row %s%s: %w", openingRows, session, err)
	}
	c := newChange(o, b.Box)
	c.known = true
	c.Frames, c.Head, c.Segments, c.SealedHead, c.bytes = e.Frames, e.Head, e.Segments, e.SealedHead, int64(e.Bytes)
	c.Sealed, c.Interrupted = e.State != stateLive, e.State == stateInterrupted
	return c, o, nil
}

func read(tx *store.Tx, key string, v any) error {
	b, err := tx.Get([]byte(key))
	if err != nil {
		return fmt.Errorf("row %s: %w", key, err)
	}
	if err := ssh.Unmarshal(b, v); err != nil {
		return fmt.Errorf("row %s: %w", key, err)
	}
	return nil
}
