package verify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// urgently puts a policy into force that has a rule for emergencies.
func (c *chronicle) urgently() {
	p := c.policy()
	p.Digest = "sha256:" + strings.Repeat("02", 32)
	p.Groups["privacy"] = []string{"alice", "bob", "dana"}
	p.Emergencies = map[string]auditlog.Emergency{"urgent": {MaxSeconds: 1200, ReviewSeconds: 86400, Needs: []control.Need{{Count: 1, Group: "privacy"}}}}
	c.write(auditlog.Entry{Type: auditlog.TypePolicy, Policy: p})
}

// emergency asks for one and, when it is honest, uses it until it is over.
func (c *chronicle) emergency(id string, change func(*control.Request)) {
	c.askFor(func(r *control.Request) {
		r.ID, r.Policy, r.Rules, r.Needs, r.Emergency = id, "sha256:"+strings.Repeat("02", 32), []string{"urgent"}, nil, true
		r.Owes = &control.ReviewOf{By: r.Created.Add(24 * time.Hour), Needs: []control.Need{{Count: 1, Group: "privacy"}}}
		r.Record = &control.Record{Files: "full", Streams: -1, Forwards: -1}
		r.ClaimBy = r.Created.Add(15 * time.Minute)
		r.NotAfter = r.ClaimBy.Add(15 * time.Minute)
		if change != nil {
			change(r)
		}
	})
	c.state(control.Approved, time.Time{})
}

func (c *chronicle) used(id string, change func(*control.Request)) {
	c.emergency(id, change)
	c.request.Ends = c.now.Add(15 * time.Minute)
	c.state(control.Granted, c.request.Ends)
	c.userCertificate("user", nil)
	c.now = c.request.Ends
	owed := ""
	if c.request.Owes != nil && c.request.Emergency {
		owed = c.request.Owes.String()
	}
	c.write(auditlog.Entry{Type: auditlog.TypeState, State: &auditlog.State{Request: c.request.ID, State: control.Ended, Ends: c.request.Ends, Review: owed}})
}

func (c *chronicle) late() {
	c.now = c.request.Owes.By
	c.write(auditlog.Entry{Type: auditlog.TypeOverdue, Overdue: &control.Overdue{Request: c.request.ID, Person: "alice", By: c.request.Owes.By}})
}

// urgentStory is an emergency whose review comes late, and another one that was misused, of which its person is cleared.
func (c *chronicle) urgentStory() {
	c.urgently()
	c.used("R-1", nil)
	c.late()
	c.vote(control.Review, "bob", "bob")
	c.used("R-2", nil)
	c.finds(control.Review, control.Misused, "bob", "bob", "no emergency")
	c.finds(control.Clear, "", "dana", "dana", "we talked")
}

func (c *chronicle) misused() {
	c.urgently()
	c.used("R-1", nil)
	c.finds(control.Review, control.Misused, "bob", "bob", "no emergency")
}

func TestEmergencyHonest(t *testing.T) {
	for name, story := range map[string]func(*chronicle){
		"late":                          (*chronicle).urgentStory,
		"another after one was cleared": func(c *chronicle) { c.urgentStory(); c.emergency("R-3", nil) },
		"reviewed before there were verdicts": func(c *chronicle) {
			c.urgently()
			c.used("R-1", nil)
			c.finds(control.Review, "", "bob", "bob", "fine")
			c.used("R-2", nil)
		},
		"unused": func(c *chronicle) {
			c.urgently()
			c.emergency("R-1", nil)
			c.now = c.now.Add(48 * time.Hour)
			c.used("R-2", nil)
		},
		"two before either is due": func(c *chronicle) { c.urgently(); c.used("R-1", nil); c.used("R-2", nil) },
	} {
		c := begin(t)
		story(c)
		if r := Leaves(c.leaves(), c.keys()); len(r.Failures) > 0 {
			t.Errorf("%s: %v", name, r.Failures)
		}
	}
}

