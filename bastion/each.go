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

// step is a piece of work. giveUp must not wait, and should make do return.
type step struct{ do, giveUp func() }

// each does everything in list, a few at once, in order, and returns when each is done or was given up, limit after it began or later if this process
// did not get to run. What is stuck holds up nobody: as long as nothing gets done, the few double.
//
// All at once would be slower: what each step sets off (connections that end, programs that die) would then run before the last step does.
func each(list []step, limit time.Duration) []done {
	if len(list) == 0 {
		return nil
	}
	work := &crew{list: list, born: time.Now(), began: make([]atomic.Int64, len(list)), ended: make([]atomic.Int64, len(list)), over: make(chan struct{})}
	work.left.Store(int64(len(list)))
	work.ticks.Store(1) // 0 is not yet
	hands := min(runtime.GOMAXPROCS(0), len(list))
	work.join(hands)
	tick := time.NewTicker(stuck)
	defer tick.Stop()
	for before := int64(0); ; {
		work.ticks.Add(1)
		select {
		case <-work.over:
			return work.outcome()
		case <-tick.C:
		}
		work.giveUp(int64(limit / stuck))
		left := work.left.Load()
		if left == before && int(work.next.Load()) < len(list) {
			work.join(hands)
			hands *= 2
		}
		before = left
	}
}

// crew shares one piece of work. Ends are nanoseconds after it was born; 0: not yet.
type crew struct {
	list  []step
	born  time.Time
	next  atomic.Int64
	ticks atomic.Int64   // of the clock that limits are measured by; what a machine that is too busy keeps from us does not count
	began []atomic.Int64 // in ticks
	ended []atomic.Int64 // negative: given up
	left  atomic.Int64
	over  chan struct{}
}

func (c *crew) now() int64 { return max(1, int64(time.Since(c.born))) }

func (c *crew) join(hands int) {
	for range hands {
		go func() {
			for {
				i := int(c.next.Add(1)) - 1
				if i >= len(c.list) {
					return
				}
				c.began[i].Store(c.ticks.Load())
				c.list[i].do()
				if c.ended[i].CompareAndSwap(0, c.now()) {
					c.less()
				}
			}
		}()
	}
}

func (c *crew) less() {
	if c.left.Add(-1) == 0 {
		close(c.over)
	}
}

func (c *crew) giveUp(limit int64) {
	for i := range c.list {
		began := c.began[i].Load()
		if began == 0 || c.ended[i].Load() != 0 || c.ticks.Load()-began < limit {
			continue
		}
		if c.ended[i].CompareAndSwap(0, -c.now()) {
			c.list[i].giveUp()
			c.less()
		}
	}
}

func (c *crew) outcome() []done {
	list := make([]done, len(c.list))
	for i := range list {
		at := c.ended[i].Load()
		list[i] = done{c.born.Add(time.Duration(max(at, -at))), at < 0}
	}
	return list
}
