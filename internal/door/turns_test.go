package door

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

func address(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func TestEveryAddressGetsItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(Limits{MaxAtWork: 1, WorkPerAddress: 1})
		flood, honest := address("192.0.2.1/32"), address("198.51.100.1/32")
		held := turns.take(t.Context(), flood)
		served := make(chan string, 200)
		wait := func(from netip.Prefix, name string) {
			go func() {
				mine := turns.take(t.Context(), from)
				served <- name
				turns.end(mine)
			}()
			synctest.Wait()
		}
		for range 100 {
			wait(flood, "flood")
		}
		wait(honest, "honest")
		turns.end(held)
		synctest.Wait()
		for i := range 101 {
			if name := <-served; name == "honest" {
				if i > 1 {
					t.Errorf("the honest one waited for %d of the flood", i)
				}
				return
			}
		}
	})
}

func TestATurnThatWaitsPassesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(Limits{MaxAtWork: 1, WorkPerAddress: 1})
		stuck := turns.take(t.Context(), address("192.0.2.1/32"))
		began := time.Now()
		turns.end(turns.take(t.Context(), address("198.51.100.1/32")))
		if d := time.Since(began); d != longestTurn {
			t.Errorf("passed on after %s", d)
		}
		turns.end(stuck) // it comes back in the end
		turns.end(nil)
		if turns.free != 1 {
			t.Errorf("%d turns are free, of 1", turns.free)
		}
	})
}

func TestWhoLeavesTheQueueLosesNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(Limits{MaxAtWork: 2, WorkPerAddress: 1})
		from := address("192.0.2.1/32")
		one, two := turns.take(t.Context(), from), turns.take(t.Context(), from)
		gone, cancel := context.WithCancel(t.Context())
		left := make(chan bool)
		for range 3 {
			go func() { left <- turns.take(gone, from) == nil }()
		}
		synctest.Wait()
		cancel()
		for range 3 {
			if !<-left {
				t.Error("a turn was given to who had left")
			}
		}
		turns.end(one)
		turns.end(two)
		if turns.free != 2 || len(turns.queue) > 0 || len(turns.waiting) > 0 {
			t.Errorf("%d free, queue %v, waiting %v", turns.free, turns.queue, turns.waiting)
		}
	})
}

// TestAddressesAreForgotten: a net of a million addresses must not fill the memory.
func TestAddressesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := newTurns(Limits{MaxAtWork: 1, WorkPerAddress: 1000})
		busy := address("192.0.2.1/32")
		most := 0
		for i := range 100_000 {
			var b [16]byte
			b[0], b[5], b[6], b[7] = 0x20, byte(i>>16), byte(i>>8), byte(i)
			p, err := netip.AddrFrom16(b).Prefix(64)
			if err != nil {
				t.Fatal(err)
			}
			turns.pace(p).Count()
			for range 8 { // more than it is allowed
				turns.pace(busy).Count()
			}
			time.Sleep(time.Millisecond)
			most = max(most, len(turns.paces))
		}
		if most > 3*sweepAddresses {
			t.Errorf("%d addresses are remembered", most)
		}
		if turns.pace(busy).Full() {
			t.Error("an address that goes on is forgotten")
		}
	})
}

// TestWhoIsOneAddress: an IPv4 address in either form, and all of a /64.
func TestWhoIsOneAddress(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.1": "192.0.2.1/32", "::ffff:192.0.2.1": "192.0.2.1/32", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64", "2001:db8:1:2::1": "2001:db8:1:2::/64",
		"fe80::1%eth0": "fe80::/64", "::1": "::/64",
	} {
		if got := host(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 22))); got.String() != want {
			t.Errorf("%s counts as %s, want %s", from, got, want)
		}
	}
	if host(&net.UnixAddr{Name: "x"}).IsValid() {
		t.Error("a Unix socket has an address")
	}
}
