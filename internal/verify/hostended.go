package verify

import (
	"fmt"
	"strings"
	"time"

	"postern/internal/control"
)

// hostEnded checks what a host said that it ended: that the session was on that host, and that the revocation was of it. How many processes there
// were is the host's word.
func (v *verifier) hostEnded(e control.HostEnded, at time.Time) {
	what := fmt.Sprintf("%s tells of session %s, ended for revocation %d", e.Host, e.Session, e.Seq)
	cut, known := v.cuts[e.Seq]
	s := v.sessions[e.Session]
	switch {
	case v.policy.hosts[e.Host] == "":
		v.fail("%s: the policy knows no such host", what)
	case !known && !v.partial:
		v.fail("%s: there was no such revocation", what)
	case s == nil && !v.partial:
		v.fail("%s: that never was", what)
	case e.At.Before(at.Add(-rounding)) || e.At.After(at.Add(rounding)):
		v.fail("%s: it came at %s, as it says", what, e.At.UTC().Format(time.RFC3339))
	case e.Found < 0 || e.Detached < 0 || e.Killed < 0 || e.Left < 0 || e.Detached > e.Found || e.Killed > e.Found:
		v.fail("%s: %d of %d processes, %d detached, %d killed, %d left", what, e.Found, e.Found, e.Detached, e.Killed, e.Left)
	}
	if s == nil || !known {
		return
	}
	switch {
	case !strings.HasSuffix(s.Target, "@"+e.Host):
		v.fail("%s: it was on %s", what, s.Target)
	case s.hostSerial != e.Serial:
		v.fail("%s: it logged in with certificate %d and not %d", what, s.hostSerial, e.Serial)
	case cut.By == s.Person:
		v.fail("%s: %s gave the access back, which ends nothing on hosts", what, s.Person)
	case !cut.of(s):
		v.fail("%s: which does not hit it", what)
	}
}
