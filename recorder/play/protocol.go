package play

import (
	"fmt"

	"postern/recorder"
)

// protocols are the channels that carry a protocol for programs, sftp for instance: bytes that nobody wants on a
// screen. It counts them.
type protocols map[uint32]*protocol

type protocol struct {
	name  string
	bytes [3]int64 // by stream
}

// hides says whether f belongs to such a channel and is not to be shown.
func (p protocols) hides(f recorder.Frame) bool {
	switch f.Type {
	case recorder.TypeRequest:
		if d, err := Details(f); err == nil && d.Subsystem != "" && !d.Refused {
			p[f.Channel] = &protocol{name: d.Subsystem}
		}
	case recorder.TypeData:
		c := p[f.Channel]
		if c == nil || int(f.Stream) >= len(c.bytes) {
			return c != nil
		}
		c.bytes[f.Stream] += int64(len(f.Data))
		return f.Stream != recorder.Stderr
	}
	return false
}

// line sums up a protocol's channel when it closes.
func (p protocols) line(f recorder.Frame) string {
	c := p[f.Channel]
	if f.Type != recorder.TypeClose || c == nil {
		return ""
	}
	delete(p, f.Channel)
	return fmt.Sprintf("[%s: %s carried %d bytes to the host and %d back]", at(f), printable(c.name), c.bytes[recorder.Stdin], c.bytes[recorder.Stdout])
}
