package krl

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"strings"
	"testing"
)

// small has one section of each kind.
func small(t testing.TB, w *world) *List {
	t.Helper()
	l := &List{Version: 3, Comment: "c"}
	ca := w.cas[0].PublicKey()
	l.RevokeSerials(ca, 1, 1)
	l.RevokeSerials(ca, 70, 90)
	for n := uint64(1000); n < 1040; n += 2 {
		l.RevokeSerials(ca, n, n)
	}
	l.RevokeKeyID(ca, "id")
	l.RevokeKeyID(nil, "any")
	l.RevokeKey(w.add(t, w.signer(t).PublicKey()))
	l.RevokeHash(sha256.Sum256(w.add(t, w.signer(t).PublicKey()).Marshal()))
	w.add(t, w.signer(t).PublicKey())
	for _, serial := range []uint64{0, 1, 69, 70, 91, 1000, 1001} {
		w.cert(t, w.cas[0], serial, "x")
	}
	w.cert(t, w.cas[0], 500, "id")
	w.cert(t, w.cas[1], 1, "id")
	w.cert(t, w.cas[1], 1, "any")
	return l
}

func TestEveryCutIsFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	file := marshal(t, small(t, w))
	lost := 0
	for n := range file {
		if _, err := Parse(file[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were parsed", n, len(file))
		}
	}
	// That is worth something: sshd reads some of these files as lists that revoke less.
	whole, _ := w.ask(t, file)
	for n := range file {
		if answers, ok := w.ask(t, file[:n]); ok {
			for i := range answers {
				if whole[i] && !answers[i] {
					lost++
					break
				}
			}
		}
	}
	if lost == 0 {
		t.Error("OpenSSH lost no revocation in any cut; is the promise of Whole still needed?")
	}
	t.Logf("OpenSSH reads %d cuts of %d as a list that revokes less", lost, len(file))
	for _, more := range []string{"\x00", "\n", "x", string(file)} {
		if _, err := Parse(append(bytes.Clone(file), more...)); err == nil {
			t.Errorf("parsed with %q after the end", more)
		}
	}
}

// What we parse of a damaged file OpenSSH parses too, and we never hold a key for good that OpenSSH holds for revoked.
func TestDamage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	file := marshal(t, small(t, w))
	parsed := 0
	for n := range file {
		damaged := bytes.Clone(file)
		damaged[n] = []byte{file[n] ^ 1<<(n%8), 0, 0xff}[n%3]
		l, err := Parse(damaged)
		if err != nil {
			continue
		}
		parsed++
		theirs, ok := w.ask(t, damaged)
		if !ok {
			t.Errorf("byte %d as %#x: we parse what OpenSSH refuses\n%s", n, damaged[n], l)
			continue
		}
		for i, k := range w.keys {
			if l.Revoked(k.key) != theirs[i] {
				t.Errorf("byte %d as %#x: %s: OpenSSH says %v", n, damaged[n], describe(k.key), theirs[i])
			}
		}
	}
	t.Logf("%d damaged files of %d were parsed", parsed, len(file))
}

