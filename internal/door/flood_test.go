package door

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/rawssh"
)

// from dials as a client of another address of the loopback network.
func from(address, to string) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}, Timeout: 10 * time.Second}
	return d.Dial("tcp", to)
}

// level is what a process holds when nothing goes on.
type level struct {
	goroutines int
	heap       uint64
}

func measure() level {
	runtime.GC()
	runtime.GC() // what pools hold survives one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return level{runtime.NumGoroutine(), m.HeapInuse}
}

// returned waits until the process is back where it was, to a few megabytes.
func (l level) returned(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		now := measure()
		if now.goroutines <= l.goroutines && now.heap <= l.heap+8<<20 {
			return
		}
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines and %d KiB remain, of %d and %d\n%s", now.goroutines, now.heap>>10, l.goroutines, l.heap>>10, stacks[:runtime.Stack(stacks, true)])
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// patience is how long a test waits for what must happen: longer than the busiest machine takes, so that who waits in vain has found something.
const patience = 2 * time.Minute

// quiet is a door that nobody floods: an honest login there takes as long as this machine takes for one at the moment.
type quiet struct {
	addr string
	key  ssh.Signer
}

func newQuiet(t *testing.T, key ssh.Signer) quiet {
	t.Helper()
	addr, _ := open(t, &Door{})
	return quiet{addr, key}
}

// hardlyFelt says whether an honest login that took so long was held up by others. One that is starved takes until its grace ends.
func (q quiet) hardlyFelt(t *testing.T, took time.Duration) (most time.Duration, ok bool) {
	t.Helper()
	if most = 2 * time.Second; took > most {
		most += 10 * honest(t, q.addr, q.key)
	}
	return most, took <= most
}

// honest logs in from 127.0.0.1 and asks for something, and says how long it took.
func honest(t *testing.T, addr string, key ssh.Signer) time.Duration {
	t.Helper()
	began := time.Now()
	client, _, err := dial(addr, ssh.PublicKeys(key))
	if err != nil {
		t.Fatalf("an honest client is kept out: %v", err)
	}
	defer client.Close()
	if _, _, err := client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
		t.Fatal(err)
	}
	return time.Since(began)
}

// beginnings are how far a client goes that never logs in.
var beginnings = map[string]func(net.Conn){
	"nothing":     func(net.Conn) {},
	"half a line": func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-Op") },
	"a line":      func(c net.Conn) { _, _ = io.WriteString(c, "SSH-2.0-OpenSSH_9.2\r\n") },
	"half an init": func(c net.Conn) {
		_, _ = c.Write(append([]byte("SSH-2.0-OpenSSH_9.2\r\n"), rawssh.New(c).Seal(rawssh.Init())[:100]...))
	},
	"an init": func(c net.Conn) {
		_, _ = c.Write(append([]byte("SSH-2.0-OpenSSH_9.2\r\n"), rawssh.New(c).Seal(rawssh.Init())...))
	},
	"a key exchange": func(c net.Conn) {
		raw := rawssh.New(c)
		if raw.Hello() == nil && raw.Exchange() == nil {
			_ = raw.Service()
		}
	},
}

