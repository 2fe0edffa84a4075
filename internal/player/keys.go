package player

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/gdamore/tcell/v2"
)

// key does what a person asks for.
func (p *player) key(k *tcell.EventKey) {
	p.message = ""
	switch p.mode {
	case askingTime, askingSearch:
		p.typed(k)
	case choosing:
		p.listKey(k)
	case helping:
		p.mode = watching
	case paging:
		p.pagerKey(k)
	default:
		if !p.special(k) && k.Key() == tcell.KeyRune {
			p.letter(k.Rune())
		}
	}
}

// special is for keys that are no letters.
func (p *player) special(k *tcell.EventKey) bool {
	shift := k.Modifiers()&tcell.ModShift != 0
	ctrl := k.Modifiers()&(tcell.ModCtrl|tcell.ModAlt) != 0
	switch k.Key() {
	case tcell.KeyLeft, tcell.KeyRight:
		by := 1
		if k.Key() == tcell.KeyLeft {
			by = -1
		}
		switch {
		case shift:
			p.scroll(by*8, 0)
		case ctrl:
			p.seekTo(p.now + time.Duration(by)*time.Minute)
		default:
			p.seekTo(p.now + time.Duration(by)*5*time.Second)
		}
	case tcell.KeyUp, tcell.KeyDown:
		by := 1
		if k.Key() == tcell.KeyDown {
			by = -1
		}
		if shift {
			p.scroll(0, -by*4)
		} else {
			p.seekTo(p.now + time.Duration(by)*time.Minute)
		}
	case tcell.KeyPgUp:
		p.seekTo(p.now - time.Minute)
	case tcell.KeyPgDn:
		p.seekTo(p.now + time.Minute)
	case tcell.KeyHome:
		p.seekTo(0)
	case tcell.KeyEnd:
		p.playing = false
		p.seekTo(max(p.finder.timeline.total(), p.now))
	case tcell.KeyTab:
		p.turn(1)
	case tcell.KeyBacktab:
		p.turn(-1)
	case tcell.KeyEscape:
		p.stopSearch()
	case tcell.KeyCtrlC:
		p.quit = true
	default:
		return false
	}
	return true
}

func (p *player) letter(r rune) {
	switch r {
	case 'q':
		p.quit = true
	case ' ':
		p.toggle()
	case '.':
		p.stepOne()
	case '+', '=':
		p.faster(2)
	case '-', '_':
		p.faster(0.5)
	case 'i':
		p.skipping = !p.skipping
		p.message = map[bool]string{true: "pauses are cut to " + p.idle.String(), false: "pauses are as long as they were"}[p.skipping]
	case 'g', ':':
		p.mode, p.input = askingTime, nil
	case '/':
		p.mode, p.input = askingSearch, nil
	case 'n':
		p.nextHit(false)
	case 'N':
		p.nextHit(true)
	case ']', '[':
		p.jump("command", p.commands(), r == '[')
	case 'f', 'F':
		p.jump("file", p.files(), r == 'F')
	case 'm', 'M':
		p.jump("mark", p.marks(), r == 'M')
	case 'o':
		p.open()
	case 't':
		p.back()
	case '?':
		p.helped()
	case 'h', 'j', 'k', 'l':
		p.scroll(map[rune]int{'h': -8, 'l': 8}[r], map[rune]int{'k': -4, 'j': 4}[r])
	case 'z':
		p.view.fixed = false
	case 'a':
		p.follow = true
		p.pick()
	}
}

func (p *player) toggle() {
	if p.playing = !p.playing; !p.playing || p.show == nil || p.busy {
		return
	}
	if _, state := p.upcoming(); state == over {
		p.seekTo(0) // at the end the show begins again
	}
}

func (p *player) faster(by float64) {
	p.speed = min(max(p.speed*by, slowest), fastest)
	p.message = fmt.Sprintf("speed %s", speedText(p.speed))
}

func speedText(speed float64) string { return strconv.FormatFloat(speed, 'g', 3, 64) + "×" }

// turn shows the next channel, and stays there.
func (p *player) turn(by int) {
	if p.show == nil {
		return
	}
	for i, pane := range p.show.panes {
		if pane.channel == p.channel {
			n := len(p.show.panes)
			p.follow = false
			p.choose(p.show.panes[(i+by+n)%n].channel)
			return
		}
	}
}

