package player

import (
	"context"
	"fmt"
	"slices"

	"github.com/gdamore/tcell/v2"
	"postern/recorder"
	"postern/recorder/screen"
)

// pager shows the lines that had left a screen by some moment, as text.
type pager struct {
	lines []string
	first int // that is shown
	about string
	ready bool
}

const (
	mostLines = 10000
	pagerBack = 4 // snapshots
)

// back opens the pager of the channel that is shown, for as far back as is quick to paint again.
func (p *player) back() {
	if p.show == nil || p.busy {
		return
	}
	p.playing, p.mode, p.pager = false, paging, &pager{about: "what was printed before " + clockText(p.now)}
	g, to, channel := p.pager, p.show.next, p.channel
	begin := p.finder.before(p.show)
	p.background(func() {
		lines, err := p.finder.history(p.ctx, begin, channel, to)
		p.later(func() { p.turned(g, lines, err) })
	})
}

func (p *player) turned(g *pager, lines []string, err error) {
	if err != nil {
		g.about = err.Error()
	}
	for _, line := range lines {
		g.lines = append(g.lines, folded(line, max(p.columns-1, 10))...)
	}
	g.ready, g.first = true, max(len(g.lines)-p.pageRows(), 0)
	for i := len(g.lines) - 1; p.search != nil && i >= 0; i-- {
		if begin, _ := p.search.pattern.find(g.lines[i]); begin >= 0 {
			g.first = min(g.first, max(i-p.pageRows()/2, 0))
			break
		}
	}
}

// pageRows are those below the head of the pager, and below the warning if there is one.
func (p *player) pageRows() int {
	rows := p.rows - statusRows - 1
	if p.wrong() != nil {
		rows--
	}
	return max(rows, 1)
}

// folded cuts a line into pieces that fit.
func folded(line string, width int) (pieces []string) {
	begin, used := 0, 0
	for at, r := range line {
		if w := screen.Width(r); used+w > width {
			pieces, begin, used = append(pieces, line[begin:at]), at, w
		} else {
			used += w
		}
	}
	return append(pieces, line[begin:])
}

// before is a show some way before another one.
func (f *finder) before(s *show) *show {
	f.mu.Lock()
	defer f.mu.Unlock()
	i, _ := slices.BinarySearchFunc(f.snapshots, s.next, func(o *show, p position) int {
		if o.next.before(p) {
			return -1
		}
		return 1
	})
	if i > pagerBack {
		return f.snapshots[i-1-pagerBack].clone()
	}
	if !s.partial || i > 0 {
		return newShow(f.text, f.keystrokes)
	}
	m := newShow(f.text, f.keystrokes) // nothing before is known exactly: the segments just before are enough
	m.partial = true
	if s.next.segment > pagerBack {
		m.next.segment = s.next.segment - pagerBack
	}
	return m
}

// history is what left the screen of a channel up to a place, and what was on it there.
func (f *finder) history(ctx context.Context, s *show, channel uint32, to position) (lines []string, err error) {
	tell := func(line string) {
		if lines = append(lines, line); len(lines) > 2*mostLines {
			lines = append(lines[:0], lines[mostLines:]...)
		}
	}
	var heard *pane
	hear := func() {
		if p := s.pane(channel); p != heard && p != nil {
			heard = p
			p.screen.OnScroll(tell)
		}
	}
	hear()
	err = f.forward(ctx, s, func(recorder.Frame) bool {
		hear()
		return s.next.before(to)
	})
	if p := s.pane(channel); p != nil {
		lines = append(lines, p.screen.Lines()...)
	}
	return lines[max(len(lines)-mostLines, 0):], err
}

func (p *player) pagerKey(k *tcell.EventKey) {
	g := p.pager
	page := p.pageRows()
	switch k.Key() {
	case tcell.KeyUp:
		g.first--
	case tcell.KeyDown:
		g.first++
	case tcell.KeyPgUp:
		g.first -= page
	case tcell.KeyPgDn:
		g.first += page
	case tcell.KeyHome:
		g.first = 0
	case tcell.KeyEnd:
		g.first = len(g.lines)
	case tcell.KeyEscape, tcell.KeyCtrlC:
		p.mode = watching
	case tcell.KeyRune:
		switch k.Rune() {
		case 'k':
			g.first--
		case 'j':
			g.first++
		case 'b':
			g.first -= page
		case ' ':
			g.first += page
		case 'q', 't':
			p.mode = watching
		}
	}
	g.first = min(max(g.first, 0), max(len(g.lines)-page, 0))
}

// page paints the pager in place of the screen, from a row on.
func (p *player) page(c canvas, top int) {
	g := p.pager
	text := g.about + fmt.Sprintf(": lines %d to %d of %d; q leaves", min(g.first+1, len(g.lines)), min(g.first+p.pageRows(), len(g.lines)), len(g.lines))
	if !g.ready {
		text = "painting…"
	}
	for y := top; y < p.rows-statusRows; y++ {
		c.fill(0, y, p.columns, plainStyle)
	}
	c.fill(0, top, p.columns, statusStyle)
	c.text(0, top, p.columns, statusStyle, " "+text)
	for i := range p.pageRows() {
		if g.first+i < len(g.lines) {
			style := plainStyle
			if p.search != nil {
				if begin, _ := p.search.pattern.find(g.lines[g.first+i]); begin >= 0 {
					style = hitStyle
				}
			}
			c.text(0, top+1+i, p.columns, style, g.lines[g.first+i])
		}
	}
}
