package search

import (
	"bytes"
	"slices"
	"strings"
	"time"

	"postern/recorder"
	"postern/recorder/index"
	"postern/recorder/screen"
)

// painter shows one terminal, and knows which matches are on its screen.
type painter struct {
	q       *Query
	channel uint32
	screen  *screen.Screen
	looking bool          // else what is painted was searched already, or holds no match
	at      time.Duration // of the last output
	since   int           // bytes since the last look
	looks   int           // that hostile output may still cause in this segment
	other   bool          // the alternate screen was shown at the last look
	left    []byte        // lines that left the screen since then
	text    []byte
	folded  []byte
	shown   [2][]sight // matches at the last look, on the main screen and the other
	hits    []Hit
}

// sight is a match that was seen.
type sight struct {
	hit   Hit
	key   string // what matched
	row   int
	begin int
}

const (
	pause      = 100 * time.Millisecond // of output after which a person reads
	lookEvery  = 8 << 10                // bytes, when there is no pause
	looksSpare = 32                     // in a segment, for screens that are cleared
	mostSights = 1024                   // at a look
	mostInLine = 8
)

// kept is what was printed on a terminal since it was painted last, in case it must be: as much as may still be on its screen.
type kept struct {
	segments []*found
	lines    []uint32
	fresh    bool // what was before is not on the screen any more
}

const mostKept = 8 // segments

// paint paints the terminals of a segment that are drawn on, and returns what was found on them.
func (r *run) paint(f *found) (hits []Hit) {
	for _, l := range f.entry.Lanes {
		if l.Stream != recorder.Stdout || !l.Terminal {
			continue
		}
		if f.fresh[l.Channel] || r.kept[l.Channel] == nil {
			r.kept[l.Channel] = &kept{fresh: true}
		}
		k := r.kept[l.Channel]
		if !l.Drawn {
			k.keep(f, l)
			if len(k.segments) > mostKept {
				r.catchUp(l.Channel, k)
			}
			continue
		}
		r.catchUp(l.Channel, k)
		p := r.painters[l.Channel]
		if p == nil {
			p = r.painter(l)
		}
		p.look(false)
		p.looking, p.looks = true, looksSpare
		r.feed(p, f)
		p.look(true)
		p.looking = false
		hits = append(hits, p.hits...)
		p.hits = nil
	}
	return hits
}

// keep takes a segment, and drops those before that have scrolled off.
func (k *kept) keep(f *found, l index.Lane) {
	k.segments, k.lines = append(k.segments, f), append(k.lines, l.Lines)
	for lines, n := uint32(0), len(k.lines)-1; n >= 0; n-- {
		if lines += k.lines[n]; lines > max(l.Rows, 24) {
			k.segments, k.lines, k.fresh = k.segments[n:], k.lines[n:], true
			return
		}
	}
}

// catchUp paints what was kept. It was searched already, or holds nothing.
func (r *run) catchUp(channel uint32, k *kept) {
	if k.fresh {
		delete(r.painters, channel)
	}
	for _, f := range k.segments {
		if r.painters[channel] == nil {
			r.painters[channel] = r.painter(*laneOf(&f.entry, channel))
		}
		r.feed(r.painters[channel], f)
	}
	*k = kept{}
}

// painter begins with an empty screen and the line that was begun.
func (r *run) painter(l index.Lane) *painter {
	p := &painter{q: r.Query, channel: l.Channel, screen: screen.New(size(l.Columns, l.Rows))}
	p.screen.OnScroll(p.scrolled)
	p.screen.Write(l.Line)
	p.screen.Write(l.Half)
	r.painters[l.Channel] = p
	return p
}

func size(columns, rows uint32) (int, int) {
	if columns == 0 || rows == 0 {
		return 80, 24
	}
	return int(min(columns, screen.MostColumns)), int(min(rows, screen.MostRows))
}

// feed writes what a segment has for a terminal.
func (r *run) feed(p *painter, f *found) {
	if l := laneOf(&f.entry, p.channel); l != nil {
		p.resize(size(l.Columns, l.Rows))
	}
	tracks, first := index.Resume(f.entry), r.archive.Parts()[f.segment].First
	for i := range f.frames {
		frame := &f.frames[i]
		if frame.Channel != p.channel {
			continue
		}
		track, data := tracks.Frame(first+uint64(i), frame)
		switch {
		case track != nil && track.Stream == recorder.Stdout:
			p.write(frame.At, data)
		case frame.Type == recorder.TypeRequest:
			if columns, rows, ok := index.WindowSize(frame); ok {
				p.resize(size(columns, rows))
			}
		}
	}
}

func (p *painter) resize(columns, rows int) {
	if c, r := p.screen.Size(); c != columns || r != rows {
		p.screen.Resize(columns, rows)
	}
}

