package sftp

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"slices"
	"testing"

	"postern/bastion/meter"
	"postern/recorder"
)

// packet builds a packet: a byte, uint32, uint64 or string for each part.
func packet(kind byte, parts ...any) []byte {
	b := []byte{0, 0, 0, 0, kind}
	for _, p := range parts {
		switch p := p.(type) {
		case byte:
			b = append(b, p)
		case int:
			b = binary.BigEndian.AppendUint32(b, uint32(p))
		case uint32:
			b = binary.BigEndian.AppendUint32(b, p)
		case uint64:
			b = binary.BigEndian.AppendUint64(b, p)
		case string:
			b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

var (
	noAttrs      = 0
	hello        = packet(typeInit, 3)
	helloBack    = packet(typeVersion, 3)
	helloUnknown = packet(typeVersion, 3, "posix-rename@openssh.com", "1", "statvfs@openssh.com", "2", "evil@example.com", "x", "limits@openssh.com", "1", "hardlink@openssh.com", "2")
)

func status(id, code int, message string) []byte { return packet(typeStatus, id, code, message, "") }

func handleIs(id int, handle string) []byte { return packet(typeHandle, id, handle) }

func denied(id int) []byte { return status(id, statusDenied, "Permission denied") }

// talk is a decoder and everything that came out of it.
type talk struct {
	t              testing.TB
	d              *Decoder
	log            meter.Log
	toHost, toUser []byte // what the two sides got
	answers        []byte // of toUser, what the decoder said itself
	fromHost       []byte // of toUser, the rest
	frames         []recorder.Frame
	err            error
}

var (
	both      = Config{Read: true, Write: true, Keep: meter.Full}
	readOnly  = Config{Read: true, Keep: meter.Full}
	writeOnly = Config{Write: true, Keep: meter.Full}
)

func newTalk(t testing.TB, c Config) *talk {
	k := &talk{t: t}
	k.d = New(c, &k.log)
	return k
}

// begun is a talk after INIT and VERSION.
func begun(t testing.TB, c Config) *talk {
	t.Helper()
	k := newTalk(t, c)
	k.user(hello)
	k.host(helloBack)
	k.toHost, k.toUser, k.fromHost, k.frames = nil, nil, nil, nil
	return k
}

func (k *talk) collect() {
	for _, f := range k.log.Frames() {
		f.Data = bytes.Clone(f.Data)
		k.frames = append(k.frames, f)
	}
	k.log.Reset()
}

// user feeds what the client sends.
func (k *talk) user(b []byte) {
	step, err := k.d.Client(nil, b)
	k.toHost = append(k.toHost, step.Forward...)
	k.toUser = append(k.toUser, step.Answer...)
	k.answers = append(k.answers, step.Answer...)
	k.failed(err)
}

// host feeds what the host sends.
func (k *talk) host(b []byte) {
	step, err := k.d.Host(nil, b)
	k.toUser = append(k.toUser, step.Forward...)
	k.fromHost = append(k.fromHost, step.Forward...)
	if step.Answer != nil {
		k.t.Error("an answer to the host")
	}
	k.failed(err)
}

func (k *talk) failed(err error) {
	if k.err == nil {
		k.err = err
	}
	k.collect()
}

// ask sends a request that must pass, and the host's answer to it.
func (k *talk) ask(request, answer []byte) {
	k.t.Helper()
	before := len(k.toHost)
	k.user(request)
	if !bytes.Equal(k.toHost[before:], request) {
		k.t.Errorf("%x reached the host as %x", request, k.toHost[before:])
	}
	before = len(k.toUser)
	k.host(answer)
	if !bytes.Equal(k.toUser[before:], answer) {
		k.t.Errorf("%x reached the client as %x", answer, k.toUser[before:])
	}
	if k.err != nil {
		k.t.Fatalf("%x, %x: %v", request, answer, k.err)
	}
}

func (k *talk) close() {
	k.d.Close()
	k.collect()
}

// files and operations are the events so far.
func (k *talk) files() []recorder.File {
	return events[recorder.File](k.t, k.frames, recorder.EventFile)
}
func (k *talk) operations() []recorder.Operation {
	return events[recorder.Operation](k.t, k.frames, recorder.EventOperation)
}

func events[T any](t testing.TB, frames []recorder.Frame, name string) (list []T) {
	t.Helper()
	for _, f := range frames {
		if f.Type != recorder.TypeEvent {
			continue
		}
		e, err := f.Event()
		if err != nil {
			t.Fatal(err)
		}
		if e.Name != name {
			continue
		}
		var v T
		if err := json.Unmarshal(e.JSON, &v); err != nil {
			t.Fatal(err)
		}
		list = append(list, v)
	}
	return list
}

// replayed puts the bytes of one side together again, as an auditor does: contents come from the extents, of which all must be kept. Contents
// that were denied are on no record; missing says how many bytes of them there are.
func replayed(t testing.TB, frames []recorder.Frame, stream byte) (b []byte, missing int) {
	t.Helper()
	var begun []byte       // a packet that is not complete
	contents, tail := 0, 0 // bytes that are due of contents, and behind them
	for _, f := range frames {
		switch {
		case f.Stream != stream:
		case f.Type == recorder.TypeExtent:
			e, err := f.Extent()
			if err != nil {
				t.Fatal(err)
			}
			if len(e.Kept) != int(e.Length) || len(begun) != 0 || contents < int(e.Length) {
				t.Fatalf("an extent of %d bytes, %d kept, where %d are due and %d of a packet are open", e.Length, len(e.Kept), contents, len(begun))
			}
			b = append(b, e.Kept...)
			contents -= int(e.Length)
		case f.Type == recorder.TypeData:
			for data := f.Data; len(data) > 0; {
				missing += contents
				contents = 0
				n := min(tail, len(data))
				b = append(b, data[:n]...)
				tail -= n
				begun = append(begun, data[n:]...)
				data = nil
				var head int
				if head, contents, tail = layout(begun); head > 0 {
					b = append(b, begun[:head]...)
					data, begun = begun[head:], nil
				}
			}
		}
	}
	if len(begun) > 0 || tail > 0 {
		t.Fatalf("%d bytes are left over, %d are due", len(begun), tail)
	}
	return b, missing + contents
}

// layout says how many bytes of a packet come before its contents, are its contents, and come after. head 0: p, which is without contents, is
// too short to know.
func layout(p []byte) (head, contents, tail int) {
	if len(p) < headID {
		return 0, 0, 0
	}
	n := int(binary.BigEndian.Uint32(p)) + 4
	switch at := headID; p[4] {
	case typeWrite:
		if len(p) < at+4 {
			return 0, 0, 0
		}
		at += 4 + int(binary.BigEndian.Uint32(p[at:])) + 8
		fallthrough
	case typeData:
		if len(p) < at+4 {
			return 0, 0, 0
		}
		contents = int(binary.BigEndian.Uint32(p[at:]))
		return at + 4, contents, n - at - 4 - contents
	}
	if len(p) < n {
		return 0, 0, 0
	}
	return n, 0, 0
}

// packets cuts a stream, and returns what is no packet yet.
func packets(b []byte) (list [][]byte, rest []byte) {
	for len(b) >= 4 {
		n := int(binary.BigEndian.Uint32(b)) + 4
		if n > len(b) {
			break
		}
		list = append(list, b[:n])
		b = b[n:]
	}
	return list, b
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func contents(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

// same compares what came out of two talks; frames may be cut differently, but hold the same.
func same(t testing.TB, what string, a, b *talk) {
	t.Helper()
	if !bytes.Equal(a.toHost, b.toHost) || !bytes.Equal(a.toUser, b.toUser) {
		t.Fatalf("%s: other bytes pass", what)
	}
	if (a.err == nil) != (b.err == nil) || a.err != nil && a.err.Error() != b.err.Error() {
		t.Fatalf("%s: %v, not %v", what, a.err, b.err)
	}
	x, y := joined(a.frames), joined(b.frames)
	if !slices.EqualFunc(x, y, func(f, g recorder.Frame) bool {
		return f.Type == g.Type && f.Stream == g.Stream && bytes.Equal(f.Data, g.Data)
	}) {
		t.Fatalf("%s: other frames:\n%s\n%s", what, list(x), list(y))
	}
}

func joined(frames []recorder.Frame) (out []recorder.Frame) {
	for _, f := range frames {
		if n := len(out) - 1; n >= 0 && f.Type == recorder.TypeData && out[n].Type == f.Type && out[n].Stream == f.Stream {
			out[n].Data = slices.Concat(out[n].Data, f.Data)
			continue
		}
		out = append(out, f)
	}
	return out
}

func list(frames []recorder.Frame) string {
	var b bytes.Buffer
	for _, f := range frames {
		b.WriteString(f.Type.String())
		b.WriteString(" ")
		b.Write(f.Data[:min(len(f.Data), 200)])
		b.WriteString("\n")
	}
	return b.String()
}
