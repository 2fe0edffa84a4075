package verify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
)

// hold revokes a target for a time, honestly unless spoilt; what it hits is cut.
func (c *chronicle) hold(target string, length time.Duration, spoil func(*control.Revocation), hit ...string) {
	t, err := control.ParseTarget(target)
	if err != nil {
		panic(err)
	}
	text := statement.Statement{CA: "postern-ca", Decision: control.Revoke, Person: "olga", Target: target, For: length, Because: "x"}.Text()
	at := c.now.Add(time.Second) // the next leaf's
	r := control.Revocation{Seq: 1, Reason: "x", By: "olga", At: at, Requests: hit, Statement: text, Signature: c.sign("olga", text)}
	if length > 0 {
		r.Holds = at.Add(length)
	}
	r.Name(t)
	if spoil != nil {
		spoil(&r)
	}
	c.write(auditlog.Entry{Type: auditlog.TypeRevocation, Revocation: &r})
}

func (c *chronicle) cutReceipt(by string, r control.CutReceipt) {
	r.Parts = max(1, r.Parts)
	c.write(auditlog.Entry{Type: auditlog.TypeCut, Actor: by, Cut: &r})
}

// running is a session that goes on.
func running(c *chronicle) { opened(nil)(c) }

func receiptOf(session string) control.CutReceipt {
	return control.CutReceipt{Seq: 1, Bastion: "bastion-1", Sessions: []control.CutSession{{Session: session, Signalled: 310, Closed: 300, Left: 50000}}}
}

func TestRevocationsThatHold(t *testing.T) {
	for name, story := range map[string]func(*chronicle){
		"somebody else": func(c *chronicle) { c.hold("person:adam", time.Hour, nil); c.granted() },
		"another host":  func(c *chronicle) { c.hold("person:alice host:phi9", time.Hour, nil); c.granted() },
		"it is over": func(c *chronicle) {
			c.hold("person:alice", time.Hour, nil)
			c.now = c.now.Add(2 * time.Hour)
			c.granted()
		},
		"a receipt": func(c *chronicle) {
			running(c)
			c.revoke("olga")
			c.cutReceipt("bastion-1", receiptOf("S-1"))
		},
		"nothing to cut": func(c *chronicle) {
			running(c)
			c.revoke("olga")
			c.cutReceipt("bastion-1", control.CutReceipt{Seq: 1, Bastion: "bastion-1"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := begin(t)
			story(c)
			if r := Leaves(c.leaves(), c.keys()); len(r.Failures) > 0 {
				t.Error(r.Failures)
			}
		})
	}
	for _, attack := range []attack{
		{"asked in spite of it", "kept person:alice away", func(c *chronicle) { c.hold("person:alice", time.Hour, nil); c.ask() }},
		{"approved in spite of it", "kept approver:bob away", func(c *chronicle) {
			c.ask()
			c.hold("approver:bob", time.Hour, nil)
			c.vote(control.Approve, "bob", "bob")
		}},
		{"a certificate in spite of it", "kept host:phi2 away", func(c *chronicle) {
			c.granted()
			c.hold("host:phi2", time.Hour, nil)
			c.userCertificate("user", nil)
		}},
		{"a session in spite of it", "kept bastion:bastion-1 away", func(c *chronicle) {
			c.granted()
			c.userCertificate("user", nil)
			c.sessionCertificate("S-1", nil)
			c.hold("bastion:bastion-1", time.Hour, nil)
			c.session("S-1", nil)
		}},
		{"a dead bastion", "was revoked before", func(c *chronicle) {
			c.granted()
			c.userCertificate("user", nil)
			c.hold("bastion:bastion-1", 0, nil)
			c.sessionCertificate("S-1", nil)
			c.session("S-1", nil)
		}},
		{"shortened", "it holds until", func(c *chronicle) {
			c.hold("person:alice", time.Hour, func(r *control.Revocation) { r.Holds = r.At.Add(time.Minute) })
		}},
		{"prolonged", "it holds until", func(c *chronicle) {
			c.hold("person:alice", time.Hour, func(r *control.Revocation) { r.Holds = r.At.Add(24 * time.Hour) })
		}},
		{"no longer holding", "it holds until", func(c *chronicle) {
			c.hold("person:alice", time.Hour, func(r *control.Revocation) { r.Holds = time.Time{} })
		}},
		{"narrowed", "about something else", func(c *chronicle) {
			c.hold("person:alice", time.Hour, func(r *control.Revocation) { r.Scope = "host:phi9" })
		}},
		{"widened", "about something else", func(c *chronicle) {
			c.hold("person:alice host:phi2", 0, func(r *control.Revocation) { r.Scope = "" })
		}},
		{"left alive", "left R-", func(c *chronicle) { c.granted(); c.hold("account:root@phi2", 0, nil) }},
		{"a receipt of another", "it is by bastion-2", func(c *chronicle) { running(c); c.revoke("olga"); c.cutReceipt("bastion-2", receiptOf("S-1")) }},
		{"a receipt for nothing", "no such revocation", func(c *chronicle) { running(c); c.cutReceipt("bastion-1", receiptOf("S-1")) }},
		{"a receipt of no session", "never was", func(c *chronicle) { running(c); c.revoke("olga"); c.cutReceipt("bastion-1", receiptOf("S-2")) }},
		{"a receipt of a session that was spared", "does not hit", func(c *chronicle) {
			running(c)
			c.hold("person:adam", time.Hour, nil)
			c.cutReceipt("bastion-1", receiptOf("S-1"))
		}},
		{"a session that left its host first", "left its host before", func(c *chronicle) {
			running(c)
			c.revoke("olga")
			r := receiptOf("S-1")
			r.Sessions[0].Left = 200
			c.cutReceipt("bastion-1", r)
		}},
		{"a part that is none", "it is part 3 of 1", func(c *chronicle) {
			running(c)
			c.revoke("olga")
			r := receiptOf("S-1")
			r.Part = 3
			c.cutReceipt("bastion-1", r)
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
