package door

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"time"

	"postern/internal/pace"
)

const (
	// A key exchange takes a third of a millisecond of work. A turn that lasts so long is not working but waiting, for a peer that does not
	// take its answers, and passes to the next.
	longestTurn = 5 * time.Millisecond

	// workBurst is how many seconds' worth of its work an address may have at once.
	workBurst = 4

	// Addresses are forgotten when they were quiet for that long. It is looked for when so many are known.
	sweepAddresses = 1024
)

// turns shares out the work that strangers cause. Few of them are served at a moment, so that most of the processor stays with those
// who are logged in; of those that wait, every address gets its turn before any gets a second one, so that a flood from one does not
// keep others out; and each address may cause only so much of it a second.
//
// A turn goes from the arrival of a stranger's bytes to the next read or write: it never waits for the peer.
type turns struct {
	limits Limits

	mu      sync.Mutex
	free    int
	queue   []netip.Prefix // addresses with somebody waiting, in their order
	waiting map[netip.Prefix][]*turn
	paces   map[netip.Prefix]*pace.Pace
	swept   time.Time
}

// turn is one stranger's, waited for or held.
type turn struct {
	ready chan struct{}
	late  *time.Timer
	ended bool // under the lock of turns
}

func newTurns(l Limits) *turns {
	return &turns{limits: l, free: l.MaxAtWork, waiting: map[netip.Prefix][]*turn{}, paces: map[netip.Prefix]*pace.Pace{}}
}

// take waits for a turn. It returns nil when ctx ends.
func (t *turns) take(ctx context.Context, from netip.Prefix) *turn {
	mine := &turn{ready: make(chan struct{})}
	t.mu.Lock()
	if len(t.waiting[from]) == 0 {
		t.queue = append(t.queue, from)
	}
	t.waiting[from] = append(t.waiting[from], mine)
	t.next()
	t.mu.Unlock()
	select {
	case <-mine.ready:
		return mine
	case <-ctx.Done():
		t.end(mine)
		return nil
	}
}

// next gives free turns to who waits. The lock is held.
func (t *turns) next() {
	for t.free > 0 && len(t.queue) > 0 {
		from := t.queue[0]
		t.queue = t.queue[1:]
		first, others := t.waiting[from][0], t.waiting[from][1:]
		if t.waiting[from] = others; len(others) == 0 {
			delete(t.waiting, from)
		} else {
			t.queue = append(t.queue, from)
		}
		if first.ended {
			continue // it did not wait any longer
		}
		t.free--
		first.late = time.AfterFunc(longestTurn, func() { t.end(first) })
		close(first.ready)
	}
}

// end gives a turn back, or gives up waiting for it. It may be called more than once, and with nil.
func (t *turns) end(mine *turn) {
	if mine == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if mine.ended {
		return
	}
	mine.ended = true
	if mine.late != nil {
		mine.late.Stop()
		t.free++
		t.next()
	}
}

// pace is what all strangers of an address share.
func (t *turns) pace(from netip.Prefix) *pace.Pace {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := t.paces[from]
	if p == nil {
		if now := time.Now(); len(t.paces) >= sweepAddresses && now.Sub(t.swept) >= time.Second {
			t.swept = now
			maps.DeleteFunc(t.paces, func(_ netip.Prefix, p *pace.Pace) bool { return p.Full() })
		}
		p = pace.New(t.limits.WorkPerAddress, workBurst*t.limits.WorkPerAddress)
		t.paces[from] = p
	}
	return p
}
