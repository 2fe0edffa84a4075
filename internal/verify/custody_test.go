package verify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/recorder"
)

var keyID = control.RecordingKeyID([]byte("public half"))

func (c *chronicle) decide(d control.Custody, by string) control.Custody {
	c.t.Helper()
	d.Signed = c.now
	d, err := d.Sign("carol", c.signers[by])
	if err != nil {
		c.t.Fatal(err)
	}
	d.At = c.now.Add(time.Second)
	c.write(auditlog.Entry{Type: auditlog.TypeCustody, Actor: "carol", Custody: &d})
	return d
}

func (c *chronicle) decision(act, scope string) control.Custody {
	return c.decide(control.NewCustody("postern-ca", act, scope, "INC-4412"), "carol")
}

func (c *chronicle) enrol(act, name string, recovery bool) control.Recipient {
	r := control.Recipient{Name: name, ID: control.RecipientID(name), Public: name, Recovery: recovery}
	d := control.NewCustody("postern-ca", act, "recipient:"+r.ID, "INC-4412")
	d.Recipient = &r
	c.decide(d, "carol")
	return r
}

// rewrap seals a box anew that was made of before.
func (c *chronicle) rewrap(before string, signer string, to ...control.Recipient) {
	c.t.Helper()
	r := control.Rewrap{Key: keyID, Before: control.BoxSum([]byte(before)), After: control.BoxSum([]byte(before + "'")), Recipients: to, Reason: "INC-4412"}
	r, err := r.Sign("carol", c.signers[signer])
	if err != nil {
		c.t.Fatal(err)
	}
	logged := r.Logged()
	logged.At = c.now.Add(time.Second)
	c.write(auditlog.Entry{Type: auditlog.TypeRewrap, Actor: "carol", Rewrap: &logged})
}

func (c *chronicle) delete(d control.Deletion) control.Deletion {
	if d.ID == "" {
		d.ID = "D-1"
	}
	d.At = c.now.Add(time.Second)
	if d.Session == "" && d.Key == "" {
		d.Session, d.Bastion = "S-1", "bastion-1"
	}
	c.write(auditlog.Entry{Type: auditlog.TypeDeletion, Deletion: &d})
	return d
}

func (c *chronicle) receipt(d control.Deletion, signer string, change func(*control.Receipt)) {
	c.t.Helper()
	r := control.Receipt{Order: d.ID, CA: "postern-ca", Session: d.Session, Key: d.Key, Bastion: d.Bastion, Box: control.BoxSum([]byte("key box")), Everything: d.Everything, At: c.now.Truncate(time.Second)}
	if change != nil {
		change(&r)
	}
	if signer != "" {
		var err error
		if r, err = r.Sign(c.signers[signer]); err != nil {
			c.t.Fatal(err)
		}
	}
	actor := r.Bastion
	if r.Key != "" {
		actor = clockwork
	}
	c.write(auditlog.Entry{Type: auditlog.TypeReceipt, Actor: actor, Receipt: &r})
}

// recorded is a session whose recording is sealed to its end.
func recorded(days int64) func(c *chronicle) {
	return func(c *chronicle) {
		c.grantedFor(func(r *control.Request) { r.Record = &control.Record{RetainDays: days} })
		c.userCertificate("user", nil)
		c.sessionCertificate("S-1", nil)
		c.session("S-1", func(s *control.Session) { s.RetainDays = days })
		head := strings.Repeat("ab", 32)
		c.progress(control.Progress{Session: "S-1", Frames: 9, Head: head, Segments: 1, SealedHead: head, End: "closed", Sealed: true})
	}
}

// shredded is the whole of it, done honestly.
func (c *chronicle) shredded() control.Deletion {
	d := c.delete(control.Deletion{Because: []string{c.decision(control.Shred, "session:S-1").ID}})
	c.receipt(d, "bastion-1", nil)
	return d
}

