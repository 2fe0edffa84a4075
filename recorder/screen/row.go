package screen

import "unicode/utf8"

// Cell is one place on the screen.
type Cell struct {
	Rune   rune // 0: the right half of a wide character
	Fg, Bg Color
	Attr   Attr
	mark   uint16 // combining characters, as an index into the screen's; 0: none
}

// Attr is how a cell is shown.
type Attr uint16

// What a cell may be, beside its colours.
const (
	Bold Attr = 1 << iota
	Dim
	Italic
	Underline
	Blink
	Reverse
	Hidden
	Struck
	Overline
	wide // the left half of a wide character
)

// Width is how many columns it takes: 2 of a wide character, and 0 of the cell after that.
func (c Cell) Width() int {
	switch {
	case c.Rune == 0:
		return 0
	case c.Attr&wide != 0:
		return 2
	}
	return 1
}

// Color is one of 256, a mixture, or what the terminal has for its own.
type Color uint32

const (
	palette Color = 1 << 24
	mixture Color = 1 << 25
)

// Palette returns which of the 256 colours it is.
func (c Color) Palette() (uint8, bool) { return uint8(c), c&palette != 0 }

// RGB returns the parts of a mixture.
func (c Color) RGB() (r, g, b uint8, ok bool) {
	return uint8(c >> 16), uint8(c >> 8), uint8(c), c&mixture != 0
}

var blank = Cell{Rune: ' '}

// row is a line of the screen. Cells from len(cells) on were never written or were erased, and look like fill: so erasing a row costs nothing,
// and a row that nobody wrote to has no cells.
type row struct {
	owner   uint64
	cells   []Cell
	fill    Cell
	wrapped bool // the text goes on in the next row
	short   bool // its last column was left free for a wide character that did not fit
}

// own returns row y for a change.
func (s *Screen) own(y int) *row {
	r := s.lines[y]
	if r.owner == s.owner {
		return r
	}
	c := &row{owner: s.owner, fill: r.fill, wrapped: r.wrapped, short: r.short}
	if len(r.cells) > 0 {
		c.cells = append(make([]Cell, 0, s.columns), r.cells...)
	}
	s.lines[y] = c
	return c
}

// reach makes the cells up to n exist.
func (r *row) reach(n, columns int) {
	if len(r.cells) >= n {
		return
	}
	if cap(r.cells) < n {
		r.cells = append(make([]Cell, 0, max(n, columns)), r.cells...)
	}
	for i := len(r.cells); i < n; i++ {
		r.cells = append(r.cells, r.fill)
	}
}

// extend is reach for cells that are all written next, from x on: they are not filled first.
func (r *row) extend(x, n, columns int) {
	r.reach(x, columns)
	if len(r.cells) >= n {
		return
	}
	if cap(r.cells) < n {
		r.cells = append(make([]Cell, 0, max(n, columns)), r.cells...)
	}
	old := len(r.cells)
	r.cells = r.cells[:n]
	r.cells[old] = r.fill // split looks at it
}

// clear makes a row blank, in the colour that things are erased with.
func (r *row) clear(fill Cell) {
	r.cells, r.fill, r.wrapped, r.short = r.cells[:0], fill, false, false
}

// split blanks the wide characters that a change from x up to but not including end cuts in half.
func (r *row) split(x, end int) {
	if x > 0 && x < len(r.cells) && r.cells[x].Rune == 0 {
		r.cells[x-1] = r.cells[x-1].erased()
		r.cells[x] = r.cells[x].erased()
	}
	if end > 0 && end < len(r.cells) && r.cells[end].Rune == 0 {
		r.cells[end-1] = r.cells[end-1].erased()
		r.cells[end] = r.cells[end].erased()
	}
}

// erased is half of a character that lost its other half.
func (c Cell) erased() Cell { return Cell{Rune: ' ', Fg: c.Fg, Bg: c.Bg, Attr: c.Attr &^ wide} }

// erase blanks the cells from x up to but not including end.
func (r *row) erase(x, end, columns int, fill Cell) {
	if x >= end {
		return
	}
	r.split(x, end)
	if end >= columns {
		r.wrapped, r.short = false, false
		if x == 0 || fill == r.fill {
			r.cells = r.cells[:min(len(r.cells), x)]
			if x == 0 {
				r.fill = fill
			}
			return
		}
	}
	if x >= len(r.cells) && fill == r.fill {
		return
	}
	r.reach(end, columns)
	for i := x; i < end; i++ {
		r.cells[i] = fill
	}
}

// Row is the cells of row y, as many as there are columns. They stay as they are.
func (s *Screen) Row(y int) []Cell {
	if y < 0 || y >= s.rows {
		return nil
	}
	return s.AppendRow(make([]Cell, 0, s.columns), y)
}

// AppendRow appends the cells of row y.
func (s *Screen) AppendRow(dst []Cell, y int) []Cell {
	r := s.lines[y]
	dst = append(dst, r.cells[:min(len(r.cells), s.columns)]...)
	for i := len(r.cells); i < s.columns; i++ {
		dst = append(dst, r.fill)
	}
	if last := &dst[len(dst)-1]; last.Width() == 2 {
		*last = last.erased() // the window became narrower in the middle of a character
	}
	return dst
}

// Combining are the characters on top of the one in the cell, mostly none.
func (s *Screen) Combining(c Cell) []rune {
	if c.mark == 0 {
		return nil
	}
	return s.marks.list[c.mark]
}

// Text is what each row says, without trailing spaces.
func (s *Screen) Text() []string {
	list := make([]string, s.rows)
	var b []byte
	for y, r := range s.lines {
		b = trim(s.appendText(b[:0], r))
		list[y] = string(b)
	}
	return list
}

// Lines is what the screen says with wrapped lines joined, also with what has left it of the first one. Lines at the end that are empty are left out.
func (s *Screen) Lines() []string {
	var list []string
	b := append([]byte(nil), s.gone...)
	for y, r := range s.lines {
		b = s.appendText(b, r)
		if r.wrapped && y < s.rows-1 {
			continue
		}
		list = append(list, string(trim(b)))
		b = b[:0]
	}
	for len(list) > 0 && list[len(list)-1] == "" {
		list = list[:len(list)-1]
	}
	return list
}

func (s *Screen) appendText(b []byte, r *row) []byte { return s.appendCells(b, r, s.columns) }

// appendCells appends the text of the first cells of a row.
func (s *Screen) appendCells(b []byte, r *row, most int) []byte {
	cells := r.cells[:min(len(r.cells), most)]
	if r.short && len(cells) == s.columns {
		cells = cells[:s.columns-1]
	}
	for _, c := range cells {
		b = s.appendCell(b, c)
	}
	for x := len(cells); x < s.columns && r.fill.Rune != ' '; x++ {
		b = s.appendCell(b, r.fill)
	}
	return b
}

func (s *Screen) appendCell(b []byte, c Cell) []byte {
	if c.Rune == 0 {
		return b
	}
	b = utf8.AppendRune(b, c.Rune)
	if c.mark != 0 {
		for _, m := range s.marks.list[c.mark] {
			b = utf8.AppendRune(b, m)
		}
	}
	return b
}

func trim(b []byte) []byte {
	for len(b) > 0 && b[len(b)-1] == ' ' {
		b = b[:len(b)-1]
	}
	return b
}
