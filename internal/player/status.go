package player

import (
	"fmt"
	"time"

	"postern/recorder"
)

// status paints the two rows at the bottom.
func (p *player) status(c canvas) {
	y := p.rows - statusRows
	c.fill(0, y, p.columns, statusStyle)
	c.fill(0, y+1, p.columns, statusStyle)
	x := c.text(0, y, p.columns, statusStyle, " "+p.clocks()+" ")
	p.bar(c, x, y, p.columns-1)
	style, asking := statusStyle, p.mode == askingSearch || p.mode == askingTime
	if p.wrong() != nil {
		style = alarmStyle
	}
	right := p.verification(asking || p.message != "")
	end := max(p.columns-len([]rune(right))-2, 0)
	if asking {
		prompt := map[mode]string{askingSearch: "/", askingTime: "to the time: "}[p.mode]
		x := c.text(0, y+1, end, statusStyle, prompt+string(p.input))
		c.ShowCursor(min(x, p.columns-1), y+1)
	} else {
		c.text(0, y+1, end, statusStyle, " "+p.about())
	}
	c.text(end, y+1, p.columns, style, " "+right+" ")
}

// clocks is the time of the session, of all of it, on the wall, and of the show.
func (p *player) clocks() string {
	state := "⏸"
	switch {
	case p.busy || p.waiting:
		state = "…"
	case p.playing:
		state = "▶"
	}
	text := fmt.Sprintf("%s %s / %s", state, clockText(p.now), clockText(p.finder.timeline.total()))
	if p.columns < narrow {
		return text + "  " + speedText(p.speed)
	}
	text += fmt.Sprintf("  %s  %s", p.Header.Started.Add(p.now).Local().Format("2006-01-02 15:04:05"), speedText(p.speed))
	if !p.skipping {
		return text
	}
	if at, ok := p.finder.timeline.shown(p.now, p.idle); ok {
		all, _ := p.finder.timeline.shown(p.finder.timeline.total(), p.idle)
		return text + fmt.Sprintf("  pauses ≤%s: show %s / %s", p.idle, clockText(at), clockText(all))
	}
	return text + fmt.Sprintf("  pauses ≤%s", p.idle)
}

// clockText is hours, minutes and seconds.
func clockText(d time.Duration) string {
	s := int64(d / time.Second)
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// bar shows where there was output, and how far the show is.
func (p *player) bar(c canvas, x, y, end int) {
	n := end - x
	if n < 8 {
		return
	}
	total := p.finder.timeline.total()
	for i, v := range p.finder.timeline.bars(n) {
		style := statusStyle.Dim(true)
		if total > 0 && time.Duration(i)*total/time.Duration(n) <= p.now {
			style = statusStyle.Bold(true)
		}
		r := []rune("·▁▂▃▄▅▆▇█")[v]
		if total > 0 && i == int(p.now*time.Duration(n-1)/total) {
			r = '│'
		}
		c.Put(x+i, y, string(r), style)
	}
}

// about is what there is to say: a message, or whose session it is and what runs.
func (p *player) about() string {
	who := p.Header.Session
	if p.Header.Person != "" { // of a session of which nothing is sealed yet only that is known
		who = fmt.Sprintf("%s  %s → %s@%s", who, p.Header.Person, p.Header.Account, p.Header.Host)
	}
	switch {
	case p.message != "":
		return p.message
	case p.finder.count() == 0 && p.Damage != nil:
		return "nothing of it is good  " + who
	case p.finder.count() == 0:
		return "nothing is sealed yet: postern watch " + p.Header.Session
	case p.search != nil:
		return p.searching() + "  " + who
	case p.show != nil && p.show.unsure:
		return "the screen may be incomplete until redrawn  " + who
	case p.show != nil && p.show.partial && len(p.show.panes) > 0 && p.channel == recorder.Global:
		return "events from here on only  " + who
	}
	if text := p.finder.timeline.running(p.now); text != "" {
		return who + "  $ " + text
	}
	return who + "  ? helps"
}

func (p *player) searching() string {
	count, part, done, err := p.search.state()
	switch {
	case err != nil:
		return "the search ended: " + err.Error()
	case done:
		return fmt.Sprintf("/%s: %s", p.search.pattern.text, counted(count, "hit"))
	}
	return fmt.Sprintf("/%s: %s so far, %.0f%% (Esc ends it)", p.search.pattern.text, counted(count, "hit"), 100*part)
}

// verification says how much of what could be shown turned out to be what was signed. On a narrow terminal it is short, and
// gives way to what is typed or told just now, unless it is bad.
func (p *player) verification(busy bool) string {
	verified, _ := p.finder.state()
	sum := p.Archive.Summary()
	switch {
	case p.wrong() != nil:
		return "DOES NOT VERIFY"
	case !sum.Signed:
		return "not signed"
	case p.finder.count() == 0 && !sum.Sealed:
		return "still running"
	case p.columns < narrow && busy:
		return ""
	case p.columns < narrow:
		return fmt.Sprintf("verified %d/%d", verified, p.finder.count())
	}
	text := fmt.Sprintf("verified %d of %s", verified, counted(p.finder.count(), "segment"))
	switch {
	case sum.Interrupted:
		text += ", interrupted"
	case !sum.Sealed:
		text += ", still running"
	}
	return text
}

func counted[N int | uint64](n N, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
