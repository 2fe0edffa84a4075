package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"strings"
	"testing"
	"time"

	"postern/internal/store"
)

// stored is a [Source] over what a store gives out, which a test may alter on its way.
type stored struct {
	*bench
	session string
	outline func([]byte) []byte
	body    func(segment uint64, body []byte) (uint64, []byte)
}

func (s stored) Outline(context.Context) (io.ReadCloser, error) {
	var out bytes.Buffer
	if err := s.Store.Outline(s.session, &out); err != nil {
		return nil, err
	}
	b := out.Bytes()
	if s.outline != nil {
		b = s.outline(b)
	}
	return io.NopCloser(bytes.NewReader(b)), nil
}

func (s stored) Body(_ context.Context, segment uint64) ([]byte, error) {
	if s.body != nil {
		segment, _ = s.body(segment, nil)
	}
	var out bytes.Buffer
	if err := s.Bodies(s.session, segment, 1, &out); err != nil {
		return nil, err
	}
	b := out.Bytes()[4:]
	if s.body != nil {
		_, b = s.body(segment, b)
	}
	return b, nil
}

func (s stored) open() (*Archive, error) {
	return OpenArchive(context.Background(), s, s.private, s.bastion)
}

// all reads every segment of an archive.
func all(a *Archive) (frames []Frame, err error) {
	for n := range a.Parts() {
		part, err := a.Frames(context.Background(), uint64(n))
		frames = append(frames, part...)
		if err != nil {
			return frames, err
		}
	}
	return frames, nil
}

// counting is an indexer that says how many frames it has seen, and of which segment.
func counting(h Header) func(uint64, []Frame) []byte {
	n := 0
	return func(first uint64, frames []Frame) []byte {
		n += len(frames)
		return fmt.Appendf(nil, "%s %d %d", h.Session, first, n)
	}
}

// outlined3 is a recording of packed segments with an index and then verbatim ones, in a store of its own.
func outlined3(t *testing.T) *bench {
	t.Helper()
	b := newBench(t, func(c *Config) { c.Index = counting })
	w := b.create(t, "S-1")
	for i := range 9 {
		c, err := w.Append(data(0, Stdout, fmt.Sprintf("line %d\n", i)))
		durably(t, c, err)
		if i%3 == 2 {
			w.cutIf(func(*segment) bool { return true })
		}
		if i == 5 {
			waitSegments(t, b, "S-1", 2)
			b.sealer.hold(t)
		}
	}
	crashed := b.crash(t)
	b.sealer.unhold()
	b.Close()
	crashed.reopen(t)
	t.Cleanup(func() { crashed.Close() })
	return crashed
}

func TestOutline(t *testing.T) {
	b := outlined3(t)
	a, err := stored{bench: b, session: "S-1"}.open()
	if err != nil {
		t.Fatal(err)
	}
	want, sum, err := b.play(b.export(t, "S-1"))
	if err != nil {
		t.Fatal(err)
	}
	if a.Summary().Progress != sum.Progress || !a.Summary().Signed || !a.Summary().Interrupted {
		t.Errorf("%+v, not %+v", a.Summary(), sum)
	}
	if got, err := all(a); err != nil || !alike(got, want) {
		t.Errorf("%d frames of %d: %v", len(got), len(want), err)
	}
	for i, said := range []string{"S-1 0 4", "S-1 4 7", ""} {
		p := a.Parts()[i]
		if string(p.Index) != said || (p.Bytes > 0) != (said != "") || p.End < p.Begin {
			t.Errorf("segment %d: %+v, the index should say %q", i, p, said)
		}
	}
	if _, err := a.Frames(context.Background(), 3); err == nil {
		t.Error("there is no segment 3")
	}
	if h, err := a.Header(context.Background()); err != nil || h.Person != "alice" {
		t.Errorf("%+v %v", h, err)
	}
	if sum, err := CheckOutline(context.Background(), stored{bench: b, session: "S-1"}, b.bastion); err != nil || sum != a.Summary() {
		t.Errorf("%+v %v", sum, err)
	}
}

