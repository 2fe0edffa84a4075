package play

import (
	"fmt"
	"io"
	"time"

	"postern/recorder"
	"postern/recorder/screen"
)

// Screens writes what people saw as plain text: the lines that passed over a terminal and what was left on it, with redrawn lines as they came to be and nothing
// of how they were drawn. Of a full screen program it has what stood still long enough to be read.
type Screens struct {
	Channel    int64         // -1: all whose bytes are for people
	From       time.Duration // begin with what was on the screen at this time of the session
	Notes      io.Writer     // lines for people: what was run, transferred and forwarded, notes, the end; nil: dropped
	Keystrokes bool          // what was typed is in Notes, as far as the reader can open it
	Colour     bool          // colour the lines in Notes
}

// readable is how long something must stand on a screen to be seen.
const readable = 300 * time.Millisecond

// Write writes all of it.
func (s Screens) Write(r *recorder.Reader, out io.Writer) error {
	w := &screenWriter{Screens: s, out: out, tell: NewTeller(s.Keystrokes), shown: map[uint32]*shown{}}
	for f, err := range Frames(r) {
		if err == nil {
			w.frame(f)
			err = w.err
		}
		if err != nil {
			return err
		}
	}
	for _, id := range sorted(w.shown) {
		w.close(id)
	}
	return w.err
}

// mostShown bounds how many channels are painted at once: a client may open ten thousand.
const mostShown = 64

type screenWriter struct {
	Screens
	out   io.Writer
	tell  *Teller
	shown map[uint32]*shown
	last  *shown // whose line was written last
	now   time.Duration
	err   error
}

// shown is the screen of one channel.
type shown struct {
	channel  uint32
	about    string
	terminal bool
	screen   *screen.Screen
	stream   byte
	missing  uint64
	at       time.Duration  // of the last output
	full     bool           // a full screen program is being told of
	told     *screen.Screen // the full screen program as it was written last; nil: not yet
}

func (w *screenWriter) frame(f recorder.Frame) {
	w.now = f.At
	lines := w.tell.Lines(f)
	if w.Channel < 0 || uint32(w.Channel) == f.Channel {
		switch f.Type {
		case recorder.TypeRequest:
			w.request(f)
		case recorder.TypeData:
			if f.Stream != recorder.Stdin && !w.tell.Hides(f) {
				w.output(f, f.Data)
			}
		case recorder.TypeExtent:
			w.extent(f)
		case recorder.TypeClose:
			w.close(f.Channel)
		}
	}
	if w.Notes == nil || w.now < w.From {
		return
	}
	if s := w.shown[f.Channel]; s != nil && f.Type == recorder.TypeExit && !s.terminal {
		w.rest(s) // a command has printed before it ends
	}
	for _, line := range lines {
		w.note(line)
	}
}

// note writes a line about a frame.
func (s Screens) note(line string) {
	if s.Colour {
		line = "\x1b[2m" + line + "\x1b[0m"
	}
	io.WriteString(s.Notes, line+"\n")
}

func (w *screenWriter) request(f recorder.Frame) {
	d, err := Details(f)
	if err != nil || d.Refused || f.Channel == recorder.Global {
		return
	}
	s := w.shown[f.Channel]
	switch {
	case d.Name == "pty-req" && s == nil:
		if s = w.open(f.Channel, int(min(d.Columns, screen.MostColumns)), int(min(d.Rows, screen.MostRows))); s != nil {
			s.terminal = true
		}
	case d.Name == "window-change" && s != nil && s.terminal:
		s.screen.Resize(int(min(d.Columns, screen.MostColumns)), int(min(d.Rows, screen.MostRows)))
	case d.Name == "exec" && s == nil:
		if s = w.open(f.Channel, screen.MostColumns, textRows); s != nil {
			s.about = ": " + short(printable(d.Command))
		}
	}
}

// textRows is how far back a command without a terminal may go to draw a line anew, such as the progress of something.
const textRows = 64

func (w *screenWriter) open(channel uint32, columns, rows int) *shown {
	if len(w.shown) >= mostShown {
		return nil
	}
	s := &shown{channel: channel, stream: recorder.Stdout, screen: screen.New(columns, rows)}
	s.screen.OnScroll(func(line string) { w.line(s, line) })
	w.shown[channel] = s
	return s
}

