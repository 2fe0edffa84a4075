package play

import (
	"slices"

	"postern/recorder"
)

// Teller follows the channels of a recording: it knows what each is for, and makes lines for people of frames. Give it all frames, in order.
type Teller struct {
	tell  *teller
	typed *typist // nil: what was typed is not told
}

// NewTeller returns one that has seen nothing yet. With keystrokes it tells what was typed, as far as the frames are open.
func NewTeller(keystrokes bool) *Teller {
	t := &Teller{tell: newTeller()}
	if keystrokes {
		t.typed = newTypist(t.tell.channels)
	}
	return t
}

// Lines is what f says to a person, safe for a terminal: nothing for output.
func (t *Teller) Lines(f recorder.Frame) (lines []string) {
	t.tell.channels.see(f)
	if t.typed != nil {
		lines = t.typed.lines(f)
	}
	return append(lines, t.tell.lines(f)...)
}

// Hides says whether the data or extent f is not for people: the bytes of a protocol.
func (t *Teller) Hides(f recorder.Frame) bool { return t.tell.channels.hides(f) }

// Clone goes on by itself.
func (t *Teller) Clone() *Teller {
	c := &teller{channels: make(channels, len(t.tell.channels)), sealed: make(map[string]bool, len(t.tell.sealed))}
	for id, ch := range t.tell.channels {
		other := *ch
		other.asked = slices.Clone(ch.asked)
		c.channels[id] = &other
	}
	for key := range t.tell.sealed {
		c.sealed[key] = true
	}
	clone := &Teller{tell: c}
	if t.typed != nil {
		clone.typed = newTypist(c.channels)
		clone.typed.sealed = t.typed.sealed
		for id, p := range t.typed.typed {
			other := *p
			other.bytes = slices.Clone(p.bytes)
			clone.typed.typed[id] = &other
		}
	}
	return clone
}
