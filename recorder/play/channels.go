package play

import (
	"cmp"
	"encoding/json"

	"postern/recorder"
)

// channels says of each channel what its data is: text that people want to see, or bytes between programs.
//
// Bytes are those of a subsystem, of a channel that is no session (a forward, a display, an agent), and of one that the bastion parses: it says so with a
// protocol event, and so does every event or extent of a file. A protocol event without a name, and a note about the channel, mean that the
// bastion no longer takes it for the protocol: what follows is shown, so nothing hides behind a transfer that was one.
type channels map[uint32]*channel

type channel struct {
	kind     string // of the channel, when it is no session
	protocol string // of the data frames; empty: text
	left     bool   // it was a protocol and is not any more: what is told of its files later does not make it one again
	pty      bool
	bytes    [3]uint64 // by stream, while they were a protocol
	asked    []recorder.Operation
}

func (c channels) of(f recorder.Frame) *channel {
	ch := c[f.Channel]
	if ch == nil {
		ch = new(channel)
		c[f.Channel] = ch
	}
	return ch
}

// see takes note of what f says about its channel.
func (c channels) see(f recorder.Frame) {
	switch f.Type {
	case recorder.TypeOpen:
		if o, err := f.OpenChannel(); err == nil && o.Kind != "session" {
			c.of(f).kind = o.Kind
		}
	case recorder.TypeRequest:
		c.request(f)
	case recorder.TypeNote:
		if f.Channel != recorder.Global {
			c.of(f).leave()
		}
	case recorder.TypeExtent:
		e, err := f.Extent()
		if err != nil {
			return
		}
		ch := c.of(f)
		if e.File != 0 {
			ch.parsed("")
		}
		ch.count(f.Stream, uint64(e.Length))
	case recorder.TypeData:
		c.of(f).count(f.Stream, uint64(len(f.Data)))
	case recorder.TypeEvent:
		c.event(f)
	}
}

func (c channels) request(f recorder.Frame) {
	d, err := Details(f)
	switch {
	case err != nil || d.Refused || f.Channel == recorder.Global:
	case d.Subsystem != "":
		c.of(f).protocol = d.Subsystem
	case d.Name == "pty-req":
		c.of(f).pty = true
	}
}

func (c channels) event(f recorder.Frame) {
	e, err := f.Event()
	if err != nil || f.Channel == recorder.Global {
		return
	}
	switch e.Name {
	case recorder.EventProtocol:
		var p recorder.Protocol
		switch {
		case json.Unmarshal(e.JSON, &p) != nil:
		case p.Name == "":
			c.of(f).leave()
		default:
			c.of(f).protocol = p.Name
		}
	case recorder.EventFile:
		var file recorder.File
		_ = json.Unmarshal(e.JSON, &file)
		c.of(f).parsed(file.Protocol)
	case recorder.EventOperation:
		c.of(f).parsed("")
	}
}

// parsed is for a sign that the bastion parses the channel.
func (c *channel) parsed(protocol string) {
	if !c.left && (c.protocol == "" || c.protocol == someProtocol && protocol != "") {
		c.protocol = cmp.Or(protocol, someProtocol)
	}
}

const someProtocol = "a protocol"

func (c *channel) leave() { c.protocol, c.left = "", true }

func (c *channel) count(stream byte, n uint64) {
	if c.protocol != "" && int(stream) < len(c.bytes) {
		c.bytes[stream] += n
	}
}

// hides says whether the data or extent f is not for people. What a program complains of on its standard error is.
func (c channels) hides(f recorder.Frame) bool {
	ch := c[f.Channel]
	return ch != nil && (ch.kind != "" || ch.protocol != "" && f.Stream != recorder.Stderr)
}
