package ca

import (
	"testing"
	"time"
)

// What one process lent is known to the next, also when one between them ran for a moment with a shorter lease.
func TestLend(t *testing.T) {
	w := newWorld(t)
	lends := func(keep, want time.Duration) {
		t.Helper()
		until, err := w.Lend(keep)
		if err != nil {
			t.Fatal(err)
		}
		if got := until.Sub(w.time()); got != want {
			t.Errorf("what was lent before ends in %s, not in %s", got, want)
		}
	}
	lends(15*time.Minute, 0) // there never was a session
	w.pass(time.Hour)
	lends(30*time.Second, 15*time.Minute)
	w.pass(time.Second)
	lends(30*time.Second, 15*time.Minute-time.Second)
	w.pass(time.Hour)
	lends(30*time.Second, 30*time.Second)
}

// A CA that never noted it, and had sessions, may have lent for as long as any may.
func TestLendAfterAnUpgrade(t *testing.T) {
	w := newWorld(t)
	_, made := w.granted("alice", "root@phi1", "bob")
	if _, err := w.open(made.Certificate, "root@phi1"); err != nil {
		t.Fatal(err)
	}
	if until, err := w.Lend(time.Minute); err != nil || until.Sub(w.time()) != longestKeep {
		t.Errorf("until %s, %v", until, err)
	}
}
