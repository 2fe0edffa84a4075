package recorder

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"golang.org/x/crypto/ssh"
)

const (
	formPacked   = 1
	formVerbatim = 2

	stateComplete    = 1
	stateInterrupted = 2
	stateLive        = 3

	maxStatement = 1 << 10 // bytes of an opening, a header, an end statement, a signature
	maxBox       = 2 << 10
	maxBody      = 1 << 20
)

// segmentHeader is the clear part of a sealed segment.
type segmentHeader struct {
	Version  string
	Session  string
	Number   uint64
	Form     byte
	First    uint64
	Frames   uint32
	Before   [32]byte
	After    [32]byte
	Previous [32]byte
}

const segmentVersion = "postern-segment-v1"

func (h segmentHeader) marshal() []byte { return ssh.Marshal(h) }

func parseSegmentHeader(b []byte) (h segmentHeader, err error) {
	if len(b) > maxStatement {
		return h, fmt.Errorf("%w: segment header of %d bytes", ErrMalformed, len(b))
	}
	if err := ssh.Unmarshal(b, &h); err != nil {
		return h, fmt.Errorf("%w: segment header: %w", ErrMalformed, err)
	}
	switch {
	case h.Version != segmentVersion:
		return h, fmt.Errorf("%w: segment of version %.40q, this reads %s", ErrMalformed, h.Version, segmentVersion)
	case h.Form != formPacked && h.Form != formVerbatim:
		return h, fmt.Errorf("%w: segment of form %d", ErrMalformed, h.Form)
	case h.Frames == 0 || h.Frames > segmentFrames:
		return h, fmt.Errorf("%w: segment of %d frames", ErrMalformed, h.Frames)
	case !validSession(h.Session):
		return h, fmt.Errorf("%w: segment of session %.80q", ErrMalformed, h.Session)
	}
	return h, nil
}

// sealedHead ties a segment, and by its header all before it.
func sealedHead(header, body []byte) [32]byte {
	return sealedHeadOf(header, sha256.Sum256(body))
}

// sealedHeadOf is sealedHead for one who knows the hash of the body.
func sealedHeadOf(header []byte, sum [32]byte) [32]byte {
	h := sha256.New()
	h.Write(header)
	h.Write(sum[:])
	return [32]byte(h.Sum(nil))
}

// sealedSegment is a segment as it is kept and exported.
type sealedSegment struct {
	Header    []byte
	Body      []byte
	Signature []byte
}

// marshal is ssh.Marshal, which would copy a quarter of a megabyte several times while it grows.
func (s sealedSegment) marshal() []byte {
	b := make([]byte, 0, 3*4+len(s.Header)+len(s.Body)+len(s.Signature))
	return appendString(appendString(appendString(b, s.Header), s.Body), s.Signature)
}

// endStatement says what the recording was when it was exported.
type endStatement struct {
	Version    string
	Session    string
	State      byte
	Frames     uint64
	Head       [32]byte
	Segments   uint64
	SealedHead [32]byte
}

const endVersion = "postern-end-v1"

func (e endStatement) marshal() []byte { return ssh.Marshal(e) }

func parseEnd(b []byte) (e endStatement, err error) {
	if len(b) > maxStatement {
		return e, fmt.Errorf("%w: end statement of %d bytes", ErrMalformed, len(b))
	}
	if err := ssh.Unmarshal(b, &e); err != nil {
		return e, fmt.Errorf("%w: end statement: %w", ErrMalformed, err)
	}
	switch {
	case e.Version != endVersion:
		return e, fmt.Errorf("%w: end statement of version %.40q, this reads %s", ErrMalformed, e.Version, endVersion)
	case e.State < stateComplete || e.State > stateLive:
		return e, fmt.Errorf("%w: end statement of state %d", ErrMalformed, e.State)
	case !validSession(e.Session):
		return e, fmt.Errorf("%w: end statement of session %.80q", ErrMalformed, e.Session)
	}
	return e, nil
}

// The bastion's identity is an SSH key as well: neither of these can be taken for something SSH signs.
func segmentMessage(head [32]byte) []byte {
	return append(appendString(nil, "postern-segment-signature-v1"), head[:]...)
}

func endMessage(statement []byte) []byte {
	return append(appendString(nil, "postern-end-signature-v1"), statement...)
}

func sign(key crypto.Signer, message []byte) ([]byte, error) {
	switch key.Public().(type) {
	case ed25519.PublicKey:
		return key.Sign(rand.Reader, message, crypto.Hash(0))
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		return key.Sign(rand.Reader, sum[:], crypto.SHA256)
	}
	return nil, fmt.Errorf("a %T cannot sign recordings: the bastion's identity must be Ed25519 or ECDSA P-256", key.Public())
}

func verify(key crypto.PublicKey, message, signature []byte) bool {
	switch key := key.(type) {
	case ed25519.PublicKey:
		return len(key) == ed25519.PublicKeySize && ed25519.Verify(key, message, signature)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(message)
		return ecdsa.VerifyASN1(key, sum[:], signature)
	}
	return false
}

func appendString[T string | []byte](b []byte, s T) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

// verbatim is the body of a segment whose keys are lost.
func appendVerbatim(b, sealed []byte) []byte { return appendString(b, sealed) }

// nextVerbatim splits the first ciphertext from the body.
func nextVerbatim(b []byte) (sealed, rest []byte, err error) {
	if len(b) < 4 {
		return nil, nil, fmt.Errorf("%w: verbatim body ends early", ErrMalformed)
	}
	n := binary.BigEndian.Uint32(b)
	if n < frameHead+gcmTag || n > maxFrameBody || int64(n) > int64(len(b)-4) {
		return nil, nil, fmt.Errorf("%w: verbatim frame of %d bytes", ErrMalformed, n)
	}
	return b[4 : 4+n], b[4+n:], nil
}
