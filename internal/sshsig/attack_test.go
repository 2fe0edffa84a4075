package sshsig

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
)

func refused(t *testing.T, what string, armoured []byte, want string) {
	t.Helper()
	_, err := Verify(armoured, namespace, message)
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: got %v, want an error with %q", what, err, want)
	}
}

func sign(t testing.TB, signer ssh.Signer) []byte {
	t.Helper()
	out, err := Sign(signer, namespace, message)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestOtherNamespaceOrMessage(t *testing.T) {
	good := sign(t, goKey(t))
	for _, other := range []string{"", "file", "approval@postern ", "approval@poster", "approval@postern\x00"} {
		if _, err := Verify(good, other, message); err == nil || !strings.Contains(err.Error(), "namespace") {
			t.Errorf("namespace %q: %v", other, err)
		}
	}
	for _, other := range [][]byte{nil, message[:len(message)-1], append(bytes.Clone(message), '\n'), bytes.ToUpper(message)} {
		if _, err := Verify(good, namespace, other); err == nil || !strings.Contains(err.Error(), "does not fit") {
			t.Errorf("message %q: %v", other, err)
		}
	}
	if _, err := Sign(goKey(t), "", message); err == nil {
		t.Error("signed for the empty namespace")
	}
}

func TestOneArmourOnly(t *testing.T) {
	good := string(sign(t, goKey(t)))
	body := strings.TrimSuffix(strings.TrimPrefix(good, begin), end)
	flat := strings.ReplaceAll(body, "\n", "")
	for what, text := range map[string]string{
		"nothing":               "",
		"newline":               "\n",
		"begin only":            begin,
		"empty armour":          begin + end,
		"overlapping armour":    begin[:len(begin)-1] + end,
		"text before":           "Approve this:\n" + good,
		"blank line before":     "\n" + good,
		"space before":          " " + good,
		"byte order mark":       "\ufeff" + good,
		"text after":            good + "and more\n",
		"blank line after":      good + "\n",
		"no final newline":      strings.TrimSuffix(good, "\n"),
		"twice":                 good + good,
		"CRLF":                  strings.ReplaceAll(good, "\n", "\r\n"),
		"CR":                    strings.ReplaceAll(good, "\n", "\r"),
		"CRLF at the end":       strings.TrimSuffix(good, "\n") + "\r\n",
		"one line":              begin + flat + "\n" + end,
		"76 columns":            begin + flat[:76] + "\n" + flat[76:] + "\n" + end,
		"short line":            begin + flat[:4] + "\n" + flat[4:] + "\n" + end,
		"blank line inside":     begin + "\n" + body + end,
		"space inside":          begin + " " + body + end,
		"tab at the end":        begin + strings.TrimSuffix(body, "\n") + "\t\n" + end,
		"PEM header":            begin + "Comment: x\n\n" + body + end,
		"other label":           strings.ReplaceAll(good, "SSH SIGNATURE", "PGP SIGNATURE"),
		"no padding or more":    begin + strings.TrimSuffix(body, "\n") + "====\n" + end,
		"URL alphabet":          begin + "____" + body[4:] + end,
		"not base64":            begin + "!" + body[1:] + end,
		"megabyte":              begin + strings.Repeat(strings.Repeat("A", 70)+"\n", 15000) + end,
		"no newline before end": begin + strings.TrimSuffix(body, "\n") + end,
	} {
		if _, err := Verify([]byte(text), namespace, message); err == nil {
			t.Errorf("accepted: %s", what)
		}
	}
	refused(t, "CRLF", []byte(strings.ReplaceAll(good, "\n", "\r\n")), "carriage return")
}

// Base64 whose last character carries bits that decoding throws away is a second text of the same signature.
func TestLooseBitsOfBase64(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	padded := 0
	for range 20 {
		good := string(sign(t, newEither(t, padded)))
		at := strings.Index(good, "=")
		if at < 0 {
			padded++
			continue
		}
		i := strings.IndexByte(alphabet, good[at-1])
		for bit := range 2 {
			loose := good[:at-1] + string(alphabet[i^(1<<bit)]) + good[at:]
			if _, err := Verify([]byte(loose), namespace, message); err == nil {
				t.Errorf("accepted %q for %q", loose[at-4:at+2], good[at-4:at+2])
			}
		}
		return
	}
	t.Fatal("no signature with padding was made")
}

// newEither gives keys whose signatures have different lengths.
func newEither(t *testing.T, n int) ssh.Signer {
	if n%2 == 0 {
		return goKey(t)
	}
	return newToken(t, "ed25519")
}

func TestCutAnywhere(t *testing.T) {
	for _, signer := range []ssh.Signer{goKey(t), newToken(t, "ed25519"), newToken(t, "ecdsa")} {
		good := sign(t, signer)
		for n := range good {
			if _, err := Verify(good[:n], namespace, message); err == nil {
				t.Fatalf("accepted the first %d of %d bytes", n, len(good))
			}
		}
		// The same inside good armour.
		blob, err := unarmour(good)
		if err != nil {
			t.Fatal(err)
		}
		for n := range blob {
			if _, err := Verify(armour(blob[:n]), namespace, message); err == nil {
				t.Fatalf("accepted the first %d of %d bytes in whole armour", n, len(blob))
			}
			for bit := range 8 {
				flipped := bytes.Clone(blob)
				flipped[n] ^= 1 << bit
				if _, err := Verify(armour(flipped), namespace, message); err == nil {
					t.Fatalf("accepted with bit %d of byte %d flipped", bit, n)
				}
			}
		}
		refused(t, "bytes after the envelope", armour(append(blob, 0)), "cut or malformed")
	}
}

// forge lets a test change the envelope and the inner signature before they are armoured.
func forge(t *testing.T, signer ssh.Signer, hash string, change func(*envelope, *ssh.Signature)) []byte {
	t.Helper()
	sig, err := signWith(signer, toSign(namespace, hash, message))
	if err != nil {
		t.Fatal(err)
	}
	e := envelope{Version: version, PublicKey: signer.PublicKey().Marshal(), Namespace: namespace, Hash: hash}
	change(&e, sig)
	if e.Signature == nil {
		e.Signature = ssh.Marshal(sig)
	}
	return armour(e.marshal())
}

func TestForgedEnvelopes(t *testing.T) {
	key := goKey(t)
	refused(t, "version 2", forge(t, key, "sha512", func(e *envelope, _ *ssh.Signature) { e.Version = 2 }), "version")
	refused(t, "reserved", forge(t, key, "sha512", func(e *envelope, _ *ssh.Signature) { e.Reserved = []byte("x") }), "reserved")
	for _, hash := range []string{"", "sha1", "sha384", "SHA512", "md5"} {
		refused(t, "hash "+hash, forge(t, key, "sha512", func(e *envelope, _ *ssh.Signature) { e.Hash = hash }), "message hash")
	}
	refused(t, "hash changed", forge(t, key, "sha512", func(e *envelope, _ *ssh.Signature) { e.Hash = "sha256" }), "does not fit")
	refused(t, "other key", forge(t, key, "sha512", func(e *envelope, _ *ssh.Signature) {
		e.PublicKey = goKey(t).PublicKey().Marshal()
	}), "does not fit")
	refused(t, "bytes after the signature", forge(t, key, "sha512", func(_ *envelope, s *ssh.Signature) { s.Rest = []byte{0} }), "after the inner")
	refused(t, "other format", forge(t, key, "sha512", func(_ *envelope, s *ssh.Signature) { s.Format = ssh.KeyAlgoSKED25519 }), "allowed is")
	refused(t, "other magic", armour([]byte("SSHSIX\x00\x00\x00\x01")), "something else")
}

func TestCertificateInPlaceOfTheKey(t *testing.T) {
	key, authority := goKey(t), goKey(t)
	cert := &ssh.Certificate{Key: key.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{"bob"}, ValidBefore: ssh.CertTimeInfinity}
	if err := cert.SignCert(rand.Reader, authority); err != nil {
		t.Fatal(err)
	}
	refused(t, "certificate", forge(t, key, "sha512", func(e *envelope, _ *ssh.Signature) { e.PublicKey = cert.Marshal() }), "certificate")
	withCert, err := ssh.NewCertSigner(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Sign(withCert, namespace, message); err == nil || !strings.Contains(err.Error(), "plain key") {
		t.Errorf("signed with a certificate: %v", err)
	}
}

func TestWeakKeys(t *testing.T) {
	_, big := newKey(t, "-t", "rsa", "-b", "2048")
	refused(t, "SHA-1", forge(t, big, "sha512", func(_ *envelope, s *ssh.Signature) {
		sha1, err := big.Sign(rand.Reader, toSign(namespace, "sha512", message))
		if err != nil || sha1.Format != ssh.KeyAlgoRSA {
			t.Fatalf("%v, format %s", err, sha1.Format)
		}
		*s = *sha1
	}), "ssh-rsa signature")
	refused(t, "relabelled", forge(t, big, "sha512", func(_ *envelope, s *ssh.Signature) { s.Format = ssh.KeyAlgoRSASHA256 }), "does not fit")
	refused(t, "shortened", forge(t, big, "sha512", func(_ *envelope, s *ssh.Signature) { s.Blob = s.Blob[1:] }), "bytes, not 256")
	refused(t, "padded", forge(t, big, "sha512", func(_ *envelope, s *ssh.Signature) { s.Blob = append([]byte{0}, s.Blob...) }), "bytes, not 256")
	if _, err := Sign(struct{ ssh.Signer }{big}, namespace, message); err == nil || !strings.Contains(err.Error(), "SHA-1") {
		t.Errorf("RSA signer without algorithms: %v", err)
	}

	t.Setenv("GODEBUG", "rsa1024min=0")
	private, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	small, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "RSA 1024", forge(t, small, "sha512", func(*envelope, *ssh.Signature) {}), "1024 bits")

	refused(t, "DSA", forge(t, goKey(t), "sha512", func(e *envelope, _ *ssh.Signature) { e.PublicKey = dsaKey() }), "ssh-dss may not sign")
}

// dsaKey has the sizes of a DSA key; that is all x/crypto looks at.
func dsaKey() []byte {
	bit := func(n uint) *big.Int { return new(big.Int).SetBit(big.NewInt(1), int(n)-1, 1) }
	return ssh.Marshal(struct {
		Type       string
		P, Q, G, Y *big.Int
	}{"ssh-dss", bit(1024), bit(160), bit(1000), bit(999)})
}

func TestSecondEncodingsOfECDSA(t *testing.T) {
	_, key := newKey(t, "-t", "ecdsa", "-b", "256")
	mpint := func(n *big.Int) []byte { return ssh.Marshal(struct{ N *big.Int }{n})[4:] }
	reencode := func(change func(r, s []byte) [][]byte) []byte {
		return forge(t, key, "sha512", func(_ *envelope, sig *ssh.Signature) {
			var rs struct{ R, S *big.Int }
			if err := ssh.Unmarshal(sig.Blob, &rs); err != nil {
				t.Fatal(err)
			}
			sig.Blob = nil
			for _, part := range change(mpint(rs.R), mpint(rs.S)) {
				sig.Blob = append(sig.Blob, ssh.Marshal(struct{ B []byte }{part})...)
			}
		})
	}
	refused(t, "leading zero", reencode(func(r, s []byte) [][]byte { return [][]byte{append([]byte{0}, r...), s} }), "canonically")
	refused(t, "third number", reencode(func(r, s []byte) [][]byte { return [][]byte{r, s, s} }), "ECDSA signature")
	refused(t, "zero", reencode(func(_, s []byte) [][]byte { return [][]byte{nil, s} }), "canonically")
	refused(t, "negative", reencode(func(r, _ []byte) [][]byte { return [][]byte{r, {0x80}} }), "canonically")

	blob := key.PublicKey().Marshal()
	refused(t, "key with trailing bytes", forge(t, key, "sha512", func(e *envelope, _ *ssh.Signature) {
		e.PublicKey = append(blob, 0)
	}), "key in the signature")
}

func TestFlagsOfFIDO(t *testing.T) {
	key := newToken(t, "ed25519")
	for what, rest := range map[string][]byte{
		"none":      {},
		"flag only": {1},
		"cut":       {1, 0, 0, 0},
		"long":      {1, 0, 0, 0, 1, 0},
	} {
		refused(t, "flags "+what, forge(t, key, "sha512", func(_ *envelope, s *ssh.Signature) { s.Rest = rest }), "flags")
	}
	// A token that was not touched and whose answer is altered on the way.
	key.flags = 0
	refused(t, "flag set afterwards", forge(t, key, "sha512", func(_ *envelope, s *ssh.Signature) { s.Rest[0] |= flagPresent }), "does not fit")
}

func FuzzParse(f *testing.F) {
	for _, signer := range []ssh.Signer{goKey(f), newToken(f, "ed25519"), newToken(f, "ecdsa")} {
		good := sign(f, signer)
		blob, err := unarmour(good)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(good)
		f.Add(blob)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		// As armour, and as what stands in the armour, where a fuzzer gets further.
		for _, text := range [][]byte{data, armour(data)} {
			env, key, sig, err := parse(text)
			if err != nil {
				continue
			}
			env.PublicKey, env.Signature = key.Marshal(), ssh.Marshal(sig)
			if again := armour(env.marshal()); !bytes.Equal(again, text) {
				t.Errorf("parsed %q\nwritten %q", text, again)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	good := sign(b, goKey(b))
	for b.Loop() {
		if _, err := Verify(good, namespace, message); err != nil {
			b.Fatal(err)
		}
	}
}
