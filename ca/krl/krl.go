// Package krl writes and reads OpenSSH key revocation lists: the file behind sshd's RevokedKeys, whose format is
// PROTOCOL.krl of OpenSSH.
//
// Start with a [List]: revoke things in it and [List.Marshal] it, or [Parse] a file and ask [List.Revoked]. The package
// promises three things. OpenSSH accepts every file that Marshal writes and gives the same answers as Revoked. Parse
// accepts nothing that OpenSSH refuses. And Parse notices every cut of a file that Marshal wrote, which OpenSSH cannot:
// to sshd a file that ends after the header, or between two sections, is a shorter list that revokes less.
//
// For the last promise Marshal ends the comment with the size of the file, such as "postern-ca [252 bytes]".
package krl

import (
	"bytes"
	"cmp"
	"crypto/sha1"
	"crypto/sha256"
	"errors"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

// List is what a KRL revokes. The zero List revokes nothing. Any number of goroutines may ask a List, but nobody may
// revoke meanwhile.
type List struct {
	Version   uint64    // rises with each list that a CA publishes
	Generated time.Time // whole seconds; the zero Time is written as 0
	Comment   string    // without the size that Marshal appends

	// By the wire form of the CA's key; "" is any CA.
	authorities map[string]*authority

	keys    set // wire form of plain keys
	sha256s set
	sha1s   set // only ever parsed

	whole bool
}

// authority is what is revoked of the certificates of one CA.
type authority struct {
	serials  spans
	unsorted bool
	keyIDs   set
	shape    Shape // only of what was parsed
}

type set map[string]struct{}

func (s *set) add(member string) {
	if *s == nil {
		*s = set{}
	}
	(*s)[member] = struct{}{}
}

func (s set) has(member string) bool {
	_, ok := s[member]
	return ok
}

func (s set) sorted() []string {
	members := make([]string, 0, len(s))
	for m := range s {
		members = append(members, m)
	}
	slices.Sort(members)
	return members
}

// RevokeSerials revokes the certificates with the serials lo to hi, both included, in either order. A nil ca means any CA.
// Serial 0 cannot be revoked, because sshd never matches it; it is left out. Serials are added fastest in rising order.
func (l *List) RevokeSerials(ca ssh.PublicKey, lo, hi uint64) {
	if lo > hi {
		lo, hi = hi, lo
	}
	if hi == 0 {
		return
	}
	l.authority(wire(ca)).addSerials(max(lo, 1), hi)
}

// RevokeKeyID revokes the certificates with that key ID. A nil ca means any CA.
func (l *List) RevokeKeyID(ca ssh.PublicKey, id string) {
	l.authority(wire(ca)).keyIDs.add(id)
}

// RevokeKey revokes a key, every certificate for it and every certificate that it signed. Of a certificate the key is meant.
func (l *List) RevokeKey(key ssh.PublicKey) {
	l.keys.add(wire(key))
}

// RevokeHash does the same as RevokeKey for the key whose wire form has that SHA-256.
func (l *List) RevokeHash(sum [sha256.Size]byte) {
	l.sha256s.add(string(sum[:]))
}

// Empty reports whether nothing is revoked.
func (l *List) Empty() bool {
	return len(l.authorities) == 0 && len(l.keys) == 0 && len(l.sha256s) == 0 && len(l.sha1s) == 0
}

// Whole reports whether the parsed file told its own size, as those of Marshal do. Of any other file a cut between two
// sections goes unnoticed.
func (l *List) Whole() bool { return l.whole }

// Revoked answers as ssh-keygen -Q does: a certificate is revoked by its serial, its key ID, its key, or the key of its CA.
// It is true for what cannot be understood.
func (l *List) Revoked(key ssh.PublicKey) bool {
	if key == nil {
		return true
	}
	cert, err := asCertificate(key)
	if err != nil {
		return true
	}
	if cert == nil {
		return l.keyRevoked(key.Marshal())
	}
	if cert.Key == nil || cert.SignatureKey == nil {
		return true
	}
	signer := cert.SignatureKey.Marshal()
	return l.keyRevoked(cert.Key.Marshal()) || l.keyRevoked(signer) ||
		l.authorities[string(signer)].revoked(cert) || l.authorities[""].revoked(cert)
}

func (l *List) keyRevoked(blob []byte) bool {
	if l.keys.has(string(blob)) {
		return true
	}
	if len(l.sha256s) > 0 {
		if sum := sha256.Sum256(blob); l.sha256s.has(string(sum[:])) {
			return true
		}
	}
	if len(l.sha1s) > 0 {
		if sum := sha1.Sum(blob); l.sha1s.has(string(sum[:])) {
			return true
		}
	}
	return false
}

func (a *authority) revoked(cert *ssh.Certificate) bool {
	if a == nil {
		return false
	}
	// Key IDs are C strings to OpenSSH.
	id, _, _ := strings.Cut(cert.KeyId, "\x00")
	if a.keyIDs.has(id) {
		return true
	}
	if cert.Serial == 0 {
		return false
	}
	if a.unsorted {
		return slices.ContainsFunc(a.serials, func(s span) bool { return s.lo <= cert.Serial && cert.Serial <= s.hi })
	}
	return a.serials.has(cert.Serial)
}

func (l *List) authority(blob string) *authority {
	if l.authorities == nil {
		l.authorities = map[string]*authority{}
	}
	a := l.authorities[blob]
	if a == nil {
		a = new(authority)
		l.authorities[blob] = a
	}
	return a
}

func (a *authority) addSerials(lo, hi uint64) {
	if n := len(a.serials); n > 0 {
		last := &a.serials[n-1]
		switch {
		case lo < last.lo:
			a.unsorted = true
		case lo <= last.hi || lo == last.hi+1:
			last.hi = max(last.hi, hi)
			return
		}
	}
	a.serials = append(a.serials, span{lo, hi})
}

// ranges gives the serials as the fewest spans in rising order, without changing a.
func (a *authority) ranges() spans {
	if !a.unsorted {
		return a.serials
	}
	sorted := slices.SortedFunc(slices.Values(a.serials), func(x, y span) int { return cmp.Compare(x.lo, y.lo) })
	var tidy authority
	for _, s := range sorted {
		tidy.addSerials(s.lo, s.hi)
	}
	return tidy.serials
}

// span is a range of serials, both ends included.
type span struct{ lo, hi uint64 }

// spans rise, and neither overlap nor touch.
type spans []span

func (s spans) has(serial uint64) bool {
	_, found := slices.BinarySearchFunc(s, serial, func(s span, serial uint64) int {
		switch {
		case s.hi < serial:
			return -1
		case s.lo > serial:
			return 1
		}
		return 0
	})
	return found
}

// wire is the form in which a KRL names a key.
func wire(key ssh.PublicKey) string {
	if key == nil {
		return ""
	}
	if cert, err := asCertificate(key); err == nil && cert != nil {
		key = cert.Key
	}
	return string(key.Marshal())
}

// asCertificate is nil for a plain key. Keys of an agent have a type of their own, so the name of the key type decides.
func asCertificate(key ssh.PublicKey) (*ssh.Certificate, error) {
	if cert, ok := key.(*ssh.Certificate); ok {
		return cert, nil
	}
	if !strings.Contains(key.Type(), "-cert-v0") {
		return nil, nil
	}
	parsed, err := ssh.ParsePublicKey(key.Marshal())
	if err != nil {
		return nil, err
	}
	cert, ok := parsed.(*ssh.Certificate)
	if !ok {
		return nil, errors.New("krl: not a certificate")
	}
	return cert, nil
}

func parseAuthority(blob []byte) error {
	if len(blob) == 0 {
		return nil // any CA
	}
	key, err := ssh.ParsePublicKey(blob)
	if err != nil {
		return err
	}
	// OpenSSH compares keys, we compare their bytes: there must be one way to write them.
	if !bytes.Equal(key.Marshal(), blob) {
		return errors.New("not encoded canonically")
	}
	if cert, err := asCertificate(key); err != nil || cert != nil {
		return errors.New("is a certificate")
	}
	if key.Type() == "ssh-dss" {
		return errors.New("is a DSA key, which OpenSSH 10 cannot read")
	}
	return nil
}
