package player

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/recorder"
	"postern/recorder/screen"
)

// pattern is what a person searches for: a regular expression, or the text itself if it is none. Letters match in any case, unless one of them is a capital.
type pattern struct {
	text  string
	fold  bool
	ascii bool
	re    *regexp.Regexp // nil: text has nothing that is special
}

func newPattern(text string) pattern {
	p := pattern{text: text, fold: !strings.ContainsFunc(text, unicode.IsUpper)}
	p.ascii = !strings.ContainsFunc(text, func(r rune) bool { return r >= utf8.RuneSelf })
	if regexp.QuoteMeta(text) == text {
		return p
	}
	expression := text
	if p.fold {
		expression = "(?i)" + text
	}
	if re, err := regexp.Compile(expression); err == nil {
		p.re = re
	}
	return p
}

// find returns where it is in a line, or a negative number.
func (p pattern) find(line string) (begin, end int) {
	if p.re != nil {
		if at := p.re.FindStringIndex(line); at != nil && at[1] > at[0] {
			return at[0], at[1]
		}
		return -1, -1
	}
	var i int
	switch {
	case p.fold && p.ascii:
		i = indexFold(line, p.text)
	case p.fold:
		i = strings.Index(fold(line), p.text)
	default:
		i = strings.Index(line, p.text)
	}
	if i < 0 || p.text == "" {
		return -1, -1
	}
	return i, i + len(p.text)
}

// indexFold is where text, which is ASCII without capitals, is in a line, in any case.
func indexFold(line, text string) int {
	if text == "" {
		return 0
	}
	for i := 0; i+len(text) <= len(line); i++ {
		if lower(line[i]) != text[0] {
			continue
		}
		j := 1
		for j < len(text) && lower(line[i+j]) == text[j] {
			j++
		}
		if j == len(text) {
			return i
		}
	}
	return -1
}

