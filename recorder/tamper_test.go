package recorder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

// small is a recording of several segments, packed ones and then verbatim ones, and what was logged of it.
func small(t *testing.T) (b *bench, file []byte, frames []Frame, head logged) {
	b = newBench(t, nil)
	w := b.create(t, "S-1")
	for i := range 9 {
		c, err := w.Append(data(0, Stdout, fmt.Sprintf("line %d\n", i)))
		if err != nil || c.Err() != nil {
			t.Fatal(err, c.Err())
		}
		if i%3 == 2 {
			w.cutIf(func(*segment) bool { return true })
		}
		if i == 5 {
			waitSegments(t, b, "S-1", 2)
			b.sealer.hold(t)
		}
	}
	head.count, head.head = w.Head()
	crashed := b.crash(t)
	b.sealer.unhold()
	b.Close()
	crashed.reopen(t)
	t.Cleanup(func() { crashed.Close() })
	file = crashed.export(t, "S-1")
	frames, sum, err := crashed.play(file, head)
	if err != nil || sum.Segments != 3 || len(frames) != 10 {
		t.Fatalf("%d frames in %d segments: %v", len(frames), sum.Segments, err)
	}
	return crashed, file, frames, head
}

// hold keeps the sealer from taking segments.
func (x *sealer) hold(t testing.TB) {
	t.Helper()
	x.mu.Lock()
	x.held = true
	x.mu.Unlock()
}

func (x *sealer) unhold() {
	x.mu.Lock()
	x.held = false
	x.change.Signal()
	x.mu.Unlock()
}

// waitSegments waits until that many segments are in the store.
func waitSegments(t *testing.T, b *bench, session string, n uint64) {
	t.Helper()
	for {
		if r, err := b.Recording(session); err == nil && r.Segments >= n {
			return
		}
		p := <-b.progress
		if p.Session == session && p.Segments >= n {
			return
		}
	}
}

// startOf says that a are the first frames of b.
func startOf(a, b []Frame) bool {
	if len(a) > len(b) {
		return false
	}
	for i := range a {
		if a[i].Type != b[i].Type || a[i].At != b[i].At || !bytes.Equal(a[i].Data, b[i].Data) {
			return false
		}
	}
	return true
}

func TestCutAtEveryByte(t *testing.T) {
	b, file, frames, _ := small(t)
	most := 0
	for n := range len(file) {
		got, _, err := b.play(file[:n])
		if !errors.Is(err, ErrCutShort) {
			t.Fatalf("cut at %d of %d: %v", n, len(file), err)
		}
		if !startOf(got, frames) || len(got) < most {
			t.Fatalf("cut at %d: %d frames, %d with a shorter file", n, len(got), most)
		}
		most = len(got)
		if _, err := Check(bytes.NewReader(file[:n]), b.bastion); !errors.Is(err, ErrCutShort) {
			t.Fatalf("check of a file cut at %d: %v", n, err)
		}
	}
	if most != len(frames) {
		t.Errorf("without its end statement it plays %d frames of %d", most, len(frames))
	}
}

func TestFlipEveryByte(t *testing.T) {
	b, file, frames, head := small(t)
	altered := make([]byte, len(file))
	for n := range file {
		copy(altered, file)
		altered[n] ^= 1 << (n % 8)
		got, _, err := b.play(altered, head)
		if err == nil || !startOf(got, frames) {
			t.Fatalf("flipped at %d of %d: %d frames, %v", n, len(file), len(got), err)
		}
		if fault := new(Fault); !errors.As(err, &fault) && !errors.Is(err, ErrWrongKey) {
			t.Fatalf("flipped at %d: %v does not say where", n, err)
		}
		if _, err := Check(bytes.NewReader(altered), b.bastion); err == nil {
			t.Fatalf("check does not see byte %d flipped", n)
		}
	}
}

// parts takes a sealed recording apart.
func parts(t *testing.T, file []byte) (begin []byte, segments [][]byte, end []byte) {
	t.Helper()
	rest := file[len(recordingMagic):]
	skip := func(n int) {
		for range n {
			rest = rest[4+binary.BigEndian.Uint32(rest):]
		}
	}
	skip(2)
	begin = file[:len(file)-len(rest)]
	for rest[0] == itemSegment {
		start := rest
		rest = rest[1:]
		skip(3)
		segments = append(segments, start[:len(start)-len(rest)])
	}
	return begin, segments, rest
}

