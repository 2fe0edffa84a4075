package envelope

import (
	"bytes"
	"crypto/ed25519"
	"testing"
)

func TestEnvelope(t *testing.T) {
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	other, _ := NewKey()
	_, private, _ := ed25519.GenerateKey(nil)
	terms := []byte(`{"bastion":"bastion-1"}`)
	sealed, err := Seal(key.Public(), terms, private)
	if err != nil || len(sealed) != Size {
		t.Fatalf("%d bytes, %v", len(sealed), err)
	}
	kept, err := key.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKey(kept)
	if err != nil || !bytes.Equal(again.Public(), key.Public()) {
		t.Fatal(err)
	}
	if got, err := again.Open(sealed, terms); err != nil || !got.Equal(private) {
		t.Errorf("%v", err)
	}
	if _, err := other.Open(sealed, terms); err == nil {
		t.Error("another bastion opened it")
	}
	if _, err := key.Open(sealed, []byte(`{"bastion":"bastion-2"}`)); err == nil {
		t.Error("it opened for other terms")
	}
	for i := range sealed {
		sealed[i] ^= 1
		if _, err := key.Open(sealed, terms); err == nil {
			t.Errorf("it opened with byte %d altered", i)
		}
		sealed[i] ^= 1
	}
	for _, bad := range [][]byte{nil, {1}, make([]byte, 32), make([]byte, 33)} {
		if _, err := Seal(bad, terms, private); err == nil {
			t.Errorf("sealed to %x", bad)
		}
	}
}
