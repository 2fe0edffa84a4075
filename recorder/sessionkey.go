package recorder

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/ssh"
)

// SessionKey opens one recording and no other: whoever may see one session is given this, never the key of its month. It is as secret
// as the recording. What was typed, where that has a compartment of its own, it does not open. FORMAT.md, Session keys.
type SessionKey struct{ is sessionKey }

type sessionKey struct {
	Version string
	Session string
	KeyID   string
	BoxSum  [sha256.Size]byte
	Root    [32]byte
}

const sessionKeyVersion = "postern-session-key-v1"

// SessionKey takes the key of a recording out of its key box. r is the sealed recording or its outline, of which only the beginning is read.
func (k PrivateKey) SessionKey(r io.Reader) (SessionKey, error) {
	in := &fileScanner{r: bufio.NewReader(r)}
	magic := in.bytes(len(outlineMagic))
	if in.err == nil && string(magic) == recordingMagic[:len(outlineMagic)] {
		magic = append(magic, in.bytes(len(recordingMagic)-len(outlineMagic))...)
	}
	if m := string(magic); in.err == nil && m != outlineMagic && m != recordingMagic {
		return SessionKey{}, &Fault{Err: fmt.Errorf("%w: it begins with %q", ErrMalformed, magic)}
	}
	b, box := in.string(maxStatement), in.string(maxBox)
	if in.err != nil {
		return SessionKey{}, &Fault{Err: shortened(in.err)}
	}
	o, err := parseOpening(b)
	if err != nil {
		return SessionKey{}, &Fault{Err: err}
	}
	root, err := o.openRoot(box, k)
	if err != nil {
		return SessionKey{}, err
	}
	defer clear(root)
	return SessionKey{sessionKey{sessionKeyVersion, o.Session, o.KeyID, sha256.Sum256(box), [32]byte(root)}}, nil
}

// Marshal returns what [ParseSessionKey] reads.
func (s SessionKey) Marshal() []byte { return ssh.Marshal(s.is) }

// ParseSessionKey reads a session key, and nothing else.
func ParseSessionKey(b []byte) (SessionKey, error) {
	var s SessionKey
	if len(b) > maxStatement {
		return s, errors.New("session key: too long")
	}
	if err := ssh.Unmarshal(b, &s.is); err != nil {
		return SessionKey{}, fmt.Errorf("session key: %w", err)
	}
	if s.is.Version != sessionKeyVersion || !validSession(s.is.Session) {
		return SessionKey{}, fmt.Errorf("session key: it is of version %.40q, and this program reads %q", s.is.Version, sessionKeyVersion)
	}
	return s, nil
}

// Session is the ID of the session whose recording it opens.
func (s SessionKey) Session() string { return s.is.Session }

// PrivateKey is what opens that recording where the private half of its recording key would, and no other.
func (s SessionKey) PrivateKey() PrivateKey { return PrivateKey{one: &s.is} }

// openRoot gives the root out for the box it came from and for no other. That it is the right one shows when frames open.
func (s *sessionKey) openRoot(session string, box []byte) ([]byte, error) {
	if session != s.Session || sha256.Sum256(box) != s.BoxSum {
		return nil, fmt.Errorf("the session key is of %s and its own key box", s.Session)
	}
	root := s.Root
	return root[:], nil
}
