package search

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
	"postern/recorder/index"
)

// bastion is a store with an index, and the keys of an auditor.
type bastion struct {
	store   *recorder.Store
	private recorder.PrivateKey
	public  recorder.PublicKey
	signer  ed25519.PrivateKey
	sealed  chan string
	lie     func([]byte) []byte // about an entry
}

func newBastion(t testing.TB) *bastion {
	t.Helper()
	b := &bastion{sealed: make(chan string, 100), signer: ed25519.NewKeyFromSeed(make([]byte, 32))}
	b.private, b.public = recorder.NewKey()
	var err error
	b.store, err = recorder.OpenStore(recorder.Config{Dir: t.TempDir(), Signer: b.signer, LowSpace: -1, SegmentAge: time.Hour,
		Sealed: func(p recorder.Progress) {
			if p.Sealed {
				b.sealed <- p.Session
			}
		},
		Index: func(recorder.Header) func(uint64, []recorder.Frame) []byte {
			x := new(index.Indexer)
			return func(first uint64, frames []recorder.Frame) []byte {
				entry := x.Segment(first, frames)
				if b.lie != nil {
					entry = b.lie(entry)
				}
				return entry
			}
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.store.Close() })
	return b
}

// record keeps a session and gives what an auditor opens.
func (b *bastion) record(t testing.TB, session string, write func(append func(recorder.Frame))) *recorder.Archive {
	t.Helper()
	w, err := b.store.Create(recorder.Header{Session: session}, b.public)
	if err != nil {
		t.Fatal(err)
	}
	var last *recorder.Commit
	write(func(f recorder.Frame) {
		if last, err = w.Append(f); err != nil {
			t.Fatal(err)
		}
	})
	if last != nil && last.Err() != nil {
		t.Fatal(last.Err())
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	for <-b.sealed != session {
	}
	return b.open(t, session)
}

func (b *bastion) open(t testing.TB, session string) *recorder.Archive {
	t.Helper()
	a, err := recorder.OpenArchive(context.Background(), source{b.store, session}, b.private, b.signer.Public())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// source reads a store as a bastion gives it out.
type source struct {
	store   *recorder.Store
	session string
}

func (s source) Outline(context.Context) (io.ReadCloser, error) {
	var b bytes.Buffer
	err := s.store.Outline(s.session, &b)
	return io.NopCloser(&b), err
}

func (s source) Body(_ context.Context, n uint64) ([]byte, error) {
	var b bytes.Buffer
	if err := s.store.Bodies(s.session, n, 1, &b); err != nil {
		return nil, err
	}
	return b.Bytes()[4 : 4+binary.BigEndian.Uint32(b.Bytes())], nil
}

func opened(channel uint32) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeOpen, Channel: channel, Data: recorder.OpenChannel{Kind: "session"}.Marshal()}
}

func request(channel uint32, name string, payload any) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeRequest, Channel: channel, Data: recorder.Request{Name: name, Payload: ssh.Marshal(payload)}.Marshal()}
}

func pty(channel uint32) recorder.Frame {
	return request(channel, "pty-req", struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}{Term: "xterm", Columns: 80, Rows: 24})
}

func exec(channel uint32, command string) recorder.Frame {
	return request(channel, "exec", struct{ Text string }{command})
}

func output(channel uint32, at time.Duration, text string) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeData, Channel: channel, Stream: recorder.Stdout, At: at, Data: []byte(text)}
}

// sample is what hosts print.
func sample(kind string, r *rand.Rand, size int) []byte {
	var b bytes.Buffer
	for n := 0; b.Len() < size; n++ {
		switch kind {
		case "log":
			fmt.Fprintf(&b, "Nov 22 10:%02d:%02d phi1 postgres[%d]: LOG:  duration: %d.%03d ms  statement: select id, name from patients where id = %d\r\n",
				n/60%60, n%60, r.IntN(9999), r.IntN(90), r.IntN(999), r.IntN(1e7))
		case "editor":
			if n%40 == 0 {
				fmt.Fprintf(&b, "\x1b[?25l\x1b[m\x1b[%d;1H\x1b[K", r.IntN(24)+1)
			}
			fmt.Fprintf(&b, "\x1b[%d;%dH\x1b[38;5;%dmfunc\x1b[m name%d(ctx context.Context) error {\x1b[K", r.IntN(24)+1, r.IntN(20)+1, r.IntN(255), r.IntN(1e6))
		default:
			b.Write(binary.LittleEndian.AppendUint64(nil, r.Uint64()))
		}
	}
	return b.Bytes()[:size]
}
