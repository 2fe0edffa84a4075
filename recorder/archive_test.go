package recorder

import (
	"bytes"
	"context"
	"strconv"
	"strings"
	"testing"
)

// An archive gives the same frames as the reader that reads from end to end.
func TestArchiveIsTheRecording(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	for i := range 5 {
		if _, err := w.Append(data(uint32(i), Stdout, strings.Repeat(strconv.Itoa(i), MaxData-i))); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	exported, key, bastion := b.export(t, "S-1"), b.private, b.bastion
	f, err := OpenExported(bytes.NewReader(exported), int64(len(exported)))
	if err != nil {
		t.Fatal(err)
	}
	a, err := OpenArchive(context.Background(), f, key, bastion)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(bytes.NewReader(exported), key, bastion)
	if err != nil {
		t.Fatal(err)
	}
	for n := range a.Parts() {
		frames, err := a.Frames(context.Background(), uint64(n))
		if err != nil {
			t.Fatal(err)
		}
		for _, got := range frames {
			want, err := r.Next()
			if err != nil || got.Type != want.Type || got.At != want.At || !bytes.Equal(got.Data, want.Data) {
				t.Fatalf("segment %d: %v, want %v %v", n, got, want, err)
			}
		}
	}
	if len(a.Parts()) < 2 {
		t.Fatalf("%d segments", len(a.Parts()))
	}
}
