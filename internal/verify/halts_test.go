package verify

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
)

const holding = "denied 5 hold"

// halts is what holds a session, as the CA would log it unless spoilt.
func (c *chronicle) halts(lifted uint64, spoil func(*auditlog.Halt)) {
	c.crosses(holding, "hold", 6, func(r *control.Risk) { r.Lifted = lifted })
	c.request.State = control.Granted
	n := len(c.request.Halts)
	x := auditlog.Halt{Request: c.request.ID, Halt: control.Halt{
		Number: n + 1, State: control.Pending, Session: "S-1", Target: c.request.Targets[0], Limit: holding, Count: 6, Lifted: lifted,
		At: c.entries[len(c.entries)-1].Risk.At, Needs: c.request.Needs, Nonce: fmt.Sprintf("%032d", n),
	}}
	if spoil != nil {
		spoil(&x)
	}
	c.request.Halts = append(c.request.Halts, x.Halt)
	c.write(auditlog.Entry{Type: auditlog.TypeHalt, Halt: &x})
}

func (c *chronicle) haltVote(decision, person, signer string, spoil func(*auditlog.Vote)) {
	because := ""
	if decision != control.Approve {
		because = "because"
	}
	h, _ := c.request.Held()
	s := statement.About(c.request, "postern-ca", decision, person, because)
	text := s.Text()
	v := auditlog.Vote{Request: c.request.ID, Halt: h.Number, Vote: control.Vote{Decision: s.Decision, Person: person, Key: c.print(signer), Public: c.public(signer),
		At: c.now.Add(time.Second), Statement: text, Signature: c.sign(signer, text)}}
	if spoil != nil {
		spoil(&v)
	}
	c.write(auditlog.Entry{Type: auditlog.TypeVote, Actor: person, Vote: &v})
}

func (c *chronicle) haltDecided(state string, spoil func(*auditlog.Halt)) {
	h, _ := c.request.Held()
	c.request.Halts[h.Number-1].State = state
	h.State = state
	x := auditlog.Halt{Request: c.request.ID, Halt: h}
	if spoil != nil {
		spoil(&x)
	}
	c.write(auditlog.Entry{Type: auditlog.TypeHalt, Halt: &x})
}

func (c *chronicle) released() {
	c.haltVote(control.Approve, "bob", "bob", nil)
	c.haltVote(control.Approve, "dana", "dana", nil)
	c.haltDecided(control.Granted, nil)
}

// heldOnce is a session that is held.
func heldOnce(c *chronicle) {
	c.limited(holding, nil)
	c.halts(0, nil)
}

func TestHalts(t *testing.T) {
	for name, story := range map[string]func(*chronicle){
		"released, and another session": func(c *chronicle) { heldOnce(c); c.released(); c.again("S-2", holding, nil) },
		"twice":                         func(c *chronicle) { heldOnce(c); c.released(); c.halts(1, nil); c.released() },
		"denied": func(c *chronicle) {
			heldOnce(c)
			c.haltVote(control.Deny, "bob", "bob", nil)
			c.haltDecided(control.Denied, nil)
			c.progress(control.Progress{Session: "S-1", Frames: 5, Head: "aa", End: "held"})
		},
		"while an extension waits": func(c *chronicle) {
			heldOnce(c)
			c.extend(time.Minute, nil)
			c.released()
			c.extendVote(control.Extend, "bob", "bob")
		},
		"revoked": func(c *chronicle) { heldOnce(c); c.haltVote(control.Approve, "bob", "bob", nil); c.revoke("olga") },
	} {
		t.Run(name, func(t *testing.T) {
			c := begin(t)
			story(c)
			for _, f := range Leaves(c.leaves(), c.keys()).Failures {
				t.Error(f)
			}
		})
	}
}

