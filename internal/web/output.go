package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"sync"
	"time"

	"postern/recorder"
	"postern/recorder/index"
	"postern/recorder/play"
)

// piece is what a channel showed for a while: a run of segments of which the last may be the only one with anything in it.
type piece struct {
	First   uint64  `json:"first"` // segment
	Next    uint64  `json:"next"`  // segment that follows; as many as there are: this is the end
	Whole   bool    `json:"whole"` // nothing follows
	End     float64 `json:"end"`   // seconds; what is not in here comes later
	Columns uint32  `json:"columns,omitempty"`
	Rows    uint32  `json:"rows,omitempty"`
	Init    string  `json:"init,omitempty"` // paints the screen as it was before the first event
	Exact   bool    `json:"exact"`          // the screen is what the admin saw; false: it was begun in the middle
	Events  []event `json:"events"`
}

// event is [seconds, kind, text]: o and e for what was printed, i for what was typed, r for a size, n for a note, x for how a program ended.
type event [3]any

// shelf keeps the frames of a few segments, which are asked for again and again.
type shelf struct {
	archive *recorder.Archive
	spoilt  func(error) // hears of a segment that is not what was signed
	mu      sync.Mutex
	order   []uint64
	frames  map[uint64][]recorder.Frame
}

const shelved = 8

func newShelf(a *recorder.Archive, spoilt func(error)) *shelf {
	return &shelf{archive: a, spoilt: spoilt, frames: map[uint64][]recorder.Frame{}}
}

func (s *shelf) get(ctx context.Context, segment uint64) ([]recorder.Frame, error) {
	s.mu.Lock()
	frames, ok := s.frames[segment]
	s.mu.Unlock()
	if ok {
		return frames, nil
	}
	frames, err := s.archive.Frames(ctx, segment)
	if bad := new(recorder.Fault); errors.As(err, &bad) {
		s.spoilt(err) // the page says so at once; what is good, here and behind it, is shown
	} else if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.frames[segment]; !ok {
		s.frames[segment], s.order = frames, append(s.order, segment)
	}
	if len(s.order) > shelved {
		delete(s.frames, s.order[0])
		s.order = s.order[1:]
	}
	return frames, nil
}

