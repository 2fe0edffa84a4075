package krl

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

// world is a deterministic set of CAs, keys and certificates.
type world struct {
	dir  string
	rnd  *rand.Rand
	cas  []ssh.Signer
	keys []subject
}

// subject is a key or certificate with the file from which ssh-keygen reads it.
type subject struct {
	path string
	key  ssh.PublicKey
}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	w := &world{dir: t.TempDir(), rnd: rand.New(rand.NewPCG(seed, 1))}
	for range 2 {
		w.cas = append(w.cas, w.signer(t))
	}
	// OpenSSH has signed with ECDSA CAs for longer than with Ed25519.
	private, err := ecdsa.GenerateKey(elliptic.P256(), w)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	w.cas = append(w.cas, ca)
	return w
}

func (w *world) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(w.rnd.Uint32())
	}
	return len(p), nil
}

func (w *world) signer(t testing.TB) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(w)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) add(t testing.TB, key ssh.PublicKey) ssh.PublicKey {
	t.Helper()
	path := filepath.Join(w.dir, fmt.Sprintf("%d.pub", len(w.keys)))
	if err := os.WriteFile(path, ssh.MarshalAuthorizedKey(key), 0o600); err != nil {
		t.Fatal(err)
	}
	w.keys = append(w.keys, subject{path, key})
	return key
}

func (w *world) cert(t testing.TB, ca ssh.Signer, serial uint64, id string) *ssh.Certificate {
	t.Helper()
	c := &ssh.Certificate{Key: w.signer(t).PublicKey(), Serial: serial, KeyId: id, CertType: ssh.UserCert,
		ValidPrincipals: []string{"root@phi1"}, ValidBefore: ssh.CertTimeInfinity}
	if err := c.SignCert(w, ca); err != nil {
		t.Fatal(err)
	}
	w.add(t, c)
	return c
}

// ask lets ssh-keygen answer for every key of the world. ok is false if it cannot read the list.
func (w *world) ask(t testing.TB, file []byte) (revoked []bool, ok bool) {
	t.Helper()
	path := filepath.Join(w.dir, "krl")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"-Q", "-f", path}
	for _, k := range w.keys {
		args = append(args, k.path)
	}
	out, err := exec.Command("ssh-keygen", args...).Output()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return nil, false
	}
	for i, line := range bytes.Split(bytes.TrimSuffix(out, []byte("\n")), []byte("\n")) {
		switch {
		case i >= len(w.keys) || !bytes.HasPrefix(line, []byte(w.keys[i].path)):
			t.Fatalf("ssh-keygen -Q line %d: %s", i, line)
		case bytes.HasSuffix(line, []byte(": ok")):
			revoked = append(revoked, false)
		case bytes.HasSuffix(line, []byte(": REVOKED")):
			revoked = append(revoked, true)
		default:
			t.Fatalf("ssh-keygen -Q: %s", line)
		}
	}
	if len(revoked) != len(w.keys) {
		t.Fatalf("ssh-keygen -Q answered for %d of %d keys", len(revoked), len(w.keys))
	}
	return revoked, true
}

