package screen

// ascii shows printable ASCII.
func (s *Screen) ascii(p []byte) {
	if s.modes.insert || s.single != 0 || s.sets[s.shift] != 'B' {
		for _, c := range p {
			s.print(rune(c))
		}
		return
	}
	s.last = rune(p[len(p)-1])
	for len(p) > 0 {
		if s.pending {
			s.wrap()
		}
		end := s.end()
		n := min(len(p), end-s.x)
		if n < len(p) && !s.modes.wrap {
			p = append(p[:n-1:n-1], p[len(p)-1]) // the last column takes them all, and shows the last
		}
		r := s.own(s.y)
		r.extend(s.x, s.x+n, s.columns)
		r.split(s.x, s.x+n)
		cells := r.cells[s.x : s.x+n]
		cell := s.style.cell(' ')
		for i := range cells {
			cell.Rune = rune(p[i])
			cells[i] = cell
		}
		s.advance(n, end)
		p = p[n:]
	}
}

// end is the column after the last one that text goes to from here.
func (s *Screen) end() int {
	if s.x > s.right {
		return s.columns
	}
	return s.right + 1
}

func (s *Screen) advance(n, end int) {
	s.fuel = min(s.fuel+n*fuelOf, mostFuel)
	if s.x += n; s.x >= end {
		s.x = end - 1
		s.pending = s.modes.wrap
	}
}

// wrap goes on in the next row.
func (s *Screen) wrap() {
	if s.left == 0 && s.right == s.columns-1 {
		s.own(s.y).wrapped = true
	}
	s.pending = false
	s.x = s.leftmost()
	s.index()
}

// leftmost is where a line begins.
func (s *Screen) leftmost() int {
	if s.x < s.left {
		return 0
	}
	return s.left
}

// print shows one character.
func (s *Screen) print(r rune) {
	r = s.mapped(r)
	w := width(r)
	if w < 0 {
		return
	}
	if w == 0 {
		s.combine(r)
		return
	}
	s.last = r
	if s.pending {
		s.wrap()
	}
	end := s.end()
	if w > end-s.x && !s.fit(w, end) {
		return
	}
	end = s.end()
	if s.modes.insert {
		s.insertCells(w)
	}
	row := s.own(s.y)
	row.reach(s.x+w, s.columns)
	row.split(s.x, s.x+w)
	cell := s.style.cell(r)
	if w == 2 {
		half := cell
		half.Rune = 0
		cell.Attr |= wide
		row.cells[s.x+1] = half
	}
	row.cells[s.x] = cell
	s.advance(w, end)
}

// fit finds room for a wide character that the rest of the line does not have.
func (s *Screen) fit(w, end int) bool {
	if w > end-s.leftmost() {
		return false
	}
	if !s.modes.wrap {
		s.x = end - w
		return true
	}
	r := s.own(s.y)
	r.erase(s.x, end, s.columns, s.style.blank())
	s.wrap()
	r.short = r.wrapped
	return true
}

// combine puts a character of no width on the one before the cursor.
func (s *Screen) combine(r rune) {
	x := s.x - 1
	if s.pending {
		x = s.x
	}
	if x < 0 || x >= s.columns {
		return
	}
	row := s.own(s.y)
	row.reach(x+1, s.columns)
	if row.cells[x].Rune == 0 && x > 0 {
		x--
	}
	row.cells[x].mark = s.marks.add(row.cells[x].mark, r)
}

// marks are the combinations of combining characters that were seen. They are few in text; a host that makes up many has the later ones dropped.
type marks struct {
	list  [][]rune
	known map[string]uint16 // shared with clones until one adds
	owned bool
}

const (
	mostMarks = 4096
	mostOnOne = 8
)

func (m *marks) clone() marks {
	m.owned = false
	return marks{list: m.list[:len(m.list):len(m.list)], known: m.known}
}

func (m *marks) add(mark uint16, r rune) uint16 {
	if len(m.list) == 0 {
		m.list = [][]rune{nil}
	}
	was := m.list[mark]
	if len(was) >= mostOnOne {
		return mark
	}
	runes := append(was[:len(was):len(was)], r)
	key := string(runes)
	if i, ok := m.known[key]; ok {
		return i
	}
	if len(m.list) >= mostMarks {
		return mark
	}
	m.own()
	m.list = append(m.list, runes)
	m.known[key] = uint16(len(m.list) - 1)
	return uint16(len(m.list) - 1)
}

func (m *marks) own() {
	if m.owned {
		return
	}
	known := make(map[string]uint16, len(m.known)+1)
	for k, v := range m.known {
		known[k] = v
	}
	m.list, m.known, m.owned = m.list[:len(m.list):len(m.list)], known, true
}
