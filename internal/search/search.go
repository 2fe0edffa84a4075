// Package search finds text in sealed recordings: in what terminals showed, in what commands printed, in the commands and in the names of files.
//
// Start with [Compile] and [Query.Session], or [Query.Sessions] for many. The sealed index of a recording narrows what is fetched and opened; it is the
// bastion's reading, so [Query.Thorough] does without it. Of terminals the screen is searched, so that a word is found that was redrawn, split by escape
// sequences or typed letter by letter. Nothing that was opened is written anywhere.
package search

import (
	"time"
)

// The kinds of [Hit], and what a [Query] may look in.
const (
	Output  = "output"
	Command = "command"
	File    = "file"
)

// Query is what is looked for.
type Query struct {
	Pattern  *Pattern
	In       []string // kinds; none: all
	Context  int      // lines of output before and after a hit
	Thorough bool     // read everything and believe no index

	// Partial hears of output that passed and is not on record, so that nobody takes it for searched. It is called from many goroutines; nil: nobody asks.
	Partial func(session, text string)
}

// Hit is one place. Text in it is what a host or a client said: it may hold anything.
type Hit struct {
	Session string        `json:"session"`
	At      time.Duration `json:"-"`
	Channel uint32        `json:"channel"`
	Kind    string        `json:"kind"`
	Text    string        `json:"text"`  // the line, or as much of a long one as is around the match
	Begin   int           `json:"begin"` // of the match in Text, in bytes
	End     int           `json:"end"`
	Before  []string      `json:"before,omitempty"`
	After   []string      `json:"after,omitempty"`
	Seen    bool          `json:"seen,omitempty"`    // of a command: it was read off the terminal
	Painted bool          `json:"painted,omitempty"` // of output: it stood so on the screen
}

// Progress is how far a search has come.
type Progress struct {
	Sessions int    // that are done
	Bytes    uint64 // of recordings that were searched, or ruled out by their index
	Hits     int
}

func (q *Query) in(kind string) bool {
	if len(q.In) == 0 {
		return true
	}
	for _, k := range q.In {
		if k == kind {
			return true
		}
	}
	return false
}
