package recorder

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"

	"postern/internal/store"
)

const outlineMagic = "postern outline 1\n"

// outlined is a segment in an outline.
type outlined struct {
	Header    []byte
	Body      [32]byte // hash
	Length    uint32
	Signature []byte
	Index     []byte // sealed; empty: none
}

func (o outlined) marshal() []byte {
	b := make([]byte, 0, 4*4+len(o.Body)+len(o.Header)+len(o.Signature)+len(o.Index))
	b = append(appendString(b, o.Header), o.Body[:]...)
	b = binary.BigEndian.AppendUint32(b, o.Length)
	return appendString(appendString(b, o.Signature), o.Index)
}

const pageBytes = 256 << 10 // read from the store at a time

// Outline writes the sealed recording of a session, as far as it is sealed, without the bodies of its segments, for [OpenArchive].
func (s *Store) Outline(session string, w io.Writer) error {
	c, err := s.sealedSoFar(session)
	if err != nil {
		return err
	}
	if _, err := w.Write(append([]byte(outlineMagic), ssh.Marshal(beginning{c.opening, c.box})...)); err != nil {
		return err
	}
	err = s.pages(c, w, func(tx *store.Tx, page *bytes.Buffer, n uint64) error {
		o, err := outlineRow(tx, c.Session, n)
		page.WriteByte(itemSegment)
		page.Write(o.marshal())
		return err
	})
	if err != nil {
		return err
	}
	return s.writeEnd(c, w)
}

// pages calls add for every segment, and writes what it adds. Nobody waits for w while the store is being read.
func (s *Store) pages(c *change, w io.Writer, add func(tx *store.Tx, page *bytes.Buffer, n uint64) error) error {
	var page bytes.Buffer
	for n := uint64(0); n < c.Segments; {
		page.Reset()
		err := s.view(func(tx *store.Tx) error {
			for ; n < c.Segments && page.Len() < pageBytes; n++ {
				if err := add(tx, &page, n); err != nil {
					return fmt.Errorf("recording %s: segment %d of %d: %w", c.Session, n, c.Segments, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if _, err := w.Write(page.Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// outlineRow is a segment in an outline. What earlier versions kept has no row for it.
func outlineRow(tx *store.Tx, session string, n uint64) (o outlined, err error) {
	item, err := tx.Get(outlineKey(session, n))
	if err == nil {
		return o, ssh.Unmarshal(item, &o)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return o, err
	}
	g, err := segmentRow(tx, session, n)
	return outlined{Header: g.Header, Body: sha256.Sum256(g.Body), Length: uint32(len(g.Body)), Signature: g.Signature}, err
}

func segmentRow(tx *store.Tx, session string, n uint64) (g sealedSegment, err error) {
	b, err := tx.Get(segmentKey(session, n))
	if err == nil {
		err = ssh.Unmarshal(b, &g)
	}
	return g, err
}

// Bodies writes those of count segments of a session, each as a string, in order; fewer if fewer are sealed, but at least one.
func (s *Store) Bodies(session string, from, count uint64, w io.Writer) error {
	c, err := s.sealedSoFar(session)
	if err == nil {
		err = s.deleted(session)
	}
	if err != nil {
		return err
	}
	if from >= c.Segments {
		return fmt.Errorf("recording %s: %w: segment %d of %d", session, ErrNotFound, from, c.Segments)
	}
	for n := from; n < c.Segments && n-from < count; n++ {
		var g sealedSegment
		err := s.view(func(tx *store.Tx) error {
			var err error
			g, err = segmentRow(tx, session, n)
			return err
		})
		if err != nil {
			return fmt.Errorf("recording %s: segment %d: %w", session, n, err)
		}
		if _, err := w.Write(appendString(nil, g.Body)); err != nil {
			return err
		}
	}
	return nil
}
