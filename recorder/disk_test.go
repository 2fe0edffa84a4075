package recorder

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// faulty is a disk that breaks when told to.
type faulty struct{ allocate, write, sync, free atomic.Bool }

func (f *faulty) disk() Disk {
	real := Disk{}.orReal()
	return Disk{
		Allocate: func(file *os.File, size int64) error {
			if f.allocate.Load() {
				return unix.ENOSPC
			}
			return real.Allocate(file, size)
		},
		Write: func(file *os.File, parts [][]byte, at int64) error {
			if f.write.Load() {
				real.Write(file, [][]byte{parts[0][:len(parts[0])/2]}, at) // as much as fits
				return unix.ENOSPC
			}
			return real.Write(file, parts, at)
		},
		Sync: func(file *os.File) error {
			if f.sync.Load() {
				return unix.EIO
			}
			return real.Sync(file)
		},
		Free: func(dir string) (int64, error) {
			if f.free.Load() {
				return 3 << 20, nil
			}
			return real.Free(dir)
		},
	}
}

// fill appends until it fails, and returns what was acknowledged.
func fill(t *testing.T, w *Writer, at int, broken *atomic.Bool) (acked uint64, err error) {
	t.Helper()
	content := sample("noise", 50_000)
	for i := range 200 {
		if i == at {
			broken.Store(true)
		}
		var c *Commit
		if c, err = w.Append(Frame{Type: TypeData, Stream: Stdout, Data: content}); err != nil {
			return acked, err
		}
		if err = c.Err(); err != nil {
			return acked, err
		}
		acked, _ = w.Head()
	}
	t.Fatal("the disk never failed")
	return
}

func TestDiskFails(t *testing.T) {
	for name, broken := range map[string]func(*faulty) *atomic.Bool{
		"full when the next file is made": func(f *faulty) *atomic.Bool { return &f.allocate },
		"full in the middle of a write":   func(f *faulty) *atomic.Bool { return &f.write },
		"sync fails":                      func(f *faulty) *atomic.Bool { return &f.sync },
	} {
		t.Run(name, func(t *testing.T) {
			var f faulty
			b := newBench(t, func(c *Config) { c.Disk = f.disk() })
			w, idle := b.create(t, "S-1"), b.create(t, "S-2")
			acked, err := fill(t, w, 30, broken(&f))
			if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), b.cfg.Dir) {
				t.Errorf("the error does not say what failed where: %v", err)
			}
			<-w.Failed()
			if _, err := w.Append(data(0, Stdout, "after")); !errors.Is(err, ErrFailed) {
				t.Errorf("a frame after a lost one: %v", err)
			}
			if err := w.Close("closed"); !errors.Is(err, ErrFailed) {
				t.Errorf("close: %v", err)
			}
			broken(&f).Store(false)
			allocation := strings.Contains(name, "next file")
			checkAfter(t, b, idle, allocation)
			checkKept(t, b, "S-1", acked)
			if !allocation {
				b.Close()
				b.reopen(t)
				b.create(t, "S-3")
			}
			checkKept(t, b, "S-1", acked)
		})
	}
}

// checkAfter looks at sessions that lost nothing, once the disk is well again.
func checkAfter(t *testing.T, b *bench, idle *Writer, recovers bool) {
	t.Helper()
	if recovers {
		c, err := idle.Append(data(0, Stdout, "still here"))
		if err != nil || c.Err() != nil || b.Err() != nil {
			t.Errorf("another session, with room again: %v", err)
		}
		return
	}
	<-idle.Failed()
	// After a failed fsync the next one may lie, so nothing is acknowledged any more.
	if _, err := idle.Append(data(0, Stdout, "still here")); !errors.Is(err, ErrFailed) || b.Err() == nil {
		t.Errorf("another session: %v", err)
	}
	if _, err := b.Create(Header{Session: "S-9"}, b.public); !errors.Is(err, ErrFailed) {
		t.Errorf("a new session: %v", err)
	}
}

// checkKept says that a session that failed has everything that was acknowledged.
func checkKept(t *testing.T, b *bench, session string, acked uint64) {
	t.Helper()
	var sum Summary
	for !sum.Sealed {
		r, err := b.Recording(session)
		if err != nil || !r.Sealed {
			<-b.progress
			continue
		}
		var frames []Frame
		frames, sum, err = b.play(b.export(t, session), logged{r.Frames, r.Head})
		if err != nil || uint64(len(frames)) < acked || !sum.Interrupted {
			t.Fatalf("%d frames of %d, %+v: %v", len(frames), acked, sum, err)
		}
	}
}

func TestLowSpace(t *testing.T) {
	var f faulty
	b := newBench(t, func(c *Config) { c.Disk, c.LowSpace = f.disk(), 1<<20 })
	b.create(t, "S-1")
	b.cfg.LowSpace = 64 << 20
	b.Close()
	f.free.Store(true)
	b.reopen(t)
	_, err := b.Create(Header{Session: "S-2"}, b.public)
	if !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), b.cfg.Dir+" has 3 MB free") {
		t.Errorf("too little room: %v", err)
	}
	if _, err := Check(bytes.NewReader(b.export(t, "S-1")), b.bastion); err != nil {
		t.Errorf("what is there cannot be read without room: %v", err)
	}
}

// When sealing cannot keep up, Append waits; it neither drops nor grows without bound.
func TestBackpressure(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Capacity = 4 << 20 })
	b.sealer.hold(t)
	w, idle := b.create(t, "S-1"), b.create(t, "S-2")
	done := make(chan error)
	var appended atomic.Int64
	go func() {
		for range 200 {
			if _, err := w.Append(Frame{Type: TypeData, Stream: Stdout, Data: sample("noise", 100_000)}); err != nil {
				done <- err
				return
			}
			appended.Add(1)
		}
		done <- w.Close("closed")
	}()
	for b.journal.files.numberInUse() <= 4 {
		select {
		case err := <-done:
			t.Fatalf("20 MB went into 4 MiB: %v", err)
		case <-time.After(time.Millisecond):
		}
	}
	if n := appended.Load(); n > 80 {
		t.Errorf("%d frames of 100 kB went into 4 MiB", n)
	}
	b.sealer.unhold()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	frames, head := w.Head()
	<-b.sealed
	if got, _, err := b.play(b.export(t, "S-1"), logged{frames, head}); err != nil || len(got) != 202 {
		t.Errorf("%d frames: %v", len(got), err)
	}
	// The idle session was cut early, or its one frame would have kept the first file, and all after it, in use.
	if r, err := b.Recording("S-2"); err != nil || r.Segments == 0 {
		t.Errorf("the idle session: %+v, %v", r, err)
	}
	if err := idle.Close("closed"); err != nil {
		t.Error(err)
	}
}
