package recorder

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
)

// A session key opens its own recording, all of it, and no other of the same recording key.
func TestSessionKey(t *testing.T) {
	b := newBench(t, nil)
	one, two := recorded(t, b, "S-1"), recorded(t, b, "S-2")
	private := b.private
	key, err := private.SessionKey(bytes.NewReader(one))
	if err != nil || key.Session() != "S-1" {
		t.Fatal(key.Session(), err)
	}
	exported, err := OpenExported(bytes.NewReader(one), int64(len(one)))
	if err != nil {
		t.Fatal(err)
	}
	outline, err := exported.Outline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := private.SessionKey(outline); err != nil || again != key {
		t.Error("of the outline another than of the recording", err)
	}
	key, err = ParseSessionKey(key.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	if frames, err := readWith(key.PrivateKey(), one); err != nil || frames < 2 {
		t.Errorf("%d frames, %v", frames, err)
	}
	if _, err := readWith(key.PrivateKey(), two); err == nil {
		t.Error("it opens another recording")
	}
	stranger, _ := NewKey()
	if _, err := stranger.SessionKey(bytes.NewReader(one)); !errors.Is(err, ErrWrongKey) {
		t.Error(err)
	}
	for i := range one[:200] {
		if _, err := private.SessionKey(bytes.NewReader(one[:i])); err == nil {
			t.Errorf("of a recording cut at %d", i)
		}
	}
	attackSessionKey(t, key, one)
}

func recorded(t *testing.T, b *bench, session string) []byte {
	t.Helper()
	w := b.create(t, session)
	if _, err := w.Append(data(0, Stdout, "output of "+session)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	<-b.sealed
	return b.export(t, session)
}

func attackSessionKey(t *testing.T, key SessionKey, recording []byte) {
	t.Helper()
	good := key.Marshal()
	for i := range good {
		if _, err := ParseSessionKey(good[:i]); err == nil {
			t.Errorf("cut at %d", i)
		}
		forged := slices.Clone(good)
		forged[i] ^= 1
		k, err := ParseSessionKey(forged)
		if err != nil {
			continue
		}
		if _, err := readWith(k.PrivateKey(), recording); err == nil {
			t.Errorf("with byte %d changed it opens the recording", i)
		}
	}
	if _, err := ParseSessionKey(append(good, 0)); err == nil {
		t.Error("with a byte behind it")
	}
}

func readWith(key PrivateKey, recording []byte) (frames int, err error) {
	r, err := Open(bytes.NewReader(recording), key, nil)
	for err == nil {
		if _, err = r.Next(); err == nil {
			frames++
		}
	}
	if err == io.EOF {
		err = nil
	}
	return frames, err
}

// An outline without its index is the outline of the exported file: what is left out is what no signature covers.
func TestBareOutline(t *testing.T) {
	b := newBench(t, nil)
	file := recorded(t, b, "S-1")
	exported, err := OpenExported(bytes.NewReader(file), int64(len(file)))
	if err != nil {
		t.Fatal(err)
	}
	want, err := exported.Outline(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(want)
	if err != nil {
		t.Fatal(err)
	}
	var indexed bytes.Buffer
	if err := b.Outline("S-1", &indexed); err != nil {
		t.Fatal(err)
	}
	if indexed.Len() <= len(plain) {
		t.Error("this bastion left no index")
	}
	bare, err := BareOutline(bytes.NewReader(indexed.Bytes()))
	if err != nil || !bytes.Equal(bare, plain) {
		t.Errorf("%d bytes, want %d: %v", len(bare), len(plain), err)
	}
	for i := range indexed.Len() {
		if _, err := BareOutline(bytes.NewReader(indexed.Bytes()[:i])); err == nil {
			t.Errorf("cut at %d", i)
		}
	}
}
