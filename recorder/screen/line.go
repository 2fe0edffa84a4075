package screen

// Fresh lists the rows that changed since a clone was taken of this screen: those that are no row of it, wherever that has moved to.
func (s *Screen) Fresh(since *Screen) (rows []int) {
	var known map[*row]bool
	for y, r := range s.lines {
		if y < len(since.lines) && since.lines[y] == r {
			continue
		}
		if known == nil {
			known = make(map[*row]bool, len(since.lines))
			for _, r := range since.lines {
				known[r] = true
			}
		}
		if !known[r] {
			rows = append(rows, y)
		}
	}
	return rows
}

// Line is the line that row y is part of, joined if it was wrapped, without trailing spaces, and the rows it takes on the screen.
func (s *Screen) Line(y int) (text string, first, last int) {
	first, last = y, y
	for first > 0 && s.lines[first-1].wrapped {
		first--
	}
	for last < s.rows-1 && s.lines[last].wrapped {
		last++
	}
	var b []byte
	for _, r := range s.lines[first : last+1] {
		b = s.appendText(b, r)
	}
	return string(trim(b)), first, last
}

// RowText is what row y says, and of each byte of that the column it is in.
func (s *Screen) RowText(y int) (text string, columns []int) {
	var b []byte
	r := s.lines[y]
	for x, c := range r.cells[:min(len(r.cells), s.columns)] {
		before := len(b)
		b = s.appendCell(b, c)
		for range len(b) - before {
			columns = append(columns, x)
		}
	}
	return string(b), columns
}
