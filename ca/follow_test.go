package ca

import (
	"context"
	"errors"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// Who follows the log gets every leaf once and in order, those that were there and those that come.
func TestFollow(t *testing.T) {
	w := newWorld(t)
	const asked = 40
	done, started := errors.New("done"), make(chan struct{})
	result := make(chan error, 1)
	go func() {
		next, requests := int64(0), 0
		result <- w.Follow(t.Context(), 0, func(leaves []control.Leaf) error {
			if next == 0 {
				close(started)
			}
			for _, l := range leaves {
				if l.Index != next {
					t.Errorf("leaf %d where %d belongs", l.Index, next)
				}
				next++
				if e, err := auditlog.Decode(l.Data); err == nil && e.Request != nil {
					requests++
				}
			}
			if requests == asked {
				return done
			}
			return nil
		})
	}()
	<-started
	for range asked {
		w.ask("alice", "postgres@phi1")
	}
	select {
	case err := <-result:
		if !errors.Is(err, done) {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it misses leaves")
	}
}

// A reader that takes nothing holds up nobody.
func TestSlowFollower(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	stuck, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- w.Follow(ctx, 0, func([]control.Leaf) error {
			close(stuck)
			<-ctx.Done()
			return nil
		})
	}()
	<-stuck
	for range 45 {
		w.ask("alice", "postgres@phi1")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