// write shows what was printed, with looks at the screen when a person had time for one, and before it is cleared.
func (p *painter) write(at time.Duration, data []byte) {
	if !p.looking {
		p.screen.Write(data)
		p.at = at
		return
	}
	if p.since > 0 && at-p.at >= pause {
		p.look(true)
	}
	p.at = at
	for len(data) > 0 {
		n := clearing(data)
		p.screen.Write(data[:n])
		if p.since += n; p.since >= lookEvery {
			p.look(true)
		}
		if data = data[n:]; len(data) == 0 {
			return
		}
		if p.since >= lookEvery/16 || p.since > 0 && p.looks > 0 {
			p.looks--
			p.look(true)
		}
		n = min(len(data), len("\x1b[2J"))
		p.looking = p.since > 0 // else what is cleared was seen, and may be painted again
		p.screen.Write(data[:n])
		p.looking = true
		p.since += n
		data = data[n:]
	}
}

// clearing is how many bytes of b come before something that takes text off the screen at once.
func clearing(b []byte) int {
	for i := 0; ; {
		n := bytes.IndexByte(b[i:], 0x1b)
		if n < 0 {
			return min(len(b), lookEvery)
		}
		if i += n; i >= lookEvery {
			return lookEvery
		}
		if i > 0 && clears(b[i:]) {
			return i
		}
		i++
	}
}

// clears reports whether b begins with such a sequence. Most end the question with their third byte.
func clears(b []byte) bool {
	if len(b) < 3 {
		return len(b) == 2 && b[1] == 'c'
	}
	if b[1] != '[' {
		return b[1] == 'c'
	}
	return (b[2] == '2' || b[2] == 'J' || b[2] == '?') && slices.ContainsFunc(clearings, func(s []byte) bool { return bytes.HasPrefix(b, s) })
}

var clearings = [][]byte{[]byte("\x1b[2J"), []byte("\x1b[J"), []byte("\x1b[?1049"), []byte("\x1b[?1047"), []byte("\x1b[?47")}

// scrolled hears of lines that leave the screen.
func (p *painter) scrolled(line string) {
	if p.looking {
		p.left = append(append(p.left, line...), '\n')
	}
}

// look finds what matches on the screen and in what has left it. What was not there before is a hit; tell is false where it was found otherwise.
func (p *painter) look(tell bool) {
	p.since = 0
	which := 0
	if p.screen.Alternate() {
		if which = 1; !p.other {
			p.shown[1] = nil // it is another one each time
		}
	}
	p.other = which == 1
	var now []sight
	if len(p.left) > 0 {
		now = p.sights(p.left, nil)
		clear(p.left)
		p.left = p.left[:0]
	}
	gone := len(now)
	p.text = p.text[:0]
	for _, line := range p.screen.Lines() {
		p.text = append(append(p.text, line...), '\n')
	}
	now = p.sights(p.text, now)
	for _, i := range unseen(p.shown[which], now) {
		if tell {
			p.hits = append(p.hits, now[i].hit)
		}
	}
	p.shown[which] = append(p.shown[which][:0], now[gone:]...)
}

// sights appends the matches in some lines.
func (p *painter) sights(text []byte, list []sight) []sight {
	row, counted := 0, 0
	p.q.Pattern.lines(text, &p.folded, func(begin, end int) {
		if len(list) >= mostSights {
			return
		}
		row += bytes.Count(text[counted:begin], []byte{'\n'})
		counted = begin
		line := text[begin:end]
		for _, at := range p.q.Pattern.re.FindAllIndex(line, mostInLine) {
			h := around(line, at[0], at[1])
			h.At, h.Channel, h.Kind, h.Painted = p.at, p.channel, Output, true
			h.Before, h.After = p.q.context(text, begin, end)
			list = append(list, sight{hit: h, key: string(line[at[0]:at[1]]), row: row, begin: at[0]})
		}
	})
	return list
}

// unseen are those of the new matches that are not the old ones, somewhere else on the screen or longer by what was typed since.
func unseen(old, now []sight) (list []int) {
	lines, keys := map[string]int{}, map[string]int{}
	for _, s := range old {
		lines[s.key+"\x00"+s.hit.Text]++
		keys[s.key]++
	}
	taken := make([]bool, len(now))
	for i, s := range now { // in the same line
		if id := s.key + "\x00" + s.hit.Text; lines[id] > 0 {
			lines[id]--
			keys[s.key]--
			taken[i] = true
		}
	}
	for i, s := range now { // in another
		if !taken[i] && keys[s.key] > 0 {
			keys[s.key]--
			taken[i] = true
		}
	}
	for i, s := range now {
		if !taken[i] && !grown(old, s) {
			list = append(list, i)
		}
	}
	return list
}

// grown says that a match began in the same place before, and what it matched has changed at its end.
func grown(old []sight, s sight) bool {
	for _, o := range old {
		if o.row == s.row && o.begin == s.begin && (strings.HasPrefix(s.key, o.key) || strings.HasPrefix(o.key, s.key)) {
			return true
		}
	}
	return false
}
