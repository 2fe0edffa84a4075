package screen

import "slices"

// originTop and originLeft are where the cursor is counted from.
func (s *Screen) originTop() int {
	if s.origin {
		return s.top
	}
	return 0
}

func (s *Screen) originLeft() int {
	if s.origin {
		return s.left
	}
	return 0
}

// to puts the cursor somewhere, within the margins in origin mode.
func (s *Screen) to(x, y int) {
	s.pending = false
	if s.origin {
		s.x, s.y = min(max(x, 0)+s.left, s.right), min(max(y, 0)+s.top, s.bottom)
		return
	}
	s.x, s.y = min(max(x, 0), s.columns-1), min(max(y, 0), s.rows-1)
}

// up stops at the top margin if it begins below it, and so on for the others.
func (s *Screen) up(n int) {
	s.pending = false
	limit := 0
	if s.y >= s.top {
		limit = s.top
	}
	s.y = max(s.y-n, limit)
}

func (s *Screen) down(n int) {
	s.pending = false
	limit := s.rows - 1
	if s.y <= s.bottom {
		limit = s.bottom
	}
	s.y = min(s.y+n, limit)
}

func (s *Screen) forward(n int) {
	s.pending = false
	s.x = min(s.x+n, s.end()-1)
}

func (s *Screen) backward(n int) {
	s.pending = false
	s.x = max(s.x-n, s.leftmost())
}

// index goes down one row, and scrolls at the bottom margin.
func (s *Screen) index() {
	switch {
	case s.y == s.bottom && s.x >= s.left && s.x <= s.right:
		s.scrollUp(s.top, 1)
	case s.y != s.bottom && s.y < s.rows-1:
		s.y++
	}
}

func (s *Screen) reverseIndex() {
	s.pending = false
	switch {
	case s.y == s.top && s.x >= s.left && s.x <= s.right:
		s.scrollDown(s.top, 1)
	case s.y != s.top && s.y > 0:
		s.y--
	}
}

// scrollUp moves the rows from top to the bottom margin up by n. What leaves the main screen is told.
func (s *Screen) scrollUp(top, n int) {
	n = min(n, s.bottom-top+1)
	if s.narrow() {
		s.scrollPart(top, n)
		return
	}
	if s.main == nil && s.onLine != nil {
		for _, r := range s.lines[top : top+n] {
			s.leave(r)
		}
	}
	s.rotate(top, n)
	for y := s.bottom - n + 1; y <= s.bottom; y++ {
		s.cleared(y, s.style.blank())
	}
}

func (s *Screen) scrollDown(top, n int) {
	n = min(n, s.bottom-top+1)
	if s.narrow() {
		s.scrollPart(top, -n)
		return
	}
	s.rotate(top, s.bottom-top+1-n)
	for y := top; y < top+n; y++ {
		s.cleared(y, s.style.blank())
	}
}

// rotate moves the first n rows from top on to the bottom margin.
func (s *Screen) rotate(top, n int) {
	region := s.lines[top : s.bottom+1]
	if n == 1 {
		first := region[0]
		copy(region, region[1:])
		region[len(region)-1] = first
		return
	}
	slices.Reverse(region[:n])
	slices.Reverse(region[n:])
	slices.Reverse(region)
}

// cleared makes row y blank without copying one that is shared.
func (s *Screen) cleared(y int, fill Cell) {
	if r := s.lines[y]; r.owner == s.owner {
		r.clear(fill)
	} else {
		s.lines[y] = &row{owner: s.owner, fill: fill}
	}
}

// narrow reports whether there are margins at the sides, which tmux sets to scroll one of its panes.
func (s *Screen) narrow() bool { return s.left > 0 || s.right < s.columns-1 }

// Rows that move as a whole cost nothing; parts of them are copied. What is printed pays for that, and mostFuel is there from the beginning: a host that
// only scrolls has its side margins taken away, before it costs minutes a megabyte.
const (
	mostFuel = 1 << 26 // cells
	fuelOf   = 256     // a printed cell
)

// scrollPart moves what is between the side margins up by n rows, or down.
func (s *Screen) scrollPart(top, n int) {
	if s.fuel -= (s.bottom - top + 1) * (s.right - s.left + 1); s.fuel < 0 {
		s.modes.margins, s.left, s.right = false, 0, s.columns-1
		return
	}
	step, y, last := 1, top, s.bottom
	if n < 0 {
		step, y, last = -1, s.bottom, top
	}
	for ; y != last+step; y += step {
		r, from := s.own(y), y+n
		r.reach(s.right+1, s.columns)
		r.split(s.left, s.right+1)
		if from < top || from > s.bottom {
			r.erase(s.left, s.right+1, s.columns, s.style.blank())
			continue
		}
		other := s.own(from)
		other.reach(s.right+1, s.columns)
		other.split(s.left, s.right+1)
		copy(r.cells[s.left:s.right+1], other.cells[s.left:s.right+1])
	}
}

func (s *Screen) insideMargins() bool {
	return s.y >= s.top && s.y <= s.bottom && s.x >= s.left && s.x <= s.right
}

func (s *Screen) insertLines(n int) {
	if s.pending = false; s.insideMargins() {
		s.scrollDown(s.y, n)
		s.x = s.leftmost()
	}
}

func (s *Screen) deleteLines(n int) {
	if s.pending = false; !s.insideMargins() {
		return
	}
	tell := s.onLine
	s.onLine = nil // a program took them away, they did not scroll off
	s.scrollUp(s.y, n)
	s.onLine = tell
	s.x = s.leftmost()
}

