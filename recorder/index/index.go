// Package index is the small sealed companion of a recording: what an auditor looks for, so that a session is found, reported on and opened in the middle
// without fetching all of it. The bastion writes an entry for each segment while it seals it; FORMAT.md says what is in one.
//
// Start with [Indexer] where recordings are written and [Of] where they are read. Entries are a bastion's reading of what hosts and clients said:
// good for finding things. What proves something are the frames.
package index

import (
	"time"

	"postern/recorder"
)

// Entry is what one segment holds.
type Entry struct {
	Segment    uint64        `json:"segment"`
	Begin, End time.Duration `json:"-"`                // of its frames, since the start of the session
	Output     uint64        `json:"output,omitempty"` // bytes from the host that people read
	Input      uint64        `json:"input,omitempty"`  // bytes from the client, wherever they went

	// Activity is bytes of output in each second since Begin, at most one number for each.
	Activity []uint32 `json:"activity,omitempty"`

	Commands []Command `json:"commands,omitempty"`
	Files    []File    `json:"files,omitempty"`
	Forwards []Forward `json:"forwards,omitempty"`
	Sizes    []Size    `json:"sizes,omitempty"`
	Marks    []Mark    `json:"marks,omitempty"`
	Anchors  []Anchor  `json:"anchors,omitempty"`

	// Words narrows a search in the output; see [Filter.May].
	Words Filter `json:"words,omitzero"`
	// Drawn is true when something moved the cursor about, so that the screen may show words that did not pass in one piece: only painting it tells.
	Drawn bool `json:"drawn,omitempty"`
}

// Command is one that was run, or seen to be run.
type Command struct {
	At      time.Duration `json:"at"`
	Channel uint32        `json:"channel"`
	Text    string        `json:"text"` // valid UTF-8, at most 4096 bytes
	// Seen says that it was read off the terminal (between the shell's marks of bracketed paste), so a host may have made it up. Otherwise it is what an exec or
	// subsystem request said.
	Seen    bool    `json:"seen,omitempty"`
	Refused bool    `json:"refused,omitempty"`
	Exit    *uint32 `json:"exit,omitempty"` // of an exec, if it ended in the same segment
}

// File is a transferred file or a change to one.
type File struct {
	At        time.Duration `json:"at"`
	Channel   uint32        `json:"channel"`
	Protocol  string        `json:"protocol"`
	Operation string        `json:"operation"` // read, write, or the name of another operation: remove, rename …
	Path      string        `json:"path"`
	To        string        `json:"to,omitempty"`
	Bytes     uint64        `json:"bytes,omitempty"`
	SHA256    string        `json:"sha256,omitempty"`
	Status    string        `json:"status,omitempty"`
	Denied    bool          `json:"denied,omitempty"`
}

// Forward is a connection carried through the session.
type Forward struct {
	At       time.Duration `json:"at"`
	Channel  uint32        `json:"channel"`
	Kind     string        `json:"kind"`
	To       string        `json:"to,omitempty"`
	From     string        `json:"from,omitempty"`
	Sent     uint64        `json:"sent,omitempty"`
	Received uint64        `json:"received,omitempty"`
	Seconds  float64       `json:"seconds,omitempty"`
	Why      string        `json:"why,omitempty"`
	Denied   bool          `json:"denied,omitempty"`
	Ended    bool          `json:"ended,omitempty"`
}

// Size is that of a terminal from this moment on.
type Size struct {
	At      time.Duration `json:"at"`
	Channel uint32        `json:"channel"`
	Columns uint32        `json:"columns"`
	Rows    uint32        `json:"rows"`
}

// Mark is something on the timeline: a note, a denied attempt, a signal, an exit, the end.
type Mark struct {
	At      time.Duration `json:"at"`
	Channel uint32        `json:"channel"`
	Kind    string        `json:"kind"` // note, denied, signal, exit, agent, listen, end
	Text    string        `json:"text"`
}

// Anchor is a moment from which the screen of a channel can be painted without what came before: it was cleared, or reset, or another screen was taken.
type Anchor struct {
	At      time.Duration `json:"at"`
	Channel uint32        `json:"channel"`
	Frame   uint64        `json:"frame"`  // of the recording
	Offset  int           `json:"offset"` // in its data
}

// Indexer writes the entries of one recording. It sees each segment once, in order, and remembers a few kilobytes.
type Indexer struct{}

// Segment is the entry of a segment whose first frame has that number, as it is sealed beside the segment.
func (x *Indexer) Segment(first uint64, frames []recorder.Frame) []byte { return nil }

// Parse reads what [Indexer.Segment] wrote.
func Parse(b []byte) (Entry, error) { return Entry{}, nil }

// Filter is a set of folded trigrams that may say yes to what is not in it, and never no to what is.
type Filter []byte

// May reports whether a segment may hold the literal, in any case of its letters. Of less than three letters it knows nothing, so it says yes.
func (f Filter) May(literal string) bool { return true }
