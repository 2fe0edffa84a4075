package recorder

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"time"
)

const (
	frameHead    = 1 + 4 + 1 + 8 // bytes before the data
	gcmTag       = 16
	frameFormat  = "postern-frame-v1"
	maxPlain     = frameHead + MaxData
	maxFrameBody = maxPlain + gcmTag
)

// appendFrame writes the plaintext of f. Its time must be whole microseconds.
func appendFrame(b []byte, f Frame) []byte {
	b = append(b, byte(f.Type))
	b = binary.BigEndian.AppendUint32(b, f.Channel)
	b = append(b, f.Stream)
	b = binary.BigEndian.AppendUint64(b, uint64(f.At/time.Microsecond))
	return append(b, f.Data...)
}

// parseFrame reads the plaintext of a frame. Data aliases b.
func parseFrame(b []byte) (Frame, error) {
	if len(b) < frameHead || len(b) > maxPlain {
		return Frame{}, fmt.Errorf("%w: frame of %d bytes", ErrMalformed, len(b))
	}
	micros := binary.BigEndian.Uint64(b[6:])
	if micros > maxMicros {
		return Frame{}, fmt.Errorf("%w: frame at %d µs", ErrMalformed, micros)
	}
	return Frame{
		Type:    Type(b[0]),
		Channel: binary.BigEndian.Uint32(b[1:]),
		Stream:  b[5],
		At:      time.Duration(micros) * time.Microsecond,
		Data:    b[frameHead:],
	}, nil
}

const maxMicros = uint64(1<<63-1) / uint64(time.Microsecond)

// chain numbers frames and ties each to all before it. Its arrays are members so that the ciphers, which are
// interfaces, do not make garbage of them for every frame.
type chain struct {
	n     uint64
	ad    [len(frameFormat) + sha256.Size]byte
	nonce [12]byte
	hash  hash.Hash
}

func newChain(n uint64, head [32]byte) *chain {
	c := &chain{n: n, hash: sha256.New()}
	copy(c.ad[:], frameFormat)
	copy(c.ad[len(frameFormat):], head[:])
	return c
}

func (c *chain) head() (h [32]byte) {
	copy(h[:], c.ad[len(frameFormat):])
	return h
}

// seal encrypts plain in place, which must have room for the tag behind it, and steps.
func (c *chain) seal(key cipher.AEAD, plain []byte) []byte {
	binary.BigEndian.PutUint64(c.nonce[4:], c.n)
	sealed := key.Seal(plain[:0], c.nonce[:], plain, c.ad[:])
	c.step(sealed)
	return sealed
}

// open decrypts sealed behind dst, and steps if it is the next frame of the chain.
func (c *chain) open(key cipher.AEAD, dst, sealed []byte) ([]byte, error) {
	plain, err := c.peek(key, dst, sealed)
	if err == nil {
		c.step(sealed)
	}
	return plain, err
}

// peek is open without the step.
func (c *chain) peek(key cipher.AEAD, dst, sealed []byte) ([]byte, error) {
	binary.BigEndian.PutUint64(c.nonce[4:], c.n)
	return key.Open(dst, c.nonce[:], sealed, c.ad[:])
}

// jump is a step whose outcome is known.
func (c *chain) jump(head [32]byte) {
	copy(c.ad[len(frameFormat):], head[:])
	c.n++
}

func (c *chain) step(sealed []byte) {
	head := c.ad[len(frameFormat):]
	c.hash.Reset()
	c.hash.Write(head)
	c.hash.Write(sealed)
	c.hash.Sum(head[:0])
	c.n++
}
