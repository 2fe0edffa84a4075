package recorder

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// bench is a store with the keys of everybody, for tests.
type bench struct {
	*Store
	cfg      Config
	private  PrivateKey
	public   PublicKey
	bastion  ed25519.PublicKey
	sealed   chan Progress // final ones
	progress chan Progress // others
}

func newBench(t testing.TB, change func(*Config)) *bench {
	t.Helper()
	public, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{bastion: public, sealed: make(chan Progress, 4096), progress: make(chan Progress, 1<<16)}
	b.private, b.public = NewKey()
	b.cfg = Config{Dir: t.TempDir(), Signer: signer, FileSize: 1 << 20, LowSpace: -1}
	b.cfg.Sealed = func(p Progress) {
		if p.Sealed {
			b.sealed <- p
		}
		select {
		case b.progress <- p:
		default:
		}
	}
	if change != nil {
		change(&b.cfg)
	}
	b.reopen(t)
	t.Cleanup(func() { b.Close() })
	return b
}

func (b *bench) reopen(t testing.TB) {
	t.Helper()
	s, err := OpenStore(b.cfg)
	if err != nil {
		t.Fatal(err)
	}
	b.Store = s
}

func (b *bench) create(t testing.TB, session string) *Writer {
	t.Helper()
	w, err := b.Create(Header{Session: session, Person: "alice", Account: "root", Host: "phi1", Bastion: "bastion-1"}, b.public)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (b *bench) export(t testing.TB, session string) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := b.Export(session, &out); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// play returns the frames up to the error.
func (b *bench) play(file []byte, expect ...logged) (frames []Frame, s Summary, err error) {
	return b.playWith(file, nil, expect...)
}

// playWith is play with keys of compartments.
func (b *bench) playWith(file []byte, keys []PrivateKey, expect ...logged) (frames []Frame, s Summary, err error) {
	r, err := Open(bytes.NewReader(file), b.private, b.bastion)
	if err != nil {
		return nil, s, err
	}
	for _, key := range keys {
		if err := r.OpenCompartment(key); err != nil {
			return nil, s, err
		}
	}
	for _, e := range expect {
		r.Expect(e.count, e.head)
	}
	for {
		f, err := r.Next()
		if err == io.EOF {
			return frames, r.Summary(), nil
		}
		if err != nil {
			return frames, r.Summary(), err
		}
		f.Data = bytes.Clone(f.Data)
		frames = append(frames, f)
	}
}

func data(channel uint32, stream byte, text string) Frame {
	return Frame{Type: TypeData, Channel: channel, Stream: stream, Data: []byte(text)}
}

func TestRoundTrip(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	want := []Frame{
		{Type: TypeOpen, Data: OpenChannel{Kind: "session"}.Marshal()},
		{Type: TypeRequest, Data: Request{Name: "exec", Payload: []byte("\x00\x00\x00\x02id")}.Marshal()},
		{Type: TypeData, Stream: Stdout, At: time.Second + 7*time.Microsecond, Data: []byte("uid=0(root)\n")},
		{Type: TypeData, Stream: Stderr, At: time.Second + 7*time.Microsecond, Data: bytes.Repeat([]byte("x"), MaxData)},
		{Type: 200, Channel: 7, At: 2 * time.Second, Data: []byte("from the future")},
		{Type: TypeData, Channel: 1<<32 - 2, At: 3 * time.Second},
		{Type: TypeExit, At: 4 * time.Second, Data: Exit{Status: 3}.Marshal()},
		{Type: TypeClose, At: 4 * time.Second},
	}
	for _, f := range want {
		c, err := w.Append(f)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Err(); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close("closed"); err != nil {
		t.Fatal(err)
	}
	frames, head := w.Head()
	p := <-b.sealed
	if p.Frames != frames || p.Head != head || p.Interrupted || frames != uint64(len(want))+2 {
		t.Fatalf("sealed %+v, the writer's head is %d %x", p, frames, head)
	}
	got, sum, err := b.play(b.export(t, "S-1"), logged{frames, head})
	if err != nil {
		t.Fatal(err)
	}
	if !sum.Signed || !sum.Sealed || sum.Live || sum.Progress != p || sum.Bastion != "bastion-1" {
		t.Errorf("summary %+v", sum)
	}
	want = append(want[:4], want[5:]...) // readers skip what they do not know
	for i, f := range want {
		g := got[i+1]
		if i < 2 {
			g.At = 0
		}
		if g.Type != f.Type || g.Channel != f.Channel || g.Stream != f.Stream || g.At != f.At || !bytes.Equal(g.Data, f.Data) {
			t.Errorf("frame %d is %v at %v, want %v at %v", i+1, g.Type, g.At, f.Type, f.At)
		}
	}
	if e := got[len(got)-1]; e.Type != TypeEnd || string(e.Data) != "closed" {
		t.Errorf("last frame %v %q", e.Type, e.Data)
	}
}

func TestManySessionsManySegments(t *testing.T) {
	b := newBench(t, func(c *Config) { c.Capacity = 4 << 20 })
	const sessions = 4
	done := make(chan error, sessions)
	heads := make([]logged, sessions)
	for i := range sessions {
		w := b.create(t, fmt.Sprintf("S-%d", i))
		go func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			noise := make([]byte, MaxData)
			for j := range noise {
				noise[j] = byte(r.Uint32())
			}
			for n := range 400 {
				size := r.IntN(40000)
				if n%3 > 0 {
					size = r.IntN(10)
				}
				if _, err := w.Append(Frame{Type: TypeData, Stream: Stdout, Data: noise[:size]}); err != nil {
					done <- err
					return
				}
			}
			err := w.Close("closed")
			heads[i].count, heads[i].head = w.Head()
			done <- err
		}()
	}
	for range sessions {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	for range sessions {
		<-b.sealed
	}
	for i := range sessions {
		file := b.export(t, fmt.Sprintf("S-%d", i))
		frames, sum, err := b.play(file, heads[i])
		if err != nil || len(frames) != 402 || sum.Segments < 5 {
			t.Errorf("session %d: %d frames, %+v, %v", i, len(frames), sum.Progress, err)
		}
		if c, err := Check(bytes.NewReader(file), b.bastion); err != nil || c != sum {
			t.Errorf("check of session %d: %+v, not %+v: %v", i, c, sum, err)
		}
	}
	left, _ := filepath.Glob(filepath.Join(b.cfg.Dir, "journal", "*"))
	if len(left) > 2+spareFiles+1 {
		t.Errorf("journal files are not used again: %v", left)
	}
}

// crash leaves the directory as a killed process does: a copy of it while everything is still open.
func (b *bench) crash(t testing.TB) *bench {
	t.Helper()
	c := *b
	// The copy starts again when a spare file was made or taken into use under it: a real crash is of one moment.
	for try := range 10 {
		c.cfg.Dir = t.TempDir()
		if err := os.CopyFS(c.cfg.Dir, os.DirFS(b.cfg.Dir)); err == nil {
			break
		} else if !errors.Is(err, os.ErrNotExist) || try == 9 {
			t.Fatal(err)
		}
	}
	c.Store = nil
	return &c
}

func TestCrash(t *testing.T) {
	b := newBench(t, nil)
	w := b.create(t, "S-1")
	e := b.create(t, "S-2")
	for i := range 100 {
		c, err := w.Append(data(0, Stdout, fmt.Sprintf("line %d\n", i)))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Err(); err != nil {
			t.Fatal(err)
		}
		if i%40 == 39 {
			w.cutIf(func(*segment) bool { return true })
		}
	}
	frames, head := w.Head()
	if commit, err := e.end("bye"); err != nil || commit.Err() != nil {
		t.Fatal(err)
	}
	c := b.crash(t)
	c.reopen(t)
	defer c.Close()
	if len(c.Recovered) != 2 {
		t.Fatalf("recovered %+v", c.Recovered)
	}
	if p := c.Recovered[0]; p.Session != "S-1" || !p.Sealed || !p.Interrupted || p.Frames != frames || p.Head != head || p.Segments != 3 {
		t.Errorf("recovered %+v", p)
	}
	if p := c.Recovered[1]; p.Session != "S-2" || !p.Sealed || p.Interrupted || p.Frames != 2 {
		t.Errorf("recovered %+v", p)
	}
	got, sum, err := c.play(c.export(t, "S-1"), logged{frames, head})
	if err != nil || len(got) != 101 || !sum.Interrupted || string(got[100].Data) != "line 99\n" {
		t.Errorf("%d frames, %+v, %v", len(got), sum, err)
	}
	if err := c.Told("S-1"); err != nil {
		t.Fatal(err)
	}
	c.Close()
	c.reopen(t)
	if len(c.Recovered) != 1 || c.Recovered[0].Session != "S-2" {
		t.Errorf("recovered %+v", c.Recovered)
	}
	if _, err := c.Create(Header{Session: "S-1"}, c.public); !errors.Is(err, ErrExists) {
		t.Errorf("a session ID was used twice: %v", err)
	}
}

// content is every file under the directory.
func (b *bench) content(t testing.TB) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	err := filepath.WalkDir(b.cfg.Dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			files[path], err = os.ReadFile(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
