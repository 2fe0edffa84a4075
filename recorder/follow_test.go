package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// watcher follows a session through a pipe.
type watcher struct {
	*Follower
	pipe   *io.PipeReader
	served chan error
}

func (b *bench) follow(t testing.TB, session string, keys ...PrivateKey) *watcher {
	t.Helper()
	r, w := io.Pipe()
	x := &watcher{pipe: r, served: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		err := b.Follow(ctx, session, w)
		w.CloseWithError(err)
		x.served <- err
	}()
	var err error
	if x.Follower, err = Follow(r, b.private, b.bastion); err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		x.OpenCompartment(key)
	}
	t.Cleanup(func() { cancel(); r.Close() })
	return x
}

// frame waits for the next one.
func (x *watcher) frame(t testing.TB) Frame {
	t.Helper()
	for {
		f, pulse, err := x.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !pulse {
			return f
		}
	}
}

// rest reads up to the error.
func (x *watcher) rest() (frames []Frame, err error) {
	for {
		f, pulse, err := x.Next()
		if err != nil {
			return frames, err
		}
		if !pulse {
			frames = append(frames, f)
		}
	}
}

func alike(a, b []Frame) bool { return len(a) == len(b) && startOf(a, b) }

// What happens is seen before it is sealed, and in the end it is what was sealed.
func TestFollow(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	key, typed := compartment(t, w)
	for _, text := range []string{"before one", "before two"} {
		c, err := w.Append(data(0, Stdout, text))
		durably(t, c, err)
		w.cutIf(func(*segment) bool { return true })
	}
	waitSegments(t, b, "S-1", 2)
	x := b.follow(t, "S-1", key)
	var seen []Frame
	for range 3 {
		seen = append(seen, x.frame(t))
	}
	if x.Header().Person != "alice" {
		t.Errorf("%+v", x.Header())
	}
	for i := range 5000 { // more than a segment has frames, and another
		c, err := w.Append(data(0, Stdout, fmt.Sprintf("line %d\n", i)))
		if i%1000 == 0 {
			durably(t, c, err)
			c, err = typed.Append(data(0, Stdin, "secret"))
			durably(t, c, err)
		}
	}
	for len(seen) < 3+5000+2*5 {
		f := x.frame(t)
		if f.Type == TypeData && f.Stream == Stdin && string(f.Data) != "secret" {
			t.Errorf("typed %q", f.Data)
		}
		if f.Type != TypeCompartment || len(seen) < 3+5000+2*5 {
			seen = append(seen, f)
		}
		if len(seen) == 3+5000+1+5 {
			break // one compartment begun, five frames in it
		}
	}
	if r, err := b.Recording("S-1"); err != nil || r.Segments > 3 {
		t.Errorf("%d segments are sealed, so this was not live: %v", r.Segments, err)
	}
	if err := w.Close("bye"); err != nil {
		t.Fatal(err)
	}
	rest, err := x.rest()
	if err != io.EOF {
		t.Fatal(err)
	}
	if reason, ended := x.End(); reason != "bye" || !ended || !x.Summary().Signed || !x.Summary().Sealed {
		t.Errorf("%q %v %+v", reason, ended, x.Summary())
	}
	frames, sum, err := b.playWith(b.export(t, "S-1"), []PrivateKey{key})
	if err != nil || !alike(append(seen, rest...), frames) {
		t.Errorf("%d frames, and %d in the recording: %v", len(seen)+len(rest), len(frames), err)
	}
	if x.Summary().Progress != sum.Progress {
		t.Errorf("%+v, not %+v", x.Summary(), sum)
	}
	if err := <-x.served; err != nil {
		t.Error(err)
	}
}