func lower(c byte) byte {
	if c >= 'A' && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// fold makes letters small that are as long as their capitals, so that places in the line stay what they are.
func fold(s string) string {
	return strings.Map(func(r rune) rune {
		if small := unicode.ToLower(r); utf8.RuneLen(small) == utf8.RuneLen(r) {
			return small
		}
		return r
	}, s)
}

// hit is a moment at which a line came to match.
type hit struct {
	at      time.Duration
	channel uint32
	text    string
	gone    bool // it had left the screen again when the host paused for breath
}

// search looks for a pattern in what the screens showed, from where the auditor is to the end and then from the beginning.
type search struct {
	pattern pattern
	cancel  context.CancelFunc
	jumped  bool // to a hit; only the loop looks at it

	mu   sync.Mutex
	hits []hit // in order of time
	part float64
	done bool
	err  error
}

// Of a word that is everywhere, so many.
const mostHits = 10000

// run searches. changed is told when there is something new.
func (q *search) run(ctx context.Context, f *finder, from time.Duration, changed func()) {
	total := max(f.timeline.total(), 1)
	progress := func(gone time.Duration) {
		q.mu.Lock()
		q.part = min(float64(gone)/float64(total), 1)
		q.mu.Unlock()
		changed()
	}
	err := q.pass(ctx, f, from, 1<<62, func(at time.Duration) { progress(at - from) })
	if err == nil && from > 0 {
		err = q.pass(ctx, f, 0, from, func(at time.Duration) { progress(total - from + at) })
	}
	q.mu.Lock()
	q.done, q.err = true, err
	q.mu.Unlock()
	changed()
}

func (q *search) pass(ctx context.Context, f *finder, from, to time.Duration, progress func(time.Duration)) error {
	s, err := f.seek(ctx, from)
	if err != nil {
		return err
	}
	w := &watcher{search: q, seen: map[uint32]map[string]bool{}}
	for _, p := range s.panes {
		w.see(p)
	}
	for s.next.segment < f.count() {
		frames, err := f.frames(ctx, s.next.segment)
		if err != nil {
			return err
		}
		progress(s.at)
		for s.next.frame < len(frames) {
			if r := frames[s.next.frame]; r.At > to || ctx.Err() != nil {
				return ctx.Err()
			}
			w.step(f, s, frames)
		}
		if s.next.segment+1 == f.count() {
			break
		}
		s.next = position{s.next.segment + 1, 0}
	}
	return nil
}

// watcher sees which lines are new.
type watcher struct {
	search *search
	seen   map[uint32]map[string]bool // by channel: the lines on the screen that match
}

// step applies a frame and looks at what it changed.
func (w *watcher) step(f *finder, s *show, frames []recorder.Frame) {
	r := frames[s.next.frame]
	p := s.pane(r.Channel)
	if p == nil || p == s.panes[0] {
		f.step(s, frames)
		if p = s.pane(r.Channel); p != nil && p != s.panes[0] {
			w.look(s, p, nil)
		}
		return
	}
	before := p.screen.Clone()
	p.screen.OnScroll(func(line string) { w.line(hit{at: s.at, channel: p.channel, text: line, gone: true}) })
	f.step(s, frames)
	p.screen.OnScroll(nil)
	if now := s.pane(r.Channel); now == p {
		w.look(s, p, before)
	}
}

func (w *watcher) look(s *show, p *pane, before *screen.Screen) {
	found, last := false, -1
	for _, y := range fresh(p.screen, before) {
		if y <= last {
			continue
		}
		var text string
		var first int
		text, first, last = p.screen.Line(y)
		if before != nil && w.was(before, first, text) {
			w.mark(p.channel, text)
			continue
		}
		found = w.line(hit{at: s.at, channel: p.channel, text: text}) || found
	}
	if found || len(w.seen[p.channel]) > 0 {
		w.see(p)
	}
}

// was reports whether a line that is drawn again, or goes on, matched in its place before.
func (w *watcher) was(before *screen.Screen, y int, text string) bool {
	_, end := w.search.pattern.find(text)
	if _, rows := before.Size(); end <= 0 || y >= rows {
		return false
	}
	old, _, _ := before.Line(y)
	return strings.HasPrefix(old, text[:end])
}

func fresh(now, before *screen.Screen) []int {
	if before != nil {
		return now.Fresh(before)
	}
	_, rows := now.Size()
	list := make([]int, rows)
	for y := range list {
		list[y] = y
	}
	return list
}

// line adds a hit if a line matches that was not there before, nor was its beginning.
func (w *watcher) line(h hit) bool {
	line := h.text
	begin, end := w.search.pattern.find(line)
	if end <= 0 || w.known(h.channel, line, end) {
		return end > 0
	}
	h.text = around(line, begin, end)
	w.search.add(h)
	w.mark(h.channel, line)
	return true
}

// known reports whether a line was on the screen, whole or as far as it had been typed.
func (w *watcher) known(channel uint32, line string, end int) bool {
	seen := w.seen[channel]
	if seen[line] {
		return true
	}
	looked := 0
	for old := range seen {
		if len(old) >= end && strings.HasPrefix(line, old) {
			return true
		}
		if looked++; looked > 64 {
			break
		}
	}
	return false
}

// around is enough of a line to know the place by.
func around(line string, begin, end int) string {
	const most = 160
	if len(line) <= most {
		return line
	}
	from := max(begin-40, 0)
	return strings.ToValidUTF8(line[from:min(max(end, from+most), from+2*most, len(line))], "")
}

func (w *watcher) mark(channel uint32, line string) {
	if w.seen[channel] == nil {
		w.seen[channel] = map[string]bool{}
	}
	w.seen[channel][line] = true
}

// see takes note of what matches on a screen.
func (w *watcher) see(p *pane) {
	clear(w.seen[p.channel])
	_, rows := p.screen.Size()
	for y := 0; y < rows; y++ {
		text, _, last := p.screen.Line(y)
		if _, end := w.search.pattern.find(text); end > 0 {
			w.mark(p.channel, text)
		}
		y = last
	}
}

func (q *search) add(h hit) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.hits) >= mostHits {
		return
	}
	i, _ := slices.BinarySearchFunc(q.hits, h.at, func(o hit, at time.Duration) int {
		if o.at <= at {
			return -1
		}
		return 1
	})
	q.hits = slices.Insert(q.hits, i, h)
}

// next is the hit after a moment, or before it.
func (q *search) next(at time.Duration, back bool) (h hit, number int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if back {
		for i := len(q.hits) - 1; i >= 0; i-- {
			if q.hits[i].at < at {
				return q.hits[i], i + 1, true
			}
		}
		return h, 0, false
	}
	for i, h := range q.hits {
		if h.at > at {
			return h, i + 1, true
		}
	}
	return h, 0, false
}

// state is how many hits there are, and how far it is.
func (q *search) state() (hits int, part float64, done bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.hits), q.part, q.done, q.err
}
