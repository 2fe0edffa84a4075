package index

import (
	"encoding/json"
	"math"
	"unicode/utf8"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

// Tracks follows the channels of a recording and knows which data is text that people read: not the bytes of forwards, of file transfers and of other
// protocols between programs, as package play has it. The zero value begins at the beginning of a recording.
type Tracks struct {
	channels map[uint32]*channel
	lost     bool // more were open at a time than are followed
	part     bool // it began in the middle: streams of older channels are text only if the entry says so
}

const mostChannels = 128 // as many as a bastion lets be open at a time

type channel struct {
	kind     bool // it is not a session
	protocol bool // its data are of a protocol
	left     bool // it was a protocol and is not any more
	opened   bool // its open was read
	terminal bool
	columns  uint32
	rows     uint32
	lanes    [2]*Track // standard output and error
}

// Track is one stream of text.
type Track struct {
	Channel uint32
	Stream  byte
	Text    Text

	columns, rows uint32 // of its terminal
	from          uint64 // frames before are of a protocol

	// What an indexer counts in a segment.
	touched bool
	gram    uint32
	rest    [utf8.UTFMax]byte // half a letter
	rests   int
	line    []byte
	long    bool
	lane    int
	printed bool
}

// Resume begins at a segment whose entry was read.
func Resume(e Entry) *Tracks {
	t := &Tracks{part: len(e.Lanes) < mostLanes}
	for _, l := range e.Lanes {
		if l.Stream != recorder.Stdout && l.Stream != recorder.Stderr {
			continue
		}
		c := t.of(l.Channel)
		c.terminal, c.columns, c.rows, c.left = l.Terminal, l.Columns, l.Rows, c.left || l.Plain
		k := c.track(l.Channel, l.Stream)
		k.from = l.From
		k.Text.resume(l)
	}
	return t
}

// Frame takes note of frame number n. If it is text, it returns whose, and the bytes.
func (t *Tracks) Frame(n uint64, f *recorder.Frame) (*Track, []byte) {
	switch f.Type {
	case recorder.TypeData:
		return t.text(n, f, f.Data), f.Data
	case recorder.TypeExtent:
		return t.extent(n, f)
	case recorder.TypeOpen:
		o, err := f.OpenChannel()
		c := t.of(f.Channel)
		c.opened, c.kind = true, err == nil && o.Kind != "session"
	case recorder.TypeRequest:
		t.request(f)
	case recorder.TypeNote:
		if f.Channel != recorder.Global {
			t.of(f.Channel).leave()
		}
	case recorder.TypeEvent:
		t.event(f)
	case recorder.TypeClose:
		delete(t.channels, f.Channel)
	}
	return nil, nil
}

func (t *Tracks) text(n uint64, f *recorder.Frame, b []byte) *Track {
	if f.Stream != recorder.Stdout && f.Stream != recorder.Stderr || len(b) == 0 {
		return nil
	}
	c := t.of(f.Channel)
	if c.kind || c.protocol && f.Stream != recorder.Stderr || t.part && !c.opened && c.lanes[f.Stream-1] == nil {
		return nil
	}
	k := c.track(f.Channel, f.Stream)
	if n < k.from {
		return nil
	}
	return k
}

func (t *Tracks) extent(n uint64, f *recorder.Frame) (*Track, []byte) {
	if len(f.Data) < 4 {
		return nil, nil
	}
	if [4]byte(f.Data) != [4]byte{} { // of a file
		t.of(f.Channel).parsed()
		return nil, nil
	}
	e, err := f.Extent()
	if err != nil {
		return nil, nil
	}
	k := t.text(n, f, e.Kept)
	if k == nil {
		return nil, nil
	}
	return k, e.Kept
}

func (t *Tracks) of(number uint32) *channel {
	c := t.channels[number]
	if c != nil {
		return c
	}
	if t.channels == nil {
		t.channels = map[uint32]*channel{}
	}
	if len(t.channels) >= mostChannels {
		for oldest := range t.channels {
			delete(t.channels, oldest)
			break
		}
		t.lost = true
	}
	c = new(channel)
	if t.lost { // it may have been a terminal
		c.terminal = true
	}
	t.channels[number] = c
	return c
}

func (c *channel) track(number uint32, stream byte) *Track {
	k := c.lanes[stream-1]
	if k == nil {
		k = &Track{Channel: number, Stream: stream}
		c.lanes[stream-1] = k
		c.size()
	}
	return k
}

func (c *channel) size() {
	for _, k := range c.lanes {
		if k != nil {
			k.columns, k.rows = c.columns, c.rows
			k.Text.resize(c.terminal, int(min(c.rows, math.MaxInt16)))
		}
	}
}

func (t *Tracks) request(f *recorder.Frame) {
	r, err := f.Request()
	if err != nil || r.Refused || f.Channel == recorder.Global {
		return
	}
	switch r.Name {
	case "subsystem":
		t.of(f.Channel).protocol = true
	case "pty-req", "window-change":
		columns, rows, ok := sizeIn(r)
		if !ok {
			return
		}
		c := t.of(f.Channel)
		c.terminal = c.terminal || r.Name == "pty-req"
		c.columns, c.rows = columns, rows
		c.size()
	}
}

// WindowSize is the size of a terminal that a request frame tells of.
func WindowSize(f *recorder.Frame) (columns, rows uint32, ok bool) {
	r, err := f.Request()
	if err != nil || r.Refused || r.Name != "pty-req" && r.Name != "window-change" {
		return 0, 0, false
	}
	return sizeIn(r)
}

func sizeIn(r recorder.Request) (columns, rows uint32, ok bool) {
	var p struct{ Columns, Rows, Width, Height uint32 }
	if r.Name == "window-change" {
		err := ssh.Unmarshal(r.Payload, &p)
		return p.Columns, p.Rows, err == nil
	}
	var q struct {
		Term                         string
		Columns, Rows, Width, Height uint32
		Modes                        string
	}
	err := ssh.Unmarshal(r.Payload, &q)
	return q.Columns, q.Rows, err == nil
}

func (t *Tracks) event(f *recorder.Frame) {
	e, err := f.Event()
	if err != nil || f.Channel == recorder.Global {
		return
	}
	switch e.Name {
	case recorder.EventProtocol:
		var p recorder.Protocol
		if json.Unmarshal(e.JSON, &p) != nil {
			return
		}
		if p.Name == "" {
			t.of(f.Channel).leave()
		} else {
			t.of(f.Channel).protocol = true
		}
	case recorder.EventFile, recorder.EventOperation:
		t.of(f.Channel).parsed()
	}
}

// parsed is for a sign that the bastion parses the channel.
func (c *channel) parsed() {
	if !c.left {
		c.protocol = true
	}
}

func (c *channel) leave() { c.protocol, c.left = false, true }