func marshal(t testing.TB, l *List) []byte {
	t.Helper()
	b, err := l.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func parse(t testing.TB, b []byte) *List {
	t.Helper()
	l, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// agree checks that OpenSSH, the list as built and the list as parsed answer alike.
func (w *world) agree(t *testing.T, l *List) (revoked int) {
	t.Helper()
	file := marshal(t, l)
	again := parse(t, file)
	if !again.Whole() {
		t.Error("the file does not tell its size")
	}
	if second := marshal(t, again); !bytes.Equal(second, file) {
		t.Errorf("marshalled again it differs:\n%x\n%x", file, second)
	}
	theirs, ok := w.ask(t, file)
	if !ok {
		t.Fatalf("ssh-keygen cannot read what we wrote:\n%s\n%x", l, file)
	}
	for i, k := range w.keys {
		if built, read := l.Revoked(k.key), again.Revoked(k.key); built != theirs[i] || read != theirs[i] {
			t.Errorf("%s: OpenSSH says %v, the list says %v, the list as parsed %v\n%s", describe(k.key), theirs[i], built, read, l)
		}
		if theirs[i] {
			revoked++
		}
	}
	return revoked
}

func describe(key ssh.PublicKey) string {
	if c, ok := key.(*ssh.Certificate); ok {
		return fmt.Sprintf("certificate serial %d id %q", c.Serial, c.KeyId)
	}
	return key.Type() + " " + ssh.FingerprintSHA256(key)
}

func TestSameAnswersAsOpenSSH(t *testing.T) {
	t.Parallel()
	revoked, total := 0, 0
	for seed := range uint64(25) {
		w := newWorld(t, seed)
		l := &List{Version: seed, Generated: time.Unix(int64(seed)*1e6, 0), Comment: []string{"", "ca", "ca [x]", " "}[seed%4]}
		serial := w.serials()
		for range 60 {
			w.cert(t, w.cas[w.rnd.IntN(3)], serial(), fmt.Sprintf("id %d", w.rnd.IntN(12)))
		}
		for range 6 {
			w.add(t, w.signer(t).PublicKey())
		}
		w.revokeSome(l, serial)
		revoked += w.agree(t, l)
		total += len(w.keys)
	}
	if revoked < total/10 || revoked > total*9/10 {
		t.Errorf("%d of %d keys are revoked: this test asks too little", revoked, total)
	}
}

// serials gives serials that meet each other often, and the ends of their range.
func (w *world) serials() func() uint64 {
	return func() uint64 {
		switch w.rnd.IntN(5) {
		case 0:
			return uint64(w.rnd.IntN(3))
		case 1:
			return math.MaxUint64 - uint64(w.rnd.IntN(3))
		case 2:
			return 100 + uint64(w.rnd.IntN(40))
		case 3:
			return 1<<32 + uint64(w.rnd.IntN(20000))
		default:
			return 1000 + uint64(w.rnd.IntN(maxBitmap+2))
		}
	}
}

func (w *world) revokeSome(l *List, serial func() uint64) {
	for range w.rnd.IntN(40) {
		var ca ssh.PublicKey
		if i := w.rnd.IntN(4); i < 3 {
			ca = w.cas[i].PublicKey()
		}
		at := serial()
		switch w.rnd.IntN(10) {
		case 0:
			l.RevokeSerials(ca, at, serial())
		case 1:
			l.RevokeSerials(ca, at, min(at, math.MaxUint64-9)+9)
		default:
			l.RevokeSerials(ca, at, at)
		}
		if w.rnd.IntN(20) == 0 {
			l.RevokeKeyID(ca, fmt.Sprintf("id %d", w.rnd.IntN(12)))
		}
	}
	for range w.rnd.IntN(6) {
		key := w.keys[w.rnd.IntN(len(w.keys))].key
		if w.rnd.IntN(2) == 0 {
			l.RevokeKey(key)
		} else {
			l.RevokeHash(sha256.Sum256([]byte(wire(key))))
		}
	}
	if w.rnd.IntN(8) == 0 {
		l.RevokeKey(w.cas[w.rnd.IntN(3)].PublicKey())
	}
}

// Bitmaps just as long as sshd allows, one longer, and at the very last serials.
func TestLimitsOfBitmaps(t *testing.T) {
	for name, serials := range map[string][]uint64{
		"16384 bits":     {7, 7 + maxBitmap - 1},
		"16385 bits":     {7, 7 + maxBitmap},
		"the last ones":  {math.MaxUint64 - maxBitmap + 1, math.MaxUint64},
		"beyond":         {math.MaxUint64 - maxBitmap, math.MaxUint64},
		"byte and 1 bit": {1, 9},
		"byte":           {1, 8},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, 7)
			ca := w.cas[0]
			l := new(List)
			lo, hi := serials[0], serials[1]
			for n := lo; ; n += 2 {
				l.RevokeSerials(ca.PublicKey(), n, n)
				if n >= hi-1 {
					break
				}
			}
			l.RevokeSerials(ca.PublicKey(), hi, hi)
			for _, serial := range []uint64{0, lo - 1, lo, lo + 1, lo + 2, hi - 2, hi - 1, hi, hi + 1} {
				w.cert(t, ca, serial, "x")
			}
			if n := w.agree(t, l); n < 3 {
				t.Errorf("%d revoked", n)
			}
		})
	}
}

func TestSerialZero(t *testing.T) {
	w := newWorld(t, 3)
	w.cert(t, w.cas[0], 0, "zero")
	w.cert(t, w.cas[0], 1, "one")
	l := new(List)
	l.RevokeSerials(nil, 0, 0)
	if !l.Empty() {
		t.Error("serial 0 is in the list, with which sshd refuses everybody")
	}
	l.RevokeSerials(nil, 0, math.MaxUint64)
	if n := w.agree(t, l); n != 1 {
		t.Errorf("%d revoked", n)
	}
	l.RevokeKeyID(w.cas[0].PublicKey(), "zero")
	if n := w.agree(t, l); n != 2 {
		t.Errorf("%d revoked", n)
	}
}