// insertCells makes room for n cells at the cursor.
func (s *Screen) insertCells(n int) {
	if s.x < s.left || s.x > s.right {
		return
	}
	end := s.right + 1
	n = min(n, end-s.x)
	r := s.own(s.y)
	if s.x >= len(r.cells) && r.fill == s.style.blank() {
		return
	}
	r.reach(end, s.columns)
	r.split(s.x, end-n)
	r.split(s.x, end)
	copy(r.cells[s.x+n:end], r.cells[s.x:end-n])
	for i := s.x; i < s.x+n; i++ {
		r.cells[i] = s.style.blank()
	}
}

func (s *Screen) deleteCells(n int) {
	if s.pending = false; s.x < s.left || s.x > s.right {
		return
	}
	end := s.right + 1
	n = min(n, end-s.x)
	r := s.own(s.y)
	if s.x >= len(r.cells) && r.fill == s.style.blank() {
		return
	}
	r.reach(end, s.columns)
	r.split(s.x, s.x+n)
	r.split(s.x, end)
	copy(r.cells[s.x:], r.cells[s.x+n:end])
	for i := end - n; i < end; i++ {
		r.cells[i] = s.style.blank()
	}
}

func (s *Screen) eraseLine(which int) {
	r, fill := s.own(s.y), s.style.blank()
	switch which {
	case 0:
		r.erase(s.x, s.columns, s.columns, fill)
	case 1:
		r.erase(0, s.x+1, s.columns, fill)
	case 2:
		r.erase(0, s.columns, s.columns, fill)
	}
	s.pending = false
}

func (s *Screen) eraseDisplay(which int) {
	fill := s.style.blank()
	switch which {
	case 0:
		if s.x == 0 && s.y == 0 {
			s.clearAll()
		}
		s.eraseLine(0)
		for y := s.y + 1; y < s.rows; y++ {
			s.cleared(y, fill)
		}
	case 1:
		s.eraseLine(1)
		for y := range s.y {
			s.cleared(y, fill)
		}
	case 2:
		s.clearAll()
		s.fillAll(fill)
	}
	s.pending = false
}

// clearAll tells of what is on the main screen before it is erased.
func (s *Screen) clearAll() {
	if s.main != nil || s.onLine == nil {
		return
	}
	last := -1
	for y, r := range s.lines {
		if len(r.cells) > 0 {
			last = y
		}
	}
	for _, r := range s.lines[:last+1] {
		s.leave(r)
	}
	s.flush()
}

const mostGone = 16 << 10

// leave tells of a row that is gone from the main screen. A line as long as a book comes in pieces.
func (s *Screen) leave(r *row) {
	if s.onLine == nil || len(r.cells) == 0 && r.fill.Rune != ' ' {
		return // nobody listens, or it is a row of letters to adjust a tube by
	}
	s.gone = s.appendCells(s.gone, r, MostColumns) // also what a narrower window hides since
	if !r.wrapped || len(s.gone) >= mostGone {
		s.onLine(string(trim(s.gone)))
		s.gone = s.gone[:0]
	}
}

// flush tells of a line that will not be continued.
func (s *Screen) flush() {
	if len(s.gone) > 0 {
		s.onLine(string(trim(s.gone)))
	}
	s.gone = s.gone[:0]
}

// align fills the screen with letters, to adjust a tube by.
func (s *Screen) align() {
	s.fillAll(Cell{Rune: 'E'})
	s.top, s.bottom, s.left, s.right = 0, s.rows-1, 0, s.columns-1
	s.to(0, 0)
}

// region sets the top and the bottom margin.
func (s *Screen) region() {
	top, bottom := s.parser.number(0, 1)-1, min(s.parser.number(1, s.rows), s.rows)-1
	if top >= bottom {
		return
	}
	s.top, s.bottom = top, bottom
	s.to(0, 0)
}

// saveOrMargins is one sequence for two things: with margins switched on it sets those at the sides.
func (s *Screen) saveOrMargins() {
	if !s.modes.margins {
		s.saved = s.cursor
		return
	}
	left, right := s.parser.number(0, 1)-1, min(s.parser.number(1, s.columns), s.columns)-1
	if left >= right {
		return
	}
	s.left, s.right = left, right
	s.to(0, 0)
}

// Resize is what happens when the window changes: text is not wrapped anew, rows go at the bottom if they are below the cursor, else at the top.
func (s *Screen) Resize(columns, rows int) {
	columns, rows = clampSize(columns, rows)
	if columns == s.columns && rows == s.rows {
		return
	}
	if s.main != nil {
		s.main = s.resized(s.main, rows, &s.savedMain.y, s.leave)
		s.lines = s.resized(s.lines, rows, &s.y, func(*row) {})
	} else {
		s.lines = s.resized(s.lines, rows, &s.y, s.leave)
	}
	s.columns, s.rows = columns, rows
	s.top, s.bottom = 0, rows-1
	s.left, s.right = 0, columns-1
	s.pending = false
	s.clampCursor()
}

func (s *Screen) resized(lines []*row, rows int, y *int, leave func(*row)) []*row {
	for len(lines) > rows && *y < len(lines)-1 {
		lines = lines[:len(lines)-1]
	}
	if n := len(lines) - rows; n > 0 {
		for _, r := range lines[:n] {
			leave(r)
		}
		lines, *y = lines[n:], max(*y-n, 0)
	}
	lines = slices.Clone(lines)
	for len(lines) < rows {
		lines = append(lines, &row{owner: s.owner, fill: blank})
	}
	return lines
}
