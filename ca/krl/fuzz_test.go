package krl

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/crypto/ssh"
)

// FuzzParse: what parses is written again with the same answers, and from then on with the same bytes.
func FuzzParse(f *testing.F) {
	w := newWorld(f, 1)
	good := marshal(f, small(f, w))
	f.Add(good)
	f.Add(marshal(f, new(List)))
	ca := string(w.cas[0].PublicKey().Marshal())
	f.Add(strange(certificates(ca, section(certSerialBitmap, be(5)+string(appendString(nil, "\x55"))))))
	// Without the size in the comment a fuzzer gets further.
	at := bytes.Index(good, []byte("bytes"))
	f.Add(append(append(bytes.Clone(good[:at]), "Bytes"...), good[at+5:]...))
	f.Fuzz(func(t *testing.T, file []byte) {
		l, err := Parse(file)
		if err != nil {
			return
		}
		first := marshal(t, l)
		again, err := Parse(first)
		if err != nil {
			t.Fatalf("we refuse what we wrote: %v\n%x", err, first)
		}
		if second := marshal(t, again); !bytes.Equal(first, second) {
			t.Fatalf("not stable:\n%x\n%x", first, second)
		}
		if before, after := l.String(), again.String(); before != after {
			t.Fatalf("parsed\n%s\nwritten\n%s", before, after)
		}
		for _, k := range w.keys {
			if l.Revoked(k.key) != again.Revoked(k.key) {
				t.Fatalf("%s: %v before", describe(k.key), l.Revoked(k.key))
			}
		}
	})
}

// FuzzSerials: whatever is revoked in whatever order, the file revokes exactly that.
func FuzzSerials(f *testing.F) {
	f.Add([]byte{1, 1, 2, 1, 9, 3, 30, 200})
	f.Add(bytes.Repeat([]byte{2, 1}, 300))
	f.Fuzz(func(t *testing.T, steps []byte) {
		if len(steps) > 4000 {
			return
		}
		l := new(List)
		wanted := map[uint64]bool{}
		at := uint64(1)
		for i := 0; i+1 < len(steps); i += 2 {
			at += uint64(steps[i]) * uint64(steps[i]) / 3
			hi := at + uint64(steps[i+1])%40
			if steps[i+1] > 250 {
				at -= min(at-1, 3000)
				hi = at
			}
			l.RevokeSerials(nil, at, hi)
			for n := at; n <= hi; n++ {
				wanted[n] = true
			}
		}
		again := parse(t, marshal(t, l))
		for n := range wanted {
			for _, serial := range []uint64{n - 1, n, n + 1} {
				cert := &ssh.Certificate{Serial: serial}
				want := wanted[serial]
				if a := l.authorities[""]; a.revoked(cert) != want || again.authorities[""].revoked(cert) != want {
					t.Fatalf("serial %d: wanted %v, built %v", serial, want, a.revoked(cert))
				}
			}
		}
	})
}

// dense is what a CA with rising serials publishes: most of a million serials in a row.
func dense(ca ssh.PublicKey, n int) *List {
	rnd := rand.New(rand.NewPCG(1, 2))
	l := &List{Version: 1}
	for serial := uint64(1); n > 0; serial++ {
		if rnd.IntN(2) == 0 {
			l.RevokeSerials(ca, serial, serial)
			n--
		}
	}
	return l
}

func TestDenseSerialsStaySmall(t *testing.T) {
	w := newWorld(t, 1)
	l := dense(w.cas[0].PublicKey(), 1e6)
	file := marshal(t, l)
	if len(file) > 300_000 {
		t.Errorf("a million dense serials take %d bytes", len(file))
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		w.cert(t, w.cas[0], 1+rnd.Uint64N(2e6), "x")
	}
	if n := w.agree(t, l); n < 10 || n > 50 {
		t.Errorf("%d of 60 are revoked", n)
	}
	t.Logf("%d bytes", len(file))
}

// The order in which things are revoked does not show.
func TestCanonical(t *testing.T) {
	w := newWorld(t, 1)
	var first []byte
	for seed := range uint64(10) {
		l := new(List)
		for _, n := range rand.New(rand.NewPCG(seed, 0)).Perm(2000) {
			ca := w.cas[n%3].PublicKey()
			switch {
			case n%7 == 0:
				l.RevokeKeyID(ca, string(rune('a'+n%26)))
			case n%11 == 0:
				l.RevokeSerials(ca, uint64(n)+50, uint64(n))
			default:
				l.RevokeSerials(ca, uint64(n*n), uint64(n*n))
			}
		}
		l.RevokeSerials(nil, math.MaxUint64, math.MaxUint64)
		file := marshal(t, l)
		if first == nil {
			first = file
		} else if !bytes.Equal(first, file) {
			t.Fatal("another order gave other bytes")
		}
	}
}

func BenchmarkMarshalMillionDense(b *testing.B) {
	l := dense(nil, 1e6)
	for b.Loop() {
		if _, err := l.Marshal(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseMillionDense(b *testing.B) {
	file := marshal(b, dense(nil, 1e6))
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		if _, err := Parse(file); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkMarshalMillionSparse(b *testing.B) {
	l := new(List)
	for n := range uint64(1e6) {
		l.RevokeSerials(nil, 1+70*n, 1+70*n)
	}
	for b.Loop() {
		if _, err := l.Marshal(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRevoked(b *testing.B) {
	w := newWorld(b, 1)
	l := parse(b, marshal(b, dense(w.cas[0].PublicKey(), 1e6)))
	cert := w.cert(b, w.cas[0], 777777, "alice R-7K2M4Q")
	for b.Loop() {
		l.Revoked(cert)
	}
}
