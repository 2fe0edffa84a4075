// Package meter counts, hashes and keeps what passes through a session, and says so in frames of the recording.
//
// Start with [File] for the contents of a file and [Stream] for a stream of bytes; both write to a [Log], whose frames the
// relay makes durable before the bytes they speak of go on. Nothing here waits, and nothing here holds more of what
// passed than a log does between two resets.
package meter

import "postern/recorder"

// Step is what a decoder makes of a piece of a stream.
type Step struct {
	Forward []byte // goes on in the same direction
	Answer  []byte // the bastion's own answer to whoever asks; to the client, but for an agent, where the host asks
}

// mostMerged bytes of protocol come into one frame.
const mostMerged = 64 << 10

// Log collects frames, without their channel. The zero Log is ready.
type Log struct {
	frames []recorder.Frame
	arena  []byte // what the frames hold; when it grows, earlier frames keep the old one
	uses   []Use
	last   int // where the last frame begins in it, if that is data that may grow; else -1
}

// Reset forgets the frames. What they held may be overwritten.
func (l *Log) Reset() {
	l.frames, l.arena, l.last, l.uses = l.frames[:0], l.arena[:0], -1, l.uses[:0]
	if cap(l.arena) > 1<<20 {
		l.arena = nil // one large file in full does not keep a megabyte for an idle channel
	}
}

// Use is the first piece of a file that passed in one direction.
type Use struct {
	Path string // as the client named it; empty: nobody saw it named
	Read bool   // from the host; else to it
}

// Uses are those since the last Reset.
func (l *Log) Uses() []Use { return l.uses }

// Frames are those since the last Reset, in order.
func (l *Log) Frames() []recorder.Frame { return l.frames }

// Data records bytes of a stream as they are. It copies them; pieces that follow each other become one frame.
func (l *Log) Data(stream byte, b []byte) {
	if len(b) == 0 {
		return
	}
	n := len(l.frames)
	if l.last >= 0 && n > 0 && l.frames[n-1].Stream == stream && len(l.frames[n-1].Data)+len(b) <= mostMerged {
		l.arena = append(l.arena, b...)
		l.frames[n-1].Data = l.arena[l.last:]
		return
	}
	for len(b) > 0 {
		piece := b[:min(len(b), mostMerged)]
		b = b[len(piece):]
		l.last = len(l.arena)
		l.arena = append(l.arena, piece...)
		l.frames = append(l.frames, recorder.Frame{Type: recorder.TypeData, Stream: stream, Data: l.arena[l.last:]})
	}
}

// Event records something a decoder understood; v is one of the types of recorder/event.go.
func (l *Log) Event(name string, v any) { l.event(0, name, v) }

func (l *Log) event(stream byte, name string, v any) {
	f := recorder.EventFrame(name, v)
	f.Stream = stream
	l.add(f)
}

// add takes a frame whose data stays as it is until Reset.
func (l *Log) add(f recorder.Frame) {
	l.last = -1
	l.frames = append(l.frames, f)
}

// extent is written by hand: for every 32 KiB of a large file the general encoder would make garbage of twice that.
func (l *Log) extent(stream byte, e recorder.Extent) {
	begin := len(l.arena)
	l.arena = appendExtent(l.arena, e)
	l.add(recorder.Frame{Type: recorder.TypeExtent, Stream: stream, Data: l.arena[begin:]})
}
