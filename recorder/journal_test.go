package recorder

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// acknowledged is what a client was shown when the journal ended there.
type acknowledged struct {
	frames map[string]uint64
	end    int64
}

// written is a journal of two sessions in one file, each frame a batch, and what was acknowledged along the way.
func written(t *testing.T, frames int) (b *bench, path string, acks []acknowledged) {
	b = newBench(t, nil)
	b.sealer.hold(t)
	w := []*Writer{b.create(t, "S-0"), b.create(t, "S-1")}
	for i := range frames {
		c, err := w[i%2].Append(data(0, Stdout, fmt.Sprintf("%*d", i*3, i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Err(); err != nil {
			t.Fatal(err)
		}
		if i%4 == 3 {
			w[0].cutIf(func(*segment) bool { return true })
		}
		a := acknowledged{frames: map[string]uint64{}, end: b.journal.file.end}
		for _, w := range w {
			a.frames[w.opening.Session], _ = w.Head()
		}
		acks = append(acks, a)
	}
	crashed := b.crash(t)
	b.sealer.unhold()
	names, err := filepath.Glob(filepath.Join(crashed.cfg.Dir, "journal", journalName+"*1"))
	if err != nil || len(names) != 1 {
		t.Fatal(names, err)
	}
	// The zeros behind are read too; a few will do, or this takes minutes.
	if err := os.Truncate(names[0], b.journal.file.end+4096); err != nil {
		t.Fatal(err)
	}
	return crashed, names[0], acks
}

// readBack is the frames of each recording a scan finds. They must follow each other.
func readBack(dir string) (map[string]uint64, error) {
	sessions := map[[16]byte]string{}
	frames := map[string]uint64{}
	s := scan{each: func(f found) error {
		if f.kind == kindOpening {
			l, err := opened(f.body)
			if err == nil {
				sessions[f.recording] = l.Session
			}
			return err
		}
		id := sessions[f.recording]
		if f.frame != frames[id] {
			return fmt.Errorf("frame %d follows %d", f.frame, frames[id])
		}
		frames[id]++
		return nil
	}}
	defer s.close()
	return frames, s.run(dir)
}

// Whatever part of the last write reached the disk, all that was acknowledged before is found.
func TestJournalCutAtEveryByte(t *testing.T) {
	_, path, acks := written(t, 12)
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	end := acks[len(acks)-1].end
	for cut := end - 1; cut >= fileHead; cut-- {
		if _, err := f.WriteAt([]byte{0}, cut); err != nil {
			t.Fatal(err)
		}
		got, err := readBack(filepath.Dir(path))
		if err != nil {
			t.Fatalf("cut at %d of %d: %v", cut, end, err)
		}
		for _, a := range acks {
			for id, n := range a.frames {
				if a.end <= cut && got[id] < n {
					t.Fatalf("cut at %d: %d frames of %s, %d were acknowledged at %d", cut, got[id], id, n, a.end)
				}
			}
		}
	}
}

// The same through OpenStore, at the edges of records.
func TestRecoverCutJournal(t *testing.T) {
	b, path, acks := written(t, 6)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range acks {
		for _, cut := range []int64{a.end - 9, a.end + recordHead} {
			c := b.crash(t)
			clear(whole[min(cut, int64(len(whole))):])
			copyUntil(t, filepath.Join(c.cfg.Dir, "journal", filepath.Base(path)), path, cut)
			c.reopen(t)
			want := a.frames
			if cut < a.end {
				if want = map[string]uint64{}; i > 0 {
					want = acks[i-1].frames
				}
			}
			for id, n := range want {
				frames, sum, err := c.play(c.export(t, id))
				if err != nil || uint64(len(frames)) < n || !sum.Interrupted {
					t.Errorf("cut at %d: %s has %d frames of %d: %v", cut, id, len(frames), n, err)
				}
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// copyUntil copies a file whose bytes from cut on are zeros.
func copyUntil(t *testing.T, to, from string, cut int64) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	clear(b[cut:])
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// What was acknowledged and cannot be read is an error, whichever byte it is.
func TestJournalFlipEveryByte(t *testing.T) {
	_, path, acks := written(t, 12)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	put := func(at int64, c byte) {
		if _, err := f.WriteAt([]byte{c}, at); err != nil {
			t.Fatal(err)
		}
	}
	last := acks[len(acks)-2].end // where the last batch begins
	for at := range last {
		put(at, whole[at]^1<<(at%8))
		if _, err := readBack(filepath.Dir(path)); !errors.Is(err, ErrDamaged) {
			t.Fatalf("byte %d of %d altered: %v", at, last, err)
		}
		put(at, whole[at])
	}
	if _, err := readBack(filepath.Dir(path)); err != nil {
		t.Fatal(err)
	}
}

// Zeros over a whole acknowledged batch, or a file that ends early while a later one goes on, are damage too.
func TestJournalHoles(t *testing.T) {
	b, path, acks := written(t, 12)
	hole := b.crash(t)
	name := filepath.Join(hole.cfg.Dir, "journal", filepath.Base(path))
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	clear(whole[acks[4].end:acks[6].end])
	if err := os.WriteFile(name, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(hole.cfg); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name) {
		t.Errorf("a hole: %v", err)
	}
	// An operator may take what is left. Nothing after the hole is passed off as following what was before.
	hole.cfg.AcceptDamage = true
	hole.reopen(t)
	defer hole.Close()
	for _, p := range hole.Recovered {
		frames, sum, err := hole.play(hole.export(t, p.Session))
		if want := acks[4].frames[p.Session]; err != nil || uint64(len(frames)) != want || !sum.Interrupted {
			t.Errorf("%s: %d frames of the %d before the hole: %v", p.Session, len(frames), want, err)
		}
	}
	kept, _ := filepath.Glob(filepath.Join(filepath.Dir(name), "damaged-*"))
	if len(hole.Recovered) != 2 || len(kept) == 0 {
		t.Errorf("%d recordings, kept %v", len(hole.Recovered), kept)
	}
}

func TestJournalFileCutBeforeTheNext(t *testing.T) {
	b := newBench(t, nil)
	b.sealer.hold(t)
	defer b.sealer.unhold()
	w := b.create(t, "S-1")
	for b.journal.files.numberInUse() < 2 {
		c, err := w.Append(Frame{Type: TypeData, Stream: Stdout, Data: sample("noise", 100_000)})
		if err != nil || c.Err() != nil {
			t.Fatal(err)
		}
	}
	c := b.crash(t)
	name := filepath.Join(c.cfg.Dir, "journal", fmt.Sprintf("%s%016x", journalName, 1))
	s := scan{each: func(found) error { return nil }}
	if err := s.run(filepath.Dir(name)); err != nil {
		t.Fatal(err)
	}
	s.close()
	copyUntil(t, name, name, s.files[0].end-1000)
	if _, err := OpenStore(c.cfg); !errors.Is(err, ErrDamaged) {
		t.Errorf("a file that ends early, with another after it: %v", err)
	}
}

func (fs *files) numberInUse() int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return len(fs.used)
}

// A file that is used again still has its old records; none may be read as new.
func TestOldRecordsAreNotNew(t *testing.T) {
	_, path, acks := written(t, 12)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h, err := parseFileHeader(whole[:fileHead])
	if err != nil {
		t.Fatal(err)
	}
	h.epoch[3]++
	copy(whole, h.marshal())
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readBack(filepath.Dir(path))
	if err != nil || len(got) != 0 {
		t.Errorf("%v of an earlier epoch: %v", got, err)
	}
	// Records moved to another place in their own file are none either.
	h.epoch[3]--
	copy(whole, h.marshal())
	n := acks[0].end - fileHead
	copy(whole[acks[len(acks)-1].end:], whole[fileHead:fileHead+n])
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err = readBack(filepath.Dir(path)); err != nil || got["S-0"]+got["S-1"] != 14 {
		t.Errorf("%v: %v", got, err)
	}
}
