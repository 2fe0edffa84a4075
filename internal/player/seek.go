package player

import (
	"context"
	"slices"
	"sync"
	"time"

	"postern/recorder"
)

const (
	// everyBytes is how much is painted between two snapshots: that much is painted again to go back.
	everyBytes = 256 << 10
	// mostHeld is about how much all snapshots may hold. Over it every second one is dropped.
	mostHeld = 128 << 20
	// farBack is how much is painted again rather than to begin in the middle.
	farBack = 2 << 20
	// blindBack is how far before a moment painting begins when nothing says where the screen was clear.
	blindBack = 1 << 20
)

// finder makes the show of any moment. It is used from many goroutines.
type finder struct {
	*loader
	timeline   *timeline
	text       size
	keystrokes bool

	mu        sync.Mutex
	snapshots []*show // exact ones, in order; nobody applies anything to them
	held      int
	every     int
}

func newFinder(l *loader, t *timeline, text size, keystrokes bool) *finder {
	return &finder{loader: l, timeline: t, text: text, keystrokes: keystrokes, every: everyBytes}
}

// seek returns the show of a moment: all frames up to and including it.
func (f *finder) seek(ctx context.Context, at time.Duration) (*show, error) {
	to, err := f.segmentAt(ctx, at)
	if err != nil {
		return nil, err
	}
	s := f.begin(at, to)
	f.ahead(ctx, s.next.segment, to)
	return s, f.forward(ctx, s, func(r recorder.Frame) bool { return r.At <= at })
}

// ahead asks for some segments at once, so that a distant bastion is waited for once.
func (f *finder) ahead(ctx context.Context, from, to uint64) {
	const most = 16
	for n := from + 1; n <= min(to, from+most); n++ {
		go func() { _, _ = f.frames(ctx, n) }()
	}
}

// segmentAt is the last segment that begins at or before a moment.
func (f *finder) segmentAt(ctx context.Context, at time.Duration) (uint64, error) {
	low, high := uint64(0), f.count() // the answer is in [low, high)
	for high-low > 1 {
		middle := (low + high) / 2
		if !f.timeline.span(middle).known {
			frames, err := f.frames(ctx, middle)
			if err != nil {
				return 0, err
			}
			f.timeline.learn(middle, frames)
		}
		if f.timeline.span(middle).begin <= at {
			low = middle
		} else {
			high = middle
		}
	}
	return low, nil
}

// begin finds where to paint from.
func (f *finder) begin(at time.Duration, to uint64) *show {
	s := f.snapshot(at)
	if s == nil {
		s = newShow(f.text, f.keystrokes)
	}
	if f.between(s.next.segment, to) <= farBack {
		return s
	}
	if a, ok := f.timeline.anchor(at); ok {
		if segment := f.timeline.segmentOf(a.Frame); segment >= s.next.segment && segment <= to && f.between(segment, to) <= farBack {
			return f.middle(position{segment, int(a.Frame - f.timeline.parts[segment].First)}, at, a.Channel, a.Offset)
		}
	}
	back := to
	for back > s.next.segment && f.between(back, to) < blindBack {
		back--
	}
	m := f.middle(position{back, 0}, at, recorder.Global, 0)
	m.unsure = true
	return m
}

// between is about how much there is from one segment up to another.
func (f *finder) between(from, to uint64) (n uint64) {
	for ; from < to && n <= farBack; from++ {
		n += f.timeline.bytes(from)
	}
	return n
}

