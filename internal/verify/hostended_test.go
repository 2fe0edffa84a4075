package verify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// tells is what phi2 says of the session S-1, honestly unless spoilt.
func (c *chronicle) tells(spoil func(*control.HostEnded)) {
	e := control.HostEnded{Seq: 1, Session: "S-1", Serial: 1, Host: "phi2", By: control.ByAudit, Found: 4, Detached: 2, Killed: 1, Took: 40000, At: c.now.Add(time.Second)}
	if spoil != nil {
		spoil(&e)
	}
	c.write(auditlog.Entry{Type: auditlog.TypeHostEnded, Actor: e.Host, HostEnded: &e})
}

func (c *chronicle) endedStory() {
	running(c)
	c.revoke("olga")
	c.tells(nil)
}

// sealedAndEnded is of a session that began with a sheet, whose certificate for the host was in the envelope.
func sealedAndEnded(spoil func(*control.HostEnded)) func(*chronicle) {
	return func(c *chronicle) {
		c.sheets()
		c.prepares(nil)
		c.hands(lie{})
		c.uses(lie{use: func(u *control.SheetUse) { u.Person, u.Key, u.Serial = "alice", c.print("alice"), 1 }}, time.Second, false)
		c.revoke("olga")
		c.entries[len(c.entries)-2].State.Review = c.request.Owes.String()
		c.tells(spoil)
	}
}

func TestWhatAHostEnded(t *testing.T) {
	for name, story := range map[string]func(*chronicle){
		"a revoked session": (*chronicle).endedStory,
		"nothing was left": func(c *chronicle) {
			running(c)
			c.revoke("olga")
			c.tells(func(e *control.HostEnded) { e.Found, e.Detached, e.Killed, e.By = 0, 0, 0, control.ByTree })
		},
		"a session that a revocation of the bastion hit": func(c *chronicle) {
			running(c)
			c.hold("bastion:bastion-1", time.Hour, nil)
			c.tells(nil)
		},
		"a session of a sealed grant": sealedAndEnded(nil),
	} {
		t.Run(name, func(t *testing.T) {
			c := begin(t)
			story(c)
			if r := Leaves(c.leaves(), c.keys()); len(r.Failures) > 0 {
				t.Error(r.Failures)
			}
		})
	}
	spoilt := func(spoil func(*control.HostEnded)) func(*chronicle) {
		return func(c *chronicle) { running(c); c.revoke("olga"); c.tells(spoil) }
	}
	for _, attack := range []attack{
		{"another host", "it was on root@phi2", spoilt(func(e *control.HostEnded) { e.Host = "phi1" })},
		{"no host", "the policy knows no such host", spoilt(func(e *control.HostEnded) { e.Host = "phi9" })},
		{"another certificate", "it logged in with certificate 1 and not 2", spoilt(func(e *control.HostEnded) { e.Serial = 2 })},
		{"a sealed grant's, with another certificate", "it logged in with certificate 1 and not 3", sealedAndEnded(func(e *control.HostEnded) { e.Serial = 3 })},
		{"no revocation", "there was no such revocation", spoilt(func(e *control.HostEnded) { e.Seq = 2 })},
		{"no session", "that never was", spoilt(func(e *control.HostEnded) { e.Session = "S-2" })},
		{"more than there was", "1 of 1 processes, 2 detached", spoilt(func(e *control.HostEnded) { e.Found = 1 })},
		{"before it was revoked", "there was no such revocation", func(c *chronicle) { running(c); c.tells(nil) }},
		{"one that was spared", "does not hit it", func(c *chronicle) { running(c); c.hold("person:adam", time.Hour, nil); c.tells(nil) }},
		{"somebody else's word", "it is logged as of \"phi1\"", func(c *chronicle) {
			c.endedStory()
			c.entries[len(c.entries)-1].Actor = "phi1"
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

func TestEveryFieldOfWhatAHostEnded(t *testing.T) {
	unbound := map[string]string{
		"host-ended.host_ended.by":       "the host's word about itself",
		"host-ended.host_ended.found":    "the same",
		"host-ended.host_ended.detached": "the same",
		"host-ended.host_ended.killed":   "the same",
		"host-ended.host_ended.took_us":  "the same",
	}
	for path, why := range free {
		if !strings.HasPrefix(path, "progress") {
			unbound[path] = why
		}
	}
	everyField(t, (*chronicle).endedStory, unbound)
}