func TestEmptyList(t *testing.T) {
	w := newWorld(t, 3)
	w.cert(t, w.cas[0], 1, "")
	if n := w.agree(t, &List{Version: 1}); n != 0 {
		t.Errorf("%d revoked", n)
	}
	l := new(List)
	l.RevokeKeyID(nil, "")
	if n := w.agree(t, l); n != 1 {
		t.Errorf("%d revoked by the empty key ID", n)
	}
}

// Lists of ssh-keygen -k, SHA-1 hashes included.
func TestReadListsOfOpenSSH(t *testing.T) {
	w := newWorld(t, 9)
	for serial := range uint64(40) {
		w.cert(t, w.cas[serial%2], serial, fmt.Sprintf("id %d", serial%7))
	}
	plain := w.add(t, w.signer(t).PublicKey())
	ca := filepath.Join(w.dir, "ca.pub")
	if err := os.WriteFile(ca, ssh.MarshalAuthorizedKey(w.cas[0].PublicKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	line := string(ssh.MarshalAuthorizedKey(plain))
	for name, spec := range map[string]string{
		"serials":  "serial: 1-3\nserial: 5\nserial: 7\nserial: 20-18446744073709551615\n",
		"bitmap":   "serial: 1\nserial: 3\nserial: 5\nserial: 6\nserial: 8\nserial: 9\nserial: 11\nserial: 12\nserial: 14\nserial: 16\nserial: 18\n",
		"key IDs":  "id: id 3\nid: id 5\n",
		"key":      "key: " + line,
		"sha1":     "sha1: " + line,
		"sha256":   "sha256: " + line,
		"CA":       "sha1: " + string(ssh.MarshalAuthorizedKey(w.cas[1].PublicKey())),
		"together": "serial: 4\nid: id 2\nkey: " + line + "sha1: " + line + "sha256: " + line,
	} {
		t.Run(name, func(t *testing.T) {
			input, output := filepath.Join(w.dir, "spec"), filepath.Join(w.dir, "out")
			if err := os.WriteFile(input, []byte(spec), 0o600); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command("ssh-keygen", "-k", "-q", "-f", output, "-s", ca, "-z", "77", input).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			file, err := os.ReadFile(output)
			if err != nil {
				t.Fatal(err)
			}
			l := parse(t, file)
			if l.Version != 77 || l.Whole() {
				t.Errorf("version %d, whole %v", l.Version, l.Whole())
			}
			theirs, ok := w.ask(t, file)
			if !ok {
				t.Fatal("ssh-keygen cannot read its own list")
			}
			for i, k := range w.keys {
				if l.Revoked(k.key) != theirs[i] {
					t.Errorf("%s: OpenSSH says %v\n%s", describe(k.key), theirs[i], l)
				}
			}
			if w.agree(t, l) == 0 {
				t.Error("nothing is revoked")
			}
		})
	}
}

func TestStringIsTheDumpOfOpenSSH(t *testing.T) {
	w := newWorld(t, 5)
	w.cert(t, w.cas[0], 1, "x")
	l := &List{Version: 12, Generated: time.Unix(1795318325, 0), Comment: "postern-ca"}
	l.RevokeKey(w.signer(t).PublicKey())
	l.RevokeSerials(nil, 3, 3)
	for _, ca := range w.cas {
		l.RevokeSerials(ca.PublicKey(), 4, 8)
		l.RevokeSerials(ca.PublicKey(), 10, 10)
		l.RevokeKeyID(ca.PublicKey(), "alice R-7K2M4Q")
	}
	path := filepath.Join(w.dir, "krl")
	if err := os.WriteFile(path, marshal(t, l), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ssh-keygen", "-Q", "-l", "-f", path)
	cmd.Env = append(os.Environ(), "TZ=UTC")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	theirs := strings.Replace(string(out), fmt.Sprintf(" [%d bytes]", len(marshal(t, l))), "", 1)
	if ours := l.String(); ours != theirs {
		t.Errorf("ours:\n%s\ntheirs:\n%s", ours, theirs)
	}
}