// output answers ?channel=N&at=SECONDS with what paints the screen at that time and the events until a little later, and
// ?channel=N&segment=N with the events that follow.
func (s *Server) output(r *http.Request) (any, error) {
	o, err := s.already(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	channel, err := number(r, "channel", recorder.Global)
	if err != nil {
		return nil, err
	}
	view := &view{opening: o, channel: uint32(channel), keystrokes: s.config.Keystrokes}
	if r.URL.Query().Has("at") {
		at, err := moment(r, "at")
		if err != nil {
			return nil, err
		}
		return view.at(r.Context(), at)
	}
	segment, err := number(r, "segment", 1<<32)
	if err != nil {
		return nil, err
	}
	return view.from(r.Context(), segment)
}

// view is one channel of a recording as a page sees it.
type view struct {
	*opening
	channel    uint32
	keystrokes bool
	filters    [2]play.Filter // of what was printed, and of what was typed
}

// Where nothing says how to paint the screen, this many segments before a moment are most likely enough.
const lead = 8

// at begins where the screen can be painted, and goes to the end of the segment of that moment.
func (v *view) at(ctx context.Context, t time.Duration) (piece, error) {
	entries, err := v.entriesTo(ctx, t)
	if err != nil {
		return piece{}, err
	}
	last := max(sort.Search(len(entries), func(i int) bool { return entries[i].Begin > t })-1, 0)
	p := piece{Exact: true, Events: []event{}}
	first := last
	anchor, found := index.Begin(entries, v.channel, t)
	if found {
		first = v.holds(anchor.Frame, last)
	}
	if last-first > lead {
		first, anchor, p.Exact = last-lead, index.Anchor{}, false
	}
	if anchor.Alternate {
		p.Init = "\x1b[?1049h"
	}
	begin := anchor.At
	if !p.Exact {
		begin = entries[first].Begin
	}
	p.Columns, p.Rows = size(entries[:min(first+1, len(entries))], v.channel, begin)
	return p, v.fill(ctx, &p, uint64(first), uint64(last), anchor.At)
}

// holds is the segment that has that frame.
func (v *view) holds(frame uint64, most int) int {
	parts := v.archive.Parts()
	n := sort.Search(len(parts), func(i int) bool { return parts[i].First > frame }) - 1
	return min(max(n, 0), most)
}

// entriesTo waits until the index has that moment.
func (v *view) entriesTo(ctx context.Context, t time.Duration) ([]index.Entry, error) {
	for {
		now := v.state()
		if n := len(now.entries); now.indexed || n > 0 && now.entries[n-1].End > t {
			return now.entries, now.lost
		}
		select {
		case <-now.changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// size of a terminal at a moment, which may be in the last of the entries.
func size(entries []index.Entry, channel uint32, t time.Duration) (columns, rows uint32) {
	columns, rows = 80, 24
	for _, e := range entries {
		for _, s := range e.Sizes {
			if s.Channel == channel && (s.At <= t || columns == 0) {
				columns, rows = s.Columns, s.Rows
			}
		}
	}
	return fit(columns, rows)
}

// A host or a client may claim any size; what is larger costs the browser its memory.
const mostColumns, mostRows = 1000, 500

func fit(columns, rows uint32) (uint32, uint32) {
	return min(max(columns, 1), mostColumns), min(max(rows, 1), mostRows)
}

// Segments of other channels are passed over, so many with one question.
const passed = 64

// from has the events of the next segment that has any.
func (v *view) from(ctx context.Context, segment uint64) (piece, error) {
	p := piece{Exact: true, Events: []event{}}
	parts := uint64(len(v.archive.Parts()))
	last := min(segment, parts)
	for last+1 < min(parts, segment+passed) && !v.has(last) {
		last++
	}
	return p, v.fill(ctx, &p, segment, last, 0)
}

// has says whether a segment may hold something of the channel. Only the index knows without fetching it.
func (v *view) has(segment uint64) bool {
	entries := v.state().entries
	return segment >= uint64(len(entries)) || v.in(entries[segment])
}

func (v *view) in(e index.Entry) bool {
	return len(e.Marks) > 0 || slices.ContainsFunc(e.Lanes, func(l index.Lane) bool { return l.Channel == v.channel }) ||
		slices.ContainsFunc(e.Sizes, func(s index.Size) bool { return s.Channel == v.channel })
}

// fill reads the segments first to last.
func (v *view) fill(ctx context.Context, p *piece, first, last uint64, from time.Duration) error {
	parts := uint64(len(v.archive.Parts()))
	p.First, p.Next = first, min(last+1, parts)
	p.Whole = p.Next >= parts
	if first > 0 && from == 0 { // an escape sequence may have begun in the segment before
		if err := v.read(ctx, first-1, func(recorder.Frame) {}); err != nil {
			return err
		}
	}
	for n := first; n <= last && n < parts; n++ {
		if err := v.read(ctx, n, func(f recorder.Frame) { p.Events = append(p.Events, v.show(f, from)...) }); err != nil {
			return err
		}
	}
	p.End = seconds(v.length())
	if now := v.state().entries; p.Next < uint64(len(now)) {
		p.End = seconds(now[p.Next].Begin)
	}
	return nil
}

// read passes the frames of a segment through the filters, and gives them to fn.
func (v *view) read(ctx context.Context, segment uint64, fn func(recorder.Frame)) error {
	if segment >= uint64(len(v.archive.Parts())) {
		return refusal{http.StatusNotFound, "the recording has no such segment"}
	}
	frames, err := v.frames.get(ctx, segment)
	if err != nil {
		return err
	}
	for _, f := range frames {
		if f.Channel != v.channel {
			continue
		}
		if f.Type == recorder.TypeData {
			typed := 0
			if f.Stream == recorder.Stdin {
				typed = 1
			}
			f.Data = v.filters[typed].Append(nil, f.Data)
		}
		fn(f)
	}
	return nil
}

// show is what a page learns of a frame.
func (v *view) show(f recorder.Frame, from time.Duration) []event {
	if f.At < from {
		return nil
	}
	at := seconds(f.At)
	switch f.Type {
	case recorder.TypeData:
		kind := [...]string{"i", "o", "e"}[min(f.Stream, recorder.Stderr)]
		if len(f.Data) == 0 || kind == "i" && !v.keystrokes {
			return nil
		}
		return []event{{at, kind, string(f.Data)}}
	case recorder.TypeRequest:
		d, err := play.Details(f)
		if err != nil || d.Refused || d.Name != "pty-req" && d.Name != "window-change" {
			return nil
		}
		columns, rows := fit(d.Columns, d.Rows)
		return []event{{at, "r", [2]uint32{columns, rows}}}
	case recorder.TypeNote:
		return []event{{at, "n", string(f.Data)}}
	case recorder.TypeExit:
		if e, err := f.Exit(); err == nil {
			return []event{{at, "x", exit(e)}}
		}
	}
	return nil
}

func exit(e recorder.Exit) string {
	if e.Signal != "" {
		return "killed by signal " + e.Signal
	}
	return fmt.Sprint("exit ", e.Status)
}