func TestHonestCustody(t *testing.T) {
	for name, c := range map[string]struct {
		story     func(*chronicle)
		destroyed string
	}{
		"a session": {func(c *chronicle) { recorded(0)(c); c.shredded() }, "shredded on 2026-11-22, as ordered by carol"},
		"a session that was held": {func(c *chronicle) {
			recorded(0)(c)
			h := c.decision(control.Hold, "all")
			r := control.NewCustody("postern-ca", control.Release, "all", "over")
			r.Hold = h.ID
			c.decide(r, "carol")
			c.shredded()
		}, "shredded"},
		"declined, and then more want it": {func(c *chronicle) {
			recorded(0)(c)
			d := c.delete(control.Deletion{Because: []string{c.decision(control.Shred, "session:S-1").ID}})
			c.receipt(d, "bastion-1", func(r *control.Receipt) { r.Box, r.Declined = "", "2 auditors must order it" })
			c.decision(control.Shred, "session:S-1")
			c.receipt(d, "bastion-1", nil)
		}, "shredded"},
		"a month": {func(c *chronicle) {
			recorded(0)(c)
			because := []string{c.decision(control.Shred, "month:2026-11").ID}
			k := c.delete(control.Deletion{ID: "D-2", Key: keyID, Because: because})
			c.receipt(c.delete(control.Deletion{Because: because}), "bastion-1", nil)
			c.receipt(k, "", func(r *control.Receipt) { r.Box = control.BoxSum([]byte("box")) })
		}, "shredded"},
		"retention": {func(c *chronicle) {
			recorded(30)(c)
			c.now = c.now.Add(30 * 24 * time.Hour)
			c.receipt(c.delete(control.Deletion{RetainDays: 30, Everything: true}), "bastion-1", nil)
		}, "deleted on 2026-12-22, as ordered by the policy, which kept it 30 days"},
		"rewraps": {func(c *chronicle) {
			carol, safe := c.enrol(control.Enrol, "carol", false), c.enrol(control.Enrol, "safe", true)
			c.rewrap("box", "carol", carol, safe)
			c.enrol(control.Retire, "safe", true)
			c.rewrap("box'", "carol", carol)
		}, ""},
	} {
		log := begin(t)
		c.story(log)
		report := Leaves(log.leaves(), log.keys())
		for _, f := range report.Failures {
			t.Errorf("%s: %v", name, f)
		}
		if c.destroyed != "" && (len(report.Sessions) != 1 || report.Sessions[0].Destroyed == nil || !strings.Contains(report.Sessions[0].Destroyed.String(), c.destroyed)) {
			t.Errorf("%s: %v", name, report.Sessions)
		}
	}
}

