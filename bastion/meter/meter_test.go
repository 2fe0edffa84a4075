package meter

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"

	"postern/recorder"
)

func contents(n int) []byte {
	b := make([]byte, n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func told[T any](t *testing.T, f recorder.Frame) (v T) {
	t.Helper()
	e, err := f.Event()
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(e.JSON, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func extent(t *testing.T, f recorder.Frame) recorder.Extent {
	t.Helper()
	e, err := f.Extent()
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestFile(t *testing.T) {
	whole := contents(300_000)
	for keep, want := range map[string]int{Full: len(whole), Head: HeadSize, Hash: 0, "": len(whole)} {
		var log Log
		f := NewFile(&log, recorder.File{Number: 7, Path: "/x", Keep: keep})
		var kept []byte
		for offset := 0; offset < len(whole); offset += 32 << 10 {
			log.Reset()
			f.Read(uint64(offset), whole[offset:min(offset+32<<10, len(whole))])
			for _, frame := range log.Frames() {
				e := extent(t, frame)
				passed := int(e.Offset) + int(e.Length)
				if e.File != 7 || frame.Stream != recorder.Stdout || hex.EncodeToString(e.Sum[:]) != sum(whole[:passed]) {
					t.Fatalf("%s: extent %d+%d", keep, e.Offset, e.Length)
				}
				kept = append(kept, e.Kept...)
			}
		}
		if len(kept) != want || !bytes.Equal(kept, whole[:want]) {
			t.Errorf("%q keeps %d bytes, want %d", keep, len(kept), want)
		}
		f.End()
		log.Reset()
		f.Done("ok")
		f.Done("again")
		if len(log.Frames()) != 1 {
			t.Fatalf("%d events", len(log.Frames()))
		}
		got := told[recorder.File](t, log.Frames()[0])
		if got.Read == nil || got.Written != nil || got.Read.SHA256 != sum(whole) || !got.Read.End || got.Read.Ranges != nil || got.Read.Bytes != 300_000 || got.Status != "ok" {
			t.Errorf("%+v %+v", got, got.Read)
		}
	}
}

// Both directions of one file, neither in order from the beginning.
func TestFileInPieces(t *testing.T) {
	var log Log
	b := contents(1000)
	f := NewFile(&log, recorder.File{Keep: Hash})
	f.Write(500, b[500:600])
	f.Write(600, b[600:700])
	f.Read(0, b[:100])
	f.Read(200, b[200:300])
	f.Read(100, b[100:200])
	f.Read(900, b[900:])
	log.Reset()
	f.Done("ok")
	got := told[recorder.File](t, log.Frames()[0])
	if w := got.Written; w.SHA256 != sum(b[500:700]) || !slices.Equal(w.Ranges, []recorder.Range{{From: 500, To: 700}}) {
		t.Errorf("written %+v", w)
	}
	if r := got.Read; r.SHA256 != "" || !slices.Equal(r.Ranges, []recorder.Range{{From: 0, To: 300}, {From: 900, To: 1000}}) {
		t.Errorf("read %+v", r)
	}
}

// A client that reads every second byte does not make the event grow without end.
func TestRangesAreBounded(t *testing.T) {
	var log Log
	f := NewFile(&log, recorder.File{Keep: Hash})
	for i := range 10_000 {
		log.Reset()
		f.Read(uint64(2*i), []byte{1})
	}
	f.Read(1<<64-1, []byte{1, 2})
	log.Reset()
	f.Done("ok")
	got := told[recorder.File](t, log.Frames()[0])
	if len(got.Read.Ranges) != mostRanges || !got.Read.More || got.Read.Bytes != 10_002 {
		t.Errorf("%d ranges, more: %v", len(got.Read.Ranges), got.Read.More)
	}
}

// cover agrees with a map of bytes.
func TestCover(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 500 {
		tr, model := newTransfer(0), [64]bool{}
		for range rng.IntN(20) {
			from := rng.Uint64N(60)
			to := from + 1 + rng.Uint64N(4)
			tr.cover(recorder.Range{From: from, To: to})
			for i := from; i < to; i++ {
				model[i] = true
			}
		}
		var got [64]bool
		for i, r := range tr.ranges {
			if i > 0 && r.From <= tr.ranges[i-1].To {
				t.Fatalf("not apart: %v", tr.ranges)
			}
			for i := r.From; i < r.To; i++ {
				got[i] = true
			}
		}
		if got != model {
			t.Fatalf("%v covers %v, want %v", tr.ranges, got, model)
		}
	}
}

func TestStream(t *testing.T) {
	whole := contents(5 << 20)
	var log Log
	s := NewStream(&log, recorder.Stdout, 100_000)
	var kept []byte
	samples := 0
	for offset := 0; offset < len(whole); offset += 32 << 10 {
		log.Reset()
		s.Pass(whole[offset : offset+32<<10])
		for _, f := range log.Frames() {
			if f.Type == recorder.TypeData {
				kept = append(kept, f.Data...)
				continue
			}
			e := extent(t, f)
			passed := e.Offset + uint64(e.Length)
			if hex.EncodeToString(e.Sum[:]) != sum(whole[:passed]) || !bytes.Equal(e.Kept, whole[e.Offset:e.Offset+uint64(len(e.Kept))]) {
				t.Fatalf("extent at %d", e.Offset)
			}
			if len(e.Kept) > 0 {
				samples++
			}
		}
	}
	if !bytes.Equal(kept, whole[:100_000]) || samples != 5 {
		t.Errorf("kept %d bytes, %d samples", len(kept), samples)
	}
	log.Reset()
	s.Done()
	s.Done()
	if got := told[recorder.Stream](t, log.Frames()[0]); got != (recorder.Stream{Bytes: 5 << 20, SHA256: sum(whole), Kept: 100_000}) || len(log.Frames()) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestStreamInFull(t *testing.T) {
	var log Log
	s := NewStream(&log, recorder.Stderr, -1)
	for range 40 {
		s.Pass(make([]byte, 32<<10))
	}
	for _, f := range log.Frames() {
		if f.Type != recorder.TypeData || f.Stream != recorder.Stderr {
			t.Fatalf("%v frame", f.Type)
		}
	}
	log.Reset()
	s.Done()
	if got := told[recorder.Stream](t, log.Frames()[0]); got != (recorder.Stream{Bytes: 40 * 32 << 10, Kept: 40 * 32 << 10}) {
		t.Errorf("%+v", got)
	}
}

func TestLogJoinsData(t *testing.T) {
	var log Log
	log.Data(recorder.Stdin, []byte("ab"))
	log.Data(recorder.Stdin, []byte("cd"))
	log.Data(recorder.Stdout, []byte("e"))
	log.Event(recorder.EventOperation, recorder.Operation{Number: 1})
	log.Data(recorder.Stdout, []byte("f"))
	log.Data(recorder.Stdout, contents(200_000))
	var got string
	var total int
	for _, f := range log.Frames() {
		if len(f.Data) > mostMerged {
			t.Errorf("frame of %d bytes", len(f.Data))
		}
		total += len(f.Data)
		got += string(f.Data[:min(len(f.Data), 4)]) + "|"
	}
	if want := "abcd|e|"; got[:len(want)] != want || len(log.Frames()) != 8 {
		t.Errorf("%d frames %q", len(log.Frames()), got)
	}
	log.Reset()
	if len(log.Frames()) != 0 {
		t.Error("frames after Reset")
	}
}

func TestExtentAsTheRecorderMarshals(t *testing.T) {
	e := recorder.Extent{File: 1, Offset: 1 << 40, Length: 3, Sum: [32]byte{1, 2}, Kept: []byte("abc")}
	if !bytes.Equal(appendExtent(nil, e), e.Marshal()) {
		t.Error("appendExtent and Marshal differ")
	}
}