func TestHalfOpenConnectionsByTheThousand(t *testing.T) {
	const thousands, addresses = 2000, 20
	key := newSigner(t)
	addr, _ := open(t, &Door{})
	elsewhere := newQuiet(t, key)
	honest(t, addr, key) // what is made once
	base := measure()
	var conns []net.Conn
	steps := make([]func(net.Conn), 0, len(beginnings))
	for _, step := range beginnings {
		steps = append(steps, step)
	}
	var group sync.WaitGroup
	for i := range thousands {
		c, err := from(fmt.Sprintf("127.0.0.%d", 2+i%addresses), addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
		group.Go(func() { steps[i%len(steps)](c) })
		if i%200 == 199 {
			took := honest(t, addr, key)
			if most, ok := elsewhere.hardlyFelt(t, took); !ok {
				t.Errorf("with %d strangers an honest login takes %s, and may take %s", i+1, took, most)
			}
		}
	}
	full := measure()
	t.Logf("%d strangers: %d goroutines and %d KiB more; honest login %s", thousands, full.goroutines-base.goroutines, (int64(full.heap)-int64(base.heap))>>10, honest(t, addr, key))
	for _, c := range conns {
		c.Close()
	}
	group.Wait()
	base.returned(t)
}

// TestAFullHouseMakesRoom: all places of strangers are taken, by one address or by many.
func TestAFullHouseMakesRoom(t *testing.T) {
	for _, addresses := range []int{1, 3, 60} {
		key := newSigner(t)
		addr, _ := open(t, &Door{Limits: Limits{MaxUnauthenticated: 60, MaxPerAddress: 60}})
		for i := range 200 {
			c, err := from(fmt.Sprintf("127.0.1.%d", 1+i%addresses), addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
		}
		took := honest(t, addr, key)
		if most, ok := newQuiet(t, key).hardlyFelt(t, took); !ok {
			t.Errorf("%d addresses: an honest login takes %s, and may take %s", addresses, took, most)
		}
	}
}

// TestTheCrowdLosesItsPlaces: it is the oldest of the address with the most strangers that makes room, and nobody else.
func TestTheCrowdLosesItsPlaces(t *testing.T) {
	g := newGate(Limits{MaxUnauthenticated: 5, MaxPerAddress: 9, MaxConnections: 99}.withDefaults())
	here, _ := net.Pipe()
	d := &Door{}
	d.prepare()
	enter := func(from string) (*visit, string) {
		v := d.visit(here)
		v.from = address(from)
		v.grace = time.NewTimer(time.Hour)
		return v, g.enter(v)
	}
	const crowd, other, third = "192.0.2.1/32", "2001:db8::/64", "198.51.100.1/32"
	first, _ := enter(crowd)
	quiet, _ := enter(other)
	second, _ := enter(crowd)
	for range 2 {
		if _, why := enter(crowd); why != "" {
			t.Fatal(why)
		}
	}
	if _, why := enter(crowd); why == "" {
		t.Error("the crowd makes room for itself")
	}
	for i := range 2 {
		if _, why := enter(third); why != "" {
			t.Errorf("newcomer %d: %s", i, why)
		}
	}
	for v, want := range map[*visit]bool{first: true, second: true, quiet: false} {
		if gone := v.ctx.Err() != nil; gone != want {
			t.Errorf("%v: closed is %v, want %v", v.from, gone, want)
		}
	}
	if g.strangers != 5 || len(g.from[address(crowd)]) != 2 {
		t.Errorf("%d strangers: %v", g.strangers, g.from)
	}
	g.leave(first)
	if g.strangers != 5 {
		t.Error("who made room is counted twice")
	}
}

// exchange makes the server exchange keys at next to no cost of its own: it sends a public key that it did not make and looks at nothing.
func exchange(c net.Conn) error {
	raw := rawssh.New(c)
	if err := raw.Hello(); err != nil {
		return err
	}
	point := bytes.Repeat([]byte{9}, 32)
	_, err := c.Write(append(raw.Seal(rawssh.Init()), raw.Seal(rawssh.Packet(30, struct{ Point []byte }{point}))...))
	if err == nil {
		_, err = raw.Expect(31)
	}
	return err
}

func TestAFloodOfHandshakesFromOneAddress(t *testing.T) {
	key := newSigner(t)
	addr, _ := open(t, &Door{})
	elsewhere := newQuiet(t, key)
	honest(t, addr, key)
	base := measure()
	const attackers, during = 100, 2 * time.Second
	var done atomic.Int64
	stop := make(chan struct{})
	var group sync.WaitGroup
	for range attackers {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := from("127.0.0.2", addr)
				if err != nil {
					continue
				}
				if exchange(c) == nil {
					done.Add(1)
				}
				c.Close()
			}
		})
	}
	var logins []time.Duration
	began := time.Now()
	for time.Since(began) < during {
		took := honest(t, addr, key)
		if most, ok := elsewhere.hardlyFelt(t, took); !ok {
			t.Errorf("an honest login takes %s, and may take %s", took, most)
		}
		logins = append(logins, took)
	}
	took := time.Since(began)
	close(stop)
	group.Wait()
	slices.Sort(logins)
	t.Logf("%d key exchanges for the flood in %s; meanwhile %d honest logins, half of them in %s, the slowest in %s",
		done.Load(), took.Round(time.Millisecond), len(logins), logins[len(logins)/2], logins[len(logins)-1])
	// Two reads each at least: the line, then the rest.
	limits := Limits{}.withDefaults()
	if most := float64(limits.WorkPerAddress)*(took.Seconds()+workBurst+1)/2 + attackers; float64(done.Load()) > most {
		t.Errorf("%d key exchanges for one address, at most %.0f are due to it", done.Load(), most)
	}
	base.returned(t)
}

// TestAFloodOfQueriesIsSlowed: whether a key may log in can be asked a hundred times on one connection, and the answer costs a look at a
// certificate. Several fit into one read.
func TestAFloodOfQueriesIsSlowed(t *testing.T) {
	const rate = 10
	keys := []ssh.Signer{newSigner(t), newSigner(t)} // the library remembers its last answer
	addr, log := open(t, &Door{Limits: Limits{WorkPerAddress: rate}})
	c, err := from("127.0.0.2", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw := rawssh.New(c)
	for _, step := range []func() error{raw.Hello, raw.Exchange, raw.Service} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	go func() {
		for i := 0; ; i++ {
			key := keys[i%2].PublicKey()
			if raw.Send(rawssh.Packet(50, struct {
				User, Service, Method string
				Signed                bool
				Algorithm             string
				Key                   []byte
			}{"alice", "ssh-connection", "publickey", false, key.Type(), key.Marshal()})) != nil {
				return
			}
		}
	}()
	began, asked := time.Now(), 0
	for time.Since(began) < 2*time.Second {
		if _, err := raw.Expect(60); err != nil {
			t.Fatalf("after %d answers: %v\n%s", asked, err, log)
		}
		asked++
	}
	const inARead = 4096 / 150
	if took := time.Since(began); float64(asked) > rate*(took.Seconds()+workBurst)+inARead {
		t.Errorf("%d answers in %s", asked, took)
	}
	honest(t, addr, keys[0])
}