// A CA that destroys evidence, or lets others in, has to lie in the log, and each lie is found.
func TestCustodyAttacks(t *testing.T) {
	change := func(c *chronicle, fn func(*auditlog.Entry)) { fn(last(c)) }
	for _, attack := range []attack{
		{"a rewrap that nobody signed", "rewrap of", func(c *chronicle) {
			c.rewrap("box", "carol", c.enrol(control.Enrol, "carol", false))
			change(c, func(e *auditlog.Entry) { e.Rewrap.Signature = "" })
		}},
		{"a rewrap by a thief", "a key that is not carol's", func(c *chronicle) { c.rewrap("box", "other", c.enrol(control.Enrol, "mallory", false)) }},
		{"a rewrap with one recipient more", "signature", func(c *chronicle) {
			c.rewrap("box", "carol", c.enrol(control.Enrol, "carol", false))
			change(c, func(e *auditlog.Entry) {
				e.Rewrap.Recipients = append(e.Rewrap.Recipients, control.Recipient{Name: "mallory", ID: control.RecipientID("mallory")})
			})
		}},
		{"a rewrap that drops recovery", "not sealed to the recovery recipient safe", func(c *chronicle) {
			carol := c.enrol(control.Enrol, "carol", false)
			c.enrol(control.Enrol, "safe", true)
			c.rewrap("box", "carol", carol)
		}},
		{"a key without recovery", "not sealed to the recovery recipient safe", func(c *chronicle) {
			c.enrol(control.Enrol, "safe", true)
			c.recordingKey("carol", control.Keystrokes)
		}},
		{"a box swapped in between", "it was made from the box", func(c *chronicle) { c.rewrap("another box", "carol", c.enrol(control.Enrol, "carol", false)) }},
		{"a rewrap brought back", "it was made from the box", func(c *chronicle) {
			c.rewrap("box", "carol", c.enrol(control.Enrol, "carol", false))
			c.write(*last(c))
		}},
		{"a box in the log", "can never be destroyed", func(c *chronicle) {
			rewrite(c, auditlog.TypeRecordingKey, func(e *auditlog.Entry) { e.RecordingKey.Box = []byte("box") })
		}},
		{"an enrolment by a thief", "a key that is not carol's", func(c *chronicle) {
			r := control.Recipient{Name: "mallory", ID: control.RecipientID("m"), Public: "m"}
			d := control.NewCustody("postern-ca", control.Enrol, "recipient:"+r.ID, "x")
			d.Recipient = &r
			c.decide(d, "other")
		}},
		{"a recipient under another's name", "and dana is again", func(c *chronicle) {
			c.enrol(control.Enrol, "dana", false)
			r := control.Recipient{Name: "dana", ID: control.RecipientID("m"), Public: "m"}
			d := control.NewCustody("postern-ca", control.Enrol, "recipient:"+r.ID, "x")
			d.Recipient = &r
			c.decide(d, "carol")
		}},
		{"an order that nobody signed", "no auditor signed for it", func(c *chronicle) { recorded(0)(c); c.delete(control.Deletion{}) }},
		{"an order for another's reason", "no auditor's decision to shred it", func(c *chronicle) {
			recorded(0)(c)
			c.delete(control.Deletion{Because: []string{c.decision(control.Shred, "session:S-2").ID}})
		}},
		{"an order because of a hold", "no auditor's decision to shred it", func(c *chronicle) {
			recorded(0)(c)
			d := c.decision(control.Hold, "session:S-2")
			c.delete(control.Deletion{Because: []string{d.ID}})
		}},
		{"an order before its time", "before the 30 days", func(c *chronicle) {
			recorded(30)(c)
			c.now = c.now.Add(29 * 24 * time.Hour)
			c.delete(control.Deletion{RetainDays: 30, Everything: true})
		}},
		{"an order by a shorter policy", "opened to be kept 30 days", func(c *chronicle) {
			recorded(30)(c)
			c.now = c.now.Add(10 * 24 * time.Hour)
			c.delete(control.Deletion{RetainDays: 3, Everything: true})
		}},
		{"an order about what is kept for ever", "opened to be kept for ever", func(c *chronicle) {
			recorded(0)(c)
			c.now = c.now.Add(9000 * 24 * time.Hour)
			c.delete(control.Deletion{RetainDays: 30, Everything: true})
		}},
		{"kept shorter than was promised", "the approvers of R-7K2M4Q were told for ever", func(c *chronicle) {
			c.grantedFor(func(r *control.Request) { r.Record = &control.Record{} })
			c.userCertificate("user", nil)
			c.sessionCertificate("S-1", nil)
			c.session("S-1", func(s *control.Session) { s.RetainDays = 1 })
		}},
		{"a hold that is ignored", "on person:alice by carol was in force", func(c *chronicle) {
			recorded(0)(c)
			c.decision(control.Hold, "person:alice")
			c.shredded()
		}},
		{"a hold that is released by a thief", "a key that is not carol's", func(c *chronicle) {
			recorded(0)(c)
			r := control.NewCustody("postern-ca", control.Release, "person:alice", "x")
			r.Hold = c.decision(control.Hold, "person:alice").ID
			c.decide(r, "other")
		}},
		{"a release of another hold", "was not in force", func(c *chronicle) {
			r := control.NewCustody("postern-ca", control.Release, "all", "x")
			r.Hold = c.decision(control.Hold, "person:alice").ID
			c.decide(r, "carol")
		}},
		{"a decision signed for another CA", `for CA "other"`, func(c *chronicle) { c.decide(control.NewCustody("other", control.Hold, "all", "x"), "carol") }},
		{"a decision altered", "its ID is not", func(c *chronicle) {
			c.decision(control.Hold, "all")
			change(c, func(e *auditlog.Entry) { e.Custody.Reason = "other" })
		}},
		{"a hold that is dated back", "it is dated", func(c *chronicle) {
			c.decision(control.Hold, "all")
			change(c, func(e *auditlog.Entry) { e.Custody.At = e.Custody.At.Add(-time.Hour) })
		}},
		{"a decision kept back", "it is dated", func(c *chronicle) {
			d := control.NewCustody("postern-ca", control.Shred, "session:S-1", "x")
			c.decide(d, "carol")
			change(c, func(e *auditlog.Entry) { e.At = e.At.Add(24 * time.Hour) })
		}},
		{"a decision in another's name", "it is logged as of", func(c *chronicle) {
			c.decision(control.Hold, "all")
			change(c, func(e *auditlog.Entry) { e.Actor = "olga" })
		}},
		{"a decision brought back", "appears twice", func(c *chronicle) { c.decision(control.Hold, "all"); c.write(*last(c)) }},
		{"a receipt by another bastion", "another key than that of bastion bastion-1", func(c *chronicle) {
			recorded(0)(c)
			c.receipt(c.delete(control.Deletion{Because: []string{c.decision(control.Shred, "session:S-1").ID}}), "other", nil)
		}},
		{"a receipt by the CA", "the receipt for S-1", func(c *chronicle) {
			recorded(0)(c)
			c.receipt(c.delete(control.Deletion{Because: []string{c.decision(control.Shred, "session:S-1").ID}}), "", nil)
		}},
		{"a receipt without an order", "no such order", func(c *chronicle) {
			recorded(0)(c)
			c.receipt(control.Deletion{ID: "D-9", Session: "S-1", Bastion: "bastion-1"}, "bastion-1", nil)
		}},
		{"a receipt for another session", "the order is about S-1", func(c *chronicle) {
			recorded(0)(c)
			d := c.delete(control.Deletion{Because: []string{c.decision(control.Shred, "session:S-1").ID}})
			c.receipt(d, "bastion-1", func(r *control.Receipt) { r.Session = "S-2" })
		}},
		{"a receipt twice", "carried out before", func(c *chronicle) { recorded(0)(c); c.shredded(); c.write(*last(c)) }},
		{"half a receipt", "the key box alone", func(c *chronicle) {
			recorded(30)(c)
			c.now = c.now.Add(30 * 24 * time.Hour)
			c.receipt(c.delete(control.Deletion{RetainDays: 30, Everything: true}), "bastion-1", func(r *control.Receipt) { r.Everything = false })
		}},
		{"a month let go before its sessions", "while S-1 still had its own", func(c *chronicle) {
			recorded(0)(c)
			d := c.delete(control.Deletion{Key: keyID, Because: []string{c.decision(control.Shred, "month:2026-11").ID}})
			c.receipt(d, "", func(r *control.Receipt) { r.Box = control.BoxSum([]byte("box")) })
		}},
		{"a month under a hold", "on month:2026-11 by carol was in force", func(c *chronicle) {
			c.decision(control.Hold, "month:2026-11")
			c.delete(control.Deletion{Key: keyID, Because: []string{c.decision(control.Shred, "month:2026-11").ID}})
		}},
		{"an order before the end", "not sealed to its end", func(c *chronicle) {
			c.granted()
			c.userCertificate("user", nil)
			c.sessionCertificate("S-1", nil)
			c.session("S-1", nil)
			c.shredded()
		}},
	} {
		c := begin(t)
		attack.lie(c)
		failures := Leaves(c.leaves(), c.keys()).Failures
		if !slices.ContainsFunc(failures, func(f Failure) bool { return strings.Contains(f.Text, attack.says) }) {
			t.Errorf("%s: %v, want %q", attack.name, failures, attack.says)
		}
	}
}

// What became of a recording is held against what is left of it.
func TestFate(t *testing.T) {
	c := begin(t)
	recorded(0)(c)
	c.shredded()
	gone := Leaves(c.leaves(), c.keys()).Sessions[0]
	there := gone
	there.Destroyed = nil
	box := [32]byte{1}
	mine := recorder.Summary{Shredded: true}
	copy(mine.Box[:], func() []byte {
		sum, _ := parseHead(strings.TrimPrefix(gone.Destroyed.Receipt.Box, "sha256:"))
		return sum[:]
	}())
	for name, c := range map[string]struct {
		sum  recorder.Summary
		s    Session
		says string
	}{
		"there, and meant to be":       {recorder.Summary{Box: box}, there, ""},
		"gone, and meant to be":        {mine, gone, ""},
		"gone, and nobody ordered it":  {recorder.Summary{Box: box, Shredded: true}, there, "evidence was destroyed"},
		"there, though it was ordered": {recorder.Summary{Box: box}, gone, "yet its key box is there"},
		"another one gone":             {recorder.Summary{Box: box, Shredded: true}, gone, "about another key box"},
	} {
		err := fate(c.sum, c.s)
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
