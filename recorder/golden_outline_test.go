package recorder

import (
	"bufio"
	"bytes"
	"context"
	"crypto"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// kept is a [Source] of golden files: NAME.outline, and the bodies out of NAME.recording.
type kept struct {
	*Exported
	outline []byte
}

func (k kept) Outline(context.Context) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(k.outline)), nil
}

func goldenFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// describedParts is an outline as text, to compare.
func describedParts(a *Archive) string {
	var b strings.Builder
	for _, p := range a.Parts() {
		fmt.Fprintf(&b, "%d first %d frames %d sealed %d from %v to %v bytes %d index %q\n", p.Number, p.First, p.Frames, p.Sealed, p.Begin, p.End, p.Bytes, p.Index)
	}
	return b.String()
}

// The first outline and the first followed session, like the first recordings, are read for ever. The session was followed from its second segment on.
func TestGoldenOutline(t *testing.T) {
	if *writeGolden {
		makeGoldenOutline(t)
	}
	b, keystrokes := golden(t, "v1-outline")
	recording := goldenFile(t, "v1-outline.recording")
	exported, err := OpenExported(bytes.NewReader(recording), int64(len(recording)))
	if err != nil {
		t.Fatal(err)
	}
	a, err := OpenArchive(context.Background(), kept{exported, goldenFile(t, "v1-outline.outline")}, b.private, b.bastion)
	if err != nil {
		t.Fatal(err)
	}
	a.OpenCompartment(keystrokes[0])
	frames, err := all(a)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := describedParts(a)+described(frames, a.Summary()), string(goldenFile(t, "v1-outline.txt")); got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	f, err := Follow(bytes.NewReader(goldenFile(t, "v1-outline.follow")), b.private, b.bastion)
	if err != nil {
		t.Fatal(err)
	}
	f.OpenCompartment(keystrokes[0])
	seen, err := (&watcher{Follower: f}).rest()
	if err != io.EOF || !alike(seen, frames) || f.Summary().Progress != a.Summary().Progress {
		t.Errorf("%d frames of %d: %v", len(seen), len(frames), err)
	}
}

// makeGoldenOutline is run once.
func makeGoldenOutline(t *testing.T) {
	if _, err := os.Stat("testdata/v1-outline.private"); err == nil {
		t.Fatal("this golden outline is made; a new version needs a new name")
	}
	b := newBench(t, func(c *Config) { c.Index = counting })
	w := b.create(t, "S-OUTLINE")
	key, keys := compartment(t, w)
	r, out := io.Pipe()
	var stream []byte
	streamed := make(chan error, 1)
	for i, f := range goldenFrames() {
		c, err := w.Append(f)
		durably(t, c, err)
		c, err = keys.Append(data(0, Stdin, fmt.Sprintf("typed %d\r", i)))
		durably(t, c, err)
		switch i {
		case 4:
			w.cutIf(func(*segment) bool { return true })
			waitSegments(t, b, "S-OUTLINE", 1)
			go func() { out.CloseWithError(b.Follow(context.Background(), "S-OUTLINE", out)) }()
		case 8: // all of this segment is seen live
			frames, _ := w.Head()
			for sent(stream) != frames {
				p := make([]byte, 1<<16)
				n, err := r.Read(p)
				if err != nil {
					t.Fatal(err)
				}
				stream = append(stream, p[:n]...)
			}
			w.cutIf(func(*segment) bool { return true })
		}
	}
	if err := w.Close("closed by the client"); err != nil {
		t.Fatal(err)
	}
	go func() {
		rest, err := io.ReadAll(r)
		stream = append(stream, rest...)
		streamed <- err
	}()
	<-b.sealed
	if err := <-streamed; err != nil {
		t.Fatal(err)
	}
	writeGoldenOutline(t, b, key, stream)
}

