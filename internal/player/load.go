package player

import (
	"context"
	"errors"
	"slices"
	"sync"

	"postern/recorder"
)

// loader fetches segments, each once while it is remembered, and counts those that turned out to be what was signed.
type loader struct {
	archive *recorder.Archive

	mu       sync.Mutex
	segments map[uint64]*segment
	recent   []uint64 // of those that are here, the one used last at the end
	bytes    int
	verified map[uint64]bool
	fault    error  // of the first segment that is not what was signed
	faultAt  uint64 // which it is
}

type segment struct {
	ready  chan struct{}
	frames []recorder.Frame
	bytes  int
	err    error
}

// Segments in memory, in the clear.
const mostLoaded = 48 << 20

func newLoader(a *recorder.Archive) *loader {
	return &loader{archive: a, segments: map[uint64]*segment{}, verified: map[uint64]bool{}}
}

func (l *loader) count() uint64 { return uint64(len(l.archive.Parts())) }

// frames returns those of segment n, fetching it if need be.
func (l *loader) frames(ctx context.Context, n uint64) ([]recorder.Frame, error) {
	for {
		l.mu.Lock()
		s, here := l.segments[n]
		if !here {
			s = &segment{ready: make(chan struct{})}
			l.segments[n] = s
			l.mu.Unlock()
			l.fetch(ctx, n, s)
			return s.frames, s.err
		}
		l.mu.Unlock()
		select {
		case <-s.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if s.err != nil && ctx.Err() == nil {
			continue // another one gave up waiting for it, or it failed: ask again
		}
		l.use(n)
		return s.frames, s.err
	}
}

func (l *loader) fetch(ctx context.Context, n uint64, s *segment) {
	s.frames, s.err = l.archive.Frames(ctx, n)
	for _, f := range s.frames {
		s.bytes += len(f.Data) + 64
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	defer close(s.ready)
	// A segment that is not what was signed stays so: what is good of it is shown, and what comes behind it. One that did not come is asked for again.
	bad := new(recorder.Fault)
	if errors.As(s.err, &bad) {
		if l.fault == nil || bad.Segment < l.faultAt {
			l.fault, l.faultAt = s.err, bad.Segment
		}
		s.err = nil
	} else if s.err == nil {
		l.verified[n] = true
	}
	if s.err != nil {
		delete(l.segments, n)
		return
	}
	l.bytes += s.bytes
	l.recent = append(l.recent, n)
	for l.bytes > mostLoaded && len(l.recent) > 1 {
		old := l.recent[0]
		l.bytes -= l.segments[old].bytes
		delete(l.segments, old)
		l.recent = l.recent[1:]
	}
}

func (l *loader) use(n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.recent, n); i >= 0 {
		l.recent = append(slices.Delete(l.recent, i, i+1), n)
	}
}

// peek returns the frames of a segment if they are here.
func (l *loader) peek(n uint64) ([]recorder.Frame, bool) {
	l.mu.Lock()
	s, here := l.segments[n]
	l.mu.Unlock()
	if !here {
		return nil, false
	}
	select {
	case <-s.ready:
		return s.frames, s.err == nil
	default:
		return nil, false
	}
}

// state says how many segments were verified, and what is wrong.
func (l *loader) state() (verified int, fault error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.verified), l.fault
}