func (w *screenWriter) output(f recorder.Frame, b []byte) {
	s := w.shown[f.Channel]
	if s == nil {
		s = w.open(f.Channel, screen.MostColumns, textRows)
	}
	if s == nil || len(b) == 0 {
		return
	}
	if s.screen.Alternate() && f.At-s.at >= readable {
		w.still(s)
	}
	if !s.terminal && s.stream != f.Stream {
		w.rest(s) // what one stream says is not mixed into the lines of the other
		s.stream = f.Stream
	}
	w.gap(s)
	s.at = f.At
	if !s.terminal {
		b = append([]byte("\x1b[20h"), b...) // a line feed begins a line, whatever the command printed before
	}
	if was := s.screen.Alternate(); was {
		w.alternate(s, b)
	} else {
		s.screen.Write(b)
	}
}

// alternate writes what a full screen program draws, and what it showed before it goes.
func (w *screenWriter) alternate(s *shown, b []byte) {
	before := s.screen.Clone()
	s.screen.Write(b)
	if !s.screen.Alternate() {
		w.fresh(s, before)
		w.leave(s)
	}
}

// leave is back from a full screen program.
func (w *screenWriter) leave(s *shown) {
	s.told = nil
	if s.full {
		s.full = false
		w.line(s, "[postern: back from the full screen]")
	}
}

// still writes what stood on the screen of a full screen program.
func (w *screenWriter) still(s *shown) {
	w.fresh(s, s.screen)
	s.told = s.screen.Clone()
}

func (w *screenWriter) fresh(s *shown, now *screen.Screen) {
	_, rows := now.Size()
	var list []int
	if s.told != nil {
		list = now.Fresh(s.told)
	} else {
		for y := range rows {
			list = append(list, y)
		}
	}
	last := -1
	for _, y := range list {
		if y <= last {
			continue
		}
		text, _, end := now.Line(y)
		if last = end; text == "" || s.told != nil && hasLine(s.told, y, text) {
			continue
		}
		if !s.full {
			s.full = true
			w.line(s, "[postern: on the full screen]")
		}
		w.line(s, text)
	}
}

// hasLine says whether a row was drawn again with the same text.
func hasLine(was *screen.Screen, y int, text string) bool {
	if _, rows := was.Size(); y >= rows {
		return false
	}
	old, _, _ := was.Line(y)
	return old == text
}

// extent is for output that was not kept as a whole.
func (w *screenWriter) extent(f recorder.Frame) {
	e, err := f.Extent()
	if err != nil || e.File != 0 || f.Stream == recorder.Stdin || w.tell.Hides(f) {
		return
	}
	w.output(f, e.Kept)
	if s := w.shown[f.Channel]; s != nil {
		s.missing += uint64(e.Length) - min(uint64(e.Length), uint64(len(e.Kept)))
	}
}

func (w *screenWriter) gap(s *shown) {
	n := s.missing
	if s.missing = 0; n > 0 {
		w.rest(s)
		w.line(s, fmt.Sprintf("[postern: %d bytes were not kept here]", n))
	}
}

// rest writes what is on a screen, and clears it.
func (w *screenWriter) rest(s *shown) {
	if s.screen.Alternate() {
		w.fresh(s, s.screen)
		w.leave(s)
		s.screen.Write([]byte("\x1b[?1049l"))
	}
	for _, line := range s.screen.Lines() {
		w.line(s, line)
	}
	s.screen.OnScroll(nil)
	s.screen.Write([]byte("\x1bc"))
	s.screen.OnScroll(func(line string) { w.line(s, line) })
}

func (w *screenWriter) close(channel uint32) {
	if s := w.shown[channel]; s != nil {
		w.rest(s)
		w.gap(s)
		delete(w.shown, channel)
	}
}

// line writes one of a channel, after one that says which when it is another than before.
func (w *screenWriter) line(s *shown, line string) {
	if w.err != nil || w.now < w.From {
		return
	}
	if w.last != nil && w.last != s {
		_, w.err = fmt.Fprintf(w.out, "[postern: channel %d%s]\n", s.channel, s.about)
	}
	w.last = s
	if w.err == nil {
		_, w.err = io.WriteString(w.out, line+"\n")
	}
}
