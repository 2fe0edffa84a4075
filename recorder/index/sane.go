package index

import (
	"errors"
	"fmt"
	"time"

	"postern/recorder"
)

var errNone = errors.New("the bastion left no index entry")

// Entered is the entry that a bastion left of a segment. One that says what no indexer says of this segment is an error: whoever reads on by what is in it
// need not fear places that are not there.
func Entered(p recorder.Part) (Entry, error) {
	if p.Index == nil {
		return Entry{}, errNone
	}
	e, err := Parse(p.Index)
	if err == nil {
		err = e.sane(p)
	}
	if err != nil {
		return Entry{}, fmt.Errorf("index entry of segment %d: %w", p.Number, err)
	}
	e.Segment = p.Number
	return e, nil
}

func (e *Entry) sane(p recorder.Part) error {
	if e.Begin != p.Begin || e.End != p.End || len(e.Activity) > mostSecond {
		return fmt.Errorf("%w: it is of another segment", errEntry)
	}
	var times []time.Duration
	for _, v := range e.Commands {
		times = append(times, v.At)
	}
	for _, v := range e.Files {
		times = append(times, v.At)
	}
	for _, v := range e.Forwards {
		times = append(times, v.At)
	}
	for _, v := range e.Sizes {
		times = append(times, v.At)
	}
	for _, v := range e.Marks {
		times = append(times, v.At)
	}
	for _, v := range e.Anchors {
		times = append(times, v.At)
		if v.Frame < p.First || v.Frame-p.First >= uint64(p.Frames) || v.Offset < 0 || v.Offset > recorder.MaxData {
			return fmt.Errorf("%w: an anchor at byte %d of frame %d", errEntry, v.Offset, v.Frame)
		}
	}
	for _, v := range e.Lanes {
		if v.From < p.First || v.From-p.First >= uint64(p.Frames) || v.Stream != recorder.Stdout && v.Stream != recorder.Stderr {
			return fmt.Errorf("%w: stream %d from frame %d", errEntry, v.Stream, v.From)
		}
	}
	for _, at := range times {
		if at < p.Begin || at > p.End {
			return fmt.Errorf("%w: something at %v", errEntry, at)
		}
	}
	return nil
}
