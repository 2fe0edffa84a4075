package door

import (
	"runtime"
	"runtime/metrics"
	"time"
)

const (
	// An honest client sends this much a second, at most, beyond what is taken of it: what packets have around them.
	overhead = 1 << 20

	// A connection holds nothing worth its end below this.
	leastHoard = 8 << 20
)

// guardMemory closes the connections that hold most when memory is short, until it is not.
//
// It is for clients that are logged in. The library keeps what a channel's owner has not read, up to a window of 2 MiB a channel, and a byte
// that came in a packet of its own costs it 48: a hundred megabytes for each program that reads nothing, for any number of channels.
// Neither windows nor packets can be made smaller from outside. But who does that has sent a great deal of which nothing was taken.
func (d *Door) guardMemory(limit uint64) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-d.gate.over:
			return
		case <-tick.C:
		}
		worst := d.gate.hoards()
		if heapObjects() <= limit {
			continue
		}
		runtime.GC() // most of it may be garbage
		used := heapObjects()
		switch {
		case used <= limit:
		case worst == nil || worst.hoard < leastHoard:
			d.Log.Error("memory is short, and no client holds much of it", "used", used, "limit", limit)
		default:
			d.Log.Error("memory is short: the client that holds most is out", "client", worst.RemoteAddr().String(), "sent_and_not_taken", worst.hoard, "used", used, "limit", limit)
			worst.Close()
		}
	}
}

func heapObjects() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// hoards brings every visit's up to date and finds the largest.
func (g *gate) hoards() (worst *visit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for v := range g.visits {
		pending := v.heard.Load() - v.taken.Load()
		v.hoard = max(0, v.hoard+pending-v.pending-overhead)
		v.pending = pending
		if v.ctx.Err() == nil && (worst == nil || v.hoard > worst.hoard) {
			worst = v
		}
	}
	return worst
}
