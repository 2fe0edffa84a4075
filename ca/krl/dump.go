package krl

import (
	"encoding/base64"
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"
)

// String tells people what is revoked, in the words of ssh-keygen -Q -l; but times are in UTC, and hashes of keys are
// fingerprints as ssh-keygen -l prints them, not hexadecimal.
func (l *List) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# KRL version %d\n# Generated at %s\n", l.Version, l.Generated.UTC().Format("20060102T150405"))
	if l.Comment != "" {
		fmt.Fprintf(&b, "# Comment: %s\n", printable(l.Comment))
	}
	b.WriteByte('\n')
	for _, blob := range l.keys.sorted() {
		if key, err := ssh.ParsePublicKey([]byte(blob)); err != nil {
			fmt.Fprintf(&b, "# key of %d bytes: %v\n", len(blob), err)
		} else {
			fmt.Fprintf(&b, "hash: %s # %s\n", ssh.FingerprintSHA256(key), key.Type())
		}
	}
	for _, sum := range l.sha256s.sorted() {
		fmt.Fprintf(&b, "hash: SHA256:%s\n", base64.RawStdEncoding.EncodeToString([]byte(sum)))
	}
	for _, sum := range l.sha1s.sorted() {
		fmt.Fprintf(&b, "# hash SHA1:%s\n", base64.RawStdEncoding.EncodeToString([]byte(sum)))
	}
	cas := set{}
	for ca := range l.authorities {
		cas.add(ca)
	}
	for _, ca := range cas.sorted() {
		l.authorities[ca].dump(&b, ca)
	}
	return b.String()
}

func (a *authority) dump(b *strings.Builder, ca string) {
	key, err := ssh.ParsePublicKey([]byte(ca))
	switch {
	case ca == "":
		b.WriteString("\n# Wildcard CA\n")
	case err != nil:
		fmt.Fprintf(b, "\n# CA key: %v\n", err)
	default:
		fmt.Fprintf(b, "\n# CA key %s %s\n", key.Type(), ssh.FingerprintSHA256(key))
	}
	for _, s := range a.ranges() {
		if s.lo == s.hi {
			fmt.Fprintf(b, "serial: %d\n", s.lo)
		} else {
			fmt.Fprintf(b, "serial: %d-%d\n", s.lo, s.hi)
		}
	}
	for _, id := range a.keyIDs.sorted() {
		fmt.Fprintf(b, "id: %s\n", printable(id))
	}
}

// printable keeps a key ID from writing control sequences to somebody's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
