package verify

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
)

// extend asks for more time, as alice honestly would unless spoilt.
func (c *chronicle) extend(by time.Duration, spoil func(*auditlog.Extension)) {
	c.request.State = control.Granted
	n := len(c.request.Extensions)
	if n > 0 && c.request.Extensions[n-1].State == control.Pending {
		c.request.Extensions[n-1].State = control.Withdrawn
	}
	x := auditlog.Extension{Request: c.request.ID, Extension: control.Extension{
		Number: n + 1, State: control.Pending, ForSeconds: int64(by / time.Second), Ends: c.request.Ends.Add(by), Reason: "it takes longer",
		Needs: c.request.Needs, Rules: c.request.Rules, Policy: digest01, Asked: c.now.Add(time.Second), Nonce: fmt.Sprintf("%032d", n),
	}}
	if spoil != nil {
		spoil(&x)
	}
	c.request.Extensions = append(c.request.Extensions, x.Extension)
	c.write(auditlog.Entry{Type: auditlog.TypeExtension, Actor: "alice", Extension: &x})
}

// extendVote lets person decide about the extension that waits.
func (c *chronicle) extendVote(decision, person, signer string) {
	because := ""
	if decision != control.Extend {
		because = "because"
	}
	text := statement.About(c.request, "postern-ca", decision, person, because).Text()
	v := control.Vote{Decision: decision, Person: person, Key: c.print(signer), Public: c.public(signer), At: c.now.Add(time.Second), Statement: text, Signature: c.sign(signer, text)}
	c.write(auditlog.Entry{Type: auditlog.TypeVote, Actor: person, Vote: &auditlog.Vote{Request: c.request.ID, Extension: len(c.request.Extensions), Vote: v}})
}

// extended is what became of the last extension.
func (c *chronicle) extended(state string, spoil func(*auditlog.Extension)) {
	e := &c.request.Extensions[len(c.request.Extensions)-1]
	e.State = state
	x := auditlog.Extension{Request: c.request.ID, Extension: *e}
	if spoil != nil {
		spoil(&x)
	}
	if state == control.Granted {
		c.request.Ends = e.Ends
		if e.Ends.After(c.request.NotAfter) {
			c.request.NotAfter = e.Ends
		}
	}
	c.write(auditlog.Entry{Type: auditlog.TypeExtension, Extension: &x})
}

// longer extends honestly, by both people.
func (c *chronicle) longer(by time.Duration) {
	c.extend(by, nil)
	c.extendVote(control.Extend, "bob", "bob")
	c.extendVote(control.Extend, "dana", "dana")
	c.extended(control.Granted, nil)
}

// bothSigned is an extension by a quarter of an hour that only has to be given.
func bothSigned(c *chronicle) {
	running(c)
	c.extend(15*time.Minute, nil)
	c.extendVote(control.Extend, "bob", "bob")
	c.extendVote(control.Extend, "dana", "dana")
}

func grows(c *chronicle, after time.Time, frames uint64) {
	c.now = after
	c.progress(control.Progress{Session: "S-1", Frames: frames, Head: fmt.Sprintf("%02x", frames)})
}

