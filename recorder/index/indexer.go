package index

import (
	"bytes"
	"slices"
	"time"
	"unicode/utf8"

	"postern/recorder"
)

// Indexer writes the entries of one recording. It sees each segment once, in order, and remembers at most 64 KiB. What it reads is hostile: it only parses,
// and every list it makes has an end.
type Indexer struct {
	Whole bool // the lists of entries have no end, and they have no words: for who reads all of a recording anyway

	tracks Tracks
	seen   map[uint32]*watch // terminals

	entry *Entry
	frame uint64 // that is read
	at    time.Duration
	grams *grams
	lanes []*Track // of the segment
	room  room
}

const (
	lineKept   = 512 // bytes of an unfinished line that the next segment begins with
	linesKept  = 32  // of so many streams
	mostLanes  = 64  // in an entry
	mostSecond = 120 // numbers of activity
)

// Segment is the entry of a segment whose first frame has that number, as it is sealed beside the segment.
func (x *Indexer) Segment(first uint64, frames []recorder.Frame) []byte {
	e := x.Entry(first, frames)
	return e.encode()
}

// Entry is what Segment encodes.
func (x *Indexer) Entry(first uint64, frames []recorder.Frame) Entry {
	e := Entry{}
	if len(frames) > 0 {
		e.Begin, e.End = frames[0].At, frames[len(frames)-1].At
	}
	x.entry, x.room, x.grams = &e, newRoom(x.Whole), gramsPool.Get().(*grams)
	for i := range frames {
		x.take(first+uint64(i), &frames[i])
	}
	x.finish()
	clear(x.grams.text[:cap(x.grams.text)]) // the next segment is of somebody else
	gramsPool.Put(x.grams)
	x.entry, x.grams = nil, nil
	return e
}

func (x *Indexer) take(n uint64, f *recorder.Frame) {
	x.frame, x.at = n, f.At
	track, b := x.tracks.Frame(n, f)
	switch {
	case track != nil:
		x.output(track, b, n)
	case f.Type == recorder.TypeData && f.Stream == recorder.Stdin:
		x.entry.Input += uint64(len(f.Data))
		x.typed(f.Channel)
	case f.Type == recorder.TypeSealed:
		x.typed(f.Channel)
	case f.Type == recorder.TypeData:
	case f.Type == recorder.TypeRequest:
		x.request(f)
	case f.Type == recorder.TypeEvent:
		x.event(f)
	case f.Type == recorder.TypeExit:
		x.exit(f)
	case f.Type == recorder.TypeClose:
		delete(x.seen, f.Channel)
	case f.Type == recorder.TypeNote:
		x.mark(f.Channel, "note", string(f.Data))
	case f.Type == recorder.TypeEnd:
		x.mark(f.Channel, "end", string(f.Data))
	}
}

// typed says that the client sent something, so what the host prints next may be its echo.
func (x *Indexer) typed(channel uint32) {
	if w := x.seen[channel]; w != nil {
		w.pause()
	}
}

// output is text that people read.
func (x *Indexer) output(k *Track, b []byte, n uint64) {
	x.entry.Output += uint64(len(b))
	x.activity(len(b))
	x.begin(k, n)
	if k.Text.Terminal {
		k.Text.watch = x.watch(k)
	}
	whole := k.Text.Append(append(x.grams.text[:0], k.rest[:k.rests]...), b)
	text := whole[k.rests:]
	x.grams.text = whole
	if k.Text.watch != nil {
		k.Text.watch.settle() // the frame's data is not kept
	}
	switch {
	case x.entry.Drawn || x.Whole:
	case !k.Text.Terminal && isBinary(b):
		k.gram, k.rests = x.grams.sift(k.gram, whole), 0
	default:
		k.gram = k.collect(x.grams, k.gram, whole)
	}
	if k.lane >= 0 {
		l := &x.entry.Lanes[k.lane]
		l.Bytes += uint64(len(b))
		l.Lines += k.keep(text)
		l.Drawn = k.Text.drawn || l.Drawn
		x.entry.Drawn = x.entry.Drawn || l.Drawn
		return
	}
	k.keep(text)
	x.entry.Drawn = true // nothing tells how to begin here
}

