package verify

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
)

const cutting = "bytes-out 100M revoke"

// limited is a session that runs under a limit, honestly unless spoilt.
func (c *chronicle) limited(limits string, spoil func(*control.Session)) {
	c.grantedFor(func(r *control.Request) { r.Limits = limits })
	c.userCertificate("user", nil)
	c.again("S-1", limits, spoil)
}

func (c *chronicle) again(id, limits string, spoil func(*control.Session)) {
	c.sessionCertificate(id, nil)
	c.session(id, func(s *control.Session) {
		s.Limits = limits
		if spoil != nil {
			spoil(s)
		}
	})
}

func (c *chronicle) crosses(limit, action string, count uint64, spoil func(*control.Risk)) {
	r := control.Risk{Session: "S-1", Request: c.request.ID, Person: "alice", Bastion: "bastion-1", Limit: limit, Count: count, Action: action, At: c.now}
	if spoil != nil {
		spoil(&r)
	}
	c.write(auditlog.Entry{Type: auditlog.TypeRisk, Actor: "bastion-1", Risk: &r})
}

// cutByPolicy is what follows a crossing that cuts.
func (c *chronicle) cutByPolicy(spoil func(*control.Revocation)) {
	c.state(control.Revoked, c.request.Ends)
	r := control.Revocation{Seq: 1, Kind: "request", Value: c.request.ID, Reason: "limit " + cutting + " was crossed in S-1", By: "policy", At: c.now.Add(time.Second), Requests: []string{c.request.ID}}
	if spoil != nil {
		spoil(&r)
	}
	c.write(auditlog.Entry{Type: auditlog.TypeRevocation, Revocation: &r})
}

func (c *chronicle) cutAsLimited(risk func(*control.Risk), cut func(*control.Revocation)) {
	c.limited(cutting, nil)
	c.crosses(cutting, "revoke", 100<<20+1, risk)
	c.cutByPolicy(cut)
}

func TestHonestLimits(t *testing.T) {
	for name, story := range map[string]func(*chronicle){
		"cut": func(c *chronicle) { c.cutAsLimited(nil, nil) },
		"stricter": func(c *chronicle) {
			c.limited("denied 5 hold", func(s *control.Session) { s.Limits = "denied 3 revoke" })
		},
		"logged": func(c *chronicle) {
			c.limited("denied 5 log", nil)
			c.crosses("denied 5 log", "log", 6, nil)
			c.again("S-2", "denied 5 log", nil)
		},
		"when it was over": func(c *chronicle) {
			c.limited(cutting, nil)
			c.now = c.request.Ends
			c.state(control.Ended, c.request.Ends)
			c.crosses(cutting, "revoke", 100<<20+1, nil)
		},
		"before it opened": func(c *chronicle) {
			c.limited("sessions-hour 1 hold", nil)
			c.crosses("sessions-hour 1 hold", "hold", 2, func(r *control.Risk) { r.Session = "" })
		},
		"counted": func(c *chronicle) {
			c.limited(cutting, nil)
			c.progress(control.Progress{Session: "S-1", Frames: 5, Head: "aa", End: "closed", Counts: map[string]uint64{cutting: 1}})
		},
		"held": func(c *chronicle) {
			c.limited("denied 5 hold", nil)
			c.crosses("denied 5 hold", "hold", 6, nil)
		},
	} {
		c := begin(t)
		story(c)
		for _, f := range Leaves(c.leaves(), c.keys()).Failures {
			t.Errorf("%s: %v", name, f)
		}
	}
}

