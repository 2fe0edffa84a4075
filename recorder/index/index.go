// Package index is the small sealed companion of a recording: what an auditor looks for, so that a session is found, reported on and opened in the middle
// without fetching all of it. The bastion writes an entry for each segment while it seals it; FORMAT.md says what is in one.
//
// Start with [Indexer] where recordings are written and [Of] where they are read. Entries are a bastion's reading of what hosts and clients said:
// good for finding things. What proves something are the frames.
package index

import "time"

// Entry is what one segment holds.
type Entry struct {
	Segment uint64        `json:"segment"`
	Begin   time.Duration `json:"begin"` // of its frames, since the start of the session, in nanoseconds as all times
	End     time.Duration `json:"end"`
	Output  uint64        `json:"output,omitempty"` // bytes from the host that people read
	Input   uint64        `json:"input,omitempty"`  // bytes from the client, wherever they went

	// Activity is bytes of output in each second since Begin, at most one number for each.
	Activity []uint32 `json:"activity,omitempty"`

	Commands []Command `json:"commands,omitempty"`
	Files    []File    `json:"files,omitempty"`
	Forwards []Forward `json:"forwards,omitempty"`
	Sizes    []Size    `json:"sizes,omitempty"`
	Marks    []Mark    `json:"marks,omitempty"`
	Anchors  []Anchor  `json:"anchors,omitempty"`
	Lanes    []Lane    `json:"lanes,omitempty"` // of streams that people read, in the order they have text

	// Words narrows a search in the output; see [Filter.May].
	Words Filter `json:"-"`
	// Drawn is true when something moved the cursor about, so that the screen may show words that did not pass in one piece: only painting it tells.
	// Then there are no Words.
	Drawn bool `json:"drawn,omitempty"`
	// Cut is true when there was more of commands, files, forwards or marks than an entry may hold. The frames have it.
	Cut bool `json:"cut,omitempty"`
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
	Number    uint64        `json:"number"`    // in its channel; an operation that changes something may be told twice with it, first without a Status
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
	Kind    string        `json:"kind"` // note, denied, partial (not all of a stream is on record), signal, exit, agent, listen, end
	Text    string        `json:"text"`
}

// Anchor is a moment from which the screen of a channel can be painted without what came before: it is empty, and the cursor in its first place.
// [Begin] finds the right one.
type Anchor struct {
	At        time.Duration `json:"at"`
	Channel   uint32        `json:"channel"`
	Frame     uint64        `json:"frame"`               // of the recording
	Offset    int           `json:"offset"`              // in its data
	Alternate bool          `json:"alternate,omitempty"` // of the alternate screen: switch to it first; good until Left
	Left      bool          `json:"left,omitempty"`      // no place to begin: the main screen is back as it was
}

// Lane is the text of one stream of a channel in a segment, and what must be known of it to begin reading there.
type Lane struct {
	Channel  uint32 `json:"channel"`
	Stream   byte   `json:"stream"`
	From     uint64 `json:"from"` // frame of the recording with the first of it
	Terminal bool   `json:"terminal,omitempty"`
	Plain    bool   `json:"plain,omitempty"`   // it was taken for a protocol before, and is not any more
	Columns  uint32 `json:"columns,omitempty"` // of the terminal, when it begins
	Rows     uint32 `json:"rows,omitempty"`
	Bytes    uint64 `json:"bytes"`
	Lines    uint32 `json:"lines,omitempty"`
	Drawn    bool   `json:"drawn,omitempty"`

	// Line is the end of the text before, if it does not end with a line, and Half what stands in the middle of an escape sequence there.
	Line []byte `json:"line,omitempty"`
	Half []byte `json:"half,omitempty"`
	Long bool   `json:"long,omitempty"` // there is more of that line than Line
}
