package verify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// cutFirst is a revocation that hits more than one update holds: its leaf comes first, and those of the states follow.
func (c *chronicle) cutFirst() {
	c.granted()
	c.userCertificate("user", nil)
	c.hold("person:alice", 0, nil, c.request.ID)
}

func TestStatesThatFollowTheirRevocation(t *testing.T) {
	for name, story := range map[string]func(*chronicle){
		"at once": func(c *chronicle) { c.cutFirst(); c.state(control.Revoked, c.request.Ends) },
		"after it would have ended": func(c *chronicle) {
			c.cutFirst()
			c.now = c.now.Add(9 * time.Hour) // the CA was down
			c.state(control.Revoked, c.request.Ends)
		},
		"not yet": (*chronicle).cutFirst,
	} {
		t.Run(name, func(t *testing.T) {
			c := begin(t)
			story(c)
			r := Leaves(c.leaves(), c.keys())
			for _, f := range append(r.Failures, r.Notes...) {
				t.Error(f)
			}
		})
	}
	for _, attack := range []attack{
		{"a certificate before its state", "was revoked", func(c *chronicle) { c.cutFirst(); c.userCertificate("user", nil) }},
		{"a session before its state", "was revoked", func(c *chronicle) {
			c.granted()
			c.userCertificate("user", nil)
			c.sessionCertificate("S-1", nil)
			c.hold("person:alice", 0, nil, c.request.ID)
			c.session("S-1", nil)
		}},
		{"ended instead", "it was revoked, which is final", func(c *chronicle) {
			c.cutFirst()
			c.now = c.request.Ends
			c.state(control.Ended, c.request.Ends)
		}},
		{"revoked twice", "it was revoked, which is final", func(c *chronicle) {
			c.cutFirst()
			c.state(control.Revoked, c.request.Ends)
			c.state(control.Revoked, c.request.Ends)
		}},
		{"revoked with what it does not name", "which is nothing that it names", func(c *chronicle) {
			c.granted()
			c.hold("person:adam", 0, nil, c.request.ID)
		}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			c := begin(t)
			attack.lie(c)
			report := Leaves(c.leaves(), c.keys())
			if !slices.ContainsFunc(report.Failures, func(f Failure) bool { return strings.Contains(f.Text, attack.says) }) {
				t.Errorf("want a failure that says %q, got %v", attack.says, report.Failures)
			}
		})
	}
}

// The requests stay revoked whether or not the CA marks them; who verifies hears that it does not.
func TestStatesThatNeverCome(t *testing.T) {
	c := begin(t)
	c.cutFirst()
	c.now = c.now.Add(time.Hour)
	c.write(auditlog.Entry{Type: auditlog.TypePolicy, Policy: c.policy()})
	r := Leaves(c.leaves(), c.keys())
	if len(r.Failures) != 0 || len(r.Notes) != 1 {
		t.Error(r.Failures, r.Notes)
	}
}
