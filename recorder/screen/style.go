package screen

// style is how what is printed next looks.
type style struct {
	fg, bg Color
	attr   Attr
}

func (t style) cell(r rune) Cell { return Cell{Rune: r, Fg: t.fg, Bg: t.bg, Attr: t.attr} }

// blank is what erasing leaves: the colour of the background and nothing else.
func (t style) blank() Cell { return Cell{Rune: ' ', Bg: t.bg} }

// set does SGR. Bit i of colon says that number i belongs to the one before it.
func (t *style) set(list []uint16, colon uint32) {
	if len(list) == 0 {
		*t = style{}
	}
	for i := 0; i < len(list); {
		n := 1
		for i+n < len(list) && colon>>(i+n)&1 != 0 {
			n++
		}
		switch list[i] {
		case 38, 48, 58:
			var c Color
			var ok bool
			if n > 1 {
				c, ok = joined(list[i : i+n])
			} else {
				c, n, ok = separate(list[i:])
			}
			if ok {
				t.colour(list[i], c)
			}
		case 4:
			t.underline(list[i : i+n])
		default:
			t.one(list[i])
		}
		i += n
	}
}

// joined reads a colour whose parts are joined by colons: 38:5:n, 38:2:r:g:b or 38:2:space:r:g:b.
func joined(list []uint16) (Color, bool) {
	switch {
	case len(list) >= 3 && list[1] == 5:
		return fromPalette(list[2])
	case len(list) == 5 && list[1] == 2:
		return mix(list[2:5])
	case len(list) >= 6 && list[1] == 2:
		return mix(list[3:6])
	}
	return 0, false
}

// separate reads one whose parts are separated by semicolons, and says how many there are.
func separate(list []uint16) (c Color, n int, ok bool) {
	switch {
	case len(list) >= 3 && list[1] == 5:
		c, ok = fromPalette(list[2])
		return c, 3, ok
	case len(list) >= 5 && list[1] == 2:
		c, ok = mix(list[2:5])
		return c, 5, ok
	}
	return 0, len(list), false
}

func fromPalette(n uint16) (Color, bool) { return palette | Color(n&255), n < 256 }

func mix(p []uint16) (Color, bool) {
	if p[0] > 255 || p[1] > 255 || p[2] > 255 {
		return 0, false
	}
	return mixture | Color(p[0])<<16 | Color(p[1])<<8 | Color(p[2]), true
}

func (t *style) colour(which uint16, c Color) {
	switch which {
	case 38:
		t.fg = c
	case 48:
		t.bg = c
	}
}

func (t *style) underline(list []uint16) {
	if len(list) > 1 && list[1] == 0 {
		t.attr &^= Underline
	} else {
		t.attr |= Underline
	}
}

func (t *style) one(n uint16) {
	switch {
	case n == 0:
		*t = style{}
	case n < 10:
		t.attr |= [...]Attr{0, Bold, Dim, Italic, Underline, Blink, Blink, Reverse, Hidden, Struck}[n]
	case n == 21:
		t.attr |= Underline
	case n == 22:
		t.attr &^= Bold | Dim
	case n >= 23 && n <= 29:
		t.attr &^= [...]Attr{Italic, Underline, Blink, 0, Reverse, Hidden, Struck}[n-23]
	case n >= 30 && n <= 37:
		t.fg = palette | Color(n-30)
	case n == 39:
		t.fg = 0
	case n >= 40 && n <= 47:
		t.bg = palette | Color(n-40)
	case n == 49:
		t.bg = 0
	case n == 53:
		t.attr |= Overline
	case n == 55:
		t.attr &^= Overline
	case n >= 90 && n <= 97:
		t.fg = palette | Color(n-90+8)
	case n >= 100 && n <= 107:
		t.bg = palette | Color(n-100+8)
	}
}
