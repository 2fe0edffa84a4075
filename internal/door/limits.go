package door

import (
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/socket"
)

// Limits bound what clients may cost. A zero field takes the default named with it.
type Limits struct {
	LoginGrace         time.Duration // to finish authentication; 30 s
	Stall              time.Duration // a peer that neither reads nor answers is dropped; 5 min
	MaxConnections     int           // in all; 8192
	MaxUnauthenticated int           // in all; 512
	MaxPerAddress      int           // not yet authenticated, of one IPv4 address or IPv6 /64; 128
	MaxChannels        int           // open at once on one connection; 128
	MaxAuthTries       int           // 10: an agent may hold keys for many places
}

func (l Limits) withDefaults() Limits {
	number := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	number(&l.MaxConnections, 8192)
	number(&l.MaxUnauthenticated, 512)
	number(&l.MaxPerAddress, 128)
	number(&l.MaxChannels, 128)
	number(&l.MaxAuthTries, 10)
	if l.LoginGrace == 0 {
		l.LoginGrace = 30 * time.Second
	}
	if l.Stall == 0 {
		l.Stall = socket.DefaultStall
	}
	return l
}

// visit is one connection from accept to close.
type visit struct {
	*socket.Conn
	from     netip.Prefix
	login    ssh.ServerPreAuthConn // set when authentication begins
	told     []string              // banners that were sent
	done     chan struct{}
	grace    *time.Timer
	alive    sync.Once
	channels atomic.Int32
	known    bool // authenticated; under the gate's lock
}

// maxBanners of Lookup are shown on one connection: an agent may offer many keys.
const maxBanners = 4

func (v *visit) fresh(key ssh.PublicKey, banner string) bool {
	_, certificate := key.(*ssh.Certificate)
	if !certificate && len(v.told) > 0 || len(v.told) >= maxBanners || slices.Contains(v.told, banner) {
		return false
	}
	v.told = append(v.told, banner)
	return true
}

// first says whether a refusal was not shown yet, and remembers it.
func (v *visit) first(banner string) bool {
	if slices.Contains(v.told, banner) {
		return false
	}
	v.told = append(v.told, banner)
	return true
}

// Visitor is a client's connection, during login and afterwards.
type Visitor struct {
	ssh.ConnMetadata
	visit *visit
}

// Done is closed when the connection is gone and nothing of the door's runs for it any more.
func (v *Visitor) Done() <-chan struct{} { return v.visit.done }

// Close ends the connection without waiting; what was written last still gets a moment to go out.
func (v *Visitor) Close() error { return v.visit.Close() }

// gate counts connections and knows them all.
type gate struct {
	limits    Limits
	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	visits    map[*visit]struct{}
	strangers int
	from      map[netip.Prefix]int // strangers by origin

	complained time.Time // last time a refusal was logged
	silent     int       // refusals since
}

func newGate(l Limits) *gate {
	return &gate{limits: l, visits: map[*visit]struct{}{}, from: map[netip.Prefix]int{}}
}

func (g *gate) listen(l net.Listener) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listeners = append(g.listeners, l)
	return !g.closed
}

func (g *gate) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for _, l := range g.listeners {
		l.Close()
	}
}

func (g *gate) closeAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for v := range g.visits {
		v.Close()
	}
}

// enter counts v in, or says why it may not.
func (g *gate) enter(v *visit) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.closed:
		return "shutting down"
	case len(g.visits) >= g.limits.MaxConnections:
		return "too many connections"
	case g.from[v.from] >= g.limits.MaxPerAddress:
		return "too many connections from this address that have not logged in"
	case g.strangers >= g.limits.MaxUnauthenticated:
		return "too many connections that have not logged in"
	}
	g.visits[v] = struct{}{}
	g.strangers++
	g.from[v.from]++
	return ""
}

// complain says whether a refusal is to be logged, and how many were not: a flood must not become a flood of the log.
func (g *gate) complain(now time.Time) (before int, tell bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if now.Sub(g.complained) < time.Second {
		g.silent++
		return 0, false
	}
	before, g.silent, g.complained = g.silent, 0, now
	return before, true
}

func (g *gate) authenticated(v *visit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.recognise(v)
}

func (g *gate) leave(v *visit) {
	v.grace.Stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.recognise(v)
	delete(g.visits, v)
}

// recognise takes v out of the count of strangers, once.
func (g *gate) recognise(v *visit) {
	if v.known {
		return
	}
	v.known = true
	g.strangers--
	if g.from[v.from]--; g.from[v.from] <= 0 {
		delete(g.from, v.from)
	}
}

// host is the unit of the per-address limit: whoever has an IPv6 address usually has all of its /64.
func host(a net.Addr) netip.Prefix {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	bits := 32
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
