package main

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"postern/internal/control"
)

// A session that opens while the CA starts anew waits for it; one that opens when the CA has been gone for long is refused at once.
func TestLinkWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l link
		soon := func(ctx context.Context, want *control.Client, took time.Duration) {
			t.Helper()
			began := time.Now()
			c, err := l.soon(ctx)
			if c != want || (err == nil) != (want != nil) || time.Since(began) != took {
				t.Errorf("%p %v after %s, want %p after %s", c, err, time.Since(began), want, took)
			}
		}
		soon(t.Context(), nil, 0) // there was none ever
		first, second := new(control.Client), new(control.Client)
		l.set(first)
		soon(t.Context(), first, 0)
		l.set(nil)
		time.AfterFunc(2*time.Second, func() { l.set(second) })
		for range 3 {
			go soon(t.Context(), second, 2*time.Second)
		}
		soon(t.Context(), second, 2*time.Second)
		synctest.Wait()
		l.set(nil)
		for range 3 { // failed attempts do not make it wait anew
			l.set(nil)
			time.Sleep(time.Second)
		}
		soon(t.Context(), nil, patience-3*time.Second)
		soon(t.Context(), nil, 0)
		if _, err := l.now(); err == nil {
			t.Error("there is none, and it was given")
		}
		l.set(first)
		l.set(nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		soon(ctx, nil, time.Second)
	})
}
