package player

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/gdamore/tcell/v2"

	"postern/recorder"
	"postern/recorder/screen"
)

const (
	statusRows = 2
	narrow     = 60 // columns; with fewer, what is most needed has the room
)

var (
	plainStyle  = tcell.StyleDefault
	frameStyle  = tcell.StyleDefault.Dim(true)
	statusStyle = tcell.StyleDefault.Reverse(true)
	alarmStyle  = tcell.StyleDefault.Background(tcell.ColorRed).Foreground(tcell.ColorWhite).Bold(true)
	hitStyle    = tcell.StyleDefault.Background(tcell.ColorYellow).Foreground(tcell.ColorBlack)
)

// canvas is where things are painted: characters of ours, and cells.
type canvas struct{ tcell.Screen }

// text writes what is known to be for people; anything else in it becomes a question mark. It returns the column after it.
func (c canvas) text(x, y, end int, style tcell.Style, text string) int {
	for _, r := range text {
		if x >= end {
			c.Put(end-1, y, "…", style)
			return end
		}
		if unicode.Is(unicode.Mn, r) {
			continue
		}
		if !unicode.IsPrint(r) {
			r = '?'
		}
		rest, width := c.Put(x, y, string(r), style)
		if width == 0 || rest != "" { // it would sit on the one before
			_, width = c.Put(x, y, "?", style)
		}
		x += width
	}
	return min(x, end)
}

func (c canvas) fill(x, y, end int, style tcell.Style) {
	for ; x < end; x++ {
		c.Put(x, y, " ", style)
	}
}

// paint paints everything.
func (p *player) paint(to tcell.Screen) {
	c := canvas{to}
	p.columns, p.rows = to.Size()
	for y := range p.rows {
		c.fill(0, y, p.columns, plainStyle)
	}
	to.HideCursor()
	if p.rows < 4 || p.columns < 20 {
		c.text(0, 0, max(p.columns, 1), alarmStyle, "too small")
		return
	}
	below := p.banner(c)
	top := below + p.tabs(c, below)
	if p.show != nil {
		p.pane(c, top, p.rows-statusRows)
	} else {
		c.text(2, top+1, p.columns, frameStyle, "fetching…")
	}
	p.status(c)
	switch p.mode {
	case choosing:
		p.chooser(c)
	case helping:
		p.helper(c)
	case paging:
		p.page(c, below)
	}
}

// banner says, over everything and as long as it is looked at, that this is not what was signed.
func (p *player) banner(c canvas) int {
	wrong := p.wrong()
	if wrong == nil {
		return 0
	}
	c.fill(0, 0, p.columns, alarmStyle)
	c.text(0, 0, p.columns, alarmStyle, " DO NOT RELY ON THIS: "+wrong.Error())
	return 1
}

// wrong is what is wrong with the recording, as far as is known by now.
func (p *player) wrong() error {
	if p.Damage != nil {
		return p.Damage
	}
	if _, fault := p.finder.state(); fault != nil {
		return fmt.Errorf("a part is missing, because it is not what was signed: %w", fault)
	}
	return nil
}

// tabs names the channels when there are several.
func (p *player) tabs(c canvas, y int) int {
	if p.show == nil || len(p.show.panes) <= 2 && p.channel != recorder.Global {
		return 0
	}
	x := 0
	for _, pane := range p.show.panes {
		style := frameStyle
		if pane.channel == p.channel {
			style = statusStyle
		}
		name := pane.name
		if pane.channel != recorder.Global {
			name = fmt.Sprintf("%d %.20s", pane.channel, name)
		}
		if pane.closed {
			name += " †"
		}
		if x = c.text(x, y, p.columns, style, " "+name+" "); x >= p.columns {
			break
		}
	}
	return 1
}

// pane paints the channel that is shown between two rows.
func (p *player) pane(c canvas, top, bottom int) {
	pane := p.show.pane(p.channel)
	if pane == nil {
		return
	}
	s := pane.screen
	columns, rows := s.Size()
	width, height := p.columns, bottom-top
	if pane.terminal && columns < width && rows < height {
		frame(c, top, columns, rows)
	}
	p.frameView(s, width, height)
	var cells []screen.Cell
	for y := 0; y < height && y+p.view.y < rows; y++ {
		cells = s.AppendRow(cells[:0], y+p.view.y)
		marked := p.marked(s, y+p.view.y)
		for x := 0; x < width && x+p.view.x < columns; x++ {
			p.cell(c, s, cells[x+p.view.x], x, top+y, width, marked[x+p.view.x])
		}
	}
	x, y, visible := s.Cursor()
	x, y = x-p.view.x, y-p.view.y
	if visible && pane.terminal && x >= 0 && x < width && y >= 0 && y < height && p.mode == watching {
		c.ShowCursor(x, top+y)
	}
}

// frameView moves the view so that the cursor is in it, unless it was moved by hand.
func (p *player) frameView(s *screen.Screen, width, height int) {
	columns, rows := s.Size()
	if x, y, _ := s.Cursor(); !p.view.fixed {
		p.view.x, p.view.y = follow(p.view.x, x, width), follow(p.view.y, y, height)
	}
	p.view.x, p.view.y = min(p.view.x, max(columns-width, 0)), min(p.view.y, max(rows-height, 0))
}

