package screen

// dispatch does what a control sequence says.
func (s *Screen) dispatch(final byte) {
	p := &s.parser
	switch {
	case p.inters > 0:
		if p.inters == 1 && p.inter == '!' && final == 'p' && p.prefix == 0 {
			s.softReset()
		}
		return
	case p.prefix == '?':
		s.private(final)
		return
	case p.prefix != 0:
		return
	}
	if !s.move(final) {
		s.edit(final)
	}
}

// move does the sequences that move the cursor.
func (s *Screen) move(final byte) bool {
	n := s.parser.number(0, 1)
	switch final {
	case 'A':
		s.up(n)
	case 'B', 'e':
		s.down(n)
	case 'C', 'a':
		s.forward(n)
	case 'D':
		s.backward(n)
	case 'E':
		s.down(n)
		s.x = s.leftmost()
	case 'F':
		s.up(n)
		s.x = s.leftmost()
	case 'G', '`':
		s.to(n-1, s.y-s.originTop())
	case 'd':
		s.to(s.x-s.originLeft(), n-1)
	case 'H', 'f':
		s.to(s.parser.number(1, 1)-1, n-1)
	case 'I':
		s.tab(n)
	case 'Z':
		s.backTab(n)
	case 's':
		s.saveOrMargins()
	case 'u':
		s.restore()
	default:
		return false
	}
	return true
}

// edit does the sequences that change what is shown, and how what follows is.
func (s *Screen) edit(final byte) {
	n := s.parser.number(0, 1)
	switch final {
	case '@':
		s.pending = false
		s.insertCells(n)
	case 'J':
		s.eraseDisplay(s.parser.number(0, 0))
	case 'K':
		s.eraseLine(s.parser.number(0, 0))
	case 'L':
		s.insertLines(n)
	case 'M':
		s.deleteLines(n)
	case 'P':
		s.deleteCells(n)
	case 'S':
		s.scrollUp(s.top, n)
	case 'T':
		if s.parser.count <= 1 { // more is mouse tracking
			s.scrollDown(s.top, n)
		}
	case 'X':
		s.pending = false
		s.own(s.y).erase(s.x, min(s.x+n, s.columns), s.columns, s.style.blank())
	case 'b':
		s.repeat(n)
	case 'g':
		switch s.parser.number(0, 0) {
		case 0:
			s.tabs.clear(s.x)
		case 3:
			s.tabs = tabs{}
		}
	case 'h', 'l':
		s.ansiModes(final == 'h')
	case 'm':
		s.style.set(s.parser.list(), s.parser.colon)
	case 'r':
		s.region()
	}
}

// repeat shows the last character again, at most to the end of the line: a count of a million is no order.
func (s *Screen) repeat(n int) {
	if s.last == 0 {
		return
	}
	was := s.cursor.sets
	s.sets = home.sets // it was mapped already
	for range min(n, s.columns-s.x) {
		s.print(s.last)
	}
	s.sets = was
}

func (s *Screen) ansiModes(on bool) {
	for _, n := range s.parser.list() {
		switch n {
		case 4:
			s.modes.insert = on
		case 20:
			s.modes.newline = on
		}
	}
}

// private does the sequences with a question mark.
func (s *Screen) private(final byte) {
	switch final {
	case 'J':
		s.eraseDisplay(s.parser.number(0, 0))
	case 'K':
		s.eraseLine(s.parser.number(0, 0))
	case 'h', 'l':
		for _, n := range s.parser.list() {
			s.privateMode(n, final == 'h')
		}
	}
}

func (s *Screen) privateMode(n uint16, on bool) {
	switch n {
	case 5:
		s.modes.reverse = on
	case 6:
		s.origin = on
		s.to(0, 0)
	case 7:
		if s.modes.wrap = on; !on {
			s.pending = false
		}
	case 25:
		s.modes.hidden = !on
	case 69:
		s.modes.margins = on && s.fuel >= 0
		s.left, s.right = 0, s.columns-1
	case 47, 1047:
		s.alternate(on)
	case 1048:
		if on {
			s.saved = s.cursor
		} else {
			s.restore()
		}
	case 1049:
		s.alternateSaved(on)
	}
}

func (s *Screen) alternateSaved(on bool) {
	if on {
		if s.main == nil {
			s.savedMain = s.cursor
			s.alternate(true)
		}
		return
	}
	if s.main != nil {
		s.alternate(false)
		s.cursor = s.savedMain
		s.clampCursor()
	}
}

// alternate shows the other screen, which is empty each time, or the main one as it was left.
func (s *Screen) alternate(on bool) {
	switch {
	case on && s.main == nil:
		s.main, s.lines = s.lines, s.empty()
	case !on && s.main != nil:
		s.lines, s.main = s.main, nil
	}
	s.pending = false
}

func (s *Screen) restore() {
	s.cursor = s.saved
	s.pending = false
	s.clampCursor()
}

func (s *Screen) clampCursor() {
	s.x, s.y = min(s.x, s.columns-1), min(s.y, s.rows-1)
}

func (s *Screen) softReset() {
	at := s.cursor
	lines, reverse := s.main, s.modes.reverse
	tabs, savedMain := s.tabs, s.savedMain
	s.reset()
	s.main, s.modes.reverse, s.tabs, s.savedMain = lines, reverse, tabs, savedMain
	s.x, s.y = at.x, at.y
}

func (s *Screen) fullReset() {
	if s.main != nil {
		s.alternate(false)
	}
	s.reset()
	s.clearAll()
	s.fillAll(blank)
}

func (s *Screen) fillAll(fill Cell) {
	for y := range s.lines {
		s.cleared(y, fill)
	}
}
