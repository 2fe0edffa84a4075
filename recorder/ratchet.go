package recorder

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
)

// ratchet yields the keys of one segment after the other, and forgets how to go back.
type ratchet struct{ state [32]byte }

func newRatchet(root []byte, opening [32]byte) (*ratchet, error) {
	state, err := hkdf.Extract(sha256.New, root, opening[:])
	if err != nil {
		return nil, err
	}
	r := new(ratchet)
	copy(r.state[:], state)
	clear(state)
	return r, nil
}

// keys are those of one segment.
type keys struct {
	frame cipher.AEAD
	seal  [32]byte
	index [32]byte
}

// next returns the keys of the current segment and steps to the following one.
func (r *ratchet) next() (*keys, error) {
	frame, err := r.expand("postern frame key v1")
	if err != nil {
		return nil, err
	}
	defer clear(frame)
	seal, err := r.expand("postern seal key v1")
	if err != nil {
		return nil, err
	}
	defer clear(seal)
	index, err := r.expand("postern index key v1")
	if err != nil {
		return nil, err
	}
	defer clear(index)
	state, err := r.expand("postern next state v1")
	if err != nil {
		return nil, err
	}
	defer clear(state)
	k := new(keys)
	if k.frame, err = newGCM(frame); err != nil {
		return nil, err
	}
	copy(k.seal[:], seal)
	copy(k.index[:], index)
	copy(r.state[:], state)
	return k, nil
}

func (r *ratchet) expand(label string) ([]byte, error) {
	return hkdf.Expand(sha256.New, r.state[:], label, 32)
}

// forget drops the keys of a segment that is sealed.
func (k *keys) forget() {
	k.frame = nil
	clear(k.seal[:])
	clear(k.index[:])
}

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
