package recorder

import (
	"bytes"
	"fmt"
	"testing"
)

// However much waits, and whatever it compresses to, it is sealed in few transactions, and none is more than the store takes.
func TestLots(t *testing.T) {
	noise := sample("noise", segmentData)
	almost := append(bytes.Clone(noise[:60<<10]), make([]byte, segmentData-60<<10)...) // under the size from which values lie elsewhere
	for name, test := range map[string]struct {
		content  []byte
		segments int
		most     int // transactions
	}{
		"noise":            {noise, 64, 8},
		"almost a value":   {almost, 40, 8},
		"nothing but text": {sample("text", segmentData), 64, 8},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, func(c *Config) { c.FileSize, c.Capacity = 64<<20, 1<<30 })
			b.sealer.hold(t)
			w := b.create(t, "S-1")
			for range test.segments {
				if _, err := w.Append(Frame{Type: TypeData, Stream: Stdout, Data: test.content}); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close("closed"); err != nil {
				t.Fatal(err)
			}
			b.sealer.unhold()
			if p := <-b.sealed; p.Frames != uint64(test.segments)+2 {
				t.Errorf("sealed %+v", p)
			}
			if n := len(b.progress); n > test.most {
				t.Errorf("%d segments took %d transactions", test.segments, n)
			}
			if frames, _, err := b.play(b.export(t, "S-1")); err != nil || len(frames) != test.segments+2 {
				t.Errorf("%d frames, %v", len(frames), err)
			}
		})
	}
}

// Many sessions at a time share a transaction, and each has rows of its own in it.
func TestLotOfManySessions(t *testing.T) {
	b := newBench(t, nil)
	b.sealer.hold(t)
	const sessions = 200
	for i := range sessions {
		w := b.create(t, fmt.Sprintf("S-%0*d", MaxIdentity-2, i))
		if err := w.Close("closed"); err != nil {
			t.Fatal(err)
		}
	}
	b.sealer.unhold()
	for range sessions {
		<-b.sealed
	}
	list, err := b.Recordings()
	for _, r := range list {
		if !r.Sealed || r.Interrupted {
			t.Errorf("%+v", r)
		}
	}
	if err != nil {
		t.Error(err)
	}
}

// A segment that cannot be read back holds up none that waited before it, and is sealed after a restart.
func TestLotWithOneThatFails(t *testing.T) {
	b := newBench(t, nil)
	b.sealer.hold(t)
	for _, id := range []string{"S-1", "S-2"} {
		w := b.create(t, id)
		if err := w.Close("closed"); err != nil {
			t.Fatal(err)
		}
	}
	b.sealer.mu.Lock()
	for i := range b.sealer.queue[1].at {
		b.sealer.queue[1].at[i].offset += 1 << 30
	}
	b.sealer.mu.Unlock()
	b.sealer.unhold()
	if p := <-b.sealed; p.Session != "S-1" {
		t.Errorf("sealed is %s", p.Session)
	}
	b.Close()
	b.reopen(t)
	for _, id := range []string{"S-1", "S-2"} {
		if frames, sum, err := b.play(b.export(t, id)); err != nil || len(frames) != 2 || !sum.Sealed || sum.Interrupted {
			t.Errorf("%s: %d frames, %+v, %v", id, len(frames), sum, err)
		}
	}
}
