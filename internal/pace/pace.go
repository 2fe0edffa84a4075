// Package pace slows down who asks too often, instead of refusing. Start with [New].
//
// It is a token bucket: a burst passes at once, what exceeds it at a steady rate. Whoever reads requests from a connection waits before
// it reads the next, so that the delay reaches the peer as a full window or socket and no queue grows here.
package pace

import (
	"context"
	"sync"
	"time"
)

// Pace is one bucket. A nil Pace lets everything pass.
type Pace struct {
	every time.Duration // one event's share of a second
	burst time.Duration // how far ahead of time events may be

	mu   sync.Mutex
	next time.Time // when all that was counted has been paid for
}

// New lets burst events pass at once and then perSecond.
func New(perSecond, burst int) *Pace {
	every := time.Second / time.Duration(perSecond)
	return &Pace{every: every, burst: time.Duration(burst) * every}
}

// Wait counts one event and returns when it may go on, or with the error of ctx.
func (p *Pace) Wait(ctx context.Context) error {
	p.Count()
	return p.Settle(ctx)
}

// Count counts an event that happens anyway; who is to read on calls Settle before it does.
func (p *Pace) Count() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); p.next.Before(now) {
		p.next = now
	}
	p.next = p.next.Add(p.every)
}

// Settle returns when what was counted is within the burst again.
func (p *Pace) Settle(ctx context.Context) error {
	if p == nil {
		return ctx.Err()
	}
	p.mu.Lock()
	debt := time.Until(p.next.Add(-p.burst))
	p.mu.Unlock()
	if debt <= 0 {
		return ctx.Err()
	}
	late := time.NewTimer(debt)
	defer late.Stop()
	select {
	case <-late.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Full says that the bucket is as new.
func (p *Pace) Full() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !time.Now().Before(p.next)
}