func TestEmergencyAttacks(t *testing.T) {
	asking := func(change func(*control.Request)) func(*chronicle) {
		return func(c *chronicle) { c.urgently(); c.used("R-1", change) }
	}
	for _, attack := range []attack{
		{"no such policy", "no such rule for emergencies", func(c *chronicle) { c.used("R-1", func(r *control.Request) { r.Policy = digest01 }) }},
		{"an ordinary rule", "no such rule for emergencies", asking(func(r *control.Request) { r.Rules = []string{"dba-phi", "urgent"} })},
		{"no rule", "without a rule", asking(func(r *control.Request) { r.Rules = nil })},
		{"not called one", "is for those", asking(func(r *control.Request) { r.Emergency, r.Owes = false, nil })},
		{"owes nothing", "owes no review", asking(func(r *control.Request) { r.Owes = nil })},
		{"reviewed from the beginning", "owes no review", asking(func(r *control.Request) { r.Owes.Done = r.Created })},
		{"reviewed by others", "wants its review by 1 of privacy", asking(func(r *control.Request) { r.Owes.Needs[0].Group = "dba" })},
		{"reviewed by nobody", "wants its review by 1 of privacy", asking(func(r *control.Request) { r.Owes.Needs = nil })},
		{"reviewed later", "wants it by", asking(func(r *control.Request) { r.Owes.By = r.Owes.By.Add(time.Hour) })},
		{"longer", "at most 1200", asking(func(r *control.Request) { r.ForSeconds = 1800; r.NotAfter = r.ClaimBy.Add(30 * time.Minute) })},
		{"not everything kept", "not everything is recorded", asking(func(r *control.Request) { r.Record.Files = "hash" })},
		{"a debt that is none", "owes a review", func(c *chronicle) {
			c.askFor(func(r *control.Request) { r.Owes = &control.ReviewOf{} })
		}},
		{"while a review is overdue", "was not signed", func(c *chronicle) { c.urgently(); c.used("R-1", nil); c.late(); c.emergency("R-2", nil) }},
		{"granted while a review is overdue", "becomes granted: the review of R-1", func(c *chronicle) {
			c.urgently()
			c.used("R-1", nil)
			c.now = c.request.Owes.By.Add(-time.Minute)
			c.emergency("R-2", nil)
			c.now = c.now.Add(2 * time.Minute)
			c.state(control.Granted, c.now.Add(15*time.Minute))
		}},
		{"after a forged review", "was not signed", func(c *chronicle) {
			c.urgently()
			c.used("R-1", nil)
			c.vote(control.Review, "bob", "carol")
			c.now = c.now.Add(25 * time.Hour)
			c.emergency("R-2", nil)
		}},
		{"a forged review", "did not give to bob", func(c *chronicle) { c.urgently(); c.used("R-1", nil); c.vote(control.Review, "bob", "carol") }},
		{"an approval for a review", "does not say what the request says", func(c *chronicle) {
			c.urgently()
			c.used("R-1", nil)
			c.vote(control.Approve, "bob", "bob")
			c.entries[len(c.entries)-1].Vote.Decision = control.Review
		}},
		{"one's own review", "their own emergency", func(c *chronicle) { c.urgently(); c.used("R-1", nil); c.vote(control.Review, "alice", "alice") }},
		{"an outsider's review", "none of the groups", func(c *chronicle) { c.urgently(); c.used("R-1", nil); c.vote(control.Review, "carol", "carol") }},
		{"a second review", "complete already", func(c *chronicle) {
			c.urgently()
			c.used("R-1", nil)
			c.vote(control.Review, "bob", "bob")
			c.vote(control.Review, "dana", "dana")
		}},
		{"a review before it was used", "and not over", func(c *chronicle) { c.urgently(); c.emergency("R-1", nil); c.vote(control.Review, "bob", "bob") }},
		{"a review of what is no emergency", "no emergency", func(c *chronicle) { c.granted(); c.vote(control.Review, "carol", "carol") }},
		{"overdue, and it is not", "or not due", func(c *chronicle) {
			c.urgently()
			c.used("R-1", nil)
			c.vote(control.Review, "bob", "bob")
			c.late()
		}},
		{"an end that hides the review", "it says that it owes", func(c *chronicle) {
			c.urgently()
			c.used("R-1", nil)
			c.entries[len(c.entries)-1].State.Review = ""
		}},
		{"overdue twice", "a second time", func(c *chronicle) { c.urgently(); c.used("R-1", nil); c.late(); c.late() }},
		{"a verdict that was changed", "and logged is \"justified\"", func(c *chronicle) {
			c.misused()
			c.entries[len(c.entries)-1].Vote.Verdict = control.Justified
		}},
		{"a verdict that was left out", "and logged is \"\"", func(c *chronicle) {
			c.misused()
			c.entries[len(c.entries)-1].Vote.Verdict = ""
		}},
		{"a statement that was changed with it", "signature", func(c *chronicle) {
			c.misused()
			v := c.entries[len(c.entries)-1].Vote
			v.Verdict, v.Statement = control.Justified, strings.Replace(v.Statement, control.Misused, control.Justified, 1)
		}},
		{"another after a misuse", "was found misused", func(c *chronicle) { c.misused(); c.emergency("R-2", nil) }},
		{"granted after a misuse", "becomes granted: R-1", func(c *chronicle) {
			c.urgently()
			c.emergency("R-1", nil)
			first := c.request
			c.request.Ends = c.now.Add(15 * time.Minute)
			c.state(control.Granted, c.request.Ends)
			c.now = c.request.Ends
			c.write(auditlog.Entry{Type: auditlog.TypeState, State: &auditlog.State{Request: "R-1", State: control.Ended, Ends: c.request.Ends, Review: c.request.Owes.String()}})
			c.emergency("R-2", nil)
			second := c.request
			c.request = first
			c.finds(control.Review, control.Misused, "bob", "bob", "no emergency")
			c.request = second
			c.state(control.Granted, c.now.Add(15*time.Minute))
		}},
		{"cleared by the finder", "found the misuse themselves", func(c *chronicle) { c.misused(); c.finds(control.Clear, "", "bob", "bob", "x") }},
		{"cleared by oneself", "their own emergency", func(c *chronicle) { c.misused(); c.finds(control.Clear, "", "alice", "alice", "x") }},
		{"cleared by an outsider", "none of the groups", func(c *chronicle) { c.misused(); c.finds(control.Clear, "", "carol", "carol", "x") }},
		{"cleared of nothing", "nothing to clear", func(c *chronicle) { c.urgently(); c.used("R-1", nil); c.finds(control.Clear, "", "dana", "dana", "x") }},
		{"cleared with a forged signature", "did not give to dana", func(c *chronicle) { c.misused(); c.finds(control.Clear, "", "dana", "bob", "x") }},
		{"overdue of another's", "it is not bob's", func(c *chronicle) {
			c.urgently()
			c.used("R-1", nil)
			c.late()
			c.entries[len(c.entries)-1].Overdue.Person = "bob"
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

func TestEveryFieldOfAnEmergency(t *testing.T) {
	unbound := map[string]string{
		"genesis.at":               "the CA's own clock",
		"state.at":                 "the same: that a grant ended may be logged late",
		"policy.policy.hosts.phi1": "bound by the digest of the policy: postern verify --policy compares",
		"policy.policy.hosts.phi2": "the same",
		"policy.policy.emergencies.urgent.max_seconds":    "the same: a rule that gives more",
		"policy.policy.emergencies.urgent.review_seconds": "the same",
	}
	everyField(t, (*chronicle).urgentStory, unbound)
}