func TestOutlineOfALiveSession(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	a, err := stored{bench: b, session: "S-1"}.open()
	if err != nil || len(a.Parts()) != 0 || !a.Summary().Live {
		t.Fatalf("%+v %v", a, err)
	}
	if h, err := a.Header(context.Background()); err != nil || h.Session != "S-1" {
		t.Errorf("%+v %v", h, err)
	}
	w.cutIf(func(*segment) bool { return true })
	waitSegments(t, b, "S-1", 1)
	if a, err = (stored{bench: b, session: "S-1"}).open(); err != nil || len(a.Parts()) != 1 || !a.Summary().Live {
		t.Fatalf("%+v %v", a, err)
	}
	if a.Parts()[0].Bytes == 0 || a.Parts()[0].Index != nil {
		t.Errorf("%+v", a.Parts()[0]) // without an indexer: sizes and times
	}
	for _, f := range []func() error{
		func() error { return b.Outline("S-2", io.Discard) },
		func() error { return b.Outline("../S-1", io.Discard) },
		func() error { return b.Bodies("S-1", 1, 1, io.Discard) },
		func() error { return b.Bodies("S-2", 0, 1, io.Discard) },
	} {
		if err := f(); !errors.Is(err, ErrNotFound) {
			t.Error(err)
		}
	}
}

// A recording of which the store has no outline rows, for an earlier version wrote it.
func TestOutlineOfAnEarlierVersion(t *testing.T) {
	b := outlined3(t)
	err := b.db.Update(func(tx *store.Tx) error {
		for n := range uint64(2) {
			if err := tx.Delete(outlineKey("S-1", n)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	a, err := stored{bench: b, session: "S-1"}.open()
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := b.play(b.export(t, "S-1"))
	if got, bad := all(a); err != nil || bad != nil || !alike(got, want) || a.Parts()[0].Index != nil {
		t.Errorf("%d frames of %d: %v %v", len(got), len(want), err, bad)
	}
	x := b.follow(t, "S-1")
	if got, err := x.rest(); err != io.EOF || !alike(got, want) {
		t.Errorf("%d frames of %d: %v", len(got), len(want), err)
	}
}

// An indexer that panics, hangs on to what it was given or says too much harms no recording.
func TestIndexersThatBreak(t *testing.T) {
	var log bytes.Buffer
	b := newBench(t, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, nil))
		c.Index = func(h Header) func(uint64, []Frame) []byte {
			n := 0
			return func(_ uint64, frames []Frame) []byte {
				n++
				for _, f := range frames {
					clear(f.Data)
				}
				switch h.Session {
				case "S-PANIC":
					if n == 2 {
						panic("hostile")
					}
				case "S-LONG":
					return make([]byte, maxIndex)
				case "S-MOST":
					return make([]byte, maxIndex-gcmTag-entryTimes)
				}
				return []byte("said")
			}
		}
	})
	for id, want := range map[string][]int{"S-PANIC": {4, 0, 0}, "S-LONG": {0, 0, 0}, "S-MOST": {maxIndex - gcmTag - entryTimes, maxIndex - gcmTag - entryTimes, maxIndex - gcmTag - entryTimes}} {
		w := b.create(t, id)
		for i := range uint64(2) {
			c, err := w.Append(data(0, Stdout, "text"))
			durably(t, c, err)
			w.cutIf(func(*segment) bool { return true })
			waitSegments(t, b, id, i+1)
		}
		if err := w.Close("closed"); err != nil {
			t.Fatal(err)
		}
		<-b.sealed
		a, err := stored{bench: b, session: id}.open()
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range a.Parts() {
			if len(p.Index) != want[i] || p.Bytes == 0 {
				t.Errorf("%s: segment %d has %d bytes of index", id, i, len(p.Index))
			}
		}
		if frames, err := all(a); err != nil || len(frames) != 4 || string(frames[1].Data) != "text" {
			t.Errorf("%s: %v %v", id, frames, err)
		}
	}
	if !strings.Contains(log.String(), "the indexer broke") || !strings.Contains(log.String(), "S-PANIC") {
		t.Errorf("log: %s", &log)
	}
}

// When more is recorded than can be sealed, what is left out is the index.
func TestIndexUnderPressure(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Index, c.Capacity, c.Log = counting, 8<<20, slog.New(slog.DiscardHandler) })
	w := b.create(t, "S-1")
	w.cutIf(func(*segment) bool { return true })
	waitSegments(t, b, "S-1", 1)
	b.sealer.hold(t)
	content := sample("noise", 32<<10)
	for high := false; !high; _, high = b.files.pressure() {
		c, err := w.Append(Frame{Type: TypeData, Data: content})
		durably(t, c, err)
	}
	b.sealer.unhold()
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	a, err := stored{bench: b, session: "S-1"}.open()
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range a.Parts() {
		if (p.Index != nil) != (i == 0) || p.Bytes == 0 {
			t.Errorf("segment %d: %q", i, p.Index)
		}
	}
	if _, err := all(a); err != nil {
		t.Error(err)
	}
}

