package search

import (
	"context"
	"runtime"
	"slices"

	"postern/recorder"
	"postern/recorder/index"
)

// Session searches one recording. Hits come in the order of their time, progress as segments are done with; either may stop it with an error.
func (q *Query) Session(ctx context.Context, a *recorder.Archive, hit func(Hit) error, done func(bytes uint64) error) error {
	r := &run{Query: q, archive: a, session: a.Summary().Session, hit: hit, done: done, local: &index.Indexer{Whole: true}}
	parts := a.Parts()
	entries, missing := make([]index.Entry, len(parts)), 0 // up to there entries are made here, with those that are there: an indexer must see all before
	for i, p := range parts {
		var err error
		if entries[i], err = index.Entered(p); err != nil || q.Thorough {
			missing = i + 1
		}
		entries[i].Segment = p.Number
	}
	return r.read(ctx, q.plan(entries, missing))
}

// step is what is to be done with a segment.
type step struct {
	segment uint64
	entry   index.Entry
	known   bool            // entry is; else it is made from the frames
	fetch   bool            // for any of these:
	search  bool            // its output
	paint   bool            // only what it leaves on the screen
	whole   bool            // commands and files that its entry has no room for
	fresh   map[uint32]bool // channels whose screen is painted from here on, as if it were empty
}

// plan says which segments must be fetched: all up to where entries are missing, and of the others those that the index does not rule out.
func (q *Query) plan(entries []index.Entry, missing int) []step {
	list := make([]step, len(entries))
	for i, e := range entries {
		if i < missing {
			list[i] = step{segment: e.Segment, fetch: true, search: q.in(Output), whole: true}
			continue
		}
		list[i] = step{segment: e.Segment, entry: e, known: true}
		list[i].whole = e.Cut && (q.in(Command) || q.in(File))
		list[i].search = q.in(Output) && (len(e.Lanes) > 0 || e.Drawn) && q.may(entries, i)
	}
	for i := missing; i < len(list); i++ {
		if list[i].search && entries[i].Drawn {
			backwards(list, i)
		}
	}
	for i := missing; i < len(list); i++ {
		s := &list[i]
		s.fetch = s.search || s.paint || s.whole
	}
	return list
}

// may reports whether there may be a match in the output of a segment, also in a line that begins long before it.
func (q *Query) may(entries []index.Entry, i int) bool {
	e := &entries[i]
	if e.Drawn || q.Pattern.May(e.Words) {
		return true
	}
	words := []index.Filter{e.Words}
	if i > 0 && slices.ContainsFunc(e.Lanes, func(l index.Lane) bool { return l.Long }) {
		words = append(words, entries[i-1].Words)
	}
	if i+1 < len(entries) && slices.ContainsFunc(entries[i+1].Lanes, func(l index.Lane) bool { return l.Long }) {
		words = append(words, entries[i+1].Words)
	}
	return len(words) > 1 && q.Pattern.May(words...)
}

// backwards finds, for each terminal that is painted in a segment, where its screen begins: where it was painted before, at an anchor, or so many lines before
// that nothing older is on it.
func backwards(list []step, i int) {
	for _, lane := range list[i].entry.Lanes {
		if !lane.Terminal || !lane.Drawn || lane.Stream != recorder.Stdout {
			continue
		}
		begin, lines := i, uint32(0)
		for n := i - 1; n >= 0; n-- {
			if !list[n].known {
				begin = -1 // all is painted there, as far as it may stay on the screen
				break
			}
			l := laneOf(&list[n].entry, lane.Channel)
			if l == nil {
				continue
			}
			if l.Drawn {
				begin = -1 // and goes on from there
				break
			}
			begin, list[n].paint = n, true
			if lines += l.Lines; lines > max(l.Rows, lane.Rows, 24) || anchored(&list[n].entry, lane.Channel) {
				break
			}
		}
		if begin >= 0 {
			if list[begin].fresh == nil {
				list[begin].fresh = map[uint32]bool{}
			}
			list[begin].fresh[lane.Channel] = true
		}
	}
}

func laneOf(e *index.Entry, channel uint32) *index.Lane {
	for i := range e.Lanes {
		if l := &e.Lanes[i]; l.Channel == channel && l.Stream == recorder.Stdout {
			return l
		}
	}
	return nil
}

func anchored(e *index.Entry, channel uint32) bool {
	return slices.ContainsFunc(e.Anchors, func(a index.Anchor) bool { return a.Channel == channel && !a.Alternate && !a.Left })
}

// run is the search of one session.
type run struct {
	*Query
	archive *recorder.Archive
	session string
	hit     func(Hit) error
	done    func(uint64) error
	local   *index.Indexer // makes the entries that are missing or not believed

	painters map[uint32]*painter // of terminals
	kept     map[uint32]*kept
}

// found is a segment that was searched beside others.
type found struct {
	step
	frames []recorder.Frame
	hits   []Hit
	err    error
}

