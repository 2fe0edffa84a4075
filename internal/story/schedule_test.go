package story

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// wire is a network between a bastion and its CA that does what networks do, and what who sits in one can do.
type wire struct {
	l  net.Listener
	to string

	mu    sync.Mutex
	open  map[net.Conn]bool
	shut  bool             // connections are refused
	held  [2]chan struct{} // by direction, up and down: closed when bytes pass again; nil: they do
	delay time.Duration    // the most that a piece takes
	piece int              // the most bytes at once; 0: as they come
	said  []byte           // what the bastion said on its last connection
}

const up, down = 0, 1

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{l: l, to: to, open: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); w.calm(); w.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go w.carry(c)
		}
	}()
	return w
}

func (w *wire) carry(bastion net.Conn) {
	ca, err := net.Dial("tcp", w.to)
	w.mu.Lock()
	if err != nil || w.shut {
		w.mu.Unlock()
		bastion.Close()
		if err == nil {
			ca.Close()
		}
		return
	}
	w.open[bastion], w.open[ca], w.said = true, true, nil
	w.mu.Unlock()
	go w.pump(bastion, ca, up)
	w.pump(ca, bastion, down)
}

// pump keeps the order of the bytes, as TCP does.
func (w *wire) pump(from, to net.Conn, way int) {
	type piece struct {
		b  []byte
		at time.Time
	}
	pieces := make(chan piece, 10_000)
	go func() {
		defer to.Close()
		for p := range pieces {
			w.hold(way, p.at)
			for len(p.b) > 0 {
				n := w.atOnce(len(p.b))
				if _, err := to.Write(p.b[:n]); err != nil {
					from.Close()
					return
				}
				p.b = p.b[n:]
			}
		}
	}()
	defer close(pieces)
	b := make([]byte, 32<<10)
	for {
		n, err := from.Read(b)
		if err != nil {
			return
		}
		if way == up {
			w.mu.Lock()
			w.said = append(w.said, b[:n]...)
			w.mu.Unlock()
		}
		pieces <- piece{bytes.Clone(b[:n]), time.Now()}
	}
}

func (w *wire) hold(way int, came time.Time) {
	w.mu.Lock()
	held, delay := w.held[way], w.delay
	w.mu.Unlock()
	if held != nil {
		<-held
	}
	if delay > 0 {
		time.Sleep(time.Until(came.Add(delay/2 + rand.N(delay/2))))
	}
}

func (w *wire) atOnce(n int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.piece > 0 {
		return min(n, w.piece)
	}
	return n
}

// set changes how it behaves from now on.
func (w *wire) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func (w *wire) silence(ways ...int) {
	w.set(func() {
		for _, way := range ways {
			w.held[way] = make(chan struct{})
		}
	})
}

// calm makes it a good network again. What it held passes now, in its order.
func (w *wire) calm() {
	w.set(func() {
		w.shut, w.delay, w.piece = false, 0, 0
		for way, held := range w.held {
			if held != nil {
				close(held)
				w.held[way] = nil
			}
		}
	})
}

// cut ends every connection with a reset.
func (w *wire) cut() {
	w.set(func() {
		for c := range w.open {
			_ = c.(*net.TCPConn).SetLinger(0)
			c.Close()
			delete(w.open, c)
		}
	})
}

