package krl

import (
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func TestShapes(t *testing.T) {
	w := newWorld(t, 2)
	l := &List{Comment: "postern-ca", Version: 9}
	one, two := w.cas[0].PublicKey(), w.cas[1].PublicKey()
	l.RevokeSerials(one, 1000, 99999)
	for n := range uint64(1000) {
		l.RevokeSerials(one, 200000+2*n, 200000+2*n)
	}
	l.RevokeSerials(two, 7, 7)
	l.RevokeKeyID(two, "alice")
	l.RevokeKey(one)
	p := parse(t, marshal(t, l))
	byCA := map[string]Shape{}
	for _, s := range p.Shapes() {
		byCA[s.CA] = s
		if s.Serials != s.Ranges.Serials+s.Bitmaps.Serials+s.Lists.Serials {
			t.Errorf("%+v does not add up", s)
		}
	}
	if s := byCA[ssh.FingerprintSHA256(one)]; s.Serials != 100000 || s.Ranges != (Section{1, 99000}) || s.Bitmaps != (Section{1, 1000}) {
		t.Errorf("%+v", s)
	}
	if s := byCA[ssh.FingerprintSHA256(two)]; s.Lists != (Section{1, 1}) || s.KeyIDs != 1 {
		t.Errorf("%+v", s)
	}
	if whole, hashed := p.Keys(); whole != 1 || hashed != 0 {
		t.Errorf("%d keys, %d hashes", whole, hashed)
	}
	if cas := p.SerialRevoked(7); len(cas) != 1 || cas[0] != ssh.FingerprintSHA256(two) || len(p.SerialRevoked(8)) > 0 || len(p.SerialRevoked(0)) > 0 {
		t.Errorf("serial 7 of %v", cas)
	}
	for print, want := range map[string][2]bool{ssh.FingerprintSHA256(one): {true, true}, ssh.FingerprintSHA256(two): {false, true}, "SHA256:x": {}, "": {}, strings.Repeat("A", 43): {}} {
		if revoked, ok := p.FingerprintRevoked(print); [2]bool{revoked, ok} != want {
			t.Errorf("%q: %v, %v", print, revoked, ok)
		}
	}
	for because, cert := range map[string]ssh.PublicKey{
		"the key": one, "": two, "the key of its CA": w.cert(t, w.cas[0], 5, "bob"), "its serial": w.cert(t, w.cas[1], 7, "bob"), "its key ID": w.cert(t, w.cas[1], 8, "alice"),
	} {
		if got := p.Because(cert); got != because || p.Revoked(cert) != (because != "") {
			t.Errorf("because %q, not %q", got, because)
		}
	}
}
