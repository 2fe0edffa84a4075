package krl

import (
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Shape is how a parsed file revokes certificates of one CA.
type Shape struct {
	CA      string  `json:"ca"`      // fingerprint of its key; empty: any CA
	Serials uint64  `json:"serials"` // revoked, however often the file says so
	Ranges  Section `json:"ranges"`
	Bitmaps Section `json:"bitmaps"`
	Lists   Section `json:"lists"`
	KeyIDs  int     `json:"key_ids"`
}

// Section counts the sections of one kind, and what is in them.
type Section struct {
	Sections int    `json:"sections"`
	Serials  uint64 `json:"serials"`
}

func (s *Section) add(serials uint64) {
	s.Sections++
	s.Serials += serials
}

// Shapes tells of each CA, in the order of the file.
func (l *List) Shapes() []Shape {
	cas := set{}
	for ca := range l.authorities {
		cas.add(ca)
	}
	list := []Shape{}
	for _, ca := range cas.sorted() {
		a := l.authorities[ca]
		shape := a.shape
		shape.CA, shape.KeyIDs = fingerprint(ca), len(a.keyIDs)
		for _, s := range a.ranges() {
			shape.Serials += s.hi - s.lo + 1
		}
		list = append(list, shape)
	}
	return list
}

// Keys counts the keys that are revoked by themselves: whole, and by their hash.
func (l *List) Keys() (whole, hashed int) { return len(l.keys), len(l.sha256s) + len(l.sha1s) }

// SerialRevoked gives the fingerprints of the CAs of whose certificates the one with that serial is revoked; "" is any CA.
func (l *List) SerialRevoked(serial uint64) (cas []string) {
	for ca, a := range l.authorities {
		if serial != 0 && a.ranges().has(serial) {
			cas = append(cas, fingerprint(ca))
		}
	}
	slices.Sort(cas)
	return cas
}

// FingerprintRevoked answers for the key of a fingerprint as ssh-keygen -l prints it, SHA256:…; ok is false if it is none.
func (l *List) FingerprintRevoked(print string) (revoked, ok bool) {
	sum, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimPrefix(print, "SHA256:"))
	if err != nil || len(sum) != sha256.Size || !strings.HasPrefix(print, "SHA256:") {
		return false, false
	}
	for key := range l.keys {
		if own := sha256.Sum256([]byte(key)); string(own[:]) == string(sum) {
			return true, true
		}
	}
	return l.sha256s.has(string(sum)), true
}

func fingerprint(ca string) string {
	if ca == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(ca))
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// Because says what of a certificate or key is revoked; empty: nothing. It is for people; [List.Revoked] decides.
func (l *List) Because(key ssh.PublicKey) string {
	if !l.Revoked(key) {
		return ""
	}
	cert, err := asCertificate(key)
	switch {
	case key == nil || err != nil:
		return "it cannot be understood"
	case cert == nil || cert.Key == nil || cert.SignatureKey == nil:
		return "the key"
	case l.keyRevoked(cert.Key.Marshal()):
		return "its key"
	case l.keyRevoked(cert.SignatureKey.Marshal()):
		return "the key of its CA"
	}
	if len(l.SerialRevoked(cert.Serial)) > 0 {
		return "its serial"
	}
	return "its key ID"
}
