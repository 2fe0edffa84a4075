package recorder

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// Sessions come and go, the disk fills and is emptied, the journal is small: whatever was acknowledged is sealed.
func TestStress(t *testing.T) {
	var f faulty
	b := newBench(t, func(c *Config) {
		c.Disk, c.Capacity, c.SegmentAge = f.disk(), 4<<20, 5*time.Millisecond
	})
	content := sample("noise", 64<<10)
	var mu sync.Mutex
	acked := map[string]logged{}
	session := func(id string) {
		w, err := b.Create(Header{Session: id}, b.public)
		if err != nil {
			if !errors.Is(err, ErrFailed) && !errors.Is(err, ErrFull) {
				t.Error(err)
			}
			return
		}
		defer func() {
			frames, head := w.Head()
			mu.Lock()
			acked[id] = logged{frames, head}
			mu.Unlock()
		}()
		for range 1 + rand.IntN(60) {
			size := rand.IntN(200)
			if size%5 == 0 {
				size *= 300
			}
			c, err := w.Append(Frame{Type: TypeData, Stream: Stdout, Data: content[:size]})
			if err == nil && size%2 == 0 {
				err = c.Err()
			}
			if err != nil {
				break
			}
		}
		if err := w.Close("closed"); err != nil && !errors.Is(err, ErrFailed) {
			t.Error(err)
		}
	}
	var wait sync.WaitGroup
	for i := range 8 {
		wait.Go(func() {
			for n := range 12 {
				session(fmt.Sprintf("S-%d-%d", i, n))
			}
		})
	}
	stop := make(chan struct{})
	var disk sync.WaitGroup
	disk.Go(func() {
		for full := true; ; full = !full {
			select {
			case <-stop:
				f.allocate.Store(false)
				return
			case <-time.After(time.Duration(rand.IntN(int(30 * time.Millisecond)))):
				f.allocate.Store(full)
			}
		}
	})
	wait.Wait()
	close(stop)
	disk.Wait()
	b.Close()
	b.reopen(t)
	if len(acked) < 8 {
		t.Errorf("only %d sessions", len(acked))
	}
	for id, head := range acked {
		frames, sum, err := b.play(b.export(t, id), head)
		if err != nil || !sum.Sealed || uint64(len(frames)) < head.count {
			t.Errorf("%s: %d frames of %d, %+v: %v", id, len(frames), head.count, sum, err)
		}
	}
}

// Close in the middle of it all ends every session in an orderly way.
func TestCloseWhileBusy(t *testing.T) {
	b := newBench(t, nil)
	var wait sync.WaitGroup
	begun := make(chan *Writer, 8)
	for i := range 8 {
		w := b.create(t, fmt.Sprintf("S-%d", i))
		wait.Go(func() {
			for n := 0; ; n++ {
				c, err := w.Append(data(0, Stdout, "line\n"))
				if err == nil {
					err = c.Err()
				}
				if n == 10 || err != nil && n < 10 {
					begun <- w
				}
				if err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					return
				}
			}
		})
	}
	for range 8 {
		<-begun
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	wait.Wait()
	b.reopen(t)
	for i := range 8 {
		id := fmt.Sprintf("S-%d", i)
		frames, sum, err := b.play(b.export(t, id))
		if err != nil || !sum.Sealed || sum.Interrupted || string(frames[len(frames)-1].Data) != "the bastion stopped" {
			t.Errorf("%s: %d frames, %+v: %v", id, len(frames), sum, err)
		}
	}
}
