// Package player shows a recording on the auditor's terminal: full screen, with keys to move about in time.
//
// Start with [Run]. Everything that is painted is cells of a [screen.Screen], so nothing that a host printed reaches the terminal as it was. Segments are
// fetched when they are wanted: where the index knows a moment at which the screen was clear, opening at minute 50 costs what opening at 0 does. Until the exact
// state is known the status line says so.
package player

import (
	"context"
	"fmt"
	"slices"
	"time"

	"postern/recorder"
	"postern/recorder/index"
)

// Recording is what is shown.
type Recording struct {
	Archive *recorder.Archive
	Header  recorder.Header
	Damage  error // why it does not verify, when only what is good of it is here
}

// Options say how the show begins.
type Options struct {
	Speed      float64       // 2 is twice as fast; 0: 1
	Idle       time.Duration // longest pause shown; 0: 2 s, and switched off
	From       time.Duration
	Keystrokes bool // what was typed is among the events, as far as the archive can open it
}

const (
	slowest, fastest = 0.25, 16
	usualIdle        = 2 * time.Second
)

// player is the state of the show. Only the goroutine of its loop touches it; what takes long happens elsewhere and comes back through post.
type player struct {
	Recording
	ctx    context.Context
	finder *finder
	post   chan func()

	now      time.Duration // in the session
	show     *show         // what is painted; nil: nothing yet
	playing  bool
	speed    float64
	idle     time.Duration
	skipping bool
	waiting  bool // for a segment

	seek    int // number of the last one
	cancel  context.CancelFunc
	busy    bool // a seek is under way, or a segment
	seeking bool
	since   time.Time // the last seek began
	another bool      // is wanted when it ends

	channel uint32 // whose pane is shown
	follow  bool   // it is the one that says something
	view    view
	mode    mode
	input   []rune
	list    list
	pager   *pager
	search  *search
	wanting *bool // a hit, as soon as there is one: back or not
	message string
	indexed bool // all entries of the index came
	walking bool // everything is being painted
	exact   bool // and was, once
	quit    bool
	columns int
	rows    int
}

type mode int

const (
	watching mode = iota
	askingTime
	askingSearch
	choosing
	helping
	paging
)

// view is which part of a screen is painted when it is larger than the auditor's.
type view struct {
	x, y  int
	fixed bool // moved by hand; else it follows the cursor
}

func newPlayer(ctx context.Context, r Recording, o Options, columns, rows int) *player {
	p := &player{Recording: r, ctx: ctx, post: make(chan func(), 64), speed: o.Speed, idle: o.Idle, skipping: o.Idle > 0, follow: true, columns: columns, rows: rows}
	if p.speed == 0 {
		p.speed = 1
	}
	p.speed = min(max(p.speed, slowest), fastest)
	if p.idle <= 0 {
		p.idle = usualIdle
	}
	p.channel = recorder.Global
	text := size{min(max(columns, 40), 200), min(max(rows-statusRows, 10), 100)}
	p.finder = newFinder(newLoader(r.Archive), newTimeline(r.Archive.Parts()), text, o.Keystrokes)
	p.now = o.From
	return p
}

// begin fetches the index and paints the first moment.
func (p *player) begin() {
	at := p.now
	if !p.outlined() { // making the index takes all segments, so nobody waits for it
		p.playing = true
		p.background(p.learn)
		p.seekTo(at)
		return
	}
	p.busy = true
	p.background(func() {
		p.learn()
		p.later(func() { p.playing = true; p.seekTo(at) })
	})
}

// outlined reports whether the bastion left an index of every segment.
func (p *player) outlined() bool {
	return !slices.ContainsFunc(p.Archive.Parts(), func(part recorder.Part) bool { return len(part.Index) == 0 })
}

// learn reads the index, or makes it.
func (p *player) learn() {
	_, err := index.Of(p.ctx, p.Archive, p.finder.timeline.add)
	p.later(func() {
		if p.indexed = err == nil; err != nil && p.ctx.Err() == nil {
			p.message = "the index cannot be read: " + err.Error()
		}
	})
}

// background runs what takes long.
func (p *player) background(fn func()) { go fn() }

