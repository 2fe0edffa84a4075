package index

import (
	"context"

	"postern/recorder"
)

// Of returns the entries of a recording, one for each segment. Where the bastion left none, because it died or is of an earlier version, the segment is
// fetched and indexed here. each, if not nil, hears of every entry as soon as it is known, in order.
func Of(ctx context.Context, a *recorder.Archive, each func(Entry)) ([]Entry, error) {
	var list []Entry
	local, x := false, new(Indexer)
	for _, p := range a.Parts() {
		raw := p.Index
		if local = local || raw == nil; local {
			frames, err := a.Frames(ctx, p.Number)
			if err != nil {
				return list, err
			}
			raw = x.Segment(p.First, frames)
		}
		e, err := Parse(raw)
		if err != nil {
			return list, err
		}
		e.Segment = p.Number
		list = append(list, e)
		if each != nil {
			each(e)
		}
	}
	return list, nil
}