func TestSegmentsOutOfPlace(t *testing.T) {
	b, file, frames, head := small(t)
	begin, s, end := parts(t, file)
	if len(s) != 3 {
		t.Fatal(len(s), "segments")
	}
	other, otherFile, _, _ := small(t)
	_, foreign, foreignEnd := parts(t, otherFile)
	_ = other
	for name, file := range map[string][][]byte{
		"first dropped":       {begin, s[1], s[2], end},
		"middle dropped":      {begin, s[0], s[2], end},
		"last dropped":        {begin, s[0], s[1], end},
		"all dropped":         {begin, end},
		"swapped":             {begin, s[0], s[2], s[1], end},
		"doubled":             {begin, s[0], s[1], s[1], s[2], end},
		"doubled at the end":  {begin, s[0], s[1], s[2], s[2], end},
		"end doubled":         {begin, s[0], s[1], s[2], end, end},
		"something after":     {begin, s[0], s[1], s[2], end, {0}},
		"end in the middle":   {begin, s[0], end, s[1], s[2]},
		"of another, packed":  {begin, s[0], foreign[1], s[2], end},
		"of another, as was":  {begin, s[0], s[1], foreign[2], end},
		"end of another":      {begin, s[0], s[1], s[2], foreignEnd},
		"unknown item":        {begin, s[0], {3, 0, 0, 0, 0}, s[1], s[2], end},
		"beginning repeated":  {begin, begin, s[0], s[1], s[2], end},
		"nothing but the end": {end},
	} {
		t.Run(name, func(t *testing.T) {
			file := bytes.Join(file, nil)
			got, _, err := b.play(file, head)
			fault := new(Fault)
			if !errors.As(err, &fault) || !startOf(got, frames) {
				t.Fatalf("%d frames: %v", len(got), err)
			}
			if _, err := Check(bytes.NewReader(file), b.bastion); err == nil {
				t.Error("Check sees nothing")
			}
		})
	}
}

// A bastion that was taken over signs what it likes; the heads at the CA still tell.
func TestSignedLies(t *testing.T) {
	b, file, frames, head := small(t)
	begin, segments, _ := parts(t, file)
	shorter := func(n int) []byte { // a true recording of the first n segments
		r, err := newSealedReader(bytes.NewReader(file), b.bastion)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			h, _, _, err := r.next()
			if err != nil {
				t.Fatal(err)
			}
			r.accept(h)
		}
		p := r.sum
		statement := endStatement{endVersion, "S-1", stateInterrupted, p.Frames, p.Head, p.Segments, p.SealedHead}.marshal()
		signature, err := sign(b.cfg.Signer, endMessage(statement))
		if err != nil {
			t.Fatal(err)
		}
		end := append([]byte{itemEnd}, ssh.Marshal(signedEnd{statement, signature})...)
		return bytes.Join([][]byte{begin, bytes.Join(segments[:n], nil), end}, nil)
	}
	got, _, err := b.play(shorter(2))
	if err != nil || len(got) != 7 {
		t.Fatalf("what the bastion signed: %d frames, %v", len(got), err)
	}
	if got, _, err = b.play(shorter(2), head); !errors.Is(err, ErrCutShort) || len(got) != 7 {
		t.Errorf("fewer frames than logged: %d frames, %v", len(got), err)
	}
	wrong := logged{5, head.head}
	if got, _, err = b.play(file, wrong); !errors.Is(err, ErrAltered) || !startOf(got, frames) || len(got) != 4 {
		t.Errorf("another head logged at frame 5: %d frames, %v", len(got), err)
	}
	wrong = logged{2, head.head}
	if got, _, err = b.play(file, wrong); !errors.Is(err, ErrAltered) || len(got) != 1 {
		t.Errorf("another head logged at frame 2: %d frames, %v", len(got), err)
	}
}

func TestOtherVersionsAndKeys(t *testing.T) {
	b, file, _, _ := small(t)
	newer := bytes.Replace(file, []byte("recording 1\n"), []byte("recording 2\n"), 1)
	if _, _, err := b.play(newer); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "newer postern") {
		t.Errorf("version 2: %v", err)
	}
	if _, _, err := b.play([]byte("{\"version\": 2}\n")); !errors.Is(err, ErrMalformed) {
		t.Errorf("an asciicast: %v", err)
	}
	stranger, _ := NewKey()
	if _, err := Open(bytes.NewReader(file), stranger, b.bastion); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
	r, err := Open(bytes.NewReader(file), b.private, nil)
	if err != nil || r.Summary().Signed {
		t.Errorf("no bastion key: %v", err)
	}
	other := newBench(t, nil)
	if _, err := Open(bytes.NewReader(file), b.private, other.bastion); !errors.Is(err, ErrAltered) {
		t.Errorf("another bastion's key: %v", err)
	}
}