// later has fn run in the loop.
func (p *player) later(fn func()) {
	select {
	case p.post <- fn:
	case <-p.ctx.Done():
	}
}

// How large a recording is, as it is kept, that is painted from end to end in the background: at once, and when a show that began in the middle can only
// become exact that way.
const (
	small      = 8 << 20
	affordable = 64 << 20
)

// complete paints the whole recording in the background, so that every moment becomes exact.
func (p *player) complete() {
	sealed, limit := 0, small
	if p.show.partial {
		limit = affordable
	}
	for _, part := range p.Archive.Parts() {
		sealed += int(part.Sealed)
	}
	if p.walking || sealed > limit {
		return
	}
	p.walking = true
	p.background(func() {
		err := p.finder.walk(p.ctx, func(*show) { p.later(func() {}) })
		p.later(func() {
			if p.exact = err == nil; p.exact && p.show != nil && p.show.partial && !p.busy {
				p.seekTo(p.now)
			}
		})
	})
}

// patience is how long a seek may take before another one ends it. Until then the other one waits: a key that is held down must not keep the show from being painted.
const patience = 500 * time.Millisecond

// seekTo shows another moment.
func (p *player) seekTo(at time.Duration) {
	p.now = max(at, 0)
	if total := p.finder.timeline.total(); total > 0 {
		p.now = min(p.now, total)
	}
	if p.seeking && time.Since(p.since) < patience {
		p.another = true
		return
	}
	if p.cancel != nil {
		p.cancel()
	}
	ctx, cancel := context.WithCancel(p.ctx)
	p.cancel, p.busy, p.seeking, p.another, p.since = cancel, true, true, false, time.Now()
	p.seek++
	number, to := p.seek, p.now
	p.background(func() {
		s, err := p.finder.seek(ctx, to)
		p.later(func() { p.arrived(number, s, err) })
	})
}

// arrived takes what a seek found, if it is still wanted.
func (p *player) arrived(number int, s *show, err error) {
	if number != p.seek {
		return
	}
	p.busy, p.waiting, p.seeking = false, false, false
	if p.another {
		defer p.seekTo(p.now)
	}
	if err != nil {
		p.playing = false
		p.message = err.Error()
	}
	if s == nil {
		return
	}
	p.show = s
	if total := p.finder.timeline.total(); total > 0 {
		p.now = min(p.now, total)
	}
	p.pick()
	p.complete()
}

// pick chooses the pane that is shown.
func (p *player) pick() {
	if p.show == nil {
		return
	}
	if p.follow && p.show.pane(p.show.last) != nil {
		p.choose(p.show.last)
	}
	if p.show.pane(p.channel) == nil {
		p.choose(p.show.panes[len(p.show.panes)-1].channel)
	}
}

func (p *player) choose(channel uint32) {
	if p.channel != channel {
		p.channel, p.view = channel, view{}
	}
}

// advance lets time pass: real is what passed on the auditor's clock.
func (p *player) advance(real time.Duration) {
	if !p.playing || p.busy || p.show == nil {
		return
	}
	to := p.now + time.Duration(float64(real)*p.speed)
	// A burst of output must not keep the keys from being heard, so a tick does a bounded piece of it and time waits.
	for budget := 1 << 20; budget > 0; {
		f, state := p.upcoming()
		if state != here {
			p.pause(state, to)
			return
		}
		if p.skipping && f.At > to && to-p.show.at >= p.idle {
			to = f.At
		}
		if f.At > to {
			p.now = to
			return
		}
		budget -= len(f.Data) + 64
		p.apply()
	}
	p.now = p.show.at
}

type availability int

const (
	here availability = iota
	absent
	over
)

// upcoming is the next frame.
func (p *player) upcoming() (recorder.Frame, availability) {
	s := p.show
	for {
		if s.next.segment >= p.finder.count() {
			return recorder.Frame{}, over
		}
		frames, ok := p.finder.peek(s.next.segment)
		if !ok {
			return recorder.Frame{}, absent
		}
		if s.next.frame < len(frames) {
			return frames[s.next.frame], here
		}
		if s.next.segment+1 >= p.finder.count() {
			return recorder.Frame{}, over
		}
		s.next = position{s.next.segment + 1, 0}
		p.fetch(s.next.segment + 1)
	}
}