func TestExtensions(t *testing.T) {
	for name, story := range map[string]func(*chronicle){
		"a session to the moved end": func(c *chronicle) {
			running(c)
			c.longer(15 * time.Minute)
			c.now = c.now.Add(16 * time.Minute)
			c.userCertificate("user", nil)
			grows(c, c.now.Add(time.Minute), 50)
			grows(c, c.now.Add(time.Minute), 60)
			c.now = c.request.Ends
			c.state(control.Ended, c.request.Ends)
		},
		"twice": func(c *chronicle) { running(c); c.longer(time.Minute); c.longer(time.Minute) },
		"denied": func(c *chronicle) {
			running(c)
			c.extend(time.Minute, nil)
			c.extendVote(control.Deny, "bob", "bob")
			c.extended(control.Denied, nil)
		},
		"another instead": func(c *chronicle) {
			running(c)
			c.extend(time.Minute, nil)
			c.extendVote(control.Extend, "bob", "bob")
			c.longer(2 * time.Minute)
		},
		"revoked after": func(c *chronicle) { running(c); c.longer(time.Minute); c.revoke("olga") },
		"revoked while it waits": func(c *chronicle) {
			running(c)
			c.extend(time.Minute, nil)
			c.extendVote(control.Extend, "bob", "bob")
			c.revoke("olga")
		},
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

func TestExtensionAttacks(t *testing.T) {
	for _, attack := range []attack{
		{"nobody signed", "approvals are missing", func(c *chronicle) { running(c); c.extend(time.Minute, nil); c.extended(control.Granted, nil) }},
		{"nobody asked", "not the one that was asked for", func(c *chronicle) {
			running(c)
			c.request.Extensions = []control.Extension{{Number: 1, Ends: c.request.Ends.Add(time.Minute)}}
			c.extended(control.Granted, nil)
		}},
		{"one signed of two", "approvals are missing", func(c *chronicle) {
			running(c)
			c.extend(time.Minute, nil)
			c.extendVote(control.Extend, "bob", "bob")
			c.extended(control.Granted, nil)
		}},
		{"signed by the requester", "nobody decides about their own", func(c *chronicle) {
			running(c)
			c.extend(time.Minute, nil)
			c.extendVote(control.Extend, "alice", "alice")
		}},
		{"signed by the requester in another's name", "did not give to bob", func(c *chronicle) {
			running(c)
			c.extend(time.Minute, nil)
			c.extendVote(control.Extend, "bob", "alice")
		}},
		{"the same twice", "decided already", func(c *chronicle) {
			running(c)
			c.extend(time.Minute, nil)
			c.extendVote(control.Extend, "bob", "bob")
			c.extendVote(control.Extend, "bob", "bob")
		}},
		{"a denial counted", "does not say what the request says", func(c *chronicle) {
			running(c)
			c.extend(time.Minute, nil)
			c.extendVote(control.Deny, "bob", "bob")
			last(c).Vote.Decision = control.Extend
		}},
		{"the approval of the request", "does not say what the request says", func(c *chronicle) {
			running(c)
			old := c.votes[0]
			c.extend(time.Minute, nil)
			old.At, old.Decision = c.now.Add(time.Second), control.Extend
			c.write(auditlog.Entry{Type: auditlog.TypeVote, Actor: "bob", Vote: &auditlog.Vote{Request: c.request.ID, Extension: 1, Vote: old}})
		}},
		{"replayed for a second extension", "does not say what the request says", func(c *chronicle) {
			running(c)
			c.longer(time.Minute)
			old := c.entries[len(c.entries)-3].Vote.Vote // bob's
			c.extend(time.Minute, nil)
			old.At = c.now.Add(time.Second)
			c.write(auditlog.Entry{Type: auditlog.TypeVote, Actor: "bob", Vote: &auditlog.Vote{Request: c.request.ID, Extension: 2, Vote: old}})
		}},
		{"replayed for one with the same nonce", "nonce is not its own", func(c *chronicle) {
			running(c)
			c.longer(time.Minute)
			c.extend(time.Minute, func(x *auditlog.Extension) { x.Nonce = c.request.Extensions[0].Nonce })
		}},
		{"given twice", "not the one that was asked for", func(c *chronicle) { running(c); c.longer(time.Minute); c.extended(control.Granted, nil) }},
		{"longer than signed", "not the one that was asked for", func(c *chronicle) {
			bothSigned(c)
			c.extended(control.Granted, func(x *auditlog.Extension) { x.Ends = x.Ends.Add(time.Minute); c.request.Extensions[0].Ends = x.Ends })
		}},
		{"longer than asked", "by 1m0s until", func(c *chronicle) {
			running(c)
			c.extend(time.Minute, func(x *auditlog.Extension) { x.Ends = x.Ends.Add(time.Minute) })
		}},
		{"beyond any policy", "nothing longer than 1h", func(c *chronicle) { running(c); c.extend(46*time.Minute, nil) }},
		{"by nothing", "by 0s until", func(c *chronicle) { running(c); c.extend(0, nil) }},
		{"after the end", "and ended", func(c *chronicle) { running(c); c.now = c.request.Ends; c.extend(time.Minute, nil) }},
		{"given after the end", "after the grant ended", func(c *chronicle) { bothSigned(c); c.now = c.request.Ends; c.extended(control.Granted, nil) }},
		{"signed after the end", "too late", func(c *chronicle) {
			running(c)
			c.extend(time.Minute, nil)
			c.now = c.request.Ends
			c.extendVote(control.Extend, "bob", "bob")
		}},
		{"of a request that waits", "the grant was pending", func(c *chronicle) { c.ask(); c.request.Ends = c.now; c.extend(time.Minute, nil) }},
		{"after a revocation", "the grant was revoked", func(c *chronicle) { running(c); c.revoke("olga"); c.extend(time.Minute, nil) }},
		{"given after a revocation", "not the one that was asked for", func(c *chronicle) { bothSigned(c); c.revoke("olga"); c.extended(control.Granted, nil) }},
		{"fewer people", "the grant needed 1 of ehr-owners", func(c *chronicle) {
			running(c)
			c.extend(time.Minute, func(x *auditlog.Extension) { x.Needs = x.Needs[:1] })
		}},
		{"no needs", "the grant needed", func(c *chronicle) { running(c); c.extend(time.Minute, func(x *auditlog.Extension) { x.Needs = nil }) }},
		{"by a policy that was not in force", "not in force", func(c *chronicle) {
			running(c)
			c.extend(time.Minute, func(x *auditlog.Extension) { x.Policy = "sha256:other" })
		}},
		{"somebody else asked", "it is by", func(c *chronicle) { running(c); c.extend(time.Minute, nil); last(c).Actor = "bob" }},
		{"a number too many", "should be number 1", func(c *chronicle) { running(c); c.extend(time.Minute, func(x *auditlog.Extension) { x.Number = 2 }) }},
		{"denied by nobody", "nobody denied it", func(c *chronicle) { running(c); c.extend(time.Minute, nil); c.extended(control.Denied, nil) }},
		{"a key that was revoked", "which was revoked", func(c *chronicle) {
			running(c)
			c.extend(time.Minute, nil)
			c.hold("key:"+c.print("bob"), 0, nil)
			c.extendVote(control.Extend, "bob", "bob")
		}},
		{"spared by the revocation of who extended", "left R-", func(c *chronicle) {
			c.grantedFor(func(r *control.Request) { r.Needs = nil })
			c.request.Needs = nil
			c.extend(time.Minute, func(x *auditlog.Extension) { x.Needs = []control.Need{{Count: 1, Group: "auditors"}} })
			c.extendVote(control.Extend, "carol", "carol")
			c.extended(control.Granted, nil)
			c.hold("approver:carol", 0, nil)
		}},
		{"a certificate beyond the first end without an extension", "outlives the grant", func(c *chronicle) {
			bothSigned(c)
			c.userCertificate("user", func(cert *ssh.Certificate) { cert.ValidBefore += 900 })
		}},
		{"a certificate beyond the moved end", "outlives the grant", func(c *chronicle) {
			running(c)
			c.longer(time.Minute)
			c.userCertificate("user", func(cert *ssh.Certificate) { cert.ValidBefore++ })
		}},
		{"a session with a certificate of before", "was over", func(c *chronicle) {
			running(c)
			c.longer(15 * time.Minute)
			c.now = c.now.Add(16 * time.Minute)
			c.sessionCertificate("S-2", nil)
			c.session("S-2", nil)
		}},
		{"a session beyond the moved end", "went on after its deadline", func(c *chronicle) {
			running(c)
			c.longer(time.Minute)
			grows(c, c.request.Ends.Add(3*time.Minute), 50)
			grows(c, c.now.Add(time.Second), 60)
		}},
		{"a session beyond an end that was not moved", "went on after its deadline", func(c *chronicle) {
			bothSigned(c)
			grows(c, c.request.Ends.Add(3*time.Minute), 50)
			grows(c, c.now.Add(time.Second), 60)
		}},
		{"a request that begins extended", "begins as pending", func(c *chronicle) {
			c.askFor(func(r *control.Request) { r.Extensions = []control.Extension{{Number: 1}} })
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

// Every value of the leaves of an extension is checked.
func TestEveryFieldOfAnExtension(t *testing.T) {
	c := begin(t)
	bothSigned(c)
	c.extended(control.Granted, nil)
	c.extend(time.Minute, nil)
	c.extendVote(control.Deny, "bob", "bob")
	c.extended(control.Denied, nil)
	honest, keys := c.leaves(), c.keys()
	if r := Leaves(honest, keys); len(r.Failures) > 0 {
		t.Fatal(r.Failures)
	}
	for i, leaf := range honest {
		var value map[string]any
		if err := json.Unmarshal(leaf, &value); err != nil {
			t.Fatal(err)
		}
		vote, _ := value["vote"].(map[string]any)
		if value["type"] != "extension" && vote["extension"] == nil {
			continue
		}
		mutate(value, value["type"].(string), func(path string) {
			changed, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			forged := slices.Clone(honest)
			forged[i] = changed
			if r := Leaves(forged, keys); len(r.Failures) == 0 {
				t.Errorf("%s of leaf %d can be changed unseen: %s", path, i, changed)
			}
		})
	}
}
