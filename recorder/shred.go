package recorder

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/store"
)

// ErrLive is what Shred and Delete say of a recording that is not sealed to its end.
var ErrLive = errors.New("recording is not finished")

// Rows beside those of the catalogue.
//
//	shredded/SESSION         shredding, when nobody can read the recording any more
//	facts/SESSION            what the owner of the store wants to know of a recording that it cannot read
const (
	shreddedRows = "shredded/"
	factRows     = "facts/"
)

// shredding is the row of what was destroyed.
type shredding struct {
	At         uint64 // microseconds
	Everything bool
}

// Shredded is what was destroyed, and what is left to prove it by.
type Shredded struct {
	Box        [32]byte // hash of the key box, as the opening has it
	Segments   uint64
	At         time.Time // of the first time
	Everything bool      // the bodies of the segments and the index, too
}

// Shred destroys the key box of a finished recording, for good: nobody can decrypt it any more, whatever keys they hold. The sealed segments
// stay, and prove that it existed. Doing it again changes nothing.
func (s *Store) Shred(session string) (Shredded, error) { return s.shred(session, false) }

// Delete is Shred, and takes the bodies of the segments and the index away too. What is left is an outline that still verifies.
func (s *Store) Delete(session string) (Shredded, error) { return s.shred(session, true) }

func (s *Store) shred(session string, everything bool) (done Shredded, err error) {
	c, locked, err := s.finished(session)
	if err != nil {
		return done, err
	}
	o, err := parseOpening(c.opening)
	if err != nil {
		return done, err
	}
	if err := s.boxes.destroy(c.number, locked); err != nil {
		return done, fmt.Errorf("recording %s: %w", session, err)
	}
	row := shredding{At: uint64(s.now().UnixMicro())}
	err = s.db.Update(func(tx *store.Tx) error {
		if err := read(tx, shreddedRows+session, &row); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return tx.Set([]byte(shreddedRows+session), ssh.Marshal(row))
	})
	if err == nil && everything && !row.Everything {
		if err = s.strip(c); err == nil {
			row.Everything = true
			err = s.db.Update(func(tx *store.Tx) error { return tx.Set([]byte(shreddedRows+session), ssh.Marshal(row)) })
		}
	}
	return Shredded{Box: o.BoxSum, Segments: c.Segments, At: time.UnixMicro(int64(row.At)).UTC(), Everything: row.Everything}, err
}

// finished is a recording of which no segment will follow, with its key box as the store keeps it.
func (s *Store) finished(session string) (c *change, locked []byte, err error) {
	if !validSession(session) {
		return nil, nil, fmt.Errorf("recording %.80q: %w", session, ErrNotFound)
	}
	s.mu.Lock()
	live := s.open[session] != nil
	s.mu.Unlock()
	err = s.view(func(tx *store.Tx) (err error) {
		c, _, err = load(tx, session)
		return err
	})
	switch {
	case live || err == nil && !c.Sealed:
		return nil, nil, fmt.Errorf("recording %s: %w", session, ErrLive)
	case errors.Is(err, store.ErrNotFound):
		return nil, nil, fmt.Errorf("recording %s: %w", session, ErrNotFound)
	case err != nil:
		return nil, nil, err
	}
	return c, c.box, nil
}

// stripTogether is how many segments are taken away in one transaction.
const stripTogether = 64

// strip takes away what the key box opened. The outline of each segment stays without its index.
func (s *Store) strip(c *change) error {
	for from := uint64(0); from < c.Segments; from += stripTogether {
		err := s.db.Update(func(tx *store.Tx) error {
			for n := from; n < min(from+stripTogether, c.Segments); n++ {
				if err := stripSegment(tx, c.Session, n); err != nil {
					return fmt.Errorf("recording %s: segment %d: %w", c.Session, n, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func stripSegment(tx *store.Tx, session string, n uint64) error {
	o, err := outlineRow(tx, session, n)
	if err != nil {
		return err
	}
	o.Index = nil
	return errors.Join(tx.Set(outlineKey(session, n), o.marshal()), tx.Delete(segmentKey(session, n)))
}

// Reclaim gives the room of what was deleted back to the disk.
func (s *Store) Reclaim() error { return s.db.Reclaim() }

// Note keeps facts about a recording that its owner will want and cannot read in it. Facts returns them, or an [ErrNotFound].
func (s *Store) Note(session string, facts []byte) error {
	return s.db.Update(func(tx *store.Tx) error { return tx.Set([]byte(factRows+session), facts) })
}

// Facts returns what [Store.Note] kept.
func (s *Store) Facts(session string) (facts []byte, err error) {
	err = s.view(func(tx *store.Tx) error {
		facts, err = tx.Get([]byte(factRows + session))
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("facts of recording %s: %w", session, ErrNotFound)
	}
	return facts, err
}

// deleted says that the segments of a recording were taken away, if they were.
func (s *Store) deleted(session string) error {
	var row shredding
	err := s.view(func(tx *store.Tx) error { return read(tx, shreddedRows+session, &row) })
	if errors.Is(err, store.ErrNotFound) || err == nil && !row.Everything {
		return nil
	}
	return errors.Join(err, fmt.Errorf("recording %s: %w on %s; its outline is left", session, ErrDeleted, time.UnixMicro(int64(row.At)).UTC().Format(time.DateOnly)))
}
