package recorder

import (
	"bytes"
	"io"
	"runtime"
	"testing"
)

// What a bastion holds in memory while segment n is written opens n and what follows, and nothing before.
func TestRatchetForgets(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	for i := range 6 {
		c, err := w.Append(data(0, Stdout, "secret "+string(rune('a'+i))))
		if err != nil || c.Err() != nil {
			t.Fatal(err)
		}
		w.cutIf(func(*segment) bool { return i%2 == 1 })
	}
	waitSegments(t, b, "S-1", 3)
	c, err := w.Append(data(0, Stdout, "now"))
	if err != nil || c.Err() != nil {
		t.Fatal(err)
	}
	// This is everything a thief of the process would find.
	w.mu.Lock()
	stolen := ratchet{state: w.ratchet.state}
	current, number := *w.segment.keys, w.segment.number
	w.mu.Unlock()
	if number != 3 {
		t.Fatal("segment", number)
	}
	r, err := newSealedReader(bytes.NewReader(b.export(t, "S-1")), b.bastion)
	if err != nil {
		t.Fatal(err)
	}
	for {
		h, header, body, err := r.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		tries := []keys{current}
		for range 8 {
			k, err := stolen.next()
			if err != nil {
				t.Fatal(err)
			}
			tries = append(tries, *k)
		}
		for i, k := range tries {
			if opens(t, k.seal[:], header, body) {
				t.Errorf("key %d opens segment %d", i, h.Number)
			}
		}
		r.accept(h)
	}
	if len(w.segments) != 1 {
		t.Errorf("%d segments are kept", len(w.segments))
	}
}

func opens(t *testing.T, key, header, body []byte) bool {
	gcm, err := newGCM(key)
	if err != nil {
		t.Fatal(err)
	}
	_, err = gcm.Open(nil, make([]byte, gcm.NonceSize()), body, header)
	return err == nil
}

// No plaintext and no key reaches the disk.
func TestNothingReadableOnDisk(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	c, err := w.Append(data(0, Stdout, "patient 4711 has the flu"))
	if err != nil || c.Err() != nil {
		t.Fatal(err)
	}
	w.cutIf(func(*segment) bool { return true })
	waitSegments(t, b, "S-1", 1)
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	for name, content := range b.content(t) {
		for _, secret := range []string{"patient 4711", "alice", string(b.private.Marshal())} {
			if bytes.Contains(content, []byte(secret)) {
				t.Errorf("%s contains %q", name, secret)
			}
		}
	}
}

// What a session writes must not pile up in memory.
func TestMemoryInBulk(t *testing.T) {
	b := newBench(t, func(c *Config) { c.FileSize, c.Capacity = 8<<20, 64<<20 })
	w := b.create(t, "S-1")
	content := sample("noise", 32<<10)
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, most := m.HeapInuse, uint64(0)
	for i := range 4096 {
		if _, err := w.Append(Frame{Type: TypeData, Stream: Stdout, Data: content}); err != nil {
			t.Fatal(err)
		}
		if i%512 == 0 {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapInuse)
		}
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	// 16 MiB are on their way at most; the rest is garbage of sealing.
	if most > before+64<<20 {
		t.Errorf("%d MiB of heap, %d before, while 128 MiB were recorded", most>>20, before>>20)
	}
}