// A session that is over is followed to its end at once.
func TestFollowWhatIsOver(t *testing.T) {
	b, file, frames, _ := small(t)
	x := b.follow(t, "S-1")
	got, err := x.rest()
	if err != io.EOF || !alike(got, frames) || !x.Summary().Interrupted {
		t.Errorf("%d frames of %d: %v; %+v; %d bytes", len(got), len(frames), err, x.Summary(), len(file))
	}
	if err := b.Follow(context.Background(), "S-2", io.Discard); !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// A watcher that takes nothing costs a session nothing: neither time, nor memory, nor room in the journal.
func TestFollowerThatStops(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Capacity = 8 << 20 })
	w := b.create(t, "S-1")
	x := b.follow(t, "S-1") // reads the header, and then nothing
	content := sample("noise", 32<<10)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	const frames = 100 << 20 / (32 << 10)
	for range frames {
		if _, err := w.Append(Frame{Type: TypeData, Stream: Stdout, Data: content}); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("100 MB in %v", time.Since(began))
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 48<<20 {
		t.Errorf("%d MB more of memory", grown>>20)
	}
	b.files.mu.Lock()
	used := len(b.files.used)
	b.files.mu.Unlock()
	if used > 2 {
		t.Errorf("%d files of the journal are in use", used)
	}
	got, err := x.rest()
	if err != io.EOF || len(got) != frames+2 {
		t.Errorf("%d frames: %v", len(got), err)
	}
}

// A watcher that is slow gets part of a segment live and then the whole of it, and sees no frame twice.
func TestSlowFollower(t *testing.T) {
	b := newBench(t, func(c *Config) { c.SegmentAge = time.Hour })
	w := b.create(t, "S-1")
	x := b.follow(t, "S-1")
	var got []Frame
	for i := range 200 {
		c, err := w.Append(data(0, Stdout, strings.Repeat(fmt.Sprint(i), 8<<10)))
		durably(t, c, err)
		if i%7 == 0 {
			got = append(got, x.frame(t))
		}
		if i%50 == 49 {
			w.cutIf(func(*segment) bool { return true })
		}
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	rest, err := x.rest()
	frames, _, bad := b.play(b.export(t, "S-1"))
	if err != io.EOF || bad != nil || !alike(append(got, rest...), frames) {
		t.Errorf("%d frames of %d: %v, %v", len(got)+len(rest), len(frames), err, bad)
	}
}

func TestHundredFollowers(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	var all sync.WaitGroup
	for range 100 {
		x := b.follow(t, "S-1")
		all.Go(func() {
			if got, err := x.rest(); err != io.EOF || len(got) != 300+2 {
				t.Errorf("%d frames: %v", len(got), err)
			}
		})
	}
	for i := range 300 {
		c, err := w.Append(data(0, Stdout, fmt.Sprintf("line %d\n", i)))
		durably(t, c, err)
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	all.Wait()
}

// A bastion that stops ends its sessions, and those who follow hear of it or are told that it stops.
func TestStoppedWhileFollowed(t *testing.T) {
	b := newBench(t, nil)
	b.create(t, "S-1")
	x := b.follow(t, "S-1")
	x.frame(t)
	done := make(chan error, 1)
	go func() { _, err := x.rest(); done <- err }()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != io.EOF && !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if reason, ended := x.End(); !ended || reason != "the bastion stopped" {
		t.Errorf("%q %v", reason, ended)
	}
}

// While nothing happens there are signs of life.
func TestFollowPulse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, nil)
		b.create(t, "S-1")
		x := b.follow(t, "S-1")
		x.frame(t)
		for range 3 {
			if _, pulse, err := x.Next(); !pulse || err != nil {
				t.Fatal(pulse, err)
			}
		}
		if at, current := x.Now(); at < 10*time.Second || !current {
			t.Error(at, current)
		}
		b.Close()
	})
}

