package door

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/algo"
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
	deadline := time.Now().Add(20 * time.Second)
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
			if took := honest(t, addr, key); took > 2*time.Second {
				t.Errorf("with %d strangers an honest login takes %s", i+1, took)
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
		if took := honest(t, addr, key); took > 2*time.Second {
			t.Errorf("%d addresses: an honest login takes %s", addresses, took)
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
	honest(t, addr, key)
	base := measure()
	const attackers, during = 100, 3 * time.Second
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
		logins = append(logins, honest(t, addr, key))
	}
	took := time.Since(began)
	close(stop)
	group.Wait()
	slices.Sort(logins)
	t.Logf("%d key exchanges for the flood in %s; meanwhile %d honest logins, half of them in %s, the slowest in %s",
		done.Load(), took.Round(time.Millisecond), len(logins), logins[len(logins)/2], logins[len(logins)-1])
	if logins[len(logins)-1] > 2*time.Second {
		t.Errorf("an honest login takes %s", logins[len(logins)-1])
	}
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

// TestAFloodOfKeyExchanges: new keys may be asked for at any time, by who is logged in too.
func TestAFloodOfKeyExchanges(t *testing.T) {
	addr, _ := open(t, &Door{})
	key := newSigner(t)
	c, err := from("127.0.0.2", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	raw := rawssh.New(c)
	if err := raw.Login("alice", key); err != nil {
		t.Fatal(err)
	}
	began, exchanges := time.Now(), 1
	for time.Since(began) < 2*time.Second {
		if err := raw.Exchange(); err != nil {
			t.Fatal(err)
		}
		exchanges++
	}
	due := algo.ExchangeBurst + algo.ExchangesPerSecond*time.Since(began).Seconds()
	if n := float64(exchanges); n > due+1 || n < due/2 {
		t.Errorf("%d key exchanges, %.0f are due", exchanges, due)
	}
	honest(t, addr, key)
}

func TestTenThousandOpensAndRequests(t *testing.T) {
	d := &Door{}
	d.Channel = func(_ *ssh.ServerConn, ch ssh.NewChannel) { _ = ch.Reject(ssh.Prohibited, "no") }
	addr, _ := open(t, d)
	key := newSigner(t)
	honest(t, addr, key)
	base := measure()
	opening := rawssh.Packet(90, struct {
		Type                  string
		Channel, Window, Most uint32
	}{"session", 1, 1 << 20, 1 << 15})
	request := rawssh.Packet(80, struct {
		Type  string
		Reply bool
	}{"keepalive@openssh.com", true})
	for name, flood := range map[string]struct {
		packet []byte
		answer byte
	}{"opens": {opening, 92}, "requests": {request, 82}} {
		c, err := from("127.0.0.2", addr)
		if err != nil {
			t.Fatal(err)
		}
		raw := rawssh.New(c)
		if err := raw.Login("alice", key); err != nil {
			t.Fatal(err)
		}
		began, most := time.Now(), 0
		go func() {
			for range 10_000 {
				if raw.Send(flood.packet) != nil {
					return
				}
			}
		}()
		answers := 0
		for answers < 10_000 && time.Since(began) < 2*time.Second {
			if _, err := raw.Expect(flood.answer); err != nil {
				t.Fatal(err)
			}
			answers++
			most = max(most, runtime.NumGoroutine())
		}
		t.Logf("%s: %d answered in %s, %d goroutines at most", name, answers, time.Since(began).Round(time.Millisecond), most-base.goroutines)
		if due := 2000 + 200*3; answers > due || answers < 2000 {
			t.Errorf("%s: %d are answered in 2 s, %d are due", name, answers, due)
		}
		if most > base.goroutines+128+slack+300 {
			t.Errorf("%s: %d goroutines", name, most)
		}
		if took := honest(t, addr, key); took > time.Second {
			t.Errorf("%s: an honest login takes %s", name, took)
		}
		c.Close()
	}
	base.returned(t)
}

// TestOpensOfAClientThatTakesNoAnswers: its refusals cannot be sent, so they must not pile up.
func TestOpensOfAClientThatTakesNoAnswers(t *testing.T) {
	d := &Door{Limits: Limits{Stall: 2 * time.Second, RequestsPerSecond: 1e6, RequestBurst: 1e6}}
	d.Channel = func(_ *ssh.ServerConn, ch ssh.NewChannel) { _ = ch.Reject(ssh.Prohibited, strings.Repeat("no ", 1000)) }
	addr, log := open(t, d)
	key := newSigner(t)
	honest(t, addr, key)
	base := measure()
	c, err := from("127.0.0.2", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.(*net.TCPConn).SetReadBuffer(4096)
	raw := rawssh.New(c)
	if err := raw.Login("alice", key); err != nil {
		t.Fatal(err)
	}
	opening := rawssh.Packet(90, struct {
		Type                  string
		Channel, Window, Most uint32
	}{"session", 1, 1 << 20, 1 << 15})
	most := 0
	began := time.Now()
	for err == nil && time.Since(began) < 30*time.Second { // ends when the door gives up
		err = raw.Send(opening)
		most = max(most, runtime.NumGoroutine()-base.goroutines)
	}
	if err == nil {
		t.Error("it is still there")
	}
	t.Logf("given up after %s, %d goroutines at most", time.Since(began).Round(time.Millisecond), most)
	if most > 128+slack+300 { // those of a read or two, and what a connection has anyway
		t.Errorf("%d goroutines for one connection", most)
	}
	honest(t, addr, key)
	c.Close()
	base.returned(t)
	if strings.Contains(log.String(), "internal error") {
		t.Error(log.String())
	}
}

// TestNothingIsLeft of a client at whose message the library stops while it has many more: it leaves its reader waiting for ever, with
// seventeen packets. Before authentication too, where it is anybody's.
func TestNothingIsLeft(t *testing.T) {
	addr, _ := open(t, &Door{Limits: Limits{WorkPerAddress: 1e6}})
	key := newSigner(t)
	honest(t, addr, key)
	for name, c := range map[string]struct {
		enter func(*rawssh.Client) error
		stops []byte
	}{
		"before authentication": {func(c *rawssh.Client) error { return errors.Join(c.Hello(), c.Exchange()) }, rawssh.Packet(5, struct{ Service string }{"none"})},
		"in authentication":     {func(c *rawssh.Client) error { return errors.Join(c.Hello(), c.Exchange(), c.Service()) }, []byte{50}},
		"logged in":             {func(c *rawssh.Client) error { return c.Login("alice", key) }, []byte{94, 0, 0, 0, 77}},
	} {
		for _, size := range []int{1, 30_000} {
			base := measure()
			for range 30 {
				conn, err := from("127.0.0.2", addr)
				if err != nil {
					t.Fatal(err)
				}
				raw := rawssh.New(conn)
				if err := c.enter(raw); err != nil {
					t.Fatal(name, err)
				}
				packets := raw.Seal(c.stops)
				for range 40 {
					packets = append(packets, raw.Seal(append(bytes.Clone(c.stops), make([]byte, size)...))...)
				}
				_, _ = conn.Write(packets)
				_, _ = io.Copy(io.Discard, conn)
				conn.Close()
			}
			base.returned(t)
		}
	}
}

// TestPacketsOfAnySize: more than 256 KiB is no packet, before authentication and after.
func TestPacketsOfAnySize(t *testing.T) {
	addr, _ := open(t, &Door{})
	key := newSigner(t)
	honest(t, addr, key)
	base := measure()
	for _, length := range []uint32{0, 1, 4, 5, 7, 256<<10 + 1, 1 << 20, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
		for _, in := range []bool{false, true} {
			c, err := from("127.0.0.2", addr)
			if err != nil {
				t.Fatal(err)
			}
			raw := rawssh.New(c)
			if in {
				err = raw.Login("alice", key)
			} else {
				err = raw.Hello()
			}
			if err != nil {
				t.Fatal(err)
			}
			_, _ = c.Write([]byte{byte(length >> 24), byte(length >> 16), byte(length >> 8), byte(length), 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24})
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.Copy(io.Discard, c); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("a packet of %d bytes, logged in %v: %v", length, in, err)
			}
			c.Close()
		}
	}
	base.returned(t)
	honest(t, addr, key)
}

// TestAVersionThatLies gets nothing worse than a client that says nothing about itself.
func TestAVersionThatLies(t *testing.T) {
	addr, log := open(t, &Door{})
	key := newSigner(t)
	for version, cipher := range map[string]string{
		"SSH-2.0-Go":                     ssh.CipherAES128GCM,
		"SSH-2.0-OpenSSH_9.2p1 Debian-2": ssh.CipherAES128GCM,
		"SSH-2.0-paramiko_2.12.0":        ssh.CipherAES256CTR,
		"SSH-2.0-PuTTY_Release_0.78":     ssh.CipherAES256CTR,
	} {
		config := &ssh.ClientConfig{User: "alice", Auth: []ssh.AuthMethod{ssh.PublicKeys(key)}, HostKeyCallback: ssh.InsecureIgnoreHostKey(), ClientVersion: version}
		// The order of a client that likes everything but AES-GCM.
		config.Ciphers = []string{ssh.CipherChaCha20Poly1305, ssh.CipherAES256CTR, ssh.CipherAES128CTR, ssh.InsecureCipherAES128CBC, ssh.CipherAES256GCM, ssh.CipherAES128GCM}
		if cipher == ssh.CipherAES128GCM {
			config.Ciphers = append([]string{ssh.CipherChaCha20Poly1305, ssh.CipherAES256CTR}, ssh.CipherAES128GCM)
		}
		client, err := ssh.Dial("tcp", addr, config)
		if err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		got := client.Conn.(ssh.AlgorithmsConnMetadata).Algorithms()
		client.Close()
		if got.Read.Cipher != cipher || got.Write.Cipher != cipher {
			t.Errorf("%s: %+v", version, got)
		}
	}
	var weak ssh.ClientConfig
	algo.Harden(&weak.Config)
	weak.Ciphers = []string{ssh.CipherChaCha20Poly1305, ssh.InsecureCipherAES128CBC, ssh.InsecureCipherTripleDESCBC}
	weak.User, weak.HostKeyCallback = "alice", ssh.InsecureIgnoreHostKey()
	for _, version := range []string{"SSH-2.0-Go", "SSH-2.0-x"} {
		weak.ClientVersion = version
		if c, err := ssh.Dial("tcp", addr, &weak); err == nil || !strings.Contains(err.Error(), "no common algorithm") {
			t.Errorf("%s: %v, %v", version, c, err)
		}
	}
	if !strings.Contains(log.String(), "cipher="+ssh.CipherAES256CTR) {
		t.Error("the log does not say which cipher it came to")
	}
}
