package recorder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/store"
)

// finishedRecording is one of some segments that is sealed to its end, with its key box and the key that locks it.
func finishedRecording(t *testing.T, b *bench, session string) (box, key []byte) {
	t.Helper()
	w := b.create(t, session)
	for range 3 {
		commit, err := w.Append(data(0, Stdout, string(sample("log", segmentData))))
		if err != nil || commit.Err() != nil {
			t.Fatal(err, commit.Err())
		}
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	for p := range b.sealed {
		if p.Session == session {
			break
		}
	}
	var l lockedBox
	if err := ssh.Unmarshal(w.locked, &l); err != nil {
		t.Fatal(err)
	}
	s, err := b.boxes.slot(l.Slot)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(w.box), bytes.Clone(s.Key[:])
}

// somewhere tells in which file of dir the bytes stand; "": nowhere.
func somewhere(t *testing.T, dir string, what []byte) (found string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		files++
		if bytes.Contains(content, what) {
			found = path
		}
		return err
	})
	if err != nil || files < 3 {
		t.Fatal(files, err)
	}
	return found
}

// The store is not encrypted here, so every byte that it keeps can be seen. After a shred neither the key box nor the key that would open
// what was kept of it is anywhere: not in the journal, whose files are used again, not in what Badger has not compacted, not after a restart.
func TestShred(t *testing.T) {
	b := newBench(t, nil)
	box, key := finishedRecording(t, b, "S-1")
	otherBox, otherKey := finishedRecording(t, b, "S-2")
	before := b.export(t, "S-1")
	if !bytes.Contains(before, box) {
		t.Fatal("the export has no key box")
	}
	if somewhere(t, b.cfg.Dir, key) == "" || somewhere(t, b.cfg.Dir, otherKey) == "" {
		t.Fatal("the test looks in the wrong place for keys")
	}
	done, err := b.Shred("S-1")
	if err != nil || done.Box != sha256.Sum256(box) || done.Segments < 3 || done.Everything {
		t.Fatalf("%+v, %v", done, err)
	}
	for range 2 {
		for name, secret := range map[string][]byte{"key box": box, "key of the key box": key, "another's key box": otherBox} {
			if path := somewhere(t, b.cfg.Dir, secret); path != "" {
				t.Errorf("the %s is in %s", name, path)
			}
		}
		after := b.export(t, "S-1")
		if sum, err := Check(bytes.NewReader(after), b.bastion); err != nil || !sum.Shredded || sum.Box != done.Box || !sum.Sealed {
			t.Errorf("what is left does not verify: %+v, %v", sum, err)
		}
		if _, _, err := b.play(after); !errors.Is(err, ErrShredded) {
			t.Errorf("it plays: %v", err)
		}
		if frames, _, err := b.play(b.export(t, "S-2")); err != nil || len(frames) < 4 {
			t.Errorf("the other recording: %d frames, %v", len(frames), err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		b.reopen(t)
	}
	if again, err := b.Shred("S-1"); err != nil || again != done {
		t.Errorf("the second time: %+v, %v", again, err)
	}
}

func TestDelete(t *testing.T) {
	b := newBench(t, nil)
	finishedRecording(t, b, "S-1")
	done, err := b.Delete("S-1")
	if err != nil || !done.Everything || done.Segments < 3 {
		t.Fatalf("%+v, %v", done, err)
	}
	err = b.db.View(func(tx *store.Tx) error {
		return tx.Scan([]byte(segmentRows+"S-1/"), func(k, _ []byte) error { t.Errorf("row %q is left", k); return nil })
	})
	if err != nil {
		t.Error(err)
	}
	var out bytes.Buffer
	if err := b.Export("S-1", &out); !errors.Is(err, ErrDeleted) {
		t.Errorf("an export: %v", err)
	}
	if err := b.Bodies("S-1", 0, 9, &out); !errors.Is(err, ErrDeleted) || out.Len() > 0 {
		t.Errorf("bodies: %v, %d bytes", err, out.Len())
	}
	src := &outlineOf{b.Store, "S-1"}
	if sum, err := CheckOutline(context.Background(), src, b.bastion); err != nil || !sum.Shredded || sum.Segments != done.Segments || sum.Box != done.Box {
		t.Errorf("the outline: %+v, %v", sum, err)
	}
	if err := b.Reclaim(); err != nil {
		t.Error(err)
	}
	if _, err := b.Create(Header{Session: "S-1"}, b.public); !errors.Is(err, ErrExists) {
		t.Errorf("the ID is free again: %v", err)
	}
}

func TestShredRefuses(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	if _, err := b.Shred("S-1"); !errors.Is(err, ErrLive) {
		t.Errorf("a running session: %v", err)
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	for _, id := range []string{"S-9", "", "../x"} {
		if _, err := b.Shred(id); !errors.Is(err, ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// A journal that is read back after a crash leads to the same key box, and a shred that died after the first step is finished by the next.
func TestShredAfterCrash(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	commit, err := w.Append(data(0, Stdout, "hello"))
	if err != nil || commit.Err() != nil {
		t.Fatal(err)
	}
	b = b.crash(t)
	b.reopen(t)
	if frames, _, err := b.play(b.export(t, "S-1")); err != nil || len(frames) < 2 {
		t.Fatalf("after the crash: %d frames, %v", len(frames), err)
	}
	c, locked, err := b.finished("S-1")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.boxes.destroy(c.number, locked); err != nil {
		t.Fatal(err)
	}
	if _, _, err := b.play(b.export(t, "S-1")); !errors.Is(err, ErrShredded) {
		t.Errorf("it plays: %v", err)
	}
	if done, err := b.Shred("S-1"); err != nil || time.Since(done.At) > time.Minute {
		t.Errorf("%+v, %v", done, err)
	}
}

// Bytes that rot in the file of keys are reported, and never taken for a shred or for another key.
func TestDamagedBoxKeys(t *testing.T) {
	b := newBench(t, nil)
	finishedRecording(t, b, "S-1")
	c, locked, err := b.finished("S-1")
	if err != nil {
		t.Fatal(err)
	}
	row := make([]byte, slotSize)
	if _, err := b.boxes.f.ReadAt(row, slotSize); err != nil {
		t.Fatal(err)
	}
	for i := range 52 {
		row[i] ^= 0x40
		if _, err := b.boxes.f.WriteAt(row, slotSize); err != nil {
			t.Fatal(err)
		}
		if box, err := b.boxes.unlock(c.number, locked); err == nil {
			t.Errorf("byte %d altered: a box of %d bytes", i, len(box))
		}
		row[i] ^= 0x40
	}
}

// A file of keys that was cut is no shred.
func TestBoxKeysCut(t *testing.T) {
	b := newBench(t, nil)
	finishedRecording(t, b, "S-1")
	c, locked, err := b.finished("S-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{2*slotSize - 1, slotSize, 0} {
		if err := b.boxes.f.Truncate(size); err != nil {
			t.Fatal(err)
		}
		if box, err := b.boxes.unlock(c.number, locked); err == nil || !strings.Contains(err.Error(), "has no slot 1") {
			t.Errorf("cut to %d bytes: a box of %d bytes, %v", size, len(box), err)
		}
		if _, err := b.Shred("S-1"); err == nil {
			t.Errorf("cut to %d bytes: it was shredded", size)
		}
	}
}

// outlineOf is a Source that has an outline and no bodies.
type outlineOf struct {
	store   *Store
	session string
}

func (o *outlineOf) Outline(context.Context) (io.ReadCloser, error) {
	var out bytes.Buffer
	err := o.store.Outline(o.session, &out)
	return io.NopCloser(&out), err
}

func (o *outlineOf) Body(context.Context, uint64) ([]byte, error) { return nil, ErrDeleted }