// followed is what a watcher is sent of a session that ends.
func followed(t *testing.T) (b *bench, stream []byte, frames []Frame) {
	b = newBench(t, nil)
	w := b.create(t, "S-1")
	r, out := io.Pipe()
	go func() { out.CloseWithError(b.Follow(context.Background(), "S-1", out)) }()
	read := func(until func([]byte) bool) {
		for !until(stream) {
			p := make([]byte, 4096)
			n, err := r.Read(p)
			stream = append(stream, p[:n]...)
			if err == io.EOF {
				return
			} else if err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 6 {
		c, err := w.Append(data(0, Stdout, fmt.Sprintf("line %d\n", i)))
		durably(t, c, err)
		switch i {
		case 1, 3: // part of this is seen live, and all of it when it is sealed
			n := len(stream)
			read(func(s []byte) bool { return len(s) > n+100 })
			w.cutIf(func(*segment) bool { return true })
			waitSegments(t, b, "S-1", uint64(i+1)/2)
		}
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	read(func([]byte) bool { return false })
	var err error
	if frames, _, err = b.play(b.export(t, "S-1")); err != nil {
		t.Fatal(err)
	}
	return b, stream, frames
}

func (b *bench) followBytes(stream []byte) (frames []Frame, err error) {
	f, err := Follow(bytes.NewReader(stream), b.private, b.bastion)
	if err != nil {
		return nil, err
	}
	x := watcher{Follower: f}
	return x.rest()
}

// Every byte counts, but those of the clock.
func TestFollowFlipEveryByte(t *testing.T) {
	b, stream, frames := followed(t)
	if got, err := b.followBytes(stream); err != io.EOF || !alike(got, frames) {
		t.Fatalf("%d frames of %d: %v", len(got), len(frames), err)
	}
	harmless := 0
	for n := range stream {
		altered := bytes.Clone(stream)
		altered[n] ^= 1 << (n % 8)
		got, err := b.followBytes(altered)
		if !startOf(got, frames) {
			t.Fatalf("flipped at %d: %d frames, %v", n, len(got), err)
		}
		if err == io.EOF {
			harmless++
		}
	}
	if harmless > 8*bytes.Count(stream, []byte{itemNow}) {
		t.Errorf("%d of %d bytes may be anything", harmless, len(stream))
	}
	for n := 0; n < len(stream); n += 5 {
		if got, err := b.followBytes(stream[:n]); !errors.Is(err, ErrCutShort) || !startOf(got, frames) {
			t.Fatalf("cut at %d: %d frames, %v", n, len(got), err)
		}
	}
}

// A followed session has to pass through every head that was logged, sealed or not, and may not end before one.
func TestFollowExpects(t *testing.T) {
	b, stream, frames := followed(t)
	good, err := Follow(bytes.NewReader(stream), b.private, b.bastion)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (&watcher{Follower: good}).rest(); err != io.EOF {
		t.Fatal(err)
	}
	sum := good.Summary()
	wrong := sum.Head
	wrong[0] ^= 1
	for name, x := range map[string]struct {
		expect func(*Follower)
		says   error
	}{
		"the end":                  {func(f *Follower) { f.Expect(sum.Frames, sum.Head); f.ExpectSealed(sum.Segments, sum.SealedHead) }, io.EOF},
		"another head at the end":  {func(f *Follower) { f.Expect(sum.Frames, wrong) }, ErrAltered},
		"another head before":      {func(f *Follower) { f.Expect(2, wrong) }, ErrAltered},
		"another head of the 5th":  {func(f *Follower) { f.Expect(5, wrong) }, ErrAltered},
		"another sealed head":      {func(f *Follower) { f.ExpectSealed(1, wrong) }, ErrAltered},
		"another last sealed head": {func(f *Follower) { f.ExpectSealed(sum.Segments, wrong) }, ErrAltered},
		"more frames":              {func(f *Follower) { f.Expect(sum.Frames+1, wrong) }, ErrCutShort},
		"more segments":            {func(f *Follower) { f.ExpectSealed(sum.Segments+1, wrong) }, ErrCutShort},
	} {
		f, err := Follow(bytes.NewReader(stream), b.private, b.bastion)
		if err != nil {
			t.Fatal(err)
		}
		x.expect(f)
		got, err := (&watcher{Follower: f}).rest()
		if !errors.Is(err, x.says) || !startOf(got, frames) {
			t.Errorf("%s: %d frames, %v", name, len(got), err)
		}
	}
	other, _ := NewKey()
	if _, err := Follow(bytes.NewReader(stream), other, b.bastion); !errors.Is(err, ErrWrongKey) {
		t.Error(err)
	}
}
