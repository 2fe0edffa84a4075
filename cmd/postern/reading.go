package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"postern/internal/auditor"
	"postern/internal/control"
	"postern/internal/report"
	"postern/internal/verify"
	"postern/recorder"
	"postern/recorder/index"
)

// together is how many recordings are fetched at a time: a bastion has other things to do, and their indexes are held in memory.
const together = 8

// reading adds to a report what recordings say.
type reading struct {
	report   *report.Report
	logged   []verify.Session // as the verified log has them
	thorough bool
}

// found is what one recording says, or why it says nothing.
type found struct {
	entries []index.Entry
	err     error
}

// read looks at the recordings of all sessions, which is one view. One that cannot be read does not stop the others: the report names it.
func (r *reading) read(ctx context.Context, desk *auditor.Desk, reason string) error {
	sessions := slices.DeleteFunc(slices.Clone(r.report.Sessions), func(s *report.Session) bool { return s.Recording.State == "shredded" })
	r.report.Proof.Recordings = report.FromIndex
	if r.thorough {
		r.report.Proof.Recordings = report.FromFrames
	}
	if len(sessions) == 0 {
		return nil
	}
	var ids []string
	for _, s := range sessions {
		ids = append(ids, s.ID)
	}
	access, err := desk.View(ctx, auditor.View{Kind: control.ViewReport, Reason: reason}, ids...)
	if err != nil {
		return fmt.Errorf("the recordings cannot be read: %w; the rest is reported with: postern report --no-recordings", err)
	}
	defer access.Close()
	access.Expect(r.logged)
	done := 0
	for batch := range slices.Chunk(sessions, together) {
		for i, f := range r.fetch(ctx, access, batch) {
			r.take(batch[i], f)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		done += len(batch)
		progressed("recording", done, len(sessions))
	}
	r.report.Total()
	return nil
}

func (r *reading) fetch(ctx context.Context, access *auditor.Access, batch []*report.Session) []found {
	results := make([]found, len(batch))
	var all sync.WaitGroup
	for i, s := range batch {
		all.Go(func() { results[i] = r.one(ctx, access, s.ID) })
	}
	all.Wait()
	return results
}

func (r *reading) one(ctx context.Context, access *auditor.Access, id string) (f found) {
	archive, damage := access.Archive(ctx, id)
	if archive == nil {
		return found{err: damage}
	}
	if r.thorough {
		f.entries, f.err = fromFrames(ctx, archive)
	} else {
		f.entries, f.err = index.Of(ctx, archive, nil)
	}
	f.err = cmp.Or(damage, f.err)
	return f
}

// fromFrames makes the index anew, so that it is no word of the bastion's but what the admin and the host sent, and tells where the two
// are not the same.
func fromFrames(ctx context.Context, a *recorder.Archive) ([]index.Entry, error) {
	var list []index.Entry
	var differ error
	x := new(index.Indexer)
	for _, p := range a.Parts() {
		frames, err := a.Frames(ctx, p.Number)
		if err != nil {
			return list, errors.Join(differ, err)
		}
		e := x.Entry(p.First, frames)
		e.Segment = p.Number
		list = append(list, e)
		if p.Index == nil || differ != nil {
			continue
		}
		if said, err := index.Parse(p.Index); err != nil || !report.Same(said, e) {
			differ = fmt.Errorf("the bastion's index of segment %d does not say what the frames say; here is what they say", p.Number)
		}
	}
	return list, differ
}

// take puts into the report what was found, even if not all of it could be.
func (r *reading) take(s *report.Session, f found) {
	switch {
	case errors.Is(f.err, recorder.ErrShredded):
		s.Recording.State = "shredded"
		return
	case f.err != nil:
		s.Recording.Problem = f.err.Error()
	}
	if f.err == nil || len(f.entries) > 0 {
		r.report.Take(s, f.entries)
	}
}
