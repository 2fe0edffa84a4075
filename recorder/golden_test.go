package recorder

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var writeGolden = flag.Bool("golden", false, "write the golden recordings of a version that has none yet")

// goldens are the golden recordings and the keys they have in common: NAME.private of the recording, NAME.bastion that signed, NAME.keystrokes of
// the compartment where there is one.
var goldens = map[string][]string{
	"v1":         {"v1-complete", "v1-interrupted", "v1-live"},
	"v1-content": {"v1-content"}, // extents, the events of 2026-11, a compartment
}

// golden is a bench that has the keys of golden recordings, and no store.
func golden(t testing.TB, name string) (b *bench, keystrokes []PrivateKey) {
	t.Helper()
	private, err := ParsePrivateKey(unhex(t, name+".private"))
	if err != nil {
		t.Fatal(err)
	}
	if compartment, _ := filepath.Glob(filepath.Join("testdata", name+".keystrokes")); compartment != nil {
		key, err := ParsePrivateKey(unhex(t, name+".keystrokes"))
		if err != nil {
			t.Fatal(err)
		}
		keystrokes = append(keystrokes, key)
	}
	return &bench{private: private, public: private.Public(), bastion: ed25519.PublicKey(unhex(t, name+".bastion"))}, keystrokes
}

func unhex(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// described is a recording as text, to compare.
func described(frames []Frame, sum Summary) string {
	var b strings.Builder
	for i, f := range frames {
		fmt.Fprintf(&b, "%d %v %d %d %v %q\n", i, f.Type, f.Channel, f.Stream, f.At, f.Data)
	}
	fmt.Fprintf(&b, "%s %s %s frames %d %x segments %d %x", sum.Session, sum.Bastion, sum.RecordingKey, sum.Frames, sum.Head, sum.Segments, sum.SealedHead)
	fmt.Fprintf(&b, " sealed %v interrupted %v live %v signed %v\n", sum.Sealed, sum.Interrupted, sum.Live, sum.Signed)
	return b.String()
}

// Every version that was released is read for ever.
func TestGolden(t *testing.T) {
	if *writeGolden {
		makeGolden(t)
	}
	for set, names := range goldens {
		b, keystrokes := golden(t, set)
		for _, name := range names {
			file, err := os.ReadFile(filepath.Join("testdata", name+".recording"))
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
			if err != nil {
				t.Fatal(err)
			}
			frames, sum, err := b.playWith(file, keystrokes)
			if got := described(frames, sum); err != nil || got != string(want) {
				t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, want)
			}
			if _, err := Check(bytes.NewReader(file), b.bastion); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

// makeGolden is run once for each set; those before are made by earlier versions of this file.
func makeGolden(t *testing.T) {
	if _, err := os.Stat("testdata/v1-content.private"); err == nil {
		t.Fatal("these golden recordings are made; new frame types or a new version need a new name")
	}
	b := newBench(t, func(c *Config) {
		start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
		c.Now = func() time.Time { start = start.Add(1234567 * time.Nanosecond); return start }
		c.SegmentAge = time.Hour
	})
	w := b.create(t, "S-CONTENT")
	key, keys := compartment(t, w)
	for i, f := range goldenFrames() {
		c, err := w.Append(f)
		durably(t, c, err)
		if i%4 == 0 {
			c, err = keys.Append(data(0, Stdin, fmt.Sprintf("typed %d\r", i)))
			durably(t, c, err)
		}
		if i == 9 {
			w.cutIf(func(*segment) bool { return true })
			keys.sender = nil // as a minute later
		}
	}
	if err := w.Close("closed by the client"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	file := b.export(t, "S-CONTENT")
	frames, sum, err := b.playWith(file, []PrivateKey{key})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"private": hex.EncodeToString(b.private.Marshal()) + "\n", "bastion": hex.EncodeToString(b.bastion) + "\n",
		"keystrokes": hex.EncodeToString(key.Marshal()) + "\n", "recording": string(file), "txt": described(frames, sum),
	} {
		if err := os.WriteFile(filepath.Join("testdata", "v1-content."+name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// goldenFrames are a command whose output is not kept as a whole, an SFTP channel, a forward, and the other events.
func goldenFrames() []Frame {
	extent := func(channel uint32, stream byte, e Extent) Frame {
		return Frame{Type: TypeExtent, Channel: channel, Stream: stream, Data: e.Marshal()}
	}
	event := func(channel uint32, stream byte, name string, v any) Frame {
		f := EventFrame(name, v)
		f.Channel, f.Stream = channel, stream
		return f
	}
	hello, sum := []byte("hello\n"), sha256.Sum256([]byte("hello\n"))
	size := uint64(6)
	return []Frame{
		{Type: TypeOpen, Data: OpenChannel{Kind: "session"}.Marshal()},
		{Type: TypeRequest, Data: Request{Name: "exec", Payload: []byte("\x00\x00\x00\x03yes")}.Marshal()},
		data(0, Stdout, "y\ny\n"),
		extent(0, Stdout, Extent{Offset: 4, Length: 32768, Sum: sum, Kept: []byte("y\ny\n")}),
		extent(0, Stdout, Extent{Offset: 32772, Length: 32768, Sum: sum}),
		event(0, Stdout, EventStream, Stream{Bytes: 65540, SHA256: hex.EncodeToString(sum[:]), Kept: 4}),
		{Type: TypeOpen, Channel: 1, Data: OpenChannel{Kind: "session"}.Marshal()},
		{Type: TypeRequest, Channel: 1, Data: Request{Name: "subsystem", Payload: []byte("\x00\x00\x00\x04sftp")}.Marshal()},
		data(1, Stdin, "\x00\x00\x00\x05\x01\x00\x00\x00\x03"),
		event(1, 0, EventOperation, Operation{Number: 1, Name: "rename", Path: "/a", To: "/b"}),
		event(1, 0, EventOperation, Operation{Number: 1, Name: "rename", Path: "/a", To: "/b", Status: "no such file"}),
		extent(1, Stdin, Extent{File: 1, Length: 6, Sum: sum, Kept: hello}),
		event(1, 0, EventFile, File{
			Number: 1, Protocol: "sftp", Path: "gr?n", PathBytes: []byte("gr\xfcn"), Access: "write create", Mode: 0o644, Size: &size,
			Written: &Transfer{Bytes: 6, SHA256: hex.EncodeToString(sum[:]), Ranges: []Range{{0, 6}}}, Keep: "head", Status: "ok",
		}),
		{Type: TypeOpen, Channel: 2, Data: OpenChannel{Kind: "direct-tcpip", Payload: []byte("\x00\x00\x00\x0bdb.internal\x00\x00\x15\x38\x00\x00\x00\x09127.0.0.1\x00\x00\xc0\x00")}.Marshal()},
		event(2, 0, EventForward, Forward{Kind: "direct-tcpip", To: "db.internal:5432", From: "127.0.0.1:49152"}),
		event(2, 0, EventForward, Forward{Kind: "direct-tcpip", To: "db.internal:5432", Ended: true, Sent: 8, Received: 1, Seconds: 0.25}),
		event(Global, 0, EventListen, Listen{Address: "localhost:8080", Denied: true}),
		event(3, 0, EventAgent, AgentUse{Request: "sign", Key: "SHA256:abc", OK: true}),
		{Type: TypeExit, Data: Exit{Status: 3}.Marshal()},
		{Type: TypeClose},
	}
}