// again says to the CA what the bastion said to it, on a connection of its own.
func (w *wire) again() {
	var said []byte
	w.set(func() { said = bytes.Clone(w.said) })
	c, err := net.Dial("tcp", w.to)
	if err != nil {
		return
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	_, _ = c.Write(said)
	_, _ = io.Copy(io.Discard, c)
}

// trouble is something that happens to a bastion and its CA, or between them.
type trouble struct {
	name  string
	rough bool // the people in its sessions notice
	fatal bool // it ends them
	begin func(*unlucky)
	end   func(*unlucky)
}

var troubles = []trouble{
	{name: "the connection is cut", begin: func(u *unlucky) { u.wire.cut() }},
	{name: "no connection", begin: func(u *unlucky) { u.wire.set(func() { u.wire.shut = true }); u.wire.cut() }},
	{name: "silence", begin: func(u *unlucky) { u.wire.silence(up, down) }},
	{name: "silence from the CA", begin: func(u *unlucky) { u.wire.silence(down) }},
	{name: "silence to the CA", begin: func(u *unlucky) { u.wire.silence(up) }},
	{name: "everything is late", begin: func(u *unlucky) { u.wire.set(func() { u.wire.delay = 800 * time.Millisecond }) }},
	{name: "everything comes in pieces", begin: func(u *unlucky) { u.wire.set(func() { u.wire.piece = 3 }) }},
	{name: "everything is said twice", begin: func(u *unlucky) { u.wire.again() }},
	{name: "the CA is stopped", begin: func(u *unlucky) { u.signal("ca", syscall.SIGSTOP) }, end: func(u *unlucky) { u.signal("ca", syscall.SIGCONT) }},
	{name: "the CA dies", begin: func(u *unlucky) { u.kill("ca") }, end: func(u *unlucky) { u.start("ca") }},
	{name: "the bastion is stopped", rough: true, begin: func(u *unlucky) { u.signal("bastion", syscall.SIGSTOP) }, end: func(u *unlucky) { u.signal("bastion", syscall.SIGCONT) }},
	{name: "the bastion dies", rough: true, fatal: true, begin: func(u *unlucky) { u.kill("bastion") }, end: func(u *unlucky) { u.start("bastion") }},
}

// unlucky is an outpost behind a wire.
type unlucky struct {
	*outpost
	wire *wire
}

func (u *unlucky) kill(name string) {
	u.t.Helper()
	if err := u.Kill(name); err != nil {
		u.t.Fatal(err)
	}
}

func (u *unlucky) start(name string) {
	u.t.Helper()
	if err := u.Start(name); err != nil {
		u.t.Fatal(err)
	}
}

func (u *unlucky) recover(tr trouble) {
	u.wire.calm()
	if tr.end != nil {
		tr.end(u)
	}
}

// TestLeasesWithoutLuck: schedules of troubles at random, one for each seed, against the two promises: within keep of a revocation not a word passes to
// who is revoked, and who is not notices nothing of what is shorter than keep. POSTERN_LEASE_SEEDS names others, such as 7,8,9.
func TestLeasesWithoutLuck(t *testing.T) {
	t.Parallel()
	seeds := []uint64{1, 4, 6}
	if given := os.Getenv("POSTERN_LEASE_SEEDS"); given != "" {
		seeds = nil
		for s := range strings.SplitSeq(given, ",") {
			n, err := strconv.ParseUint(s, 10, 64)
			if err != nil {
				t.Fatalf("POSTERN_LEASE_SEEDS: %v", err)
			}
			seeds = append(seeds, n)
		}
	}
	u := &unlucky{outpost: &outpost{place: newPlace(t)}}
	u.wire = newWire(t, u.Addresses["ca"])
	u.kill("bastion")
	u.Flags = map[string][]string{"ca": leases(keep), "bastion": {"--ca", u.wire.l.Addr().String()}}
	u.start("bastion")
	u.restartCA(keep)
	for _, seed := range seeds {
		t.Run("revoked, seed "+strconv.FormatUint(seed, 10), func(t *testing.T) { u.t = t; u.revoked(seed) })
	}
	u.t = t
	u.restartCA(2 * time.Minute) // longer than a slow machine needs for all of it
	for _, seed := range seeds {
		t.Run("not revoked, seed "+strconv.FormatUint(seed, 10), func(t *testing.T) { u.t = t; u.unrevoked(seed) })
	}
}

// revoked: what the host says after keep, by its clock, which is ours, never passes. That is when it was said, so a slow machine changes nothing of it.
func (u *unlucky) revoked(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 1))
	k := u.talks()
	acknowledged := make(chan time.Time, 1)
	revoke := func() {
		for { // the CA may die of it
			if _, err := u.asInside("olga", "revoke", k.id, "--reason", "a test", "--yes", "--json"); err == nil { // it does not wait for the bastion
				acknowledged <- time.Now()
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}
	var names []string
	for n := range 1 + 2*r.IntN(2) {
		tr := troubles[r.IntN(len(troubles))]
		for tr.fatal && n == 0 { // the session would be over before the lease could matter
			tr = troubles[r.IntN(len(troubles))]
		}
		if n == 0 {
			pause := time.Duration(r.IntN(1000)) * time.Millisecond
			names = append(names, "revoked after "+pause.String()+" of")
			time.AfterFunc(pause, revoke)
		}
		names = append(names, tr.name)
		tr.begin(u)
		k.within(time.Duration(r.IntN(2000)) * time.Millisecond)
		if n == 0 && r.IntN(4) > 0 {
			k.over() // it does not pass before
		}
		u.recover(tr)
	}
	at := <-acknowledged
	k.over()
	late := k.last.Sub(at)
	u.t.Logf("%s; the last word %s after the CA acknowledged it", strings.Replace(strings.Join(names, ", "), "of, ", "of ", 1), late.Round(time.Millisecond))
	if late > keep {
		u.t.Errorf("a word that the host said %s after the revocation passed; to keep is %s", late, keep)
	}
	if out, err := u.logIn(); err == nil {
		u.t.Errorf("who is revoked gets in: %s", out)
	}
	u.reaches()
	if out, err := u.logIn(); err == nil || !bytes.Contains(out, []byte("revoked")) {
		u.t.Errorf("who is revoked, when all is well again: %v: %s", err, out)
	}
}

func (u *unlucky) logIn() ([]byte, error) {
	cmd := exec.Command("ssh", "-F", filepath.Join(u.Dir, "alice", "ssh_config"), "phi1", "true")
	cmd.Env = append(os.Environ(), u.Env("alice")...)
	return cmd.CombinedOutput()
}

func (u *unlucky) unrevoked(seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2))
	k := u.talks()
	calm := slices.DeleteFunc(slices.Clone(troubles), func(tr trouble) bool { return tr.rough })
	for range 3 {
		tr := calm[r.IntN(len(calm))]
		d := time.Duration(r.IntN(2500)) * time.Millisecond
		tr.begin(u)
		k.within(d)
		u.recover(tr)
		k.speaks(tr.name + " for " + d.String())
	}
	u.reaches()
	k.speaks("all of it")
	u.revoke(k.id)
	k.over()
	if text := k.stderr.String(); !strings.Contains(text, "revoked by olga") {
		u.t.Errorf("the person read %q", text)
	}
}
