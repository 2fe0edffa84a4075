package sftp

import (
	"bytes"
	"encoding/binary"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// The conversations in testdata are of real clients with OpenSSH's server: for each turn a byte (1: the host), a uint32 length, the bytes.
var record = flag.Bool("record", false, "write the conversations in testdata anew")

type conversation []part

type part struct {
	host bool
	b    []byte
}

func (tr trace) conversation() (c conversation) {
	user, host := tr.User, tr.Host
	for _, turn := range tr.Order {
		from := &user
		if turn.Host {
			from = &host
		}
		if turn.N > 0 {
			c = append(c, part{turn.Host, (*from)[:turn.N]})
		}
		*from = (*from)[turn.N:]
	}
	return c
}

func (c conversation) marshal() (b []byte) {
	for _, p := range c {
		side := byte(0)
		if p.host {
			side = 1
		}
		b = append(b, side)
		b = binary.BigEndian.AppendUint32(b, uint32(len(p.b)))
		b = append(b, p.b...)
	}
	return b
}

// conversations are those in testdata.
func conversations(t testing.TB) map[string]conversation {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", "*.conversation"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no conversations in testdata: %v", err)
	}
	all := map[string]conversation{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var c conversation
		for len(b) > 5 {
			n := 5 + int(binary.BigEndian.Uint32(b[1:]))
			c = append(c, part{b[0] == 1, b[5:n]})
			b = b[n:]
		}
		all[filepath.Base(name)] = c
	}
	return all
}

// hear replays a conversation in pieces of at most n bytes; 0: as they came.
func hear(t testing.TB, g Config, c conversation, n int) *talk {
	t.Helper()
	k := newTalk(t, g)
	for _, p := range c {
		size := n
		if size == 0 {
			size = len(p.b)
		}
		for piece := range slices.Chunk(p.b, size) {
			k.say(p.host, piece)
		}
	}
	k.close()
	return k
}

func (k *talk) say(host bool, b []byte) {
	if k.err != nil {
		return // the channel is cut
	}
	if host {
		k.host(b)
	} else {
		k.user(b)
	}
}

func TestConversations(t *testing.T) {
	text := contents(200)
	for name, c := range map[string]struct {
		Config
		commands string
	}{
		"transfers":  {both, "put here/a there/b\nget there/b here/c\nreput here/a there/short\nput -r here/d there\nget -r there/d here/e\n"},
		"operations": {both, "cd there\nls -l\nmkdir x\nrename short x/y\nln -s x/y l\nln x/y h\nchmod 600 h\ncp h i\n-get nothing\n-rmdir x\nrm i\ndf\n"},
		"reader":     {readOnly, "get there/short here/s\n-put here/a there/a\n-rm there/short\n-mkdir there/x\nls -l there\n-rename there/short there/x\n"},
		"writer":     {writeOnly, "put here/a there/b\n-get there/b here/c\n-ls there\nrm there/b\n"},
	} {
		p := newPlace(t)
		p.write("here/a", text)
		p.write("here/d/a", text[:10])
		p.write("here/d/empty", nil)
		p.write("there/short", text[:100])
		tr, out, failed := openssh(t, relayConfig{Config: c.Config}, p.dir, c.commands)
		if failed || tr.Err != "" {
			t.Fatal(out, tr.Err)
		}
		live := tr.conversation()
		same(t, name, hear(t, c.Config, live, 0), hear(t, c.Config, live, 1))
		if !*record {
			continue
		}
		// Whoever runs this need not read on which machine it was recorded.
		place := bytes.Repeat([]byte("p"), len(p.dir)-1)
		b := bytes.ReplaceAll(live.marshal(), []byte(p.dir), append([]byte("/"), place...))
		if err := os.WriteFile(filepath.Join("testdata", name+".conversation"), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// However the bytes of a conversation are cut, the same comes out.
func TestEverySplit(t *testing.T) {
	for name, c := range conversations(t) {
		for _, g := range []Config{both, readOnly, writeOnly} {
			whole := hear(t, g, c, 0)
			for _, n := range []int{1, 2, 3, 5, 64, 1000} {
				same(t, name, whole, hear(t, g, c, n))
			}
			if g == both && whole.err != nil {
				t.Errorf("%s: %v", name, whole.err)
			}
		}
	}
}

// Each place of a conversation, cut once.
func TestEveryCut(t *testing.T) {
	c := conversations(t)["operations.conversation"]
	whole := hear(t, both, c, 0)
	for i, p := range c {
		for cut := 1; cut < len(p.b); cut++ {
			parts := slices.Concat(c[:i], conversation{{p.host, p.b[:cut]}, {p.host, p.b[cut:]}}, c[i+1:])
			same(t, "operations", whole, hear(t, both, parts, 0))
		}
	}
}
