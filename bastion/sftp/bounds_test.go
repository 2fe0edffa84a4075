package sftp

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"postern/bastion/meter"
)

const mostMemory = 16 << 20 // as the package comment says

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// glutton is a decoder that is fed until it refuses.
type glutton struct {
	t   *testing.T
	d   *Decoder
	log meter.Log
	dst []byte
}

func newGlutton(t *testing.T) *glutton {
	g := &glutton{t: t}
	g.d = New(Config{Read: true, Write: true, Keep: meter.Hash}, &g.log)
	g.feed(hello, helloBack)
	return g
}

func (g *glutton) feed(user, host []byte) error {
	step, err := g.d.Client(g.dst[:0], user)
	if err == nil && host != nil {
		step, err = g.d.Host(step.Forward[:0], host)
	}
	g.dst = step.Forward
	g.log.Reset()
	return err
}

// halves fills the buffers for what is not complete.
func (g *glutton) halves() {
	large := packet(typeData, 0, strings.Repeat("x", maxPacket-9))
	if err := g.feed(large[:len(large)-1], large[:len(large)-1]); err != nil {
		g.t.Fatal(err)
	}
}

// Everything that can be held at a time is, and it is no more than it says.
func TestMemory(t *testing.T) {
	nasty := strings.Repeat("a\xff", maxPath/2) // not text, and as long as may be
	for name, fill := range map[string]func(*glutton, int) error{
		"open files": func(g *glutton, i int) error {
			return g.feed(packet(typeOpen, i, nasty, openRead, 0), handleIs(i, nasty[:200]+string(packet(0, i))))
		},
		"small files": func(g *glutton, i int) error {
			return g.feed(packet(typeOpen, i, "", openRead, 0), handleIs(i, string(packet(0, i))))
		},
		"used files": usedFile,
		"directories": func(g *glutton, i int) error {
			return g.feed(packet(typeOpendir, i, nasty), handleIs(i, string(packet(0, i))))
		},
		"small requests": func(g *glutton, i int) error { return g.feed(packet(typeStat, i, ""), nil) },
		"large requests": func(g *glutton, i int) error { return g.feed(packet(typeRename, i, nasty, nasty), nil) },
		"unknown handles": func(g *glutton, i int) error {
			delete(g.d.transfers, uint32(i-maxTransfers)) // room for one
			return g.feed(packet(typeRead, i, string(packet(0, i)), uint64(0), 1), nil)
		},
		"long unknown handles": func(g *glutton, i int) error {
			delete(g.d.transfers, uint32(i-maxTransfers))
			return g.feed(packet(typeRead, i, nasty+string(packet(0, i)), uint64(0), 1), nil)
		},
		"requests to open": func(g *glutton, i int) error { return g.feed(packet(typeOpen, i, nasty, openRead, 0), nil) },
	} {
		before := heap()
		g := newGlutton(t)
		transfers(g)
		var err error
		n := 0
		for i := maxTransfers; err == nil; i++ {
			err = fill(g, i)
			n++
			if n > 1<<20 {
				t.Fatalf("%s: no end", name)
			}
		}
		if !errors.Is(err, errTooMuch) {
			t.Errorf("%s: %v", name, err)
		}
		g.d.err, g.d.client = nil, inbound{who: client}
		g.halves()
		g.dst, g.log = nil, meter.Log{}
		if used := heap() - before; used > mostMemory {
			t.Errorf("%s: %d of them, %d bytes", name, n, used)
		} else {
			t.Logf("%s: %d of them, %.1f MiB", name, n, float64(used)/(1<<20))
		}
		runtime.KeepAlive(g)
	}
}

// transfers are as many reads as may wait.
func transfers(g *glutton) {
	if err := g.feed(packet(typeOpen, 1<<30, "a", openRead, 0), handleIs(1<<30, "h")); err != nil {
		g.t.Fatal(err)
	}
	for i := range maxTransfers {
		if err := g.feed(packet(typeRead, i, "h", uint64(i), 1), nil); err != nil {
			g.t.Fatal(i, err)
		}
	}
}

// usedFile is one of which every second byte passed in both directions.
func usedFile(g *glutton, i int) error {
	key := string(packet(0, i))
	if err := g.feed(packet(typeOpen, i<<8, "a", openRead|openWrite, 0), handleIs(i<<8, key)); err != nil {
		return err
	}
	delete(g.d.transfers, 0) // room for one
	for j := range 70 {
		at := uint64(2 * j)
		if err := g.feed(packet(typeWrite, i<<8+j, key, at, "x"), status(i<<8+j, 0, "")); err != nil {
			return err
		}
		if err := g.feed(packet(typeRead, i<<8+j, key, at, 1), packet(typeData, i<<8+j, "x")); err != nil {
			return err
		}
	}
	return nil
}

func TestTooManyTransfers(t *testing.T) {
	g := newGlutton(t)
	transfers(g)
	if err := g.feed(packet(typeRead, maxTransfers, "h", uint64(0), 1), nil); !errors.Is(err, errTooMuch) {
		t.Error(err)
	}
}

// A whole file that was asked for at once, and its answers: the memory comes back.
func TestMemoryReturns(t *testing.T) {
	g := newGlutton(t)
	before := heap()
	transfers(g)
	for i := range maxTransfers {
		if err := g.feed(nil, packet(typeData, i, "x")); err != nil {
			t.Fatal(i, err)
		}
	}
	if err := g.feed(packet(typeClose, 0, "h"), status(0, 0, "")); err != nil {
		t.Fatal(err)
	}
	g.halves()
	g.dst, g.log = nil, meter.Log{}
	if err := g.feed([]byte("x"), append([]byte("x"), packet(typeStat, 0)...)); err == nil { // the other half, and a small packet
		t.Error("no error")
	}
	g.dst = nil
	if after := heap(); after > before+maxPacket+64<<10 {
		t.Errorf("%d bytes more", after-before)
	}
}

// Requests of a few bytes about a file with the worst of paths.
func TestEventsAreBounded(t *testing.T) {
	for _, answered := range []bool{true, false} {
		k := begun(t, both)
		k.ask(packet(typeOpen, 1<<31, strings.Repeat("\x01\xff", maxPath), openRead|openWrite, 0), handleIs(1<<31, ""))
		for id := range 5000 {
			k.user(packet(typeFsetstat, id, "", 0))
			if answered {
				k.host(packet(typeStatus, id, statusUnsupported))
			}
		}
		if k.err != nil {
			t.Fatal(k.err)
		}
		k.close()
		said := len(k.toHost) + len(k.toUser)
		if len(k.operations()) != 10_000 {
			t.Errorf("%d operations", len(k.operations()))
		}
		k.boundedEvents(said)
	}
}
