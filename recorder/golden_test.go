package recorder

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var writeGolden = flag.Bool("golden", false, "write the golden recordings of a version that has none yet")

// golden is a bench that has the keys of the golden recordings, and no store.
func golden(t testing.TB) *bench {
	t.Helper()
	read := func(name string) []byte {
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
	private, err := ParsePrivateKey(read("v1.private"))
	if err != nil {
		t.Fatal(err)
	}
	return &bench{private: private, public: private.Public(), bastion: ed25519.PublicKey(read("v1.bastion"))}
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
	b := golden(t)
	for _, name := range []string{"v1-complete", "v1-interrupted", "v1-live"} {
		file, err := os.ReadFile(filepath.Join("testdata", name+".recording"))
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		frames, sum, err := b.play(file)
		if got := described(frames, sum); err != nil || got != string(want) {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, want)
		}
		if _, err := Check(bytes.NewReader(file), b.bastion); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// makeGolden is run once for each version.
func makeGolden(t *testing.T) {
	if _, err := os.Stat("testdata/v1.private"); err == nil {
		t.Fatal("version 1 has its golden recordings; a new version needs new names")
	}
	b := newBench(t, func(c *Config) {
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		c.Now = func() time.Time { start = start.Add(1234567 * time.Nanosecond); return start }
		c.SegmentAge = time.Hour
	})
	complete, cut := b.create(t, "S-COMPLETE"), b.create(t, "S-CUT")
	for _, w := range []*Writer{complete, cut} {
		for i, f := range goldenFrames() {
			c, err := w.Append(f)
			if err != nil || c.Err() != nil {
				t.Fatal(err)
			}
			if i == 5 {
				w.cutIf(func(*segment) bool { return true })
			}
		}
	}
	if err := complete.Close("closed by the client"); err != nil {
		t.Fatal(err)
	}
	waitSegments(t, b, "S-COMPLETE", 2)
	waitSegments(t, b, "S-CUT", 1)
	b.sealer.hold(t)
	crashed := b.crash(t)
	files := map[string][]byte{"v1-complete": b.export(t, "S-COMPLETE"), "v1-live": b.export(t, "S-CUT")}
	journal, err := os.ReadFile(filepath.Join(crashed.cfg.Dir, "journal", journalName+"0000000000000001"))
	if err != nil {
		t.Fatal(err)
	}
	end := b.journal.file.end
	b.sealer.unhold()
	crashed.reopen(t)
	defer crashed.Close()
	files["v1-interrupted"] = crashed.export(t, "S-CUT")
	write := func(name string, content []byte) {
		if err := os.WriteFile(filepath.Join("testdata", name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("v1.private", []byte(hex.EncodeToString(b.private.Marshal())+"\n"))
	write("v1.bastion", []byte(hex.EncodeToString(b.bastion)+"\n"))
	write("v1.journal", journal[fileHead:end])
	for name, file := range files {
		frames, sum, err := b.play(file)
		if err != nil {
			t.Fatal(err)
		}
		write(name+".recording", file)
		write(name+".txt", []byte(described(frames, sum)))
	}
}

func goldenFrames() []Frame {
	size, _ := json.Marshal(map[string]any{"path": "/etc/passwd", "size": 1432})
	return []Frame{
		{Type: TypeOpen, Data: OpenChannel{Kind: "session"}.Marshal()},
		{Type: TypeRequest, Data: Request{Name: "env", Refused: true, Payload: []byte("\x00\x00\x00\x04LANG\x00\x00\x00\x01C")}.Marshal()},
		{Type: TypeRequest, Data: Request{Name: "pty-req", Payload: []byte("\x00\x00\x00\x05xterm\x00\x00\x00P\x00\x00\x00\x18\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00")}.Marshal()},
		{Type: TypeRequest, Data: Request{Name: "shell"}.Marshal()},
		{Type: TypeData, Stream: Stdout, Data: []byte("root@phi1:~# ")},
		{Type: TypeData, Stream: Stdin, Data: []byte("ls\r")},
		{Type: TypeData, Stream: Stdout, Data: []byte("\x1b[01;34mgr\xc3\xbc\xc3\x9fe\x1b[0m\r\n")},
		{Type: TypeRequest, Data: Request{Name: "window-change", Payload: []byte("\x00\x00\x00d\x00\x00\x00\x28\x00\x00\x00\x00\x00\x00\x00\x00")}.Marshal()},
		{Type: TypeData, Stream: Stderr, Data: bytes.Repeat([]byte("warning\n"), 100)},
		{Type: TypeEvent, Data: Event{Name: "file", JSON: size}.Marshal()},
		{Type: TypeNote, Channel: Global, Data: []byte("five minutes left")},
		{Type: 77, Channel: 5, Stream: 9, Data: []byte("a type of the future")},
		{Type: TypeEOF, Stream: Stdout},
		{Type: TypeExit, Data: Exit{Signal: "TERM", Core: true, Message: "terminated"}.Marshal()},
		{Type: TypeClose},
	}
}
