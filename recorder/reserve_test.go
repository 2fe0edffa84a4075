package recorder

import (
	"errors"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// shrinking is a disk of which the test says how much is free; full, nothing can be allocated.
type shrinking struct {
	free atomic.Int64
	full atomic.Bool
}

func (d *shrinking) disk() Disk {
	return Disk{
		Free: func(string) (int64, error) { return d.free.Load(), nil },
		Allocate: func(f *os.File, size int64) error {
			if d.full.Load() {
				return unix.ENOSPC
			}
			return allocate(f, size)
		},
	}
}

func newReserve(t *testing.T) (*bench, *shrinking) {
	d := new(shrinking)
	d.free.Store(100 << 20)
	return newBench(t, func(c *Config) {
		c.Disk, c.LowSpace, c.Reserve, c.SegmentAge = d.disk(), 64<<20, 32<<20, 20*time.Millisecond
	}), d
}

func (b *bench) urgent(t *testing.T, session string) (*Writer, error) {
	t.Helper()
	return b.Create(Header{Session: session, Emergency: true}, b.public)
}

func says(w *Writer, text string) error {
	c, err := w.Append(data(0, Stdout, text))
	if err != nil {
		return err
	}
	return c.Err()
}

// The disk fills in steps: no new session, then none that is no emergency, then nothing.
func TestTheReserveIsForEmergencies(t *testing.T) {
	b, d := newReserve(t)
	usual := b.create(t, "S-1")
	if err := says(usual, "all is well"); err != nil {
		t.Fatal(err)
	}

	d.free.Store(40 << 20)
	if _, err := b.Create(Header{Session: "S-2"}, b.public); !errors.Is(err, ErrFull) {
		t.Errorf("an ordinary session under the first mark: %v", err)
	}
	first, err := b.urgent(t, "S-3")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(says(usual, "goes on"), says(first, "begins")); err != nil {
		t.Errorf("above the reserve both go on: %v", err)
	}

	d.free.Store(20 << 20)
	until(t, func() bool { err = says(usual, "too much"); return err != nil })
	if !errors.Is(err, ErrFailed) || !strings.Contains(err.Error(), "but for emergencies") {
		t.Errorf("an ordinary frame in the reserve: %v", err)
	}
	if err := usual.Close("recorder"); err != nil {
		t.Errorf("its end is recorded all the same: %v", err)
	}
	second, err := b.urgent(t, "S-4")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(says(first, "goes on"), says(second, "begins")); err != nil {
		t.Error(err)
	}

	d.free.Store(7 << 20)
	if _, err := b.urgent(t, "S-5"); !errors.Is(err, ErrFull) || !strings.Contains(err.Error(), "even in an emergency") {
		t.Errorf("under the last mark: %v", err)
	}
	if err := says(second, "and is recorded"); err != nil {
		t.Errorf("what runs is recorded as long as it can: %v", err)
	}

	d.free.Store(100 << 20)
	if err := says(b.create(t, "S-6"), "room again"); err != nil {
		t.Error(err)
	}
}

// Somebody else fills the disk: the file kept aside is for the emergency, and comes back when there is room.
func TestTheFileKeptAside(t *testing.T) {
	b, d := newReserve(t)
	until(t, func() bool { _, err := os.Stat(b.cfg.Dir + "/journal/" + spareName + "aside"); return err == nil })
	usual := b.create(t, "S-1")
	urgent, err := b.urgent(t, "S-2")
	if err != nil {
		t.Fatal(err)
	}
	b.sealer.hold(t) // nothing is given back meanwhile
	d.full.Store(true)
	noise := string(sample("noise", 200_000))
	until(t, func() bool {
		if err := says(urgent, noise); err != nil {
			t.Fatal(err)
		}
		return b.files.aside.Load()
	})
	until(t, func() bool { return says(usual, "x") != nil })
	if err := says(urgent, "goes on"); err != nil {
		t.Errorf("the emergency, in the file that was kept aside: %v", err)
	}
	b.sealer.unhold()
	d.full.Store(false)
	until(t, func() bool {
		if err := says(urgent, noise); err != nil {
			t.Fatal(err)
		}
		return !b.files.aside.Load()
	})
	until(t, func() bool { return b.Space() == nil })
	if err := urgent.Close("closed"); err != nil {
		t.Error(err)
	}
}

func until(t *testing.T, true func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !true(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come")
		}
	}
}
