package player

import (
	"cmp"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"postern/recorder"
	"postern/recorder/index"
)

// timeline is what is known of a session without painting it. It grows while entries come in.
type timeline struct {
	parts []recorder.Part

	mu       sync.Mutex
	known    []span // of segments, as far as they are known
	commands []index.Command
	files    []index.File
	marks    []index.Mark
	sizes    []index.Size
	anchors  []index.Anchor
	active   map[int64]uint32 // bytes of output in a second of the session
	seconds  []int64          // of active, sorted; nil: not sorted yet
}

type span struct {
	begin, end time.Duration
	bytes      uint64
	known      bool
	seen       bool // in the frames; else it is what the bastion said
}

func newTimeline(parts []recorder.Part) *timeline {
	t := &timeline{parts: parts, known: make([]span, len(parts)), active: map[int64]uint32{}}
	for i, p := range parts {
		if p.Index != nil {
			t.known[i] = span{begin: p.Begin, end: p.End, bytes: p.Bytes, known: true}
		}
	}
	return t
}

// learn takes note of when the frames of a segment are, whatever the index said of it.
func (t *timeline) learn(n uint64, frames []recorder.Frame) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(frames) == 0 || t.known[n].seen {
		return
	}
	s := span{begin: frames[0].At, end: frames[len(frames)-1].At, known: true, seen: true}
	for _, f := range frames {
		s.bytes += uint64(len(f.Data))
	}
	t.known[n] = s
}

// mostSeconds bounds what a bastion makes us remember of when there was output: three days.
const mostSeconds = 72 * 3600

// add takes an entry of the index. A bastion may say anything in one: nothing here relies on it but where to look.
func (t *timeline) add(e index.Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.Segment < uint64(len(t.known)) && !t.known[e.Segment].known && e.End > 0 {
		t.known[e.Segment] = span{begin: e.Begin, end: e.End, bytes: uint64(t.parts[e.Segment].Sealed) * 5, known: true}
	}
	t.commands = ordered(t.commands, e.Commands, func(c index.Command) time.Duration { return c.At })
	t.files = ordered(t.files, e.Files, func(f index.File) time.Duration { return f.At })
	t.marks = ordered(t.marks, e.Marks, func(m index.Mark) time.Duration { return m.At })
	t.sizes = append(t.sizes, e.Sizes...)
	t.anchors = append(t.anchors, e.Anchors...)
	t.seconds = nil
	begin := int64(e.Begin / time.Second)
	for i, n := range e.Activity {
		if n > 0 && len(t.active) < mostSeconds {
			t.active[begin+int64(i)] += n
		}
	}
}

// ordered appends what comes next. Lists that were given out stay as they are.
func ordered[T any](list, more []T, at func(T) time.Duration) []T {
	sorted := len(list)
	list = append(list, more...)
	byTime := func(a, b T) int { return cmp.Compare(at(a), at(b)) }
	if !slices.IsSortedFunc(list[max(sorted-1, 0):], byTime) {
		list = slices.Clone(list)
		slices.SortStableFunc(list, byTime)
	}
	return list
}

// lists are the moments that a person may jump to.
func (t *timeline) lists() ([]index.Command, []index.File, []index.Mark) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.commands, t.files, t.marks
}

// span is what is known of a segment.
func (t *timeline) span(n uint64) span {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.known[n]
}

// total is how long the session was, as far as is known.
func (t *timeline) total() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.known) - 1; i >= 0; i-- {
		if t.known[i].known {
			return t.known[i].end
		}
	}
	return 0
}

// bytes is about how much is in a segment.
func (t *timeline) bytes(n uint64) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known[n].known {
		return max(t.known[n].bytes, uint64(t.parts[n].Sealed))
	}
	return uint64(t.parts[n].Sealed) * 5
}

// segmentOf is the one that the frame with that number is in.
func (t *timeline) segmentOf(frame uint64) uint64 {
	i := sort.Search(len(t.parts), func(i int) bool { return t.parts[i].First > frame })
	return uint64(max(i-1, 0))
}

// sizeAt is that of a terminal at a moment.
func (t *timeline) sizeAt(channel uint32, at time.Duration) (s index.Size, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, z := range t.sizes {
		if z.Channel == channel && z.At <= at {
			s, ok = z, true
		}
	}
	return s, ok
}

// anchor is the last one up to a moment.
func (t *timeline) anchor(at time.Duration) (best index.Anchor, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, a := range t.anchors {
		if a.At <= at && (!ok || a.Frame >= best.Frame) {
			best, ok = a, true
		}
	}
	return best, ok
}

// shown is how long the show is up to a moment of the session, when pauses are cut to idle. Without an index it is not known.
func (t *timeline) shown(at, idle time.Duration) (time.Duration, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.active) == 0 || idle <= 0 {
		return at, len(t.active) > 0
	}
	if idle < time.Second {
		idle = time.Second // activity is kept by the second
	}
	if t.seconds == nil {
		t.seconds = slices.Sorted(maps.Keys(t.active))
	}
	var sum, last time.Duration
	for _, s := range t.seconds {
		moment := min(time.Duration(s)*time.Second, at)
		if moment > last {
			sum += min(moment-last, idle)
			last = moment
		}
		if moment == at {
			return sum, true
		}
	}
	return sum + min(at-last, idle), true
}

// bars are n numbers between 0 and 8 that say when there was how much output.
func (t *timeline) bars(n int) []int {
	bars, total := make([]int, n), t.total()
	t.mu.Lock()
	defer t.mu.Unlock()
	if total <= 0 || n == 0 {
		return bars
	}
	sums, most := make([]float64, n), 0.0
	for s, bytes := range t.active {
		i := int(time.Duration(s) * time.Second * time.Duration(n) / (total + 1))
		if i >= 0 && i < n {
			sums[i] += float64(bytes)
			most = max(most, sums[i])
		}
	}
	for i, v := range sums {
		if v > 0 {
			bars[i] = 1 + int(7*v/most)
		}
	}
	return bars
}

// running is the last command up to a moment.
func (t *timeline) running(at time.Duration) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := sort.Search(len(t.commands), func(i int) bool { return t.commands[i].At > at })
	if i == 0 {
		return ""
	}
	return t.commands[i-1].Text
}