// apply shows the next frame, which is here.
func (p *player) apply() {
	frames, _ := p.finder.peek(p.show.next.segment)
	if p.show.next.frame >= len(frames) {
		return
	}
	p.finder.timeline.learn(p.show.next.segment, frames)
	p.finder.step(p.show, frames)
	p.pick()
}

// pause is for time that cannot pass.
func (p *player) pause(why availability, to time.Duration) {
	if why == over {
		p.now, p.playing = min(to, max(p.show.at, p.now)), false
		p.message = p.theEnd()
		return
	}
	p.now = max(p.now, p.show.at)
	p.waiting = true
	number := p.seek
	segment := p.show.next.segment
	p.busy = true
	p.background(func() {
		_, err := p.finder.frames(p.ctx, segment)
		p.later(func() {
			if number != p.seek {
				return
			}
			p.busy, p.waiting = false, false
			if err != nil {
				p.playing, p.message = false, err.Error()
			}
		})
	})
}

// theEnd says what kind of an end it is.
func (p *player) theEnd() string {
	switch sum := p.Archive.Summary(); {
	case p.Damage != nil:
		return "the end of what is good of it"
	case sum.Live:
		return "it goes on: postern watch " + p.Header.Session
	case sum.Interrupted:
		return "the end: the bastion died here"
	}
	return "the end"
}

// fetch has a segment come before it is wanted.
func (p *player) fetch(segment uint64) {
	if segment >= p.finder.count() {
		return
	}
	if _, ok := p.finder.peek(segment); !ok {
		p.background(func() { _, _ = p.finder.frames(p.ctx, segment) })
	}
}

// stepOne shows the next frame that changes what is shown.
func (p *player) stepOne() {
	p.playing = false
	if p.show == nil || p.busy {
		return
	}
	for drawn := p.show.drawn; p.show.drawn == drawn; {
		_, state := p.upcoming()
		if state != here {
			p.pause(state, p.now)
			return
		}
		p.apply()
		p.now = p.show.at
	}
}

// find begins a search for what was asked.
func (p *player) find(text string) {
	p.stopSearch()
	if text == "" {
		return
	}
	ctx, cancel := context.WithCancel(p.ctx)
	q := &search{pattern: newPattern(text), cancel: cancel}
	p.search = q
	from := p.now
	p.background(func() {
		q.run(ctx, p.finder, from, func() { p.later(func() { p.hits(q) }) })
	})
	p.nextHit(false)
}

func (p *player) stopSearch() {
	if p.search != nil {
		p.search.cancel()
		p.search = nil
	}
	p.wanting = nil
}

// nextHit jumps to the hit after this moment or before it, if need be when it is found.
func (p *player) nextHit(back bool) {
	if p.search == nil {
		p.message = "nothing to search for yet: /"
		return
	}
	p.wanting = &back
	p.hits(p.search)
}

// hits jumps to a hit that is waited for.
func (p *player) hits(q *search) {
	if q != p.search || p.wanting == nil {
		return
	}
	back := *p.wanting
	h, number, ok := q.next(p.now, back)
	count, _, done, err := q.state()
	if !ok && done && !back && !q.jumped {
		h, number, ok = q.next(-1, false) // none after this moment: the first of all
	}
	switch {
	case ok:
		p.wanting, q.jumped = nil, true
		p.playing, p.follow = false, false
		p.choose(h.channel)
		p.seekTo(h.at)
		p.message = fmt.Sprintf("hit %d of %d: %s", number, count, h.text)
		if h.gone {
			p.message = fmt.Sprintf("hit %d of %d scrolled away at once (t shows it): %s", number, count, h.text)
		}
	case done && err != nil:
		p.wanting, p.message = nil, "the search ended: "+err.Error()
	case done && count == 0:
		p.wanting, p.message = nil, fmt.Sprintf("no screen showed %q", q.pattern.text)
	case done:
		p.wanting, p.message = nil, "no more hits that way"
	}
}
