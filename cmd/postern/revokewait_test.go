package main

import (
	"testing"
	"time"

	"postern/internal/control"
)

func TestWhatIsSaidOfWhoDoesNotAnswer(t *testing.T) {
	now := time.Date(2026, 11, 22, 23, 59, 50, 0, time.UTC)
	for want, l := range map[string]control.BastionLease{
		"the CA does not know its lease": {},
		"it was heard 4s ago; they end with its lease, at the latest on 2026-11-23 00:00:16Z":               {Heard: now.Add(-4 * time.Second), Keeps: now.Add(26 * time.Second), Now: now},
		"the CA has not heard it since it was started; they end with its lease, at the latest at 23:59:55Z": {Keeps: now.Add(5 * time.Second), Now: now},
		"its lease ended at 23:59:50Z, and they with it":                                                    {Heard: now.Add(-time.Minute), Keeps: now, Now: now},
	} {
		if got := endsWithLease(l); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
	cut := control.Revocation{Seq: 12, At: now}
	for want, h := range map[string]control.HostStatus{
		"sshd on phi1 may not know of it yet: the host has never said a word; what was signed for it before opens something there for the last time on 2026-11-23 00:01:50Z. See: postern hosts": {HostState: control.HostState{Host: "phi1"}},
		"sshd on phi1 has no revocation list, and refuses every key. See: postern hosts":                                                                                                         {HostState: control.HostState{Host: "phi1", At: now, KRLMissing: true}},
	} {
		if got := behindText(h, cut, now); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
