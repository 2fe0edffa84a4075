package play

import (
	"bytes"
	"crypto/ed25519"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

// recording is one that was made for a test, by the real recorder.
type recording struct {
	file    []byte
	private recorder.PrivateKey
	typed   recorder.PrivateKey
	bastion ed25519.PublicKey
}

// typed marks frames that go to the compartment.
const typed = 1 << 7

// record makes a recording of frames; those whose type has the bit typed are sealed in a compartment.
func record(t testing.TB, frames ...recorder.Frame) recording {
	t.Helper()
	public, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	sealed := make(chan struct{})
	store, err := recorder.OpenStore(recorder.Config{Dir: t.TempDir(), Signer: signer, FileSize: 1 << 20, LowSpace: -1, Sealed: func(p recorder.Progress) {
		if p.Sealed {
			close(sealed)
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	r := recording{bastion: public}
	var to, keystrokes recorder.PublicKey
	r.private, to = recorder.NewKey()
	r.typed, keystrokes = recorder.NewKey()
	w, err := store.Create(recorder.Header{Session: "S-1", Person: "alice", Started: time.Now()}, to)
	if err != nil {
		t.Fatal(err)
	}
	compartment, err := w.Compartment(keystrokes)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range frames {
		f.At += time.Hour // all in one hour, however slow the machine
		append := w.Append
		if f.Type&typed != 0 {
			f.Type &^= typed
			append = compartment.Append
		}
		if _, err := append(f); err != nil {
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
	r.file = out.Bytes()
	return r
}

// open reads it, with the key of the keystrokes or without.
func (r recording) open(t testing.TB, keystrokes bool) *recorder.Reader {
	t.Helper()
	reader, err := recorder.Open(bytes.NewReader(r.file), r.private, r.bastion)
	if err != nil {
		t.Fatal(err)
	}
	if keystrokes {
		if err := reader.OpenCompartment(r.typed); err != nil {
			t.Fatal(err)
		}
	}
	return reader
}

func opened(channel uint32, kind string, payload []byte) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeOpen, Channel: channel, Data: recorder.OpenChannel{Kind: kind, Payload: payload}.Marshal()}
}

func request(channel uint32, name, text string) recorder.Frame {
	r := recorder.Request{Name: name, Payload: ssh.Marshal(struct{ Text string }{text})}
	return recorder.Frame{Type: recorder.TypeRequest, Channel: channel, Data: r.Marshal()}
}

func pty(channel uint32) recorder.Frame {
	r := recorder.Request{Name: "pty-req", Payload: ssh.Marshal(struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}{"xterm", 80, 24, 0, 0, ""})}
	return recorder.Frame{Type: recorder.TypeRequest, Channel: channel, Data: r.Marshal()}
}

func data(channel uint32, stream byte, text string) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeData, Channel: channel, Stream: stream, Data: []byte(text)}
}

func told(channel uint32, stream byte, name string, v any) recorder.Frame {
	f := recorder.EventFrame(name, v)
	f.Channel, f.Stream = channel, stream
	return f
}

func extent(channel uint32, stream byte, e recorder.Extent) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeExtent, Channel: channel, Stream: stream, Data: e.Marshal()}
}

func frame(typ recorder.Type, channel uint32) recorder.Frame {
	return recorder.Frame{Type: typ, Channel: channel}
}

// at moves a frame in time.
func after(d time.Duration, f recorder.Frame) recorder.Frame {
	f.At = d
	return f
}

func keyed(f recorder.Frame) recorder.Frame {
	f.Type |= typed
	return f
}
