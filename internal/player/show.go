package player

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"postern/recorder"
	"postern/recorder/play"
	"postern/recorder/screen"
)

// show is what all channels of a session showed at one moment.
type show struct {
	next   position // the first frame that has not been applied
	at     time.Duration
	panes  []*pane // in the order they appeared; the first is that of events
	teller *play.Teller
	size   size // of panes that had no terminal

	last    uint32 // channel that said something last
	drawn   uint64 // frames that changed what is shown
	bytes   int    // applied since the last snapshot
	partial bool   // it was begun in the middle
	unsure  bool   // and nothing says that the screen was clear there

	quiet       map[uint32]bool // channels of protocols, of a show that is partial
	skip        int             // bytes of the first frame of skipChannel, which is partial
	skipChannel uint32
}

type position struct {
	segment uint64
	frame   int
}

func (p position) before(o position) bool {
	return p.segment < o.segment || p.segment == o.segment && p.frame < o.frame
}

type size struct{ columns, rows int }

// pane is the screen of one channel.
type pane struct {
	channel  uint32
	name     string
	terminal bool
	closed   bool
	stream   byte // that the text is of
	screen   *screen.Screen
	missing  uint64
}

// A hostile client opens ten thousand channels. The oldest closed ones go.
const mostPanes = 48

func newShow(text size, keystrokes bool) *show {
	s := &show{teller: play.NewTeller(keystrokes), size: text, last: recorder.Global}
	s.panes = []*pane{s.text(recorder.Global, "events")}
	return s
}

// clone goes on by itself.
func (s *show) clone() *show {
	c := *s
	c.teller = s.teller.Clone()
	c.panes = make([]*pane, len(s.panes))
	for i, p := range s.panes {
		other := *p
		other.screen = p.screen.Clone()
		c.panes[i] = &other
	}
	return &c
}

// cost is about what a clone may come to hold.
func (s *show) cost() (n int) {
	for _, p := range s.panes {
		columns, rows := p.screen.Size()
		n += columns*rows*16 + 4096
	}
	return n
}

func (s *show) text(channel uint32, name string) *pane {
	p := &pane{channel: channel, name: name, stream: recorder.Stdout, screen: screen.New(s.size.columns, s.size.rows)}
	p.screen.Write([]byte("\x1b[20h")) // a line feed begins a line
	return p
}

func (s *show) pane(channel uint32) *pane {
	for _, p := range s.panes {
		if p.channel == channel {
			return p
		}
	}
	return nil
}

// open makes the pane of a channel, or one with a terminal of what was text.
func (s *show) open(p *pane) *pane {
	if i := slices.IndexFunc(s.panes, func(o *pane) bool { return o.channel == p.channel }); i >= 0 {
		s.panes[i] = p
		return p
	}
	if len(s.panes) >= mostPanes {
		i := 1 + slices.IndexFunc(s.panes[1:], func(o *pane) bool { return o.closed })
		s.panes = slices.Delete(s.panes, max(i, 1), max(i, 1)+1)
	}
	s.panes = append(s.panes, p)
	return p
}

// apply shows one frame.
func (s *show) apply(f recorder.Frame) {
	s.at = f.At
	s.bytes += len(f.Data) + 64
	lines := s.teller.Lines(f)
	switch f.Type {
	case recorder.TypeRequest:
		s.request(f)
	case recorder.TypeData:
		if f.Stream != recorder.Stdin && !s.teller.Hides(f) && !s.quiet[f.Channel] {
			s.output(f, s.rest(f))
		}
	case recorder.TypeExtent:
		if e, err := f.Extent(); err == nil && e.File == 0 && f.Stream != recorder.Stdin && !s.teller.Hides(f) {
			s.sample(f, e)
		}
	case recorder.TypeClose:
		if p := s.pane(f.Channel); p != nil {
			p.closed = true
		}
	}
	for _, line := range lines {
		s.tell(f, line)
	}
}

// rest is the data of a frame, without what came before the place where the show begins.
func (s *show) rest(f recorder.Frame) []byte {
	if s.skip == 0 || f.Channel != s.skipChannel {
		return f.Data
	}
	b := f.Data[min(max(s.skip, 0), len(f.Data)):]
	s.skip = 0
	return b
}

func (s *show) request(f recorder.Frame) {
	d, err := play.Details(f)
	if err != nil || d.Refused || f.Channel == recorder.Global {
		return
	}
	p := s.pane(f.Channel)
	switch d.Name {
	case "pty-req":
		s.terminal(f.Channel, d.Columns, d.Rows)
	case "window-change":
		if p != nil && p.terminal {
			p.screen.Resize(bounded(d.Columns), bounded(d.Rows))
			s.drawn++
		}
	case "exec", "subsystem", "shell":
		name := strings.TrimSpace(d.Command + d.Subsystem)
		if name == "" {
			name = d.Name
		}
		if p == nil {
			p = s.open(s.text(f.Channel, ""))
		}
		p.name = name
	}
}

func bounded(n uint32) int {
	if n == 0 {
		return 80
	}
	return int(min(n, screen.MostColumns))
}

func (s *show) terminal(channel, columns, rows uint32) *pane {
	if rows == 0 {
		rows = 24
	}
	return s.open(&pane{channel: channel, name: "terminal", terminal: true, stream: recorder.Stdout, screen: screen.New(bounded(columns), bounded(rows))})
}

// output shows what a host printed on a channel.
func (s *show) output(f recorder.Frame, b []byte) {
	if len(b) == 0 {
		return
	}
	p := s.pane(f.Channel)
	if p == nil {
		p = s.open(s.text(f.Channel, fmt.Sprintf("channel %d", f.Channel)))
	}
	if !p.terminal && p.stream != f.Stream {
		p.stream = f.Stream
		p.line(map[byte]string{recorder.Stdout: "stdout", recorder.Stderr: "stderr"}[f.Stream])
	}
	p.gap()
	p.screen.Write(b)
	s.last = f.Channel
	s.drawn++
}

// sample shows what was kept of output that was not kept as a whole.
func (s *show) sample(f recorder.Frame, e recorder.Extent) {
	s.output(f, e.Kept)
	if p := s.pane(f.Channel); p != nil {
		p.missing += uint64(e.Length) - min(uint64(e.Length), uint64(len(e.Kept)))
	}
}

func (p *pane) gap() {
	if n := p.missing; n > 0 {
		p.missing = 0
		p.line(fmt.Sprintf("%d bytes were not kept here", n))
	}
}

// line writes one of ours into text: on a line of its own, and not to be taken for what the host said.
func (p *pane) line(text string) {
	begin := ""
	if x, _, _ := p.screen.Cursor(); x > 0 {
		begin = "\r\n"
	}
	p.screen.Write([]byte(begin + "\x1b[0;7m " + text + " \x1b[0m\r\n"))
}

// tell shows a line about a frame: among the events, and where it belongs if that is no terminal. The line is safe.
func (s *show) tell(f recorder.Frame, line string) {
	s.panes[0].screen.Write([]byte(line + "\r\n"))
	s.drawn++
	p := s.pane(f.Channel)
	if p == nil || p.terminal || p == s.panes[0] {
		return
	}
	p.gap()
	p.line(strings.Trim(line, "[]"))
	s.last = f.Channel
}