func be(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

func section(kind byte, data string) string {
	return string(appendString([]byte{kind}, data))
}

// strange builds a file with sections that Marshal would not write.
func strange(sections ...string) []byte {
	body := strings.Join(sections, "")
	return append(new(List).header(len(body)), body...)
}

func certificates(ca, sub string) string {
	return section(sectionCertificates, string(appendString(appendString(nil, ca), ""))+sub)
}

func TestParseRefuses(t *testing.T) {
	w := newWorld(t, 4)
	w.cert(t, w.cas[0], 1, "x")
	cert := string(w.keys[0].key.Marshal())
	ca := string(w.cas[0].PublicKey().Marshal())
	str := func(s string) string { return string(appendString(nil, s)) }
	header := new(List).header(0)
	edit := func(at int, b byte) []byte {
		changed := bytes.Clone(header)
		changed[at] = b
		return changed
	}
	foreign := bytes.Clone(header[:40])
	for what, file := range map[string][]byte{
		"nothing":                   nil,
		"a list of plain keys":      []byte("ssh-ed25519 AAAA\n"),
		"header only, without size": append(foreign, 0, 0, 0, 0),
		"format 2":                  edit(11, 2),
		"flags":                     edit(35, 1),
		"comment with NUL":          append(bytes.Clone(foreign), []byte("\x00\x00\x00\x02a\x00"+section(sectionKeys, str("k")))...),
		"unknown section":           strange(section(9, "x")),
		"signature":                 strange(section(4, ca), str("sig")),
		"extension":                 strange(section(255, str("x@y")+"\x00"+str(""))),
		"empty section":             strange(section(sectionKeys, "")),
		"empty key":                 strange(section(sectionKeys, str(""))),
		"cut key":                   strange(section(sectionKeys, "\x00\x00\x00\x09k")),
		"huge length":               strange(section(sectionKeys, "\xff\xff\xff\xffk")),
		"short SHA-256":             strange(section(sectionSHA256, str(strings.Repeat("x", 31)))),
		"long SHA-1":                strange(section(sectionSHA1, str(strings.Repeat("x", 21)))),
		"CA without revocations":    strange(certificates(ca, "")),
		"CA that is a certificate":  strange(certificates(cert, section(certKeyID, str("x")))),
		"CA cut":                    strange(certificates(ca[:20], section(certKeyID, str("x")))),
		"CA with bytes after":       strange(certificates(ca+"x", section(certKeyID, str("x")))),
		"CA section cut":            strange(section(sectionCertificates, str(ca))),
		"reserved in CA section":    strange(section(sectionCertificates, str(ca)+str("x")+section(certKeyID, str("x")))),
		"unknown subsection":        strange(certificates(ca, section(0x24, "x"))),
		"certificate extension":     strange(certificates(ca, section(0x39, str("x@y")+"\x00"+str("")))),
		"empty serial list":         strange(certificates(ca, section(certSerialList, ""))),
		"serial 0":                  strange(certificates(ca, section(certSerialList, be(0)))),
		"cut serial":                strange(certificates(ca, section(certSerialList, be(1)+"xx"))),
		"range from 0":              strange(certificates(ca, section(certSerialRange, be(0)+be(3)))),
		"range backwards":           strange(certificates(ca, section(certSerialRange, be(4)+be(3)))),
		"range of three":            strange(certificates(ca, section(certSerialRange, be(3)+be(4)+be(5)))),
		"half a range":              strange(certificates(ca, section(certSerialRange, be(3)))),
		"bitmap of serial 0":        strange(certificates(ca, section(certSerialBitmap, be(0)+str("\x01")))),
		"empty bitmap":              strange(certificates(ca, section(certSerialBitmap, be(1)+str("")))),
		"zero bitmap":               strange(certificates(ca, section(certSerialBitmap, be(1)+str("\x00")))),
		"negative bitmap":           strange(certificates(ca, section(certSerialBitmap, be(1)+str("\x80")))),
		"padded bitmap":             strange(certificates(ca, section(certSerialBitmap, be(1)+str("\x00\x01")))),
		"bytes after a bitmap":      strange(certificates(ca, section(certSerialBitmap, be(1)+str("\x01")+"x"))),
		"bitmap of 16385 bits":      strange(certificates(ca, section(certSerialBitmap, be(1)+str("\x01"+strings.Repeat("\x00", 2048))))),
		"bitmap over the end":       strange(certificates(ca, section(certSerialBitmap, be(math.MaxUint64)+str("\x03")))),
		"key ID with NUL":           strange(certificates(ca, section(certKeyID, str("a\x00b")))),
		"key ID with NUL at end":    strange(certificates(ca, section(certKeyID, str("a\x00")))),
	} {
		if l, err := Parse(file); err == nil {
			t.Errorf("parsed: %s\n%s", what, l)
		} else if !strings.HasPrefix(err.Error(), "krl: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, file := range map[string][]byte{
		"bitmap at the end": strange(certificates(ca, section(certSerialBitmap, be(math.MaxUint64)+str("\x01")))),
		"two sections":      strange(certificates(ca, section(certSerialList, be(9)+be(3))), certificates("", section(certKeyID, str("x")))),
		"foreign comment":   append(bytes.Clone(foreign), []byte("\x00\x00\x00\x01a"+section(sectionKeys, str("k")))...),
	} {
		if _, err := Parse(file); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if _, ok := w.ask(t, file); !ok {
			t.Errorf("%s: OpenSSH refuses it", what)
		}
	}
}

func TestMarshalRefuses(t *testing.T) {
	w := newWorld(t, 4)
	nul := new(List)
	nul.RevokeKeyID(nil, "a\x00b")
	comment := &List{Comment: "a\x00b"}
	for what, l := range map[string]*List{"key ID": nul, "comment": comment} {
		if _, err := l.Marshal(); err == nil || !strings.Contains(err.Error(), "NUL") {
			t.Errorf("%s with NUL: %v", what, err)
		}
	}
	// A certificate is no CA, but whoever hands one in means its key.
	cert := w.cert(t, w.cas[0], 1, "x")
	l := new(List)
	l.RevokeSerials(cert, 1, 1)
	if got := parse(t, marshal(t, l)); got.authorities[string(cert.Key.Marshal())] == nil {
		t.Errorf("revoked for another CA:\n%s", got)
	}
}

func TestSizeInComment(t *testing.T) {
	for _, comment := range []string{"", " ", "postern-ca", "[12 bytes]", "x [12 bytes]", "[", "ü"} {
		for pad := range 120 {
			l := &List{Comment: comment + strings.Repeat("x", pad*(pad%3))}
			file := marshal(t, l)
			again := parse(t, file)
			if again.Comment != l.Comment || !again.Whole() {
				t.Errorf("comment %q became %q, whole %v", l.Comment, again.Comment, again.Whole())
			}
		}
	}
}
