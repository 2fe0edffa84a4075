package index

import (
	"runtime"
	"strings"
	"testing"

	"postern/recorder"
)

// What an indexer remembers between segments is little, whatever a client and a host do together.
func TestMemory(t *testing.T) {
	const many = 8
	var frames []recorder.Frame
	for i := range uint32(200) {
		frames = append(frames, open(i, "session"), pty(i),
			out(i, 0, strings.Repeat("x", 5000)), // lines without an end
			out(i, 0, "\x1b[?2004h"+strings.Repeat("y", 5000)+"\x1b["+strings.Repeat("1", 50)),
			recorder.Frame{Type: recorder.TypeData, Channel: i, Stream: recorder.Stderr, Data: []byte(strings.Repeat("z", 5000))})
	}
	var list []*Indexer
	before := heap()
	for range many {
		x := new(Indexer)
		x.Segment(0, frames)
		list = append(list, x)
	}
	if each := int(heap()-before) / many; each > 64<<10 {
		t.Errorf("an indexer remembers %d bytes", each)
	} else {
		t.Logf("an indexer remembers %d bytes", each)
	}
	runtime.KeepAlive(list)
}

func heap() int64 {
	for range 3 { // what is pooled goes at the second
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
