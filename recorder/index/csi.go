package index

// act is the end of a control sequence.
func (t *Text) act(dst []byte, final byte, next int) []byte {
	params := t.csi[:t.n]
	if t.watch != nil {
		t.watch.sequence(params, final, next)
	}
	if final != 'J' && final != 'm' {
		t.home = false
	}
	var private byte
	if t.n > 0 && params[0] >= 0x3c {
		private = params[0]
	}
	if t.n > 0 && params[t.n-1] < 0x30 { // with intermediate bytes: soft reset, cursor shape
		if final == 'p' && params[t.n-1] == '!' {
			t.margins = false
		}
		return dst
	}
	switch final {
	case 'm', 'n', 'c', 't', 'q', 'g', 'i': // colours, questions, lights
	case 'u':
		if private == 0 {
			t.loosen()
		}
	case 'h', 'l':
		t.mode(params, final == 'h', next)
	case 'K':
		return t.eraseLine(dst, number(params))
	case 'J':
		return t.erase(dst, number(params), private)
	case 'G', '`', 'C', 'D', 'a', '@', 'P', 'X', 'b': // within the line
		t.draw()
		t.back = false
	case 'r':
		t.margins = t.n > 0
		t.loosen()
	case 'H', 'f':
		if t.dirty { // on an empty screen every place is as good
			t.loosen()
		}
		t.home = isHome(params)
		return dst
	default:
		t.loosen()
	}
	return dst
}

func isHome(params []byte) bool {
	if len(params) > 3 {
		return false
	}
	row, rest := leading(params)
	column := 0
	if len(rest) > 0 {
		column = number(rest[1:])
	}
	return row <= 1 && column <= 1
}

func (t *Text) eraseLine(dst []byte, what int) []byte {
	switch {
	case what == 0 && t.back: // what follows is a new line in the old one's place
		t.line, t.back, t.cut = false, false, false
		return append(dst, '\n')
	case what != 0:
		t.draw()
	}
	return dst
}

// erase is of parts of the screen, and of all of it.
func (t *Text) erase(dst []byte, what int, private byte) []byte {
	switch {
	case what == 2 && private == 0, what == 0 && t.home:
		return t.clean(dst)
	case what == 1 || private != 0:
		t.draw()
	}
	return dst
}

// mode is what is switched on or off.
func (t *Text) mode(params []byte, on bool, next int) {
	if t.n == 0 || params[0] != '?' {
		t.draw() // insert mode, and others of which we know less
		return
	}
	for params = params[1:]; ; {
		n, rest := leading(params)
		switch n {
		case 1, 4, 5, 12, 25, 45, 66, 67, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1015, 1016, 1034, 1035, 1036, 1039, 1042, 2004, 2026, 2027, 2031, 2048:
		case 7:
			t.draw()
		case 47, 1047, 1049:
			t.alternate(on, n)
		default:
			t.loosen()
		}
		if t.watch != nil {
			t.watch.mode(n, on, next)
		}
		if len(rest) == 0 {
			return
		}
		params = rest[1:]
	}
}

// alternate shows the other screen, or the main one as it was left.
func (t *Text) alternate(on bool, mode int) {
	if on == t.other {
		return
	}
	if t.other = on; on {
		t.main, t.under = t.loose, t.dirty
		t.loose, t.dirty = 0, false
		if mode != 1049 { // it may show what it showed last
			t.dirty = true
			t.loosen()
		}
	} else {
		t.loose, t.dirty = t.main, t.under
	}
	t.line, t.back, t.cut = t.line && !on, false, false
}

// number is the first parameter of a control sequence, 0 if it has none.
func number(params []byte) int {
	n, _ := leading(params)
	return n
}

// leading is the number at the beginning, and what follows it.
func leading(params []byte) (n int, rest []byte) {
	i := 0
	for ; i < len(params) && params[i] >= '0' && params[i] <= '9'; i++ {
		n = min(n*10+int(params[i]-'0'), 1<<20)
	}
	return n, params[i:]
}
