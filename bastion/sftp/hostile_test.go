package sftp

import (
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postern/bastion/meter"
)

// A client that may only read sends whatever it can think of, by the thousand, to a real server, which is then found as it was. The client
// knows how OpenSSH numbers handles, so it need not wait for any.
func TestHostIsUntouched(t *testing.T) {
	for seed := range uint64(20) {
		p := newPlace(t)
		p.write("there/a", []byte("a"))
		p.write("there/d/b", contents(1000))
		before := p.snapshot()
		h := startHost(t, filepath.Join(p.dir, "there"), readOnly)
		rng := rand.New(rand.NewPCG(seed, 1))
		for range 100 {
			for range 10 {
				h.user(hostile(rng))
			}
			h.user(packet(typeRealpath, 1<<31, ".")) // answered in order: the server is alive and has done all before
			h.until(1 << 31)
		}
		h.end()
		if h.k.err != nil {
			t.Fatal(h.k.err)
		}
		if after := p.snapshot(); after != before {
			t.Fatalf("seed %d changes\n%s\ninto\n%s", seed, before, after)
		}
		if !strings.Contains(fmt.Sprint(h.k.files()), "read") {
			t.Error("nothing was read at all")
		}
	}
}

// snapshot tells names, modes, sizes, times and contents.
func (p place) snapshot() string {
	p.t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(filepath.Join(p.dir, "there"), func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		about, err := e.Info()
		if err != nil {
			return err
		}
		var text []byte
		if e.Type().IsRegular() {
			text, err = os.ReadFile(file)
		}
		fmt.Fprintln(&b, file, about.Mode(), about.Size(), about.ModTime(), sum(text))
		return err
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return b.String()
}

// hostile makes a request that is well formed, of any type, with any flags, about files and handles that exist.
func hostile(rng *rand.Rand) []byte {
	pick := func(list ...string) string { return list[rng.IntN(len(list))] }
	path := func() string { return pick("a", "d", "d/b", "new", "d/new", ".", "a\x00", "") }
	handle := func() string { return string(binary.BigEndian.AppendUint32(nil, rng.Uint32N(6))) }
	attributes := func() []byte {
		b := binary.BigEndian.AppendUint32(nil, rng.Uint32N(16))
		for bit, size := range []int{8, 8, 4, 8} {
			if b[3]>>bit&1 != 0 {
				b = append(b, make([]byte, size)...)
			}
		}
		return b
	}
	number := func() uint64 { return rng.Uint64N(2000) }
	id := rng.Uint32()
	kind := byte(3 + rng.IntN(22))
	switch {
	case rng.IntN(4) == 0:
		kind = typeExtended
	case rng.IntN(3) == 0:
		kind = []byte{typeOpen, typeOpendir, typeRead, typeReaddir, typeClose, typeWrite}[rng.IntN(6)]
	}
	var parts []any
	switch kind {
	case typeOpen:
		flags := rng.Uint32N(64)
		if rng.IntN(2) == 0 {
			flags = 1 << rng.IntN(32)
		}
		parts = []any{path(), flags, attributes()}
	case typeRead:
		parts = []any{handle(), number(), int(number())}
	case typeWrite:
		parts = []any{handle(), number(), pick("evil", "", "more")}
	case typeClose, typeFstat, typeReaddir:
		parts = []any{handle()}
	case typeFsetstat:
		parts = []any{handle(), attributes()}
	case typeSetstat, typeMkdir:
		parts = []any{path(), attributes()}
	case typeRename, typeSymlink:
		parts = []any{path(), path()}
	case typeExtended:
		parts = []any{pick("posix-rename@openssh.com", "hardlink@openssh.com", "posix-rename@openssh.com\x00"), path(), path()}
		switch rng.IntN(5) {
		case 0:
			parts = []any{"lsetstat@openssh.com", path(), attributes()}
		case 1:
			parts = []any{"copy-data", handle(), number(), number(), handle(), number()}
		case 2:
			parts = []any{pick("fsync@openssh.com", "fstatvfs@openssh.com"), handle()}
		case 3:
			parts = []any{pick("statvfs@openssh.com", "expand-path@openssh.com", "limits@openssh.com", "version-select"), path()}
		}
	default:
		parts = []any{path()}
	}
	return packet(kind, append([]any{id}, parts...)...)
}

// guarded is a real sftp-server behind a decoder.
type guarded struct {
	t   *testing.T
	k   *talk
	in  io.WriteCloser
	out io.Reader
	cmd *exec.Cmd
	buf []byte
}

func startHost(t *testing.T, dir string, c Config) *guarded {
	t.Helper()
	c.Keep = meter.Hash
	h := &guarded{t: t, k: newTalk(t, c), cmd: exec.Command(server(t)), buf: make([]byte, 32<<10)}
	h.cmd.Dir = dir
	in, err := h.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := h.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	h.in, h.out = in, out
	if err := h.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.user(hello)
	h.hear()
	return h
}

func (h *guarded) user(b []byte) {
	h.t.Helper()
	before := len(h.k.toHost)
	h.k.user(b)
	if _, err := h.in.Write(h.k.toHost[before:]); err != nil {
		h.t.Fatal(err)
	}
}

func (h *guarded) hear() {
	h.t.Helper()
	n, err := h.out.Read(h.buf)
	if err != nil {
		h.t.Fatalf("the server ended: %v, %v", err, h.cmd.Wait())
	}
	h.k.host(h.buf[:n])
}

// until reads until the request with that id is answered.
func (h *guarded) until(id uint32) {
	h.t.Helper()
	for _, waits := h.k.d.pending[id]; waits; _, waits = h.k.d.pending[id] {
		if h.hear(); h.k.err != nil {
			h.t.Fatal(h.k.err)
		}
	}
}

func (h *guarded) end() {
	h.in.Close()
	rest, _ := io.ReadAll(h.out)
	_ = h.cmd.Wait()
	h.k.host(rest)
	h.k.close()
}
