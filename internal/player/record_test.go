package player

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
	"postern/recorder/index"
)

// record makes a recording with the real recorder and opens it as an archive. Times are those of the frames.
func record(t testing.TB, frames ...recorder.Frame) Recording {
	t.Helper()
	r, _ := recordAt(t, frames...)
	return r
}

func recordAt(t testing.TB, frames ...recorder.Frame) (Recording, *bastion) {
	t.Helper()
	public, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	sealed := make(chan struct{})
	store, err := recorder.OpenStore(recorder.Config{
		Dir: t.TempDir(), Signer: signer, FileSize: 64 << 20, LowSpace: -1,
		Index: func(recorder.Header) func(uint64, []recorder.Frame) []byte { return new(index.Indexer).Segment },
		Sealed: func(p recorder.Progress) {
			if p.Sealed {
				close(sealed)
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	private, to := recorder.NewKey()
	w, err := store.Create(recorder.Header{Session: "S-1", Person: "alice", Account: "postgres", Host: "db", Started: time.Now().Add(-frames[len(frames)-1].At - 2*time.Millisecond)}, to)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		f.At += time.Millisecond // 0 would be now
		if _, err := w.Append(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-sealed
	var out bytes.Buffer
	if err := store.Export("S-1", &out); err != nil {
		t.Fatal(err)
	}
	exported, err := recorder.OpenExported(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	source := &bastion{Exported: exported}
	if err := store.Outline("S-1", &source.outline); err != nil {
		t.Fatal(err)
	}
	archive, err := recorder.OpenArchive(context.Background(), source, private, public)
	if err != nil {
		t.Fatal(err)
	}
	header, err := archive.Header(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	source.fetched.Store(0)
	return Recording{Archive: archive, Header: header}, source
}

// bastion gives out the parts of a recording, and counts them.
type bastion struct {
	*recorder.Exported
	outline bytes.Buffer
	fetched atomic.Int64
	hold    chan struct{} // a body comes when something can be read from it; nil: at once
	altered int64         // this segment comes with another byte; 0: none
}

func (b *bastion) Outline(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(b.outline.Bytes())), nil
}

func (b *bastion) Body(ctx context.Context, segment uint64) ([]byte, error) {
	b.fetched.Add(1)
	if b.hold != nil {
		select {
		case <-b.hold:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	body, err := b.Exported.Body(ctx, segment)
	if err == nil && b.altered > 0 && uint64(b.altered) == segment {
		body[len(body)/2] ^= 1
	}
	return body, err
}

func pty(at time.Duration, channel, columns, rows uint32) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeRequest, Channel: channel, At: at, Data: recorder.Request{Name: "pty-req", Payload: ssh.Marshal(struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}{"xterm", columns, rows, 0, 0, ""})}.Marshal()}
}

func window(at time.Duration, channel, columns, rows uint32) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeRequest, Channel: channel, At: at, Data: recorder.Request{Name: "window-change",
		Payload: ssh.Marshal(struct{ Columns, Rows, Width, Height uint32 }{columns, rows, 0, 0})}.Marshal()}
}

func request(at time.Duration, channel uint32, name, text string) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeRequest, Channel: channel, At: at, Data: recorder.Request{Name: name, Payload: ssh.Marshal(struct{ Text string }{text})}.Marshal()}
}

func output(at time.Duration, channel uint32, text string) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeData, Channel: channel, Stream: recorder.Stdout, At: at, Data: []byte(text)}
}
