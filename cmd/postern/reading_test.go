package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"io"
	"strings"
	"testing"
	"time"

	"postern/internal/report"
	"postern/recorder"
	"postern/recorder/index"
)

// onDisk is a recording in the store of a bastion, with the index that an export leaves out.
type onDisk struct {
	*recorder.Exported
	store *recorder.Store
}

func (k onDisk) Outline(context.Context) (io.ReadCloser, error) {
	var b bytes.Buffer
	return io.NopCloser(&b), k.store.Outline("S-1", &b)
}

// recordFile records the transfer of one file through a bastion with that indexer, and opens the recording.
func recordFile(t *testing.T, indexer func(recorder.Header) func(uint64, []recorder.Frame) []byte) *recorder.Archive {
	t.Helper()
	public, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	private, key := recorder.NewKey()
	sealed := make(chan struct{}, 1)
	store, err := recorder.OpenStore(recorder.Config{Dir: t.TempDir(), Signer: signer, FileSize: 1 << 20, LowSpace: -1, Index: indexer, Sealed: func(p recorder.Progress) {
		if p.Sealed {
			sealed <- struct{}{}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	w, err := store.Create(recorder.Header{Session: "S-1", Person: "alice", Account: "root", Host: "phi1", Bastion: "bastion-1"}, key)
	if err != nil {
		t.Fatal(err)
	}
	f := recorder.EventFrame(recorder.EventFile, recorder.File{Number: 1, Protocol: "sftp", Path: "/patients.csv", Access: "read", Read: &recorder.Transfer{Bytes: 48211}, Keep: "hash", Status: "ok"})
	if _, err := w.Append(f); err != nil {
		t.Fatal(err)
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-sealed
	var file bytes.Buffer
	if err := store.Export("S-1", &file); err != nil {
		t.Fatal(err)
	}
	exported, err := recorder.OpenExported(bytes.NewReader(file.Bytes()), int64(file.Len()))
	if err != nil {
		t.Fatal(err)
	}
	a, err := recorder.OpenArchive(t.Context(), onDisk{exported, store}, private, public)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func honest(recorder.Header) func(uint64, []recorder.Frame) []byte { return new(index.Indexer).Segment }

// lying is the indexer of a bastion that would rather not say how much was taken.
func lying(recorder.Header) func(uint64, []recorder.Frame) []byte {
	x := new(index.Indexer)
	return func(first uint64, frames []recorder.Frame) []byte {
		var others []recorder.Frame
		for _, f := range frames {
			f.Data = bytes.ReplaceAll(f.Data, []byte(`"bytes":48211`), []byte(`"bytes":3`))
			others = append(others, f)
		}
		return x.Segment(first, others)
	}
}

// A bastion's index is its word; the frames are what passed. Who reads thoroughly gets the second, and hears of the first.
func TestIndexOfALyingBastion(t *testing.T) {
	for name, c := range map[string]struct {
		indexer func(recorder.Header) func(uint64, []recorder.Frame) []byte
		bytes   uint64
		differs bool
	}{"honest": {honest, 48211, false}, "lying": {lying, 3, true}, "none": {nil, 48211, false}} {
		a := recordFile(t, c.indexer)
		said, err := index.Of(t.Context(), a, nil)
		if err != nil || len(said) != 1 || len(said[0].Files) != 1 || said[0].Files[0].Bytes != c.bytes {
			t.Fatalf("%s: the index says %+v, %v", name, said, err)
		}
		list, err := fromFrames(t.Context(), a)
		if (err != nil) != c.differs || len(list) != 1 || list[0].Files[0].Bytes != 48211 {
			t.Errorf("%s: the frames say %+v, %v", name, list, err)
		}
		started := time.Date(2026, 10, 2, 9, 0, 0, 0, time.UTC)
		s := &report.Session{ID: "S-1", Started: started, Ended: started.Add(time.Minute)}
		r := reading{report: &report.Report{From: started, To: started.AddDate(0, 1, 0), Sessions: []*report.Session{s}}}
		r.take(s, found{list, err})
		if bad := strings.Contains(s.Recording.Problem, "does not say what the frames say"); bad != c.differs || len(s.Files) != 1 || s.Files[0].Bytes != 48211 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}
