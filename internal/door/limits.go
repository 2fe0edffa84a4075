package door

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"time"

	"postern/internal/socket"
)

// Limits bound what clients may cost. A zero field takes the default named with it.
type Limits struct {
	LoginGrace         time.Duration // to finish authentication; 30 s
	Stall              time.Duration // a peer that neither reads nor answers is dropped; 5 min
	MaxConnections     int           // in all; 8192
	MaxUnauthenticated int           // in all; 512
	MaxPerPerson       int           // logged in as the same one; a quarter of MaxConnections
	MaxPerAddress      int           // not yet authenticated, of one IPv4 address or IPv6 /64; 128
	MaxAtWork          int           // connections that exchange keys in the same moment; half of the processors
	WorkPerAddress     int           // packets a second taken from the strangers of one address; 1000: a login is some seven of them
	MaxChannels        int           // open at once on one connection; 128
	RekeyBytes         uint64        // new keys after so much; as much as the cipher is good for
	MaxAuthTries       int           // 10: an agent may hold keys for many places
	Memory             uint64        // bytes on the heap beyond which the connections are closed that hold most of it; no limit
	RequestsPerSecond  int           // channels asked for and global requests of one connection, when it goes on for long; 200
	RequestBurst       int           // and at once, before it is slowed down; 2000
}

func (l Limits) withDefaults() Limits {
	number := func(n *int, otherwise int) {
		if *n == 0 {
			*n = otherwise
		}
	}
	number(&l.MaxConnections, 8192)
	number(&l.MaxPerPerson, max(1, l.MaxConnections/4))
	number(&l.MaxUnauthenticated, 512)
	number(&l.MaxPerAddress, 128)
	number(&l.MaxChannels, 128)
	number(&l.MaxAuthTries, 10)
	number(&l.MaxAtWork, max(1, runtime.GOMAXPROCS(0)/2))
	number(&l.WorkPerAddress, 1000)
	number(&l.RequestsPerSecond, 200)
	number(&l.RequestBurst, 2000)
	if l.LoginGrace == 0 {
		l.LoginGrace = 30 * time.Second
	}
	if l.Stall == 0 {
		l.Stall = socket.DefaultStall
	}
	return l
}

// gate counts connections and knows them all.
type gate struct {
	limits    Limits
	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	visits    map[*visit]struct{}
	strangers int
	from      map[netip.Prefix][]*visit // strangers by origin, the oldest first
	people    map[string]int            // visits by who logged in
	entered   uint64                    // visits so far
	over      chan struct{}             // closed with the listeners

	complained time.Time // last time a refusal was logged
	silent     int       // refusals since
}

func newGate(l Limits) *gate {
	return &gate{over: make(chan struct{}), limits: l, visits: map[*visit]struct{}{}, from: map[netip.Prefix][]*visit{}, people: map[string]int{}}
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
	if !g.closed {
		close(g.over)
	}
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
	case len(g.from[v.from]) >= g.limits.MaxPerAddress:
		return "too many connections from this address that have not logged in"
	case g.strangers >= g.limits.MaxUnauthenticated && !g.makeRoom(v.from):
		return "too many connections that have not logged in"
	}
	g.entered++
	v.number = g.entered
	g.visits[v] = struct{}{}
	g.strangers++
	g.from[v.from] = append(g.from[v.from], v)
	return ""
}

// makeRoom closes the oldest stranger of the address that has most of them, unless that is the newcomer's own. So whoever fills the room
// is who loses it, and to keep others out takes as many addresses as there are places, and new connections faster than others log in.
func (g *gate) makeRoom(newcomer netip.Prefix) bool {
	var crowd []*visit
	for _, list := range g.from {
		if len(list) > len(crowd) || len(list) == len(crowd) && list[0].number < crowd[0].number {
			crowd = list
		}
	}
	if len(g.from[newcomer]) >= len(crowd) {
		return false
	}
	oldest := crowd[0]
	g.recognise(oldest)
	oldest.Close()
	return true
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
	g.release(v)
	delete(g.visits, v)
}

// claim counts v as that person's.
func (g *gate) claim(v *visit, person string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	_, in := g.visits[v]
	switch {
	case !in:
		return net.ErrClosed
	case person == "":
		return errors.New("this login names nobody")
	case v.person == person:
		return nil
	case g.people[person] >= g.limits.MaxPerPerson:
		return fmt.Errorf("%s has %d connections here, and more are not taken; close some", person, g.limits.MaxPerPerson)
	}
	g.release(v)
	v.person = person
	g.people[person]++
	return nil
}

func (g *gate) release(v *visit) {
	if v.person == "" {
		return
	}
	if g.people[v.person]--; g.people[v.person] == 0 {
		delete(g.people, v.person)
	}
	v.person = ""
}

// recognise takes v out of the strangers, once.
func (g *gate) recognise(v *visit) {
	list := g.from[v.from]
	i := slices.Index(list, v)
	if i < 0 {
		return
	}
	g.strangers--
	if g.from[v.from] = slices.Delete(list, i, i+1); len(list) == 1 {
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