// A CA or a bastion invents a crossing, hides what should come of one, or loosens a limit.
func TestAttacksOnLimits(t *testing.T) {
	for _, attack := range []attack{
		{"a revocation that nobody signed", "no limit was crossed right before", func(c *chronicle) { c.limited(cutting, nil); c.cutByPolicy(nil) }},
		{"signed by somebody called policy", "did not give to policy", func(c *chronicle) {
			c.cutAsLimited(nil, func(r *control.Revocation) { r.Statement, r.Signature = "x", c.sign("other", "x") })
		}},
		{"a limit that nobody set", "neither the request nor the session has it", func(c *chronicle) {
			c.limited("denied 5 log", nil)
			c.crosses(cutting, "revoke", 100<<20+1, nil)
			c.cutByPolicy(nil)
		}},
		{"not crossed", "does not cross it", func(c *chronicle) { c.cutAsLimited(func(r *control.Risk) { r.Count = 100 << 20 }, nil) }},
		{"a harsher action", "what was done was revoke-person", func(c *chronicle) { c.cutAsLimited(func(r *control.Risk) { r.Action = "revoke-person" }, nil) }},
		{"a milder action", "what was done was log", func(c *chronicle) {
			c.limited(cutting, nil)
			c.crosses(cutting, "log", 100<<20+1, nil)
		}},
		{"somebody else's", "it is told of adam", func(c *chronicle) { c.cutAsLimited(func(r *control.Risk) { r.Person = "adam" }, nil) }},
		{"a session that never was", "never was", func(c *chronicle) { c.cutAsLimited(func(r *control.Risk) { r.Session = "S-9" }, nil) }},
		{"no session", "in a session, and in none else", func(c *chronicle) { c.cutAsLimited(func(r *control.Risk) { r.Session = "" }, nil) }},
		{"another bastion", "bastion-2", func(c *chronicle) { c.cutAsLimited(func(r *control.Risk) { r.Bastion = "bastion-2" }, nil) }},
		{"before the session", "not of that request, bastion and time", func(c *chronicle) {
			c.cutAsLimited(func(r *control.Risk) { r.At = r.At.Add(-time.Hour) }, nil)
		}},
		{"in the future", "after it was told", func(c *chronicle) { c.cutAsLimited(func(r *control.Risk) { r.At = r.At.Add(time.Hour) }, nil) }},
		{"passed without an approval", "without a fresh approval", func(c *chronicle) {
			c.limited("sessions-hour 5 log", nil)
			c.crosses("sessions-hour 5 log", "log", 6, func(r *control.Risk) { r.Passed = true })
		}},
		{"twice", "was crossed in S-1 before", func(c *chronicle) {
			c.limited("denied 5 log", nil)
			c.crosses("denied 5 log", "log", 6, nil)
			c.crosses("denied 5 log", "log", 6, nil)
		}},
		{"another target", "the limit that was crossed cuts request:", func(c *chronicle) {
			c.cutAsLimited(nil, func(r *control.Revocation) { r.Kind, r.Value = "person", "alice" })
		}},
		{"everything", "the limit that was crossed cuts request:", func(c *chronicle) { c.cutAsLimited(nil, func(r *control.Revocation) { r.Kind, r.Value = "all", "" }) }},
		{"another reason", "for another reason", func(c *chronicle) { c.cutAsLimited(nil, func(r *control.Revocation) { r.Reason = "x" }) }},
		{"for a time", "neither holds", func(c *chronicle) { c.cutAsLimited(nil, func(r *control.Revocation) { r.Holds = r.At.Add(time.Hour) }) }},
		{"another request with it", "does not hit R-OTHER", func(c *chronicle) {
			c.askFor(func(r *control.Request) { r.ID = "R-OTHER" })
			c.cutAsLimited(nil, func(r *control.Revocation) { r.Requests = append(r.Requests, "R-OTHER") })
		}},
		{"nothing cut", "nothing was revoked", func(c *chronicle) { c.limited(cutting, nil); c.crosses(cutting, "revoke", 100<<20+1, nil) }},
		{"cut later", "nothing was revoked", func(c *chronicle) {
			c.limited(cutting, nil)
			c.crosses(cutting, "revoke", 100<<20+1, nil)
			c.progress(control.Progress{Session: "S-1", Frames: 5, Head: "aa"})
			c.cutByPolicy(nil)
		}},
		{"cut by somebody instead", "this is not what it cuts", func(c *chronicle) {
			c.limited(cutting, nil)
			c.crosses(cutting, "revoke", 100<<20+1, nil)
			c.revoke("olga")
		}},
		{"limits taken off the session", "the request was to", func(c *chronicle) { c.limited(cutting, func(s *control.Session) { s.Limits = "" }) }},
		{"limits loosened", "the request was to", func(c *chronicle) { c.limited(cutting, func(s *control.Session) { s.Limits = "bytes-out 1G revoke" }) }},
		{"a milder limit", "the request was to", func(c *chronicle) { c.limited(cutting, func(s *control.Session) { s.Limits = "bytes-out 100M hold" }) }},
		{"limits that are none", "is nothing that is counted", func(c *chronicle) { c.limited("colour 5 log", nil) }},
		{"limits in another form", "not written as they are", func(c *chronicle) { c.limited("denied  5 log", nil) }},
		{"a count of a limit that it had not", "which it had not", func(c *chronicle) {
			c.limited(cutting, nil)
			c.progress(control.Progress{Session: "S-1", Frames: 5, Head: "aa", End: "closed", Counts: map[string]uint64{"denied 5 log": 1}})
		}},
		{"a count before the end", "or not ended", func(c *chronicle) {
			c.limited(cutting, nil)
			c.progress(control.Progress{Session: "S-1", Frames: 5, Head: "aa", Counts: map[string]uint64{cutting: 1}})
		}},
		{"a session of a held grant", "was held by a limit", func(c *chronicle) {
			c.limited("denied 5 hold", nil)
			c.crosses("denied 5 hold", "hold", 6, nil)
			c.again("S-2", "denied 5 hold", nil)
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

// TestEveryFieldOfALimit changes what a crossing and what comes of it say, value by value.
func TestEveryFieldOfALimit(t *testing.T) {
	c := begin(t)
	c.cutAsLimited(nil, nil)
	honest, keys := c.leaves(), c.keys()
	for i, leaf := range honest {
		var value map[string]any
		if err := json.Unmarshal(leaf, &value); err != nil {
			t.Fatal(err)
		}
		kind := value["type"].(string)
		if kind != "risk" && kind != "revocation" {
			continue
		}
		mutate(value, kind, func(path string) {
			forged := slices.Clone(honest)
			forged[i], _ = json.Marshal(value)
			found := len(Leaves(forged, keys).Failures) > 0
			if known := path == "risk.risk.count" || path == "risk.risk.at" || path == "risk.at"; !found && !known { // the bastion's word
				t.Errorf("%s can be changed unseen: %s", path, forged[i])
			}
		})
	}
}
