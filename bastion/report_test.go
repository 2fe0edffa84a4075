package bastion

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"postern/internal/control"
	"postern/recorder"
)

// teller collects what a Reporter sends; it fails as often as it is told to.
type teller struct {
	mu    sync.Mutex
	fails int
	got   []control.Progress
	told  []string
}

func (s *teller) send(_ context.Context, p control.Progress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails > 0 {
		s.fails--
		return errors.New("no CA")
	}
	s.got = append(s.got, p)
	return nil
}

func (s *teller) tell(session string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.told = append(s.told, session)
	return nil
}

func TestReportsGrowAndEndOnce(t *testing.T) {
	s := &teller{fails: 2}
	r := &Reporter{Send: s.send, Told: s.tell, Log: slog.New(slog.NewTextHandler(io.Discard, nil))}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	r.Tell(control.Progress{Session: "S-1", Frames: 9, Head: "09"})
	r.Sealed(recorder.Progress{Session: "S-1", Frames: 4, Segments: 1}) // the sealer lags behind
	go r.Run(ctx)
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	r.Sealed(recorder.Progress{Session: "S-1", Frames: 12, Segments: 2, Sealed: true}) // before its end is told
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	r.Tell(control.Progress{Session: "S-1", Frames: 12, Head: s.got[len(s.got)-1].Head, End: "closed"})
	r.Recovered([]recorder.Progress{{Session: "S-2", Frames: 3, Segments: 1, Sealed: true, Interrupted: true}})
	r.Tell(control.Progress{Session: "S-3", End: "host"}) // never recorded
	if err := r.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var last control.Progress
	for _, p := range s.got {
		if p.Session != "S-1" {
			continue
		}
		if p.Frames < last.Frames || p.Segments < last.Segments || p.Sealed && p.End == "" || last.Sealed {
			t.Errorf("after %+v came %+v", last, p)
		}
		last = p
	}
	if !last.Sealed || last.End != "closed" || last.Frames != 12 || last.Segments != 2 {
		t.Errorf("the last word is %+v", last)
	}
	slices.Sort(s.told)
	if !slices.Equal(s.told, []string{"S-1", "S-2"}) || len(r.known) != 0 {
		t.Errorf("told %v, still known %d", s.told, len(r.known))
	}
	if i := slices.IndexFunc(s.got, func(p control.Progress) bool { return p.Session == "S-2" && p.Sealed }); i < 0 || s.got[i].End != "interrupted" {
		t.Errorf("the recovered recording was told as %+v", s.got)
	}
}
