package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"postern/recorder/play"
	"postern/recorder/screen"
)

const (
	mostPast    = 64 << 10 // bytes of what happened before that are shown
	mostScreens = 8        // terminals of one session that are kept in mind; a large one that is full takes some megabytes
)

// past is what happened before somebody began to watch: of each terminal what is on it now, and the last of everything else. All methods do nothing
// for nil, which is the past of one who has caught up.
type past struct {
	said    []byte
	screens map[uint32]*screen.Screen
}

func newPast() *past { return &past{screens: map[uint32]*screen.Screen{}} }

// sized begins a terminal, or gives it another size.
func (p *past) sized(channel uint32, d play.Detail) {
	if p == nil {
		return
	}
	columns, rows := int(min(d.Columns, screen.MostColumns)), int(min(d.Rows, screen.MostRows))
	s := p.screens[channel]
	switch {
	case s != nil:
		s.Resize(columns, rows)
	case d.Name == "pty-req" && len(p.screens) < mostScreens:
		p.screens[channel] = screen.New(columns, rows)
	}
}

func (p *past) closed(channel uint32) {
	if p == nil {
		return
	}
	if s := p.screens[channel]; s != nil {
		p.text([]byte(strings.Join(s.Lines(), "\r\n") + "\r\n"))
		delete(p.screens, channel)
	}
}

// painted says whether output went to a terminal.
func (p *past) painted(channel uint32, b []byte) bool {
	s := p.screens[channel]
	if s != nil {
		_, _ = s.Write(b)
	}
	return s != nil
}

// text keeps the last of what is safe for a terminal.
func (p *past) text(b []byte) {
	p.said = append(p.said, b...)
	if len(p.said) > 2*mostPast {
		p.said = append(p.said[:0], p.said[len(p.said)-mostPast:]...)
	}
}

// show is what a terminal is sent to look as it would if it had seen it all.
func (p *past) show(on *watchScreen) []byte {
	said := p.said
	if len(said) > mostPast {
		said = said[len(said)-mostPast:]
		if i := slices.Index(said, '\n'); i >= 0 {
			said = said[i+1:]
		}
	}
	b := slices.Clone(said)
	channels := slices.Sorted(maps.Keys(p.screens))
	if len(channels) == 1 {
		s := p.screens[channels[0]]
		columns, rows := s.Size()
		on.compare(uint32(columns), uint32(rows))
		return appendScreen(b, s, on)
	}
	for _, channel := range channels {
		b = fmt.Appendf(b, "[on terminal %d:]\r\n%s\r\n", channel, strings.Join(p.screens[channel].Lines(), "\r\n"))
	}
	return b
}

// appendScreen paints a screen from its cells. Of one that has more room than ours, what is around its cursor.
func appendScreen(b []byte, s *screen.Screen, on *watchScreen) []byte {
	if s.Alternate() {
		b = append(b, "\x1b[?1049h"...)
	}
	b = append(b, "\x1b[0m\x1b[H\x1b[2J"...)
	columns, rows := s.Size()
	x, y, visible := s.Cursor()
	width, height := on.size(columns, rows)
	top := max(0, y+1-height)
	var last screen.Cell
	for row := top; row < min(rows, top+height); row++ {
		line := s.Row(row)
		line = line[:min(len(line), width)]
		end := len(line)
		for end > 0 && line[end-1] == (screen.Cell{Rune: ' '}) {
			end--
		}
		if end == 0 {
			continue
		}
		b = fmt.Appendf(b, "\x1b[%d;1H", row-top+1)
		for _, c := range line[:end] {
			if c.Rune == 0 {
				continue // the right half of the one before
			}
			if c.Fg != last.Fg || c.Bg != last.Bg || c.Attr != last.Attr {
				b = appendStyle(b, c)
				last = c
			}
			b = append(append(b, string(c.Rune)...), string(s.Combining(c))...)
		}
	}
	b = fmt.Appendf(append(b, "\x1b[0m"...), "\x1b[%d;%dH", y-top+1, min(x, width-1)+1)
	if !visible {
		b = append(b, "\x1b[?25l"...)
	}
	return b
}

// styles are the parameters of SGR.
var styles = []struct {
	attr screen.Attr
	code string
}{
	{screen.Bold, ";1"}, {screen.Dim, ";2"}, {screen.Italic, ";3"}, {screen.Underline, ";4"}, {screen.Blink, ";5"},
	{screen.Reverse, ";7"}, {screen.Hidden, ";8"}, {screen.Struck, ";9"}, {screen.Overline, ";53"},
}

func appendStyle(b []byte, c screen.Cell) []byte {
	b = append(b, "\x1b[0"...)
	for _, style := range styles {
		if c.Attr&style.attr != 0 {
			b = append(b, style.code...)
		}
	}
	return append(appendColour(appendColour(b, 38, c.Fg), 48, c.Bg), 'm')
}

func appendColour(b []byte, which int, c screen.Color) []byte {
	if n, ok := c.Palette(); ok {
		return fmt.Appendf(b, ";%d;5;%d", which, n)
	}
	if red, green, blue, ok := c.RGB(); ok {
		return fmt.Appendf(b, ";%d;2;%d;%d;%d", which, red, green, blue)
	}
	return b
}