func TestHaltAttacks(t *testing.T) {
	for _, attack := range []attack{
		{"nobody signed", "approvals are missing", func(c *chronicle) { heldOnce(c); c.haltDecided(control.Granted, nil) }},
		{"one signed of two", "approvals are missing", func(c *chronicle) {
			heldOnce(c)
			c.haltVote(control.Approve, "bob", "bob", nil)
			c.haltDecided(control.Granted, nil)
		}},
		{"one signed twice", "they had decided already", func(c *chronicle) {
			heldOnce(c)
			c.haltVote(control.Approve, "bob", "bob", nil)
			c.haltVote(control.Approve, "bob", "bob", nil)
			c.haltDecided(control.Granted, nil)
		}},
		{"by who asked", "nobody decides about their own request", func(c *chronicle) { heldOnce(c); c.haltVote(control.Approve, "alice", "alice", nil) }},
		{"by who asked in another's name", "did not give to bob", func(c *chronicle) { heldOnce(c); c.haltVote(control.Approve, "bob", "alice", nil) }},
		{"nothing was crossed", "no limit was crossed right before", func(c *chronicle) {
			heldOnce(c)
			c.released()
			c.halts(1, nil)
			c.released()
			c.request.Halts = nil
			e := c.entries[len(c.entries)-1]
			h := *e.Halt
			h.State, h.Number, h.Nonce = control.Pending, 3, fmt.Sprintf("%032d", 9)
			c.write(auditlog.Entry{Type: auditlog.TypeHalt, Halt: &h})
		}},
		{"an old release for a later hold", "does not say what holds", func(c *chronicle) {
			heldOnce(c)
			c.released()
			old := *c.entries[len(c.entries)-3].Vote
			c.halts(1, nil)
			c.haltVote(control.Approve, "bob", "bob", func(v *auditlog.Vote) { v.Statement, v.Signature = old.Statement, old.Signature })
		}},
		{"an approval of the request for a release", "does not say what holds", func(c *chronicle) {
			heldOnce(c)
			c.haltVote(control.Approve, "bob", "bob", func(v *auditlog.Vote) { v.Statement, v.Signature = c.votes[0].Statement, c.votes[0].Signature })
		}},
		{"a release for an approval", "does not say what the request says", func(c *chronicle) {
			heldOnce(c)
			c.haltVote(control.Approve, "bob", "bob", func(v *auditlog.Vote) { v.Halt = 0 })
		}},
		{"a denial for a release", "approvals are missing", func(c *chronicle) {
			heldOnce(c)
			c.haltVote(control.Deny, "bob", "bob", nil)
			c.haltVote(control.Approve, "dana", "dana", nil)
			c.haltDecided(control.Granted, nil)
		}},
		{"denied by nobody", "nobody denied it", func(c *chronicle) { heldOnce(c); c.haltDecided(control.Denied, nil) }},
		{"released twice", "not one that waited", func(c *chronicle) {
			heldOnce(c)
			c.released()
			c.request.Halts[0].State = control.Pending
			c.haltDecided(control.Granted, nil)
		}},
		{"a session while it is held", "was held by a limit", func(c *chronicle) { heldOnce(c); c.again("S-2", holding, nil) }},
		{"a session after a denial", "was held by a limit", func(c *chronicle) {
			heldOnce(c)
			c.haltVote(control.Deny, "bob", "bob", nil)
			c.haltDecided(control.Denied, nil)
			c.again("S-2", holding, nil)
		}},
		{"crossed again without a release", "was crossed in S-1 before", func(c *chronicle) { heldOnce(c); c.halts(0, nil) }},
		{"a release that never was", "released 1 times before", func(c *chronicle) { heldOnce(c); c.halts(1, nil) }},
		{"fewer approvers", "the grant needed", func(c *chronicle) {
			c.limited(holding, nil)
			c.halts(0, func(x *auditlog.Halt) { x.Needs = x.Needs[:1] })
		}},
		{"another limit", "something else than the limit", func(c *chronicle) {
			c.limited(holding, nil)
			c.halts(0, func(x *auditlog.Halt) { x.Limit = "denied 500 hold" })
		}},
		{"another host", "the session is not on", func(c *chronicle) {
			c.limited(holding, nil)
			c.halts(0, func(x *auditlog.Halt) { x.Target = "root@phi9" })
		}},
		{"more at the release", "not one that waited", func(c *chronicle) {
			heldOnce(c)
			c.haltVote(control.Approve, "bob", "bob", nil)
			c.haltVote(control.Approve, "dana", "dana", nil)
			c.haltDecided(control.Granted, func(x *auditlog.Halt) { x.Count = 7 })
		}},
		{"after the grant ended", "the grant was", func(c *chronicle) {
			heldOnce(c)
			c.now = c.request.Ends.Add(time.Minute)
			c.released()
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

// TestEveryFieldOfAHalt changes what its leaves say, and the risk before them, value by value.
func TestEveryFieldOfAHalt(t *testing.T) {
	c := begin(t)
	heldOnce(c)
	c.released()
	honest, keys := c.leaves(), c.keys()
	for i, leaf := range honest {
		if c.entries[i].Halt == nil && c.entries[i].Risk == nil {
			continue
		}
		var value map[string]any
		if err := json.Unmarshal(leaf, &value); err != nil {
			t.Fatal(err)
		}
		mutate(value, c.entries[i].Type, func(path string) {
			forged := slices.Clone(honest)
			forged[i], _ = json.Marshal(value)
			if len(Leaves(forged, keys).Failures) == 0 {
				t.Errorf("%s can be changed unseen: %s", path, forged[i])
			}
		})
	}
}
