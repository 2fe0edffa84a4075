package search

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"postern/recorder"
	"postern/recorder/index"
)

// buffers are what a segment is stripped into. They are used again: garbage of half a megabyte a segment would cost more than the search.
type buffers struct {
	lanes  map[laneKey]*laneText
	spare  []*laneText
	folded []byte
}

var pool = sync.Pool{New: func() any { return &buffers{lanes: map[laneKey]*laneText{}} }}

type laneKey struct {
	channel uint32
	stream  byte
}

// laneText is the text of one stream of a segment.
type laneText struct {
	text    []byte
	carried int // bytes at its beginning that were searched with the segment before
	times   []moment
}

// moment is when a frame printed what begins at an offset.
type moment struct {
	offset int
	at     time.Duration
}

// lines searches what passed in a segment on streams that were not drawn.
func (r *run) lines(ctx context.Context, f *found) ([]Hit, error) {
	b := pool.Get().(*buffers)
	defer b.release()
	drawn := map[laneKey]bool{}
	for _, l := range f.entry.Lanes {
		key := laneKey{l.Channel, l.Stream}
		if l.Drawn && l.Stream == recorder.Stdout && l.Terminal {
			drawn[key] = true
			continue
		}
		t := b.lane(key)
		carry := l.Line
		if l.Long && f.segment > 0 {
			before, err := r.before(ctx, f.segment, l)
			if err != nil {
				return nil, err
			}
			if len(before) > len(carry) {
				carry = before
			}
		}
		t.text = append(t.text, carry...)
		t.carried = len(t.text)
	}
	first, tracks := r.archive.Parts()[f.segment].First, index.Resume(f.entry)
	for i := range f.frames {
		track, data := tracks.Frame(first+uint64(i), &f.frames[i])
		if track == nil {
			continue
		}
		key := laneKey{track.Channel, track.Stream}
		if drawn[key] {
			continue
		}
		t := b.lane(key)
		t.times = append(t.times, moment{len(t.text), f.frames[i].At})
		t.text = track.Text.Append(t.text, data)
	}
	var hits []Hit
	for key, t := range b.lanes {
		hits = append(hits, r.search(key, t, &b.folded)...)
	}
	return hits, nil
}

const longestCarry = 64 << 10 // of a line that began in the segment before

// before is the end of the line that a segment goes on with, when its entry has only some of it.
func (r *run) before(ctx context.Context, segment uint64, lane index.Lane) ([]byte, error) {
	frames, err := r.archive.Frames(ctx, segment-1)
	if err != nil {
		return nil, err
	}
	text := index.Text{Terminal: lane.Terminal}
	var b []byte
	for _, f := range frames {
		if f.Channel != lane.Channel || f.Stream != lane.Stream {
			continue
		}
		switch f.Type {
		case recorder.TypeData:
			b = text.Append(b, f.Data)
		case recorder.TypeExtent:
			if e, err := f.Extent(); err == nil && e.File == 0 {
				b = text.Append(b, e.Kept)
			}
		}
	}
	b = b[bytes.LastIndexByte(b, '\n')+1:]
	return b[max(len(b)-longestCarry, 0):], nil
}

func (b *buffers) lane(key laneKey) *laneText {
	t := b.lanes[key]
	if t == nil {
		if n := len(b.spare); n > 0 {
			t, b.spare = b.spare[n-1], b.spare[:n-1]
		} else {
			t = new(laneText)
		}
		b.lanes[key] = t
	}
	return t
}

// release keeps the memory and none of what is in it.
func (b *buffers) release() {
	for key, t := range b.lanes {
		clear(t.text)
		*t = laneText{text: t.text[:0], times: t.times[:0]}
		if len(b.spare) < 4 {
			b.spare = append(b.spare, t)
		}
		delete(b.lanes, key)
	}
	clear(b.folded)
	pool.Put(b)
}

// search finds hits in the text of a stream.
func (r *run) search(key laneKey, t *laneText, folded *[]byte) (hits []Hit) {
	carried := t.text[:t.carried]
	r.Pattern.lines(t.text, folded, func(begin, end int) {
		line := t.text[begin:end]
		at := r.Pattern.fresh(line, carried[min(begin, len(carried)):])
		if at == nil {
			return
		}
		h := around(line, at[0], at[1])
		h.At, h.Channel, h.Kind = t.at(begin+at[1]-1), key.channel, Output
		h.Before, h.After = r.context(t.text, begin, end)
		hits = append(hits, h)
	})
	return hits
}

// mostEarlier bounds the matches in the beginning of a line, each of which may take a look at all of it.
const mostEarlier = 64

// fresh is the first match in a line that was not there already when only the beginning of the line was.
func (p *Pattern) fresh(line, before []byte) []int {
	at := p.re.FindIndex(line)
	if len(before) == 0 || at == nil || at[1] > len(before) && p.re.FindIndex(before) == nil {
		return at
	}
	was, from := map[int]bool{}, 0
	earlier := p.re.FindAllIndex(before, mostEarlier)
	if len(earlier) == mostEarlier {
		from = max(len(before)-mostShown, 0)
		earlier = p.re.FindAllIndex(before[from:], mostShown)
	}
	for _, m := range earlier {
		was[m[0]] = true
	}
	for _, m := range p.re.FindAllIndex(line[from:], len(earlier)+1) {
		if from+m[1] > len(before) && !was[m[0]] {
			return []int{from + m[0], from + m[1]}
		}
	}
	return nil
}

// at is when the byte at an offset was printed.
func (t *laneText) at(offset int) time.Duration {
	i, found := slices.BinarySearchFunc(t.times, offset, func(m moment, o int) int { return m.offset - o })
	if !found {
		i--
	}
	if len(t.times) == 0 {
		return 0
	}
	return t.times[max(i, 0)].at
}

// context are lines around one, as far as they are at hand.
func (q *Query) context(text []byte, begin, end int) (before, after []string) {
	for n := 0; n < q.Context && begin > 0; n++ {
		last := begin - 1
		begin = bytes.LastIndexByte(text[:last], '\n') + 1
		before = append(before, clip(text[begin:last]))
	}
	slices.Reverse(before)
	for n := 0; n < q.Context && end < len(text)-1; n++ {
		first := end + 1
		end = lineEnd(text, first)
		after = append(after, clip(text[first:end]))
	}
	return before, after
}

const (
	mostShown = 400 // bytes of a line, around a match
	mostMatch = 200 // bytes of a match that are shown
)

func clip(line []byte) string {
	return string(bytes.ToValidUTF8(line[:min(len(line), mostShown)], []byte("\uFFFD")))
}

// around is the hit of a match in a line, which may be long and need not be text.
func around(line []byte, begin, end int) Hit {
	end = min(end, begin+mostMatch)
	from := max(begin-(mostShown-(end-begin))/2, 0)
	to := min(from+mostShown, len(line))
	from = max(min(from, to-mostShown), 0)
	for from > 0 && from < begin && !utf8.RuneStart(line[from]) {
		from++
	}
	for to < len(line) && to > end && !utf8.RuneStart(line[to]) {
		to--
	}
	valid := func(b []byte) string { return string(bytes.ToValidUTF8(b, []byte("\uFFFD"))) }
	left, match, right := valid(line[from:begin]), valid(line[begin:end]), valid(line[end:max(to, end)])
	return Hit{Text: left + match + right, Begin: len(left), End: len(left) + len(match)}
}
