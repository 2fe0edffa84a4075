package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"postern/bastion"
	"postern/internal/control"
)

const (
	pingEvery = time.Second
	silence   = 5 * time.Second // without an answer to any ping: the connection is dead, whatever TCP thinks
)

// pings remembers when each was sent: the leases run from there.
type pings struct {
	silence time.Duration // for so long there may be no answer to any

	mu    sync.Mutex
	first uint64
	sent  map[uint64]time.Duration // [bastion.Uptime]
	heard time.Duration
}

// newPings numbers from anywhere, so that an answer to a ping of another connection is no answer here.
func newPings(silence time.Duration) *pings {
	return &pings{silence: silence, first: 1 + rand.Uint64N(1<<52), sent: map[uint64]time.Duration{}, heard: bastion.Uptime()}
}

func (p *pings) send(ctx context.Context, stream *control.Stream) error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for n := p.first; ; n++ {
		p.mu.Lock()
		p.sent[n] = bastion.Uptime()
		p.mu.Unlock()
		if err := stream.Send(control.Ping{Ping: n}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// watch fails when the CA is silent. It is apart from send, which may wait for a connection that takes nothing.
func (p *pings) watch(ctx context.Context) error {
	tick := time.NewTicker(pingEvery / 2)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		p.mu.Lock()
		quiet := bastion.Uptime() - p.heard
		p.mu.Unlock()
		if quiet > p.silence {
			return fmt.Errorf("no answer for %s", quiet.Round(time.Second))
		}
	}
}

// answered says when a ping was sent. One that was never sent, was answered before, was overtaken by a later one, or was sent so long ago that the
// connection counts as dead, renews nothing.
func (p *pings) answered(n uint64) (sent time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sent, ok = p.sent[n]; !ok {
		return 0, false
	}
	for i := range p.sent {
		if i <= n {
			delete(p.sent, i)
		}
	}
	now := bastion.Uptime()
	if now-sent > p.silence {
		return 0, false
	}
	p.heard = now
	return sent, true
}