// sent counts the frames in a stream that is not whole.
func sent(stream []byte) (n uint64) {
	in := &outlineReader{in: fileScanner{r: bufio.NewReader(bytes.NewReader(stream))}, magic: followMagic}
	if err := in.begin(); err != nil {
		return 0
	}
	for {
		kind := in.in.bytes(1)
		if in.in.err != nil {
			return n
		}
		switch kind[0] {
		case itemSegment:
			for _, most := range []uint32{maxStatement, maxBody, maxStatement} {
				in.in.string(most)
			}
		case itemFrame:
			head := in.in.bytes(12)
			if in.in.string(maxFrameBody); in.in.err == nil {
				n = binary.BigEndian.Uint64(head[4:]) + 1
			}
		case itemNow:
			in.in.bytes(8)
		case itemSeal:
			_, _ = in.part()
		}
	}
}

func writeGoldenOutline(t *testing.T, b *bench, key PrivateKey, stream []byte) {
	var outline bytes.Buffer
	if err := b.Outline("S-OUTLINE", &outline); err != nil {
		t.Fatal(err)
	}
	a, err := stored{bench: b, session: "S-OUTLINE"}.open()
	if err != nil {
		t.Fatal(err)
	}
	a.OpenCompartment(key)
	frames, err := all(a)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"private": hex.EncodeToString(b.private.Marshal()) + "\n", "bastion": hex.EncodeToString(b.bastion) + "\n",
		"keystrokes": hex.EncodeToString(key.Marshal()) + "\n", "recording": string(b.export(t, "S-OUTLINE")),
		"outline": outline.String(), "follow": string(stream), "txt": describedParts(a) + described(frames, a.Summary()),
	} {
		if err := os.WriteFile(filepath.Join("testdata", "v1-outline."+name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// What is in an outline is hostile until it is verified. What parses encodes to the same bytes, and nothing but what a bastion signed verifies.
func FuzzOutline(f *testing.F) {
	seeds(f, "*.outline")
	b, _ := golden(f, "v1-outline")
	recording := goldenFile(f, "v1-outline.recording")
	good := goldenFile(f, "v1-outline.outline")
	exported, err := OpenExported(bytes.NewReader(recording), int64(len(recording)))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, outline []byte) {
		for _, bastion := range []crypto.PublicKey{b.bastion, nil} {
			a, err := OpenArchive(context.Background(), kept{exported, outline}, b.private, bastion)
			if err == nil && bastion != nil && !bytes.Equal(again(outline, false), again(good, false)) {
				t.Error("a signed outline that no bastion wrote")
			}
			if a == nil {
				continue
			}
			for n := range a.Parts() {
				_, _ = a.Frames(context.Background(), uint64(n))
			}
			if err == nil && !bytes.Equal(again(outline, true), outline) {
				t.Error("it does not encode to the same bytes")
			}
		}
	})
}

// again encodes what is read of an outline, with the entries of the index or without; the beginning and the end are taken as they were.
func again(outline []byte, index bool) []byte {
	r := &outlineReader{in: fileScanner{r: bufio.NewReader(bytes.NewReader(outline))}, magic: outlineMagic}
	if r.begin() != nil {
		return nil
	}
	b := bytes.Clone(outline[:r.in.at])
	for {
		at := r.in.at
		if item := r.in.bytes(1); r.in.err != nil || item[0] != itemSegment {
			return append(b, outline[at:]...)
		}
		p, _ := r.part()
		if !index {
			p.entry = nil
		}
		b = append(append(b, itemSegment), outlined{p.raw, p.body, p.Sealed, p.signature, p.entry}.marshal()...)
	}
}

// A bastion may lie to who follows: nothing it sends crashes or fills the one who reads, and what is shown is what was recorded.
func FuzzFollow(f *testing.F) {
	seeds(f, "*.follow")
	b, keystrokes := golden(f, "v1-outline")
	recording := goldenFile(f, "v1-outline.recording")
	want, _, err := b.playWith(recording, keystrokes)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, stream []byte) {
		follower, err := Follow(bytes.NewReader(stream), b.private, b.bastion)
		if err != nil {
			return
		}
		follower.OpenCompartment(keystrokes[0])
		got, err := (&watcher{Follower: follower}).rest()
		if err == nil || !startOf(got, want) {
			t.Errorf("%d frames that were not recorded, %v", len(got), err)
		}
	})
}
