package index

import (
	"context"
	"runtime"

	"postern/recorder"
)

// Of returns the entries of a recording, one for each segment. Where the bastion left none, because it died or is of an earlier version, the segment is
// fetched and indexed here; an indexer must know the channels, so everything before it is read too. each, if not nil, hears of every entry as soon as it is
// known, in order.
func Of(ctx context.Context, a *recorder.Archive, each func(Entry)) ([]Entry, error) {
	parts := a.Parts()
	list, last := make([]Entry, len(parts)), -1
	made := make([]bool, len(parts))
	for i, p := range parts {
		if e, err := Entered(p); err == nil {
			list[i], made[i] = e, true
		} else {
			last = i // none, or nonsense
		}
	}
	told := 0
	tell := func(n int) {
		for ; told < n; told++ {
			if each != nil {
				each(list[told])
			}
		}
	}
	for told < len(parts) && made[told] {
		tell(told + 1)
	}
	x := new(Indexer)
	err := Fetch(ctx, a, segments(parts[:last+1]), func(segment uint64, frames []recorder.Frame) error {
		if e := x.Entry(parts[segment].First, frames); !made[segment] {
			e.Segment = segment
			list[segment] = e
		}
		if int(segment) >= told {
			tell(int(segment) + 1)
		}
		return nil
	})
	if err != nil {
		return list[:told], err
	}
	tell(len(parts))
	return list, nil
}

// Make returns the entries as they are made here, whatever the bastion left.
func Make(ctx context.Context, a *recorder.Archive) ([]Entry, error) {
	x := new(Indexer)
	var list []Entry
	err := Fetch(ctx, a, segments(a.Parts()), func(segment uint64, frames []recorder.Frame) error {
		e := x.Entry(a.Parts()[segment].First, frames)
		e.Segment = segment
		list = append(list, e)
		return nil
	})
	return list, err
}

func segments(parts []recorder.Part) (list []uint64) {
	for _, p := range parts {
		list = append(list, p.Number)
	}
	return list
}

type fetched struct {
	frames []recorder.Frame
	err    error
}

// Fetch gives fn some segments of a recording in the order in which they are named, and fetches and opens those that follow meanwhile, on all processors.
func Fetch(ctx context.Context, a *recorder.Archive, segments []uint64, fn func(segment uint64, frames []recorder.Frame) error) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ahead := make(chan chan fetched, runtime.GOMAXPROCS(0)+1)
	go func() {
		defer close(ahead)
		for _, n := range segments {
			one := make(chan fetched, 1)
			select {
			case ahead <- one:
			case <-ctx.Done():
				return
			}
			go func() {
				frames, err := a.Frames(ctx, n)
				one <- fetched{frames, err}
			}()
		}
	}()
	for _, n := range segments {
		one, ok := <-ahead
		if !ok {
			return context.Cause(ctx)
		}
		f := <-one
		if f.err != nil {
			return f.err
		}
		if err := fn(n, f.frames); err != nil {
			return err
		}
	}
	return nil
}
