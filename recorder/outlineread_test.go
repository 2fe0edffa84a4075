package recorder

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"golang.org/x/crypto/ssh"
)

// Every byte of an outline counts, and what is good before it is given. The length of a body is known to be right when the body comes.
func TestOutlineFlipEveryByte(t *testing.T) {
	b := outlined3(t)
	good, err := stored{bench: b, session: "S-1"}.open()
	if err != nil {
		t.Fatal(err)
	}
	want, err := all(good)
	if err != nil {
		t.Fatal(err)
	}
	var outline bytes.Buffer
	if err := b.Outline("S-1", &outline); err != nil {
		t.Fatal(err)
	}
	for n := range outline.Len() {
		a, err := stored{bench: b, session: "S-1", outline: func(o []byte) []byte { o[n] ^= 1 << (n % 8); return o }}.open()
		if err == nil {
			_, err = all(a)
		}
		if fault := new(Fault); err == nil || !errors.As(err, &fault) && !errors.Is(err, ErrWrongKey) && !errors.Is(err, ErrShredded) {
			t.Fatalf("flipped at %d of %d: %v", n, outline.Len(), err)
		}
		if a == nil {
			continue
		}
		if got, err := all(a); err != nil && !errors.Is(err, ErrAltered) || !startOf(got, want) || err == nil && a.Summary().Sealed && len(got) < len(want) {
			t.Fatalf("flipped at %d: %d frames, %v", n, len(got), err)
		}
	}
	for n := 0; n < outline.Len(); n += 3 {
		if _, err := (stored{bench: b, session: "S-1", outline: func(o []byte) []byte { return o[:n] }}).open(); !errors.Is(err, ErrCutShort) {
			t.Fatalf("cut at %d: %v", n, err)
		}
	}
}

// outlineParts takes an outline apart.
func outlineParts(t *testing.T, o []byte) (begin []byte, segments []outlined, end []byte) {
	t.Helper()
	rest := o[len(outlineMagic):]
	var b struct {
		Opening, Box []byte
		Rest         []byte `ssh:"rest"`
	}
	if err := ssh.Unmarshal(rest, &b); err != nil {
		t.Fatal(err)
	}
	begin, rest = o[:len(o)-len(b.Rest)], b.Rest
	for rest[0] == itemSegment {
		var flat struct {
			Header    []byte
			Body      [32]byte
			Length    uint32
			Signature []byte
			Index     []byte
			Rest      []byte `ssh:"rest"`
		}
		if err := ssh.Unmarshal(rest[1:], &flat); err != nil {
			t.Fatal(err)
		}
		segments = append(segments, outlined{flat.Header, flat.Body, flat.Length, flat.Signature, flat.Index})
		rest = flat.Rest
	}
	return begin, segments, rest
}

func TestOutlineAttacks(t *testing.T) {
	b, other := outlined3(t), outlined3(t)
	var mine, foreign bytes.Buffer
	if err := errors.Join(b.Outline("S-1", &mine), other.Outline("S-1", &foreign)); err != nil {
		t.Fatal(err)
	}
	begin, s, end := outlineParts(t, mine.Bytes())
	_, f, foreignEnd := outlineParts(t, foreign.Bytes())
	with := func(o outlined, index []byte) outlined { o.Index = index; return o }
	length := func(o outlined, n uint32) outlined { o.Length = n; return o }
	for name, x := range map[string]struct {
		segments []outlined
		end      []byte
		says     error
	}{
		"first dropped":          {[]outlined{s[1], s[2]}, end, ErrAltered},
		"last dropped":           {[]outlined{s[0], s[1]}, end, ErrAltered},
		"swapped":                {[]outlined{s[1], s[0], s[2]}, end, ErrAltered},
		"doubled":                {[]outlined{s[0], s[0], s[1], s[2]}, end, ErrAltered},
		"of another recording":   {[]outlined{s[0], f[1], s[2]}, end, ErrAltered},
		"end of another":         {s, foreignEnd, ErrAltered},
		"no end":                 {s, nil, ErrCutShort},
		"two ends":               {s, append(bytes.Clone(end), end...), ErrMalformed},
		"index of another":       {[]outlined{with(s[0], f[0].Index), s[1], s[2]}, end, ErrAltered},
		"index of the next":      {[]outlined{with(s[0], s[1].Index), with(s[1], s[0].Index), s[2]}, end, ErrAltered},
		"index cut":              {[]outlined{with(s[0], s[0].Index[:len(s[0].Index)-1]), s[1], s[2]}, end, ErrAltered},
		"index of one byte":      {[]outlined{with(s[0], []byte{0}), s[1], s[2]}, end, ErrAltered},
		"index where none was":   {[]outlined{s[0], s[1], with(s[2], s[1].Index)}, end, ErrAltered},
		"index that is too long": {[]outlined{with(s[0], make([]byte, maxIndex+1)), s[1], s[2]}, end, ErrMalformed},
		"body that is too long":  {[]outlined{length(s[0], maxBody+1), s[1], s[2]}, end, ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			o := bytes.Clone(begin)
			for _, g := range x.segments {
				o = append(append(o, itemSegment), g.marshal()...)
			}
			_, err := stored{bench: b, session: "S-1", outline: func([]byte) []byte { return append(o, x.end...) }}.open()
			if fault := new(Fault); !errors.Is(err, x.says) || !errors.As(err, &fault) {
				t.Error(err)
			}
		})
	}
	t.Run("index dropped", func(t *testing.T) { // which only means more work
		o := bytes.Clone(begin)
		for _, g := range s {
			o = append(append(o, itemSegment), with(g, nil).marshal()...)
		}
		a, err := stored{bench: b, session: "S-1", outline: func([]byte) []byte { return append(o, end...) }}.open()
		if err != nil || a.Parts()[0].Index != nil {
			t.Error(err)
		}
	})
}

func TestBodyAttacks(t *testing.T) {
	b := outlined3(t)
	for name, body := range map[string]func(uint64, []byte) (uint64, []byte){
		"of another segment": func(n uint64, b []byte) (uint64, []byte) { return (n + 1) % 3, b },
		"a bit altered": func(n uint64, b []byte) (uint64, []byte) {
			if b != nil {
				b[len(b)/2] ^= 1
			}
			return n, b
		},
		"cut":   func(n uint64, b []byte) (uint64, []byte) { return n, b[:max(1, len(b))-1] },
		"empty": func(n uint64, b []byte) (uint64, []byte) { return n, nil },
	} {
		a, err := stored{bench: b, session: "S-1", body: body}.open()
		if err != nil {
			t.Fatal(err)
		}
		for n := range uint64(3) {
			frames, err := a.Frames(context.Background(), n)
			if fault := new(Fault); len(frames) > 0 || !errors.Is(err, ErrAltered) || !errors.As(err, &fault) || fault.Segment != n {
				t.Errorf("%s: segment %d: %d frames, %v", name, n, len(frames), err)
			}
		}
	}
}