// follow is where a view of some size begins so that the cursor is in it.
func follow(begin, cursor, size int) int {
	switch {
	case cursor < begin:
		return max(cursor-size/4, 0)
	case cursor >= begin+size:
		return cursor - size + 1
	}
	return begin
}

func frame(c canvas, top, columns, rows int) {
	for y := range rows {
		c.Put(columns, top+y, "│", frameStyle)
	}
	for x := range columns {
		c.Put(x, top+rows, "─", frameStyle)
	}
	c.Put(columns, top+rows, "┘", frameStyle)
}

// marked are the columns of a row that the search found.
func (p *player) marked(s *screen.Screen, y int) map[int]bool {
	if p.search == nil {
		return nil
	}
	text, columns := s.RowText(y)
	marked := map[int]bool{}
	for at := 0; at < len(text); {
		begin, end := p.search.pattern.find(text[at:])
		if begin < 0 || end <= begin {
			break
		}
		for i := at + begin; i < min(at+end, len(columns)); i++ {
			marked[columns[i]] = true
		}
		at += end
	}
	return marked
}

// cell paints one cell. Only characters that print go to the terminal, with marks above and below, and nothing that changes the direction or the width of text.
func (p *player) cell(c canvas, s *screen.Screen, cell screen.Cell, x, y, end int, marked bool) {
	width := cell.Width()
	if width == 0 {
		if x == 0 {
			c.Put(x, y, " ", plainStyle) // its left half is out of view
		}
		return
	}
	style := styleOf(cell, s.Reverse())
	if marked {
		style = hitStyle
	}
	text := cellText(cell, s)
	if x+width > end {
		text, width = " ", 1
	}
	if rest, put := c.Put(x, y, text, style); rest != "" || put != width {
		// The auditor's terminal thinks otherwise of its width: the rest of the row would move.
		for i := range width {
			c.Put(x+i, y, "·", style)
		}
	}
}

func cellText(cell screen.Cell, s *screen.Screen) string {
	r := cell.Rune
	if cell.Attr&screen.Hidden != 0 {
		r = ' '
	}
	if r != ' ' && !unicode.IsPrint(r) {
		return "?"
	}
	marks := s.Combining(cell)
	if len(marks) == 0 {
		return string(r)
	}
	text := []rune{r}
	for _, m := range marks {
		if unicode.In(m, unicode.Mn, unicode.Me) && !unicode.Is(unicode.Variation_Selector, m) {
			text = append(text, m)
		}
	}
	return string(text)
}

func styleOf(cell screen.Cell, reversed bool) tcell.Style {
	a := cell.Attr
	style := tcell.StyleDefault.Foreground(colour(cell.Fg)).Background(colour(cell.Bg)).Bold(a&screen.Bold != 0).Dim(a&screen.Dim != 0).
		Italic(a&screen.Italic != 0).Underline(a&screen.Underline != 0).StrikeThrough(a&screen.Struck != 0)
	return style.Reverse((a&screen.Reverse != 0) != reversed)
}

func colour(c screen.Color) tcell.Color {
	if n, ok := c.Palette(); ok {
		return tcell.PaletteColor(int(n))
	}
	if r, g, b, ok := c.RGB(); ok {
		return tcell.NewRGBColor(int32(r), int32(g), int32(b))
	}
	return tcell.ColorDefault
}

// box clears a part of the screen for an overlay.
func (p *player) box(c canvas, width, height int, title string) (x, y, end int) {
	width, height = min(width, p.columns-2), min(height, p.rows-statusRows-1)
	x, y = (p.columns-width)/2, max((p.rows-statusRows-height)/2, 0)
	for i := range height {
		c.fill(x, y+i, x+width, statusStyle)
	}
	c.text(x+1, y, x+width, statusStyle.Bold(true), title)
	return x + 1, y + 1, x + width
}

func (p *player) helper(c canvas) {
	lines := help(p.columns)
	x, y, end := p.box(c, helpWidth+2, len(lines)+2, "keys")
	for i, line := range lines {
		if y+i < p.rows-statusRows {
			c.text(x, y+i, end, statusStyle, line)
		}
	}
}

// chooser paints the list of moments.
func (p *player) chooser(c canvas) {
	l := &p.list
	var title []string
	for i, name := range listNames {
		name = fmt.Sprintf("%s %d", name, len(l.all[i]))
		if i == l.tab {
			name = "[" + name + "]"
		}
		title = append(title, name)
	}
	height := p.rows - statusRows - 2
	x, y, end := p.box(c, p.columns-4, height, strings.Join(title, "  ")+"   Tab other, Enter go there")
	rows := height - 1
	l.first = min(max(l.first, l.index-rows+1), max(l.index, 0))
	for i := range rows {
		n := l.first + i
		if n >= len(l.all[l.tab]) {
			break
		}
		style := statusStyle
		if n == l.index {
			style = plainStyle.Bold(true)
			c.fill(x, y+i, end, style)
		}
		c.text(x, y+i, end, style, l.all[l.tab][n].line())
	}
}
