package player

import (
	"fmt"
	"slices"
	"time"

	"github.com/gdamore/tcell/v2"
)

// list is the overlay to choose a moment from.
type list struct {
	tab   int
	all   [3][]moment
	index int
	first int // that is shown
}

var listNames = [...]string{"commands", "files", "marks"}

// open shows the lists, at the place of this moment.
func (p *player) open() {
	p.mode = choosing
	p.list = list{tab: p.list.tab, all: [3][]moment{p.commands(), p.files(), p.marks()}}
	for i := 0; len(p.list.all[p.list.tab]) == 0 && i < 3; i++ {
		p.list.tab = (p.list.tab + 1) % 3
	}
	p.place()
}

func (p *player) place() {
	l := &p.list
	l.index, _ = slices.BinarySearchFunc(l.all[l.tab], p.now, func(m moment, now time.Duration) int {
		if m.at <= now {
			return -1
		}
		return 1
	})
	l.index = max(l.index-1, 0)
}

func (p *player) listKey(k *tcell.EventKey) {
	l := &p.list
	n := len(l.all[l.tab])
	switch k.Key() {
	case tcell.KeyUp:
		l.index--
	case tcell.KeyDown:
		l.index++
	case tcell.KeyPgUp:
		l.index -= 10
	case tcell.KeyPgDn:
		l.index += 10
	case tcell.KeyHome:
		l.index = 0
	case tcell.KeyEnd:
		l.index = n - 1
	case tcell.KeyTab, tcell.KeyRight:
		l.tab = (l.tab + 1) % 3
		p.place()
	case tcell.KeyBacktab, tcell.KeyLeft:
		l.tab = (l.tab + 2) % 3
		p.place()
	case tcell.KeyEscape, tcell.KeyCtrlC:
		p.mode = watching
	case tcell.KeyEnter:
		p.mode = watching
		if l.index < n {
			p.goTo(l.all[l.tab][l.index])
		}
	case tcell.KeyRune:
		switch k.Rune() {
		case 'j':
			l.index++
		case 'k':
			l.index--
		case 'q', 'o':
			p.mode = watching
		}
	}
	l.index = min(max(l.index, 0), max(len(l.all[l.tab])-1, 0))
}

func (m moment) line() string { return fmt.Sprintf("%s  %-8.8s %s", clockText(m.at), m.kind, m.text) }

// keys are what help tells, in the order of their use.
var keys = []struct{ key, does string }{
	{"space", "play, pause"}, {".", "one step"},
	{"← →", "5 seconds"}, {"↑ ↓", "a minute (also Page keys)"},
	{"Home End", "beginning, end"}, {"g or :", "to a time: 1:30, 50m, +10"},
	{"+ -", "speed"}, {"i", "cut pauses, or not"},
	{"[ ]", "command before, after"}, {"/ n N", "search what screens showed"},
	{"F f", "file before, after"}, {"M m", "other mark before, after"},
	{"o", "list of commands, files and marks; Enter goes there"},
	{"t", "the text that scrolled away before this moment"},
	{"Tab", "next channel"}, {"a", "the channel that has output"},
	{"hjkl", "move the view (also Shift and arrows)"},
	{"z", "back to the cursor"}, {"Esc", "end the search"},
	{"q", "quit"},
}

// helpWidth has room for two keys in a row, of which the first is told in few words.
const helpWidth, fewWords = 74, 22

// help is a line for each key, or for two.
func help(width int) (lines []string) {
	for i := 0; i < len(keys); i++ {
		line := fmt.Sprintf("%-10s %s", keys[i].key, keys[i].does)
		if width >= helpWidth && len(keys[i].does) <= fewWords && i+1 < len(keys) {
			i++
			line = fmt.Sprintf("%-34s %-8s %s", line, keys[i].key, keys[i].does)
		}
		lines = append(lines, line)
	}
	return lines
}

// helped shows the keys over the screen, or where that has no room for them as text to page through.
func (p *player) helped() {
	if p.mode = helping; p.columns >= helpWidth+2 && p.rows > len(help(p.columns))+1+statusRows {
		return
	}
	p.playing, p.mode = false, paging
	p.pager = &pager{about: "keys", ready: true}
	for _, line := range help(0) {
		p.pager.lines = append(p.pager.lines, folded(line, max(p.columns-1, 10))...)
	}
}