// read does the steps: segments are fetched, opened and searched on all processors, while what is drawn is painted in its order.
func (r *run) read(ctx context.Context, plan []step) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ahead := make(chan chan found, 2*runtime.GOMAXPROCS(0))
	go r.fetch(ctx, plan, ahead)
	r.painters, r.kept = map[uint32]*painter{}, map[uint32]*kept{}
	for range plan {
		one, ok := <-ahead
		if !ok {
			return context.Cause(ctx)
		}
		f := <-one
		if f.err != nil {
			return f.err
		}
		if err := r.finish(&f); err != nil {
			return err
		}
		if err := r.done(r.size(&f)); err != nil {
			return err
		}
	}
	return nil
}

// size is what the data of a segment comes to, which a bastion tells with the index only.
func (r *run) size(f *found) (n uint64) {
	if n = r.archive.Parts()[f.segment].Bytes; n > 0 {
		return n
	}
	for _, frame := range f.frames {
		n += uint64(len(frame.Data))
	}
	return max(n, f.entry.Output)
}

// fetch begins steps. Entries that are made here are made in order; everything else is beside each other.
func (r *run) fetch(ctx context.Context, plan []step, ahead chan<- chan found) {
	defer close(ahead)
	ready := make(chan struct{})
	close(ready)
	for _, s := range plan {
		one := make(chan found, 1)
		select {
		case ahead <- one:
		case <-ctx.Done():
			return
		}
		if !s.fetch {
			one <- found{step: s}
			continue
		}
		before, after := ready, make(chan struct{})
		ready = after
		go func() {
			one <- r.segment(ctx, s, before, after)
		}()
	}
}

// segment is one step but for painting. The entries of segments are made when before is closed; then after is.
func (r *run) segment(ctx context.Context, s step, before, after chan struct{}) found {
	f := found{step: s}
	f.frames, f.err = r.archive.Frames(ctx, s.segment)
	select {
	case <-before:
	case <-ctx.Done():
		f.err = ctx.Err()
	}
	if f.err == nil && !s.known {
		f.entry = r.local.Entry(r.archive.Parts()[s.segment].First, f.frames)
		f.entry.Segment = s.segment
	}
	close(after)
	if f.err != nil {
		return f
	}
	if s.whole && f.entry.Cut {
		x := index.Indexer{Whole: true}
		all := x.Entry(r.archive.Parts()[s.segment].First, f.frames)
		f.entry.Commands = append(seenOnly(f.entry.Commands), exact(all.Commands)...)
		f.entry.Files = all.Files
	}
	if s.search && r.in(Output) {
		f.hits, f.err = r.lines(ctx, &f)
	}
	return f
}

func seenOnly(list []index.Command) []index.Command {
	return slices.DeleteFunc(slices.Clone(list), func(c index.Command) bool { return !c.Seen })
}

func exact(list []index.Command) []index.Command {
	return slices.DeleteFunc(list, func(c index.Command) bool { return c.Seen })
}

// finish paints what is drawn in a segment, and tells all that was found in it.
func (r *run) finish(f *found) error {
	hits := f.hits
	if f.fetch && r.in(Output) {
		hits = append(hits, r.paint(f)...)
	}
	if r.Partial != nil && r.in(Output) {
		for _, m := range f.entry.Marks {
			if m.Kind == "partial" {
				r.Partial(r.session, m.Text)
			}
		}
	}
	hits = append(hits, r.indexed(&f.entry)...)
	return r.tell(hits)
}

func (r *run) tell(hits []Hit) error {
	slices.SortStableFunc(hits, func(a, b Hit) int { return int(a.At - b.At) })
	for _, h := range hits {
		h.Session = r.session
		if err := r.hit(h); err != nil {
			return err
		}
	}
	return nil
}

// indexed are hits in what the entry tells of commands and files.
func (r *run) indexed(e *index.Entry) (hits []Hit) {
	if r.in(Command) {
		for _, c := range e.Commands {
			if h, ok := r.match(c.Text); ok {
				h.At, h.Channel, h.Kind, h.Seen = c.At, c.Channel, Command, c.Seen
				hits = append(hits, h)
			}
		}
	}
	if r.in(File) {
		for _, f := range e.Files {
			text := f.Operation + " " + f.Path
			if f.To != "" {
				text += " " + f.To
			}
			if !r.Pattern.re.MatchString(f.Path) && !r.Pattern.re.MatchString(f.To) {
				continue
			}
			if h, ok := r.match(text); ok {
				h.At, h.Channel, h.Kind = f.At, f.Channel, File
				hits = append(hits, h)
			}
		}
	}
	return hits
}

// match is the first match in a text.
func (q *Query) match(text string) (Hit, bool) {
	at := q.Pattern.re.FindStringIndex(text)
	if at == nil {
		return Hit{}, false
	}
	return around([]byte(text), at[0], at[1]), true
}
