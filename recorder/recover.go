package recorder

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"postern/internal/store"
)

// recovery seals what a process that died left in the journal.
type recovery struct {
	store  *Store
	damage []error // accepted
	byNum  map[[16]byte]*leftover
	order  []*leftover
	window window
}

// leftover is what the journal holds of one recording and the store does not.
type leftover struct {
	*change
	frames []leftFrame
	last   bool // the frame that ends the recording is there
	cut    bool // a frame is missing, and damage is accepted
}

type leftFrame struct {
	at      where
	segment uint32
}

// recover reads the journal in dir back. It returns the highest file number in use.
func (s *Store) recover(dir string) (number uint64, err error) {
	r := &recovery{store: s, byNum: make(map[[16]byte]*leftover)}
	journal := &scan{each: r.take}
	if s.cfg.AcceptDamage {
		journal.damage = r.accept
	}
	defer journal.close()
	if err := journal.run(dir); errors.Is(err, ErrDamaged) {
		return 0, fmt.Errorf("%w; bring the file back from a copy, or accept the damage and lose the frames", err)
	} else if err != nil {
		return 0, err
	}
	for _, l := range r.order {
		if err := r.seal(l); err != nil {
			return 0, fmt.Errorf("recording %s: %w", l.Session, err)
		}
	}
	if err := s.closeOpen(); err != nil {
		return 0, err
	}
	if s.Recovered, err = s.untold(); err != nil {
		return 0, err
	}
	return journal.number, retireAll(dir, len(r.damage) > 0)
}

// accept goes on after damage.
func (r *recovery) accept(err error) error {
	r.damage = append(r.damage, err)
	r.store.cfg.Log.Error("the journal is damaged, and acknowledged frames are lost", "error", err)
	return nil
}

// take notes a record of the journal.
func (r *recovery) take(f found) error {
	l, err := r.recording(f)
	if errors.Is(err, ErrDamaged) && len(r.damage) > 0 {
		return nil // what it began with was in the part that is lost
	}
	if err != nil {
		return fmt.Errorf("at %d: %w", f.at.offset-recordHead, err)
	}
	if f.kind == kindOpening || f.frame < l.Frames || l.cut {
		return nil
	}
	if l.Sealed || l.last || f.frame != l.Frames+uint64(len(l.frames)) {
		err := fmt.Errorf("%w at %d: frame %d of recording %s does not follow frame %d", ErrDamaged,
			f.at.offset-recordHead, f.frame, l.Session, int64(l.Frames)+int64(len(l.frames))-1)
		if len(r.damage) == 0 {
			return err
		}
		l.cut = true
		return nil
	}
	l.frames = append(l.frames, leftFrame{f.at, f.segment})
	l.last = f.kind == kindLast
	return nil
}

// recording finds out which one a record is of.
func (r *recovery) recording(f found) (*leftover, error) {
	if l := r.byNum[f.recording]; l != nil {
		return l, nil
	}
	l, err := r.stored(f.recording)
	if errors.Is(err, store.ErrNotFound) && f.kind == kindOpening {
		l, err = opened(f.body)
	} else if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("%w: frame %d of a recording %x that was never opened", ErrDamaged, f.frame, f.recording)
	}
	if err != nil {
		return nil, err
	}
	r.byNum[f.recording] = l
	r.order = append(r.order, l)
	return l, nil
}

func (r *recovery) stored(number [16]byte) (l *leftover, err error) {
	err = r.store.view(func(tx *store.Tx) error {
		session, err := tx.Get(append([]byte(numberRows), number[:]...))
		if err != nil {
			return err
		}
		c, _, err := load(tx, string(session))
		l = &leftover{change: c}
		return err
	})
	return l, err
}

func opened(body []byte) (*leftover, error) {
	var b beginning
	if err := ssh.Unmarshal(body, &b); err != nil {
		return nil, fmt.Errorf("%w: opening: %w", ErrDamaged, err)
	}
	o, err := parseOpening(b.Opening)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return &leftover{change: newChange(o, bytes.Clone(b.Box))}, nil // body is the scanner's
}

// seal keeps the frames of l as they are: the keys are gone.
func (r *recovery) seal(l *leftover) error {
	if l.Sealed || l.empty() && len(l.frames) == 0 {
		return nil
	}
	for len(l.frames) > 0 {
		n := 1
		for n < len(l.frames) && l.frames[n].segment == l.frames[0].segment {
			n++
		}
		if err := r.sealSegment(l, l.frames[:n]); err != nil {
			return err
		}
		l.frames = l.frames[n:]
	}
	l.Sealed, l.Interrupted = true, !l.last
	return r.store.keep([]*change{l.change})
}

func (r *recovery) sealSegment(l *leftover, frames []leftFrame) error {
	if uint64(frames[0].segment) != l.Segments || len(frames) > segmentFrames {
		return fmt.Errorf("%w: %d frames of segment %d, where segment %d begins", ErrDamaged, len(frames), frames[0].segment, l.Segments)
	}
	at := make([]where, len(frames))
	for i, f := range frames {
		at[i] = f.at
	}
	h := segmentHeader{
		Version: segmentVersion, Session: l.Session, Number: l.Segments,
		First: l.Frames, Before: l.Head, Previous: l.SealedHead,
	}
	if err := r.store.roomToSeal(); err != nil {
		return err
	}
	body, err := verbatimBody(&r.window, at, &h)
	if err != nil {
		return err
	}
	if err := l.add(h, body, r.store.cfg.Signer, nil); err != nil {
		return err
	}
	if err := r.store.keep([]*change{l.change}); err != nil {
		return err
	}
	l.known, l.segments = true, nil
	return nil
}

// closeOpen marks what was open and had everything sealed already, so that nothing of it is left in the journal.
func (s *Store) closeOpen() error {
	return s.eachOf(openRows, func(c *change) error {
		c.Sealed, c.Interrupted = true, true
		return s.keep([]*change{c})
	})
}

func (s *Store) untold() (list []Progress, err error) {
	err = s.eachOf(untoldRows, func(c *change) error {
		list = append(list, c.Progress)
		return nil
	})
	return list, err
}

// eachOf calls fn for the recordings that have a row under a prefix.
func (s *Store) eachOf(prefix string, fn func(*change) error) error {
	var list []*change
	err := s.view(func(tx *store.Tx) error {
		return tx.Scan([]byte(prefix), func(key, _ []byte) error {
			c, _, err := load(tx, strings.TrimPrefix(string(key), prefix))
			list = append(list, c)
			return err
		})
	})
	for _, c := range list {
		if err == nil {
			err = fn(c)
		}
	}
	return err
}

// retireAll removes the files of a journal whose frames are all sealed; damaged ones are evidence, and kept aside.
func retireAll(dir string, damaged bool) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries { // in the order of their numbers
		path, err := filepath.Join(dir, e.Name()), error(nil)
		switch {
		case strings.HasPrefix(e.Name(), journalName) && damaged:
			err = os.Rename(path, filepath.Join(dir, "damaged-"+e.Name()))
		case strings.HasPrefix(e.Name(), journalName), strings.HasPrefix(e.Name(), spareName):
			err = os.Remove(path)
		}
		if err != nil {
			return err
		}
	}
	return syncDir(dir)
}
