package search

import (
	"cmp"
	"context"
	"runtime"
	"sync"
	"sync/atomic"

	"postern/recorder"
)

// Session is a recording to be searched.
type Session struct {
	ID   string
	Open func(context.Context) (*recorder.Archive, error)
}

// Teller hears of a search, from one goroutine at a time but for Progress. Hit and Done come session by session, in the order in which they were named.
type Teller struct {
	Hit      func(Hit) error
	Done     func(id string, err error) error // a session was searched, or could not be: the others still are
	Progress func(Progress)                   // from any goroutine, often; nil: nobody asks
}

// Sessions searches many recordings, some at a time. An error of a recording is the Teller's; the one returned is its own, or that the context ended.
func (q *Query) Sessions(ctx context.Context, sessions []Session, tell Teller) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	count := &counter{tell: tell.Progress}
	var busy sync.WaitGroup
	defer busy.Wait()
	defer stop(nil)
	queues := make(chan *queue, runtime.GOMAXPROCS(0)) // as many as are searched ahead of the one that is told of
	go func() {
		defer close(queues)
		for _, s := range sessions {
			w := &queue{id: s.ID, hits: make(chan Hit, 1024)}
			select {
			case queues <- w:
			case <-ctx.Done():
				return
			}
			busy.Add(1)
			go func() {
				defer busy.Done()
				defer close(w.hits)
				w.err = q.one(ctx, s, w.hits, count)
			}()
		}
	}()
	for w := range queues {
		for h := range w.hits {
			if err := tell.Hit(h); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			break
		}
		count.sessions.Add(1)
		count.report()
		if err := tell.Done(w.id, w.err); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

// queue is a session that is searched, while another is told of.
type queue struct {
	id   string
	hits chan Hit
	err  error // once hits is closed
}

func (q *Query) one(ctx context.Context, s Session, hits chan<- Hit, count *counter) error {
	a, damage := s.Open(ctx)
	if a == nil {
		return damage
	}
	err := q.Session(ctx, a, func(h Hit) error {
		select {
		case hits <- h:
			count.hits.Add(1)
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}, func(n uint64) error {
		count.bytes.Add(n)
		count.report()
		return ctx.Err()
	})
	return cmp.Or(damage, err)
}

// counter is the progress of all sessions.
type counter struct {
	tell           func(Progress)
	sessions, hits atomic.Int64
	bytes          atomic.Uint64
}

func (c *counter) report() {
	if c.tell != nil {
		c.tell(Progress{Sessions: int(c.sessions.Load()), Bytes: c.bytes.Load(), Hits: int(c.hits.Load())})
	}
}
