package recorder

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// example is the one in FORMAT.md: every value in it, by the name it has there.
func example(t *testing.T) (names []string, values map[string][]byte) {
	values = make(map[string][]byte)
	add := func(name string, b []byte) {
		names = append(names, name)
		values[name] = bytes.Clone(b)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var root [32]byte
	for i := range root {
		root[i] = byte(i)
	}
	add("root", root[:])
	o := opening{
		Version: openingVersion, Session: "S-1", Bastion: "b", Started: 1767225600000000,
		Number: [16]byte(bytes.Repeat([]byte{0x11}, 16)), KeyID: "K-0123456789abcdef", BoxSum: [32]byte(bytes.Repeat([]byte{0x22}, 32)),
	}
	add("opening", o.marshal())
	head := o.sum()
	add("chain[0]", head[:])
	r, err := newRatchet(root[:], head)
	must(err)
	add("state[0]", r.state[:])
	k, err := r.next()
	must(err)
	add("seal[0]", k.seal[:])
	add("state[1]", r.state[:])

	frames := []Frame{
		{Type: TypeHeader, Channel: Global, Data: []byte(`{"session":"S-1"}`)},
		{Type: TypeData, Stream: Stdout, At: 1500 * time.Millisecond, Data: []byte("hi\n")},
	}
	c := newChain(0, head)
	var sealed []byte
	for i, f := range frames {
		plain := appendFrame(make([]byte, 0, 128), f)
		add(fmt.Sprintf("frame %d", i), plain)
		sealed = c.seal(k.frame, plain)
		add(fmt.Sprintf("ciphertext %d", i), sealed)
		head = c.head()
		add(fmt.Sprintf("chain[%d]", i+1), head[:])
	}
	h := segmentHeader{
		Version: segmentVersion, Session: "S-1", Form: formPacked, Frames: 2,
		Before: o.sum(), After: head, Previous: o.sum(),
	}
	add("header", h.marshal())
	table := appendTable(nil, frames)
	add("table and data", table)
	body, err := sealBody(k.seal[:], h.marshal(), append([]byte{storedRaw, 0, 0, 0, byte(len(table))}, table...))
	must(err)
	add("body", body)
	sum := sealedHead(h.marshal(), body)
	add("sealed[1]", sum[:])

	epoch := [16]byte(bytes.Repeat([]byte{0x33}, 16))
	rec := make([]byte, padded(len(sealed)))
	copy(rec[recordHead:], sealed)
	(&record{length: uint32(len(sealed)), kind: kindFrame, recording: o.Number, frame: 1, bodySum: bodySum(sealed)}).put(rec)
	place(rec, &epoch, 4096, 4096)
	add("record", rec)
	return names, values
}

var exampleLine = regexp.MustCompile(`^    ([a-z0-9\[\] ]*?) {2,}([0-9a-f]+)$`)

func TestExample(t *testing.T) {
	names, want := example(t)
	text, err := os.ReadFile("FORMAT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ = bytes.Cut(text, []byte("\n## Example\n"))
	got := make(map[string][]byte)
	last := ""
	for line := range strings.Lines(string(text)) {
		m := exampleLine.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m == nil {
			continue
		}
		if m[1] != "" {
			last = m[1]
		}
		b, err := hex.DecodeString(m[2])
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got[last] = append(got[last], b...)
	}
	for _, name := range names {
		if !bytes.Equal(got[name], want[name]) {
			t.Errorf("FORMAT.md says that %s is\n%x\nand the code that it is\n%x", name, got[name], want[name])
		}
	}
	if len(got) != len(names) {
		t.Errorf("FORMAT.md has %d values, the code %d", len(got), len(names))
	}
	if t.Failed() {
		t.Log("\n" + exampleText(names, want))
	}
	decodeExample(t, got)
}

// decodeExample goes the way of a reader.
func decodeExample(t *testing.T, v map[string][]byte) {
	o, err := parseOpening(v["opening"])
	if err != nil || o.sum() != [32]byte(v["chain[0]"]) {
		t.Fatal("opening", err)
	}
	r, err := newRatchet(v["root"], o.sum())
	if err != nil {
		t.Fatal(err)
	}
	k, err := r.next()
	if err != nil {
		t.Fatal(err)
	}
	gcm, err := newGCM(k.seal[:])
	if err != nil {
		t.Fatal(err)
	}
	plain, err := gcm.Open(nil, make([]byte, 12), v["body"], v["header"])
	if err != nil {
		t.Fatal("body", err)
	}
	u, err := newUnpacker()
	if err != nil {
		t.Fatal(err)
	}
	frames, err := u.unpack(plain, 2)
	if err != nil || string(frames[1].Data) != "hi\n" || frames[1].At != 1500*time.Millisecond {
		t.Fatal("frames", frames, err)
	}
	epoch := [16]byte(bytes.Repeat([]byte{0x33}, 16))
	rec, ok := parseRecord(v["record"], &epoch, 4096)
	if !ok || rec.frame != 1 || rec.recording != o.Number {
		t.Fatal("record", rec)
	}
	sealed := v["record"][recordHead : recordHead+rec.length]
	if _, err := newChain(1, [32]byte(v["chain[1]"])).open(k.frame, nil, sealed); err != nil {
		t.Fatal("frame 1", err)
	}
}

func exampleText(names []string, values map[string][]byte) string {
	var b strings.Builder
	for _, name := range names {
		for v, label := values[name], name; len(v) > 0; label = "" {
			n := min(len(v), 32)
			fmt.Fprintf(&b, "    %-15s %x\n", label, v[:n])
			v = v[n:]
		}
	}
	return b.String()
}
