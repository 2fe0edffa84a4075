package bastion

import (
	"maps"
	"sync"
	"time"

	"postern/internal/limit"
)

// tallies is what the sessions of one grant on this bastion have counted together, by limit. Their limits share one lock.
type tallies struct {
	mu    sync.Mutex
	by    map[string]*tally
	until time.Time // the grant may be forgotten then
	live  int       // sessions
}

// tally is one count of a grant.
type tally struct {
	count uint64              // since the limit was released last, also in sessions that ended
	live  uint64              // of it, in sessions that have not
	epoch uint64              // counts the releases
	seen  map[uint64]struct{} // files of a limit on paths, by hash
	last  uint64              // the one that was counted last
}

func (t *tallies) of(l limit.Limit) *tally {
	if t.by == nil {
		t.by = map[string]*tally{}
	}
	one := t.by[l.String()]
	if one == nil {
		one = &tally{}
		if l.Counter == limit.Paths {
			one.seen = map[uint64]struct{}{}
		}
		t.by[l.String()] = one
	}
	return one
}

// add counts n more of a session.
func (w *watched) add(n uint64) {
	if w.epoch != w.tally.epoch {
		w.epoch, w.own = w.tally.epoch, 0
	}
	w.own += n
	w.tally.live += n
	w.tally.count += n
}

// afresh is after a release: the count begins anew, and the file that was released is not held again.
func (w *watched) afresh() {
	t := w.tally
	t.count, t.live = 0, 0
	t.epoch++
	if t.seen != nil {
		t.seen = map[uint64]struct{}{t.last: {}}
	}
}

// spans says whether the CA adds a count up over all sessions of a grant. Files that are different here may be the same there.
func spans(counter string) bool { return counter != limit.Paths }

// share has the session count together with the others of its grant, from what those that ended have used. It is called before anything is counted.
func (r *risk) share(t *tallies, used map[string]uint64) {
	if r == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	r.tallies = t
	for _, w := range r.watched {
		w.tally = t.of(w.Limit)
		w.epoch = w.tally.epoch
		// What ended here, too, is in what the CA says, as soon as it was told.
		w.tally.count = max(w.tally.count, used[w.String()]+w.tally.live)
	}
}

// leave is the end of a session. It returns what the session counted since each limit was released last.
func (r *risk) leave() (counts map[string]uint64) {
	if r == nil {
		return nil
	}
	r.tallies.mu.Lock()
	defer r.tallies.mu.Unlock()
	for _, w := range r.watched {
		if w.epoch != w.tally.epoch || w.own == 0 {
			continue
		}
		w.tally.live -= w.own
		if spans(w.Counter) {
			if counts == nil {
				counts = map[string]uint64{}
			}
			counts[w.String()] = w.own
		}
		w.own = 0
	}
	return counts
}

// grants are the tallies of what is alive.
type grants struct {
	mu sync.Mutex
	by map[string]*tallies
}

// enter is for a session that begins; until is when its grant ends, as far as is known.
func (g *grants) enter(request string, now, until time.Time) *tallies {
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.by, func(_ string, t *tallies) bool { return t.live == 0 && now.After(t.until) })
	if g.by == nil {
		g.by = map[string]*tallies{}
	}
	t := g.by[request]
	if t == nil {
		t = &tallies{}
		g.by[request] = t
	}
	t.live++
	if until.After(t.until) {
		t.until = until
	}
	return t
}

func (g *grants) leave(request string, until time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if t := g.by[request]; t != nil {
		t.live--
		if until.After(t.until) {
			t.until = until
		}
	}
}
