package bastion

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"postern/internal/control"
	"postern/recorder"
)

const (
	reportPause = time.Second // after the CA could not be told
	reporters   = 4           // messages under way at once
)

// Reporter tells the CA about recordings, and goes on until the CA has it. Of one session it keeps what is known, not a queue of messages:
// an hour without the CA costs an entry for each session. What the CA has not acknowledged when the process dies, the recorder finds again.
type Reporter struct {
	Send func(context.Context, control.Progress) error // a *control.Refused ends the matter
	Told func(session string) error                    // the CA knows how that recording ended
	Log  *slog.Logger

	mu      sync.Mutex
	known   map[string]*report
	waiting []string // sessions with news, oldest first
	busy    int
	change  chan struct{} // closed and replaced at every change
}

// report is what is known of one session. Only one message of a session is under way at a time, or a later one could overtake it and the CA
// would see the recording shrink.
type report struct {
	control.Progress
	queued, sending, news bool
}

// Tell adds what is known about a session. It does not block.
func (r *Reporter) Tell(p control.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.known == nil {
		r.known = map[string]*report{}
	}
	s := r.known[p.Session]
	if s == nil {
		s = &report{Progress: control.Progress{Session: p.Session}}
		r.known[p.Session] = s
	}
	s.merge(p)
	r.queue(s)
}

// Sealed is Tell for what the recorder says.
func (r *Reporter) Sealed(p recorder.Progress) {
	told := control.Progress{Session: p.Session, Frames: p.Frames, Head: hex.EncodeToString(p.Head[:]), Segments: p.Segments,
		SealedHead: hex.EncodeToString(p.SealedHead[:]), Sealed: p.Sealed, Interrupted: p.Interrupted}
	r.Tell(told)
}

// Recovered tells of recordings that the recorder found when it opened.
func (r *Reporter) Recovered(list []recorder.Progress) {
	for _, p := range list {
		end := "closed"
		if p.Interrupted {
			end = "interrupted"
		}
		r.Sealed(p) // first: an end without frames would be the last word
		r.Tell(control.Progress{Session: p.Session, End: end})
	}
}

// merge keeps the furthest of both: the recorder's words about segments and the session's about frames overtake each other.
func (s *report) merge(p control.Progress) {
	if p.Frames >= s.Frames && p.Head != "" {
		s.Frames, s.Head = p.Frames, p.Head
	}
	if p.Segments >= s.Segments && p.SealedHead != "" {
		s.Segments, s.SealedHead = p.Segments, p.SealedHead
	}
	if s.End == "" {
		s.End = p.End
	}
	if s.Counts == nil {
		s.Counts = p.Counts
	}
	s.Sealed = s.Sealed || p.Sealed
	s.Interrupted = s.Interrupted || p.Interrupted
}

func (r *Reporter) queue(s *report) {
	s.news = true
	if !s.queued && !s.sending {
		s.queued = true
		r.waiting = append(r.waiting, s.Session)
	}
	r.tellWaiting()
}

func (r *Reporter) tellWaiting() {
	if r.change != nil {
		close(r.change)
		r.change = nil
	}
}

// next takes a session with news, or says what to wait for.
func (r *Reporter) next() (p control.Progress, ok bool, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.waiting) == 0 {
		if r.change == nil {
			r.change = make(chan struct{})
		}
		return p, false, r.change
	}
	s := r.known[r.waiting[0]]
	r.waiting = r.waiting[1:]
	s.queued, s.sending, s.news = false, true, false
	r.busy++
	p = s.Progress
	// The CA takes a sealed recording for the last word, so the end comes with it.
	p.Sealed = p.Sealed && p.End != ""
	return p, true, nil
}

func (r *Reporter) done(p control.Progress, again bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.busy--
	s := r.known[p.Session]
	s.sending = false
	switch {
	case !again && (p.Sealed || p.End != "" && p.Frames == 0 && !s.news): // nothing, or nothing more, was recorded
		delete(r.known, p.Session) // news that came meanwhile is none
	case again || s.news:
		r.queue(s)
	}
	r.tellWaiting()
}

// Run sends until ctx ends.
func (r *Reporter) Run(ctx context.Context) {
	var group sync.WaitGroup
	for range reporters {
		group.Go(func() { r.work(ctx) })
	}
	group.Wait()
}

func (r *Reporter) work(ctx context.Context) {
	for ctx.Err() == nil {
		p, ok, changed := r.next()
		if !ok {
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		err := r.Send(ctx, p)
		var no *control.Refused
		refused := errors.As(err, &no) && no.Status != 3
		if refused {
			r.Log.Error("the CA does not take what is known of a recording", "session", p.Session, "why", no.Message)
		}
		if (err == nil || refused) && p.Sealed && r.Told != nil {
			if terr := r.Told(p.Session); terr != nil {
				r.Log.Error("recorder", "session", p.Session, "error", terr)
			}
		}
		again := err != nil && !refused
		r.done(p, again)
		if again {
			select {
			case <-time.After(reportPause):
			case <-ctx.Done():
			}
		}
	}
}

// Flush waits until the CA has everything, or ctx ends.
func (r *Reporter) Flush(ctx context.Context) error {
	for {
		r.mu.Lock()
		left := len(r.waiting) + r.busy
		if r.change == nil {
			r.change = make(chan struct{})
		}
		changed := r.change
		r.mu.Unlock()
		if left == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
