package bastion

import (
	"runtime"
	"sync/atomic"
	"time"
)

// stuck is how long nothing may get done before more are at work.
const stuck = 2 * time.Millisecond

// done is how a piece of work came out: when it was done, or when it was given up.
type done struct {
	at   time.Time
	late bool
}

// each calls f for everything in list, a few at once, in order, and returns when each call has returned or was given up, limit after it began.
// A call that is stuck holds up nobody: as long as nothing gets done, the few double. giveUp must not wait, and should make f return.
//
// All at once would be slower: what each call sets off (connections that end, programs that die) would then run before the last call does.
func each[T any](list []T, limit time.Duration, f, giveUp func(T)) []done {
	work := &crew[T]{list: list, f: f, born: time.Now(), began: make([]atomic.Int64, len(list)), ended: make([]atomic.Int64, len(list)), over: make(chan struct{})}
	if len(list) == 0 {
		return nil
	}
	work.left.Store(int64(len(list)))
	hands := min(runtime.GOMAXPROCS(0), len(list))
	work.join(hands)
	tick := time.NewTicker(stuck)
	defer tick.Stop()
	for before := int64(0); ; {
		select {
		case <-work.over:
			return work.outcome()
		case <-tick.C:
		}
		work.giveUp(limit, giveUp)
		left := work.left.Load()
		if left == before && int(work.next.Load()) < len(list) {
			work.join(hands)
			hands *= 2
		}
		before = left
	}
}

// crew shares one piece of work. Times are nanoseconds after born; 0: not yet.
type crew[T any] struct {
	list  []T
	f     func(T)
	born  time.Time
	next  atomic.Int64
	began []atomic.Int64
	ended []atomic.Int64 // negative: given up
	left  atomic.Int64
	over  chan struct{}
}

func (c *crew[T]) now() int64 { return max(1, int64(time.Since(c.born))) }

func (c *crew[T]) join(hands int) {
	for range hands {
		go func() {
			for {
				i := int(c.next.Add(1)) - 1
				if i >= len(c.list) {
					return
				}
				c.began[i].Store(c.now())
				c.f(c.list[i])
				c.end(i, c.now())
			}
		}()
	}
}

func (c *crew[T]) end(i int, at int64) bool {
	first := c.ended[i].CompareAndSwap(0, at)
	if first && c.left.Add(-1) == 0 {
		close(c.over)
	}
	return first
}

func (c *crew[T]) giveUp(limit time.Duration, giveUp func(T)) {
	for i := range c.list {
		began := c.began[i].Load()
		if began == 0 || c.ended[i].Load() != 0 || c.now()-began < int64(limit) {
			continue
		}
		giveUp(c.list[i])
		c.end(i, -c.now())
	}
}

func (c *crew[T]) outcome() []done {
	list := make([]done, len(c.list))
	for i := range list {
		at := c.ended[i].Load()
		list[i] = done{c.born.Add(time.Duration(max(at, -at))), at < 0}
	}
	return list
}
