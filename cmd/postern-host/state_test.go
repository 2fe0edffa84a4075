package main

import (
	"os"
	"testing"
	"time"

	"postern/internal/control"
)

// saying waits until the CA was told something for which ok is true.
func (w *watched) saying(t *testing.T, what string, ok func(control.HostState) bool) control.HostState {
	t.Helper()
	limit := time.After(patience)
	for {
		select {
		case s := <-w.ca.told:
			if ok(s) {
				return s
			}
		case <-limit:
			t.Fatalf("the CA was never told of %s", what)
		}
	}
}

// What is told is what sshd reads, not what was fetched.
func TestAgentTellsHowItStands(t *testing.T) {
	t.Parallel()
	w := newAgent(t, time.Hour, true)
	now := time.Now()
	w.ca.publish(list(t, 3, now), false)
	w.start(t)
	s := w.saying(t, "list 3", func(s control.HostState) bool { return s.KRLVersion == 3 })
	if s.KRLMissing || time.Since(s.KRLWritten) > time.Minute || time.Until(s.CertificateEnds) < time.Minute {
		t.Errorf("%+v", s)
	}
	w.ca.publish(list(t, 4, now, 7), true)
	w.saying(t, "list 4, at once", func(s control.HostState) bool { return s.KRLVersion == 4 })

	// Somebody on the host takes the list away, or cuts it.
	for what, spoil := range map[string]func() error{
		"a list that is gone": func() error { return os.Remove(w.revoked.path) },
		"a list that is cut":  func() error { return os.Truncate(w.revoked.path, 60) },
	} {
		if err := spoil(); err != nil {
			t.Fatal(err)
		}
		if s := w.state(); !s.KRLMissing || s.KRLVersion != 0 || !s.KRLWritten.IsZero() {
			t.Errorf("%s: %+v", what, s)
		}
		if err := os.WriteFile(w.revoked.path, list(t, 4, now, 7), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
