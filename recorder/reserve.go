package recorder

import "fmt"

// The disk of a bastion fills in steps. Under LowSpace no ordinary session starts. Under Reserve ordinary sessions end at their next frame, with an end
// that says so, and what is left serves emergencies. Under Sealing nothing is sealed any more: what is recorded stays in the journal, whose files are
// allocated, because the store of sealed segments must never meet a full disk (store.Room says why). Under a quarter of Reserve nothing starts, and no journal file is made.
// One journal file is kept aside besides, allocated, for when somebody else has filled the disk: it is taken when no other can be made, and then too
// only emergencies go on. When it is full as well every session ends. With room again the sealer goes on where it was.

// Room reports whether a session may start, as [Store.Space] does for an ordinary one.
func (s *Store) Room(emergency bool) error {
	if err := s.files.trouble(); err != nil {
		return fmt.Errorf("%w for recordings: %w", ErrFull, err)
	}
	if s.cfg.LowSpace < 0 {
		return nil
	}
	free, err := s.weigh()
	if err != nil {
		return err
	}
	need, whose := s.cfg.LowSpace, ""
	if emergency {
		need, whose = s.cfg.Reserve/4, " even in an emergency"
	}
	if free < need || !emergency && s.scarce.Load() {
		return fmt.Errorf("%w for recordings: %s has %d MB free and needs %d MB%s; make room there", ErrFull, s.cfg.Dir, free>>20, need>>20, whose)
	}
	return nil
}

// weigh looks at the disk and decides whether what is left is for emergencies alone. The last look is the one that counts.
func (s *Store) weigh() (free int64, err error) {
	s.weighing.Lock()
	defer s.weighing.Unlock()
	if free, err = s.cfg.Disk.Free(s.cfg.Dir); err != nil {
		return 0, err
	}
	now := free < s.cfg.Reserve || s.files.aside.Load()
	if was := s.scarce.Swap(now); now && !was {
		s.cfg.Log.Error("the disk of the recordings is nearly full: ordinary sessions end, and the rest of it is for emergencies", "dir", s.cfg.Dir, "free", free)
	}
	return free, nil
}

// roomToSeal is nil while segments may be put into the store. When they may not, nobody waits for them to be sealed.
func (s *Store) roomToSeal() error {
	if s.cfg.LowSpace < 0 {
		return nil
	}
	free, err := s.cfg.Disk.Free(s.cfg.Dir)
	if err != nil {
		return err
	}
	if free < s.cfg.Sealing {
		return fmt.Errorf("%w to seal recordings: %s has %d MB free and needs %d MB; they stay in the journal until there is room", ErrFull, s.cfg.Dir, free>>20, s.cfg.Sealing>>20)
	}
	return nil
}

// roomFor is nil while a journal file may be made.
func (c *Config) roomFor(size int64) error {
	if c.LowSpace < 0 {
		return nil
	}
	free, err := c.Disk.Free(c.Dir)
	if err == nil && free-size < c.Reserve/4 {
		err = fmt.Errorf("%w: %s has %d MB free", ErrFull, c.Dir, free>>20)
	}
	return err
}

// watch looks at the disk as time passes. A file that could not be made is tried again, so that nobody is refused for want of room that there is by now.
func (s *Store) watch() {
	if s.cfg.LowSpace < 0 {
		return
	}
	_ = s.files.trouble()
	_, _ = s.weigh()
}

// spared refuses a frame of an ordinary session when what is left is for emergencies.
func (w *Writer) spared() error {
	if w.emergency || !w.store.scarce.Load() {
		return nil
	}
	return fmt.Errorf("%w: %w for recordings in %s but for emergencies", ErrFailed, ErrFull, w.store.cfg.Dir)
}