// begin is the first text of a stream in a segment.
func (x *Indexer) begin(k *Track, n uint64) {
	if k.touched {
		return
	}
	k.touched, k.gram, k.rests = true, 0, 0
	x.lanes = append(x.lanes, k)
	if k.lane = -1; len(x.entry.Lanes) >= mostLanes {
		x.entry.Cut = true
		return
	}
	k.lane = len(x.entry.Lanes)
	x.entry.Lanes = append(x.entry.Lanes, Lane{Channel: k.Channel, Stream: k.Stream, From: n, Terminal: k.Text.Terminal, Plain: x.tracks.channels[k.Channel].left, Columns: k.columns, Rows: k.rows,
		Line: slices.Clone(k.line), Half: k.Text.half(), Long: k.long, Drawn: k.Text.Drawn()})
	if !x.Whole {
		k.gram = k.collect(x.grams, 0, k.line)
	}
	if !k.Text.Terminal {
		return
	}
	if len(k.line) == 0 && x.isNew(k) {
		x.anchor(Anchor{Channel: k.Channel})
	}
}

// collect takes the trigrams of text, but for half a letter at its end, which the next text begins with.
func (k *Track) collect(g *grams, gram uint32, text []byte) uint32 {
	n := halfLetter(text)
	k.rests = copy(k.rest[:], text[len(text)-n:])
	return g.add(gram, text[:len(text)-n])
}

// halfLetter is how many bytes at the end of b are the beginning of a letter.
func halfLetter(b []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if last := b[len(b)-n:]; utf8.RuneStart(last[0]) {
			if utf8.FullRune(last) {
				return 0
			}
			return n
		}
	}
	return 0
}

// isNew says that nothing was printed on the terminal yet.
func (x *Indexer) isNew(k *Track) bool {
	if k.printed {
		return false
	}
	k.printed = true
	return true
}

// keep remembers the end of text, as far as it is an unfinished line, and counts the lines in it.
func (k *Track) keep(text []byte) (lines uint32) {
	if last := bytes.LastIndexByte(text, '\n'); last >= 0 {
		lines = uint32(bytes.Count(text, []byte{'\n'}))
		k.line, k.long = k.line[:0], false
		text = text[last+1:]
	}
	if len(text) > lineKept {
		k.line, k.long = append(k.line[:0], text[len(text)-lineKept:]...), true
		return lines
	}
	if over := len(k.line) + len(text) - lineKept; over > 0 {
		k.line, k.long = append(k.line[:0], k.line[over:]...), true
	}
	k.line = append(k.line, text...)
	return lines
}

func (x *Indexer) activity(n int) {
	second := int(min(max(x.at-x.entry.Begin, 0)/time.Second, mostSecond-1))
	for len(x.entry.Activity) <= second {
		x.entry.Activity = append(x.entry.Activity, 0)
	}
	x.entry.Activity[second] += uint32(n)
}

// finish completes the entry.
func (x *Indexer) finish() {
	kept := 0
	for _, k := range x.lanes {
		k.touched, k.Text.watch = false, nil
		if k.Text.Drawn() && k.lane >= 0 {
			x.entry.Lanes[k.lane].Drawn, x.entry.Drawn = true, true
		}
		if len(k.line) > 0 {
			if kept++; kept > linesKept {
				k.line, k.long = nil, true
			}
		}
	}
	x.lanes = x.lanes[:0]
	if words := x.grams.filter(); !x.entry.Drawn && !x.Whole {
		x.entry.Words = words
	}
	x.entry.Cut = x.entry.Cut || x.room.cut
	x.entry.Anchors = thin(x.entry.Anchors)
}