// Compartments open in any order of segments, and from many goroutines.
func TestArchiveCompartments(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	key, one := compartment(t, w)
	other, two := compartment(t, w)
	for i := range 40 {
		c, err := w.Append(data(0, Stdout, fmt.Sprintf("out %d", i)))
		durably(t, c, err)
		if i%3 == 0 {
			c, err = one.Append(data(0, Stdin, fmt.Sprintf("one %d", i)))
			durably(t, c, err)
		}
		if i%5 == 0 {
			c, err = two.Append(data(1, Stdin, fmt.Sprintf("two %d", i)))
			durably(t, c, err)
		}
		if i%4 == 3 {
			w.cutIf(func(*segment) bool { return true })
		}
		if i == 20 {
			one.sender = nil // as a minute later
		}
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	for name, keys := range map[string][]PrivateKey{"no key": nil, "one": {key}, "both": {key, other}} {
		want, _, err := b.playWith(b.export(t, "S-1"), keys)
		if err != nil {
			t.Fatal(err)
		}
		a, err := stored{bench: b, session: "S-1"}.open()
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			a.OpenCompartment(k)
		}
		first := make([]int, len(a.Parts())+1)
		for i, p := range a.Parts() {
			first[i+1] = first[i] + int(p.Frames)
		}
		bad := make(chan error, 256)
		check := func(n int) {
			got, err := a.Frames(context.Background(), uint64(n))
			if err != nil || !alike(got, want[first[n]:first[n+1]]) {
				bad <- fmt.Errorf("%s: segment %d: %d frames, %v", name, n, len(got), err)
			}
		}
		for _, n := range []int{9, 0, 1, 2, 9, 5, 4, 5, 6, 7, 3, 10} {
			check(n)
		}
		done := make(chan bool)
		for g := range 4 {
			go func() {
				for i := range a.Parts() {
					check((i*7 + g) % len(a.Parts()))
				}
				done <- true
			}()
		}
		for range 4 {
			<-done
		}
		close(bad)
		for err := range bad {
			t.Error(err)
		}
	}
}

// Opening a long recording takes less than a second, most of it for signatures.
func TestLongOutline(t *testing.T) {
	const segments = 10000
	b := newBench(t, func(c *Config) {
		c.FileSize = 16 << 20
		c.Index = func(Header) func(uint64, []Frame) []byte {
			return func(uint64, []Frame) []byte { return make([]byte, 1<<10) }
		}
	})
	w := b.create(t, "S-1")
	for range segments - 1 {
		if _, err := w.Append(data(0, Stdout, "line\n")); err != nil {
			t.Fatal(err)
		}
		w.cutIf(func(*segment) bool { return true })
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	began := time.Now()
	var outline bytes.Buffer
	if err := b.Outline("S-1", &outline); err != nil {
		t.Fatal(err)
	}
	written := time.Since(began)
	began = time.Now()
	a, err := stored{bench: b, session: "S-1", outline: func([]byte) []byte { return outline.Bytes() }}.open()
	took := time.Since(began) - written // it was written again
	if err != nil || len(a.Parts()) != segments {
		t.Fatal(err)
	}
	began = time.Now()
	if _, err := a.Frames(context.Background(), segments/2); err != nil {
		t.Fatal(err)
	}
	t.Logf("an outline of %d segments, %d kB: written in %v, opened in %v; a segment in the middle in %v; %d processors", segments, outline.Len()>>10, written, took, time.Since(began), runtime.GOMAXPROCS(0))
	if took > 30*time.Second { // a test may run beside many others
		t.Error("that is slow")
	}
}