func (p *player) scroll(x, y int) {
	p.view.fixed = true
	p.view.x, p.view.y = max(p.view.x+x, 0), max(p.view.y+y, 0)
}

// moment is one that a person may jump to.
type moment struct {
	at      time.Duration
	channel uint32
	text    string
	kind    string
}

// jump goes to the next one or the one before.
func (p *player) jump(what string, list []moment, back bool) {
	near := time.Duration(0)
	if p.playing {
		near = time.Second // while time goes on, back means the one before the one that just was
	}
	best := -1
	for i, m := range list {
		if back && m.at < p.now-near || !back && m.at > p.now && best < 0 {
			best = i
		}
	}
	switch {
	case best >= 0:
		p.goTo(list[best])
	case len(list) == 0 && !p.indexed:
		p.message = "the index is not made yet"
	case len(list) == 0:
		p.message = "there is no " + what + " in this session"
	case back:
		p.message = "there is no " + what + " before"
	default:
		p.message = "there is no " + what + " after"
	}
}

func (p *player) goTo(m moment) {
	p.follow = true
	p.seekTo(m.at)
	p.message = m.kind + ": " + m.text
}

func (p *player) commands() (list []moment) {
	commands, _, _ := p.finder.timeline.lists()
	for _, c := range commands {
		text := c.Text
		if c.Refused {
			text += " (refused)"
		}
		kind := "command"
		if c.Seen {
			kind = "seen" // on the terminal: a host may have made it up
		}
		list = append(list, moment{c.At, c.Channel, text, kind})
	}
	return list
}

func (p *player) files() (list []moment) {
	_, files, _ := p.finder.timeline.lists()
	for _, f := range files {
		text := f.Operation + " " + f.Path
		if f.To != "" {
			text += " to " + f.To
		}
		if f.Denied {
			text = "denied: " + text
		}
		list = append(list, moment{f.At, f.Channel, text, cmp.Or(f.Protocol, "file")})
	}
	return list
}

func (p *player) marks() (list []moment) {
	_, _, marks := p.finder.timeline.lists()
	for _, m := range marks {
		list = append(list, moment{m.At, m.Channel, m.Text, m.Kind})
	}
	return list
}

// typed edits the line at the bottom.
func (p *player) typed(k *tcell.EventKey) {
	switch k.Key() {
	case tcell.KeyEscape, tcell.KeyCtrlC:
		p.mode = watching
	case tcell.KeyEnter:
		text, was := strings.TrimSpace(string(p.input)), p.mode
		p.mode = watching
		if was == askingSearch {
			p.find(text)
			return
		}
		at, err := parseTime(text, p.now)
		if err != nil {
			p.message = err.Error()
		} else {
			p.seekTo(at)
		}
	case tcell.KeyBackspace, tcell.KeyBackspace2:
		if len(p.input) == 0 {
			p.mode = watching
		} else {
			p.input = p.input[:len(p.input)-1]
		}
	case tcell.KeyCtrlU:
		p.input = nil
	case tcell.KeyRune:
		if len(p.input) < 200 {
			p.input = append(p.input, k.Rune())
		}
	}
}

// parseTime reads 90, 1:30, 1:02:03, 12m30s, +10 or -1m.
func parseTime(text string, now time.Duration) (time.Duration, error) {
	text = strings.TrimLeft(text, ":")
	sign := time.Duration(0)
	if rest, ok := strings.CutPrefix(text, "+"); ok {
		text, sign = rest, 1
	} else if rest, ok := strings.CutPrefix(text, "-"); ok {
		text, sign = rest, -1
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		if d, err = clockTime(text); err != nil {
			return 0, err
		}
	}
	if sign != 0 {
		return max(now+sign*d, 0), nil
	}
	return max(d, 0), nil
}

func clockTime(text string) (time.Duration, error) {
	var seconds float64
	for _, part := range strings.Split(text, ":") {
		n, err := strconv.ParseFloat(part, 64)
		if err != nil || n < 0 || n > 1e7 {
			return 0, fmt.Errorf("%q is no time: 90, 1:30, 1:02:03, 12m30s, +10, -1m", text)
		}
		seconds = seconds*60 + n
	}
	if seconds > 1e9 {
		return 0, fmt.Errorf("%q is too long", text)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}
