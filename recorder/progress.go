package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"postern/internal/store"
)

const recordingMagic = "postern recording 1\n"

// The items of a sealed recording.
const (
	itemSegment = 1
	itemEnd     = 2
)

// writers lists the open recordings.
func (s *Store) writers() []*Writer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.open))
}

// report tells the owner of the store what is sealed.
func (s *Store) report(p Progress) {
	if s.cfg.Sealed != nil && p.Segments > 0 {
		s.cfg.Sealed(p)
	}
}

// release forgets a sealed segment: its keys, and its place in the journal.
func (s *Store) release(g *segment) {
	g.w.sealed(g) // before the journal may use its place again
	g.keys.forget()
	clear(g.entry)
	g.entry = nil
	for _, at := range g.at {
		s.files.sealed(at.file, 1)
	}
	if g.opening != nil {
		s.files.sealed(g.opening, 1)
	}
	if g.final {
		s.leave(g.w)
	}
}

// Told notes that the CA knows how a recording ended, so that it is not among Recovered next time.
func (s *Store) Told(session string) error {
	return s.db.Update(func(tx *store.Tx) error { return tx.Delete([]byte(untoldRows + session)) })
}

// Recordings lists the catalogue, live ones included, by session ID.
func (s *Store) Recordings() ([]Recording, error) {
	byID := make(map[string]Recording)
	for _, w := range s.writers() {
		frames, head := w.Head()
		byID[w.opening.Session] = Recording{
			Progress: Progress{Session: w.opening.Session, Frames: frames, Head: head, SealedHead: w.opening.sum()},
			Started:  w.opening.started(), Bastion: w.opening.Bastion, RecordingKey: w.opening.KeyID, Live: true,
		}
	}
	err := s.view(func(tx *store.Tx) error {
		return tx.Scan([]byte(openingRows), func(key, _ []byte) error {
			id := strings.TrimPrefix(string(key), openingRows)
			r, err := catalogued(tx, id)
			if live, ok := byID[id]; ok {
				r.Live, r.Frames, r.Head = true, live.Frames, live.Head
			}
			byID[id] = r
			return err
		})
	})
	list := slices.SortedFunc(maps.Values(byID), func(a, b Recording) int { return strings.Compare(a.Session, b.Session) })
	return list, err
}

// Recording is one entry of the catalogue, or an [ErrNotFound].
func (s *Store) Recording(session string) (r Recording, err error) {
	s.mu.Lock()
	w := s.open[session]
	s.mu.Unlock()
	err = s.view(func(tx *store.Tx) error {
		r, err = catalogued(tx, session)
		return err
	})
	if w == nil {
		return r, err
	}
	if errors.Is(err, ErrNotFound) {
		r.Session, r.SealedHead = session, w.opening.sum()
		r.Started, r.Bastion, r.RecordingKey = w.opening.started(), w.opening.Bastion, w.opening.KeyID
		err = nil
	}
	r.Live = true
	r.Frames, r.Head = w.Head()
	return r, err
}

func catalogued(tx *store.Tx, session string) (Recording, error) {
	c, o, err := load(tx, session)
	if errors.Is(err, store.ErrNotFound) {
		return Recording{}, fmt.Errorf("recording %s: %w", session, ErrNotFound)
	}
	if err != nil {
		return Recording{}, err
	}
	return Recording{
		Progress: c.Progress, Started: o.started(), Bastion: o.Bastion, RecordingKey: o.KeyID, Bytes: c.bytes,
	}, nil
}

// Export writes the sealed recording of a session, as far as it is sealed, for [Open] and [Check].
func (s *Store) Export(session string, w io.Writer) error {
	c, err := s.sealedSoFar(session)
	if err == nil {
		err = s.deleted(session)
	}
	if err != nil {
		return err
	}
	if _, err := w.Write(append([]byte(recordingMagic), ssh.Marshal(beginning{c.opening, c.box})...)); err != nil {
		return err
	}
	err = s.pages(c, w, func(tx *store.Tx, page *bytes.Buffer, n uint64) error {
		value, err := tx.Get(segmentKey(c.Session, n))
		page.WriteByte(itemSegment)
		page.Write(value)
		return err
	})
	if err != nil {
		return err
	}
	return s.writeEnd(c, w)
}

// sealedSoFar is what the store holds of a recording, or an [ErrNotFound].
func (s *Store) sealedSoFar(session string) (c *change, err error) {
	if !validSession(session) {
		return nil, fmt.Errorf("recording %.80q: %w", session, ErrNotFound)
	}
	live := s.liveChange(session)
	err = s.view(func(tx *store.Tx) error {
		c, _, err = load(tx, session)
		return err
	})
	if errors.Is(err, store.ErrNotFound) && live != nil {
		return live, nil // nothing of it is sealed yet
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("recording %s: %w", session, ErrNotFound)
	}
	if err == nil {
		c.box, err = s.boxes.unlock(c.number, c.box)
	}
	return c, err
}

func (s *Store) liveChange(session string) *change {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.open[session]; w != nil {
		return newChange(w.opening, w.box)
	}
	return nil
}

// writeEnd writes the last item.
func (s *Store) writeEnd(c *change, w io.Writer) error {
	e := endStatement{
		Version: endVersion, Session: c.Session, State: c.state(),
		Frames: c.Frames, Head: c.Head, Segments: c.Segments, SealedHead: c.SealedHead,
	}
	statement := e.marshal()
	signature, err := sign(s.cfg.Signer, endMessage(statement))
	if err != nil {
		return fmt.Errorf("recording %s: signing its end: %w", c.Session, err)
	}
	_, err = w.Write(append([]byte{itemEnd}, ssh.Marshal(signedEnd{statement, signature})...))
	return err
}

// signedEnd is the last item of a sealed recording.
type signedEnd struct {
	Statement []byte
	Signature []byte
}