// middle begins a show at a place in the middle, with the terminals that the index knows.
func (f *finder) middle(p position, at time.Duration, channel uint32, offset int) *show {
	s := newShow(f.text, f.keystrokes)
	s.next, s.partial = p, true
	begin := f.timeline.span(p.segment).begin
	seen := map[uint32]bool{}
	s.quiet = map[uint32]bool{}
	f.timeline.mu.Lock()
	for _, file := range f.timeline.files {
		s.quiet[file.Channel] = true
	}
	for _, z := range f.timeline.sizes {
		if z.At <= begin || z.Channel == channel {
			seen[z.Channel] = true
		}
	}
	f.timeline.mu.Unlock()
	for _, id := range sortedKeys(seen) {
		if z, ok := f.timeline.sizeAt(id, max(begin, f.skipTo(id, channel, at))); ok && len(s.panes) < mostPanes {
			s.terminal(id, z.Columns, z.Rows)
			s.last = id
		}
	}
	if channel != recorder.Global {
		s.last = channel
	}
	s.skip, s.skipChannel = offset, channel
	return s
}

// skipTo is the moment whose size counts for a channel.
func (f *finder) skipTo(id, channel uint32, at time.Duration) time.Duration {
	if a, ok := f.timeline.anchor(at); ok && id == channel {
		return a.At
	}
	return 0
}

func sortedKeys(m map[uint32]bool) (list []uint32) {
	for id := range m {
		list = append(list, id)
	}
	slices.Sort(list)
	return list
}

// forward applies frames as long as more says so.
func (f *finder) forward(ctx context.Context, s *show, more func(recorder.Frame) bool) error {
	for s.next.segment < f.count() {
		frames, err := f.frames(ctx, s.next.segment)
		if err != nil {
			return err
		}
		f.timeline.learn(s.next.segment, frames)
		for s.next.frame < len(frames) {
			if !more(frames[s.next.frame]) {
				return nil
			}
			f.step(s, frames)
			if ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if s.next.segment+1 == f.count() {
			return nil
		}
		s.next = position{s.next.segment + 1, 0}
	}
	return ctx.Err()
}

// step applies one frame, and keeps a snapshot now and then.
func (f *finder) step(s *show, frames []recorder.Frame) {
	s.apply(frames[s.next.frame])
	s.next.frame++
	if !s.partial && s.bytes >= f.every {
		s.bytes = 0
		f.keep(s)
	}
}

// snapshot is a show to go on from, the last one up to a moment.
func (f *finder) snapshot(at time.Duration) *show {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, _ := slices.BinarySearchFunc(f.snapshots, at, func(s *show, at time.Duration) int {
		if s.at <= at {
			return -1
		}
		return 1
	})
	if i == 0 {
		return nil
	}
	return f.snapshots[i-1].clone()
}

// keep remembers a moment, if there is none near.
func (f *finder) keep(s *show) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, _ := slices.BinarySearchFunc(f.snapshots, s.next, func(o *show, p position) int {
		if o.next.before(p) {
			return -1
		}
		return 1
	})
	if f.near(i, s) || f.near(i-1, s) {
		return
	}
	f.snapshots = slices.Insert(f.snapshots, i, s.clone())
	if f.held += s.cost(); f.held > mostHeld && len(f.snapshots) > 8 {
		f.thin()
	}
}

// near reports whether snapshot i is of about the same place.
func (f *finder) near(i int, s *show) bool {
	if i < 0 || i >= len(f.snapshots) {
		return false
	}
	o := f.snapshots[i]
	return o.next == s.next || o.next.segment == s.next.segment && f.every > everyBytes
}

func (f *finder) thin() {
	kept := f.snapshots[:0:0]
	f.held, f.every = 0, f.every*2
	for i, s := range f.snapshots {
		if i%2 == 0 {
			kept = append(kept, s)
			f.held += s.cost()
		}
	}
	f.snapshots = kept
}

// walk paints the whole recording, so that every moment is near a snapshot and every segment is verified. each hears how far it is.
func (f *finder) walk(ctx context.Context, each func(*show)) error {
	s := newShow(f.text, f.keystrokes)
	segment := uint64(0)
	return f.forward(ctx, s, func(recorder.Frame) bool {
		if s.next.segment != segment {
			segment = s.next.segment
			each(s)
		}
		return true
	})
}
