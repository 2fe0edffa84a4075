package verify

import (
	"strings"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
)

// strictAttacks are on policies, on keys between approval and use, on who is said to have done something, and on sessions that go on.
var strictAttacks = []attack{
	{"a policy without a digest", "is no digest", policies(func(p *auditlog.Policy) { p.Digest = "none" })},
	{"a group with a stranger", "mallory in group privacy is nobody", policies(func(p *auditlog.Policy) { p.Groups["privacy"] = []string{"bob", "mallory"} })},
	{"a bastion with a person's key", "bastion bastion-1 is also bob's", func(c *chronicle) {
		policies(func(p *auditlog.Policy) { p.Bastions["bastion-1"] = c.public("bob") })(c)
	}},
	{"a host that poses as the CA", "has the name of the CA", policies(func(p *auditlog.Policy) { p.Hosts["postern-ca"] = "host-ca" })},
	{"a bastion that poses as the CA", "has the name of the CA", func(c *chronicle) {
		policies(func(p *auditlog.Policy) { p.Bastions["postern-ca"] = c.public("bastion-1") })(c)
	}},
	{"a certificate by an approval whose key was revoked", "the key with which bob approved R-7K2M4Q was revoked before", func(c *chronicle) {
		c.granted()
		c.revokeKey("bob")
		c.userCertificate("user", nil)
	}},
	{"a session by an approval whose key was revoked", "session certificate 1: the key with which bob approved", func(c *chronicle) {
		c.granted()
		c.userCertificate("user", nil)
		c.revokeKey("bob")
		c.sessionCertificate("S-1", nil)
		c.session("S-1", nil)
	}},
	{"a certificate by an approval whose key was replaced", "was no longer theirs", func(c *chronicle) {
		c.granted()
		policies(func(p *auditlog.Policy) { p.People["bob"] = []string{c.public("other")} })(c)
		c.userCertificate("user", nil)
	}},
	{"a session by a key that was replaced", "was no longer alice's", func(c *chronicle) {
		c.granted()
		c.userCertificate("user", nil)
		policies(func(p *auditlog.Policy) { p.People["alice"] = []string{c.public("other")} })(c)
		c.sessionCertificate("S-1", nil)
		c.session("S-1", nil)
	}},
	{"a session through a bastion whose key was revoked", "the key of bastion bastion-1 was revoked before", func(c *chronicle) {
		c.granted()
		c.userCertificate("user", nil)
		c.revokeKey("bastion-1")
		c.sessionCertificate("S-1", nil)
		c.session("S-1", nil)
	}},
	{"a session to a host that is gone", "knows no host phi2", func(c *chronicle) {
		c.granted()
		c.userCertificate("user", nil)
		policies(func(p *auditlog.Policy) { delete(p.Hosts, "phi2") })(c)
		c.sessionCertificate("S-1", nil)
		c.session("S-1", nil)
	}},
	{"a session dated back", "it began at", opened(func(s *control.Session) { s.Started = s.Started.Add(-time.Hour) })},
	{"a vote dated back", "it says that it was made at", func(c *chronicle) {
		c.ask()
		c.vote(control.Approve, "bob", "bob")
		last(c).Vote.At = c.now.Add(-time.Hour)
	}},
	{"a vote beside another key", "not the one that signed", func(c *chronicle) {
		c.ask()
		c.vote(control.Approve, "bob", "bob")
		last(c).Vote.Public = c.public("dana")
	}},
	{"a request in another's name", `it is logged as of "bob", and it is of "alice"`, func(c *chronicle) { c.ask(); last(c).Actor = "bob" }},
	{"a vote in another's name", "it is logged as of", func(c *chronicle) { c.ask(); c.vote(control.Approve, "bob", "bob"); last(c).Actor = "dana" }},
	{"a session of another bastion", "it is logged as of", func(c *chronicle) { opened(nil)(c); last(c).Actor = "bastion-2" }},
	{"a recording told by another bastion", "which bastion-1 makes", func(c *chronicle) {
		opened(nil)(c)
		c.progress(control.Progress{Session: "S-1", Frames: 1, Head: "aa"})
		last(c).Actor = "bastion-2"
	}},
	{"an end told by the CA", "which bastion-1 makes", func(c *chronicle) {
		opened(nil)(c)
		c.progress(control.Progress{Session: "S-1", Frames: 1, Head: "aa", End: "closed"})
		last(c).Actor = "ca"
	}},
	{"a session past its deadline", "went on after its deadline", func(c *chronicle) {
		opened(nil)(c)
		c.now = c.request.Ends.Add(time.Hour)
		c.grow(1, 2)
	}},
	{"a session past its revocation", "went on after the revocation", func(c *chronicle) {
		opened(nil)(c)
		c.revoke("olga")
		c.now = c.now.Add(5 * time.Minute)
		c.grow(1, 2)
	}},
}

func policies(change func(*auditlog.Policy)) func(*chronicle) {
	return func(c *chronicle) {
		p := c.policy()
		change(p)
		c.write(auditlog.Entry{Type: auditlog.TypePolicy, Policy: p})
	}
}

// revokeKey cuts a key and, as a dishonest CA would, nothing that came of it.
func (c *chronicle) revokeKey(of string) {
	text := statement.Statement{CA: "postern-ca", Decision: control.Revoke, Person: "olga", Target: "key:" + c.print(of), Because: "x"}.Text()
	c.write(auditlog.Entry{Type: auditlog.TypeRevocation, Revocation: &control.Revocation{Seq: 1, Kind: "key", Value: c.print(of), By: "olga",
		Statement: text, Signature: c.sign("olga", text)}})
}

// grow tells of a running recording with so many frames.
func (c *chronicle) grow(frames ...uint64) {
	for _, n := range frames {
		c.progress(control.Progress{Session: "S-1", Frames: n, Head: strings.Repeat("a", int(n))})
	}
}

// What was on its way when a session ended, and what a bastion found when it started again, is no session that went on.
func TestLateAndHonest(t *testing.T) {
	for name, story := range map[string]func(*chronicle){
		"one message": func(c *chronicle) {
			c.grow(1)
			c.progress(control.Progress{Session: "S-1", Frames: 2, Head: "b", End: "deadline"})
		},
		"recovered": func(c *chronicle) {
			c.grow(1, 2, 3)
			c.progress(control.Progress{Session: "S-1", Frames: 4, Head: "b", End: "interrupted", Interrupted: true, Sealed: true})
		},
	} {
		c := begin(t)
		opened(nil)(c)
		c.now = c.request.Ends.Add(time.Hour)
		story(c)
		report := Leaves(c.leaves(), c.keys())
		if len(report.Failures) > 0 || len(report.Notes) != 1 || !strings.Contains(report.Notes[0].Text, "grew after its deadline") {
			t.Errorf("%s: %v and %v", name, report.Failures, report.Notes)
		}
	}
}

func TestPoliciesAreReported(t *testing.T) {
	c := begin(t)
	c.ask()
	report := Leaves(c.leaves(), c.keys())
	if len(report.Policies) != 1 || report.Policies[0].Digest != digest01 || report.Policies[0].Leaf != 1 || len(report.Policies[0].Requests) != 1 {
		t.Errorf("%+v", report.Policies)
	}
}
