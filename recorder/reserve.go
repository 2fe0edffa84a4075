package recorder

import "fmt"

// The disk of a bastion fills in steps. Under LowSpace no ordinary session starts. Under Reserve ordinary sessions end at their next frame, with an end
// that says so, and what is left serves emergencies. Under a quarter of Reserve nothing starts: the store of sealed segments must never meet a full disk.
// One journal file is kept aside besides, allocated, for when somebody else has filled the disk: it is taken when no other can be made, and then too
// only emergencies go on.

// Room reports whether a session may start, as [Store.Space] does for an ordinary one.
func (s *Store) Room(emergency bool) error {
	if err := s.files.trouble(); err != nil {
		return fmt.Errorf("%w for recordings: %w", ErrFull, err)
	}
	if s.cfg.LowSpace < 0 {
		return nil
	}
	free, err := s.cfg.Disk.Free(s.cfg.Dir)
	if err != nil {
		return err
	}
	s.weigh(free)
	need, whose := s.cfg.LowSpace, ""
	if emergency {
		need, whose = s.cfg.Reserve/4, " even in an emergency"
	}
	if free < need || !emergency && s.scarce.Load() {
		return fmt.Errorf("%w for recordings: %s has %d MB free and needs %d MB%s; make room there", ErrFull, s.cfg.Dir, free>>20, need>>20, whose)
	}
	return nil
}

// weigh decides whether what is left is for emergencies alone.
func (s *Store) weigh(free int64) {
	now := free < s.cfg.Reserve || s.files.aside.Load()
	if was := s.scarce.Swap(now); now && !was {
		s.cfg.Log.Error("the disk of the recordings is nearly full: ordinary sessions end, and the rest of it is for emergencies", "dir", s.cfg.Dir, "free", free)
	}
}

// watch looks at the disk as time passes.
func (s *Store) watch() {
	if s.cfg.LowSpace < 0 {
		return
	}
	if free, err := s.cfg.Disk.Free(s.cfg.Dir); err == nil {
		s.weigh(free)
	}
}

// spared refuses a frame of an ordinary session when what is left is for emergencies.
func (w *Writer) spared() error {
	if w.emergency || !w.store.scarce.Load() {
		return nil
	}
	return fmt.Errorf("%w: %w for recordings in %s but for emergencies", ErrFailed, ErrFull, w.store.cfg.Dir)
}
