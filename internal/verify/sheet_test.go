package verify

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
)

var digest03 = "sha256:" + strings.Repeat("03", 32)

// sheets puts a policy into force that has a rule for sealed grants.
func (c *chronicle) sheets() {
	p := c.policy()
	p.Digest = digest03
	p.Sealed = map[string]auditlog.Sealed{"paper": {ValidSeconds: 30 * 86400, Emergency: auditlog.Emergency{MaxSeconds: 900, ReviewSeconds: 86400, Needs: []control.Need{{Count: 1, Group: "privacy"}}}}}
	c.write(auditlog.Entry{Type: auditlog.TypePolicy, Policy: p})
}

// prepares asks for a sheet of alice's and olga's, and has it approved unless it was spoilt.
func (c *chronicle) prepares(change func(*control.Request)) {
	c.askFor(func(r *control.Request) {
		r.Policy, r.Rules = digest03, []string{"paper"}
		r.Record = &control.Record{Files: "full", Streams: -1, Forwards: -1}
		holders := []control.Holder{{Person: "alice", Key: c.print("alice")}, {Person: "olga", Key: c.print("olga")}}
		r.Sheet = &control.Sheet{Bastion: "bastion-1", Holders: holders, TakeBy: r.ClaimBy, Until: r.Created.Add(30 * 24 * time.Hour), ReviewSeconds: 86400, ReviewNeeds: []control.Need{{Count: 1, Group: "privacy"}}}
		r.NotAfter = r.Sheet.Until
		if change != nil {
			change(r)
		}
	})
	if c.request.Sheet != nil {
		sheet := *c.request.Sheet // the leaf keeps its own
		c.request.Sheet = &sheet
	}
	c.vote(control.Approve, "bob", "bob")
	c.vote(control.Approve, "dana", "dana")
	c.state(control.Approved, time.Time{})
}

// lie is what a dishonest CA or bastion says of a sheet otherwise. What is nil is honest.
type lie struct {
	host, holder func(*ssh.Certificate)
	terms        func(*control.Terms)
	sheet        func(*auditlog.Sheet)
	use          func(*control.SheetUse) // before it is signed
	told         func(*control.SheetUse) // and after
	session      func(*control.Session)
}

// hands gives the sheet out.
func (c *chronicle) hands(l lie) control.Terms {
	r := &c.request
	r.Ends = r.Sheet.Until
	c.state(control.Granted, r.Ends)
	until := uint64(r.Sheet.Until.Unix())
	c.certificate("session", "session", auditlog.Certificate{Request: r.ID, Session: "S-1"}, &ssh.Certificate{
		Key: c.signers["ephemeral"].PublicKey(), CertType: ssh.UserCert, KeyId: "alice+olga " + r.ID + " S-1", ValidPrincipals: r.Targets,
		ValidAfter: uint64(c.now.Add(-time.Minute).Unix()), ValidBefore: until,
		Permissions: ssh.Permissions{CriticalOptions: map[string]string{"source-address": "127.0.0.1"}, Extensions: map[string]string{"permit-pty": "", "request@postern": r.ID}},
	}, l.host)
	t := control.Terms{
		Version: 1, CA: "postern-ca", Request: r.ID, Session: "S-1", Bastion: "bastion-1", Reached: "b:22", Target: "root@phi2", Until: r.Sheet.Until, Seconds: 900,
		Certificate: last(c).Certificate.Line, Address: "phi2:22", HostName: "phi2", Capabilities: []string{"exec", "shell"}, Record: *r.Record, Limits: r.Limits,
	}
	if l.terms != nil {
		l.terms(&t)
	}
	text, err := t.Text()
	if err != nil {
		c.t.Fatal(err)
	}
	sum := control.EnvelopeSum([]byte("an envelope"))
	for _, name := range []string{"alice", "olga"} {
		c.certificate("user", "user", auditlog.Certificate{Request: r.ID}, &ssh.Certificate{
			Key: c.signers[name].PublicKey(), CertType: ssh.UserCert, KeyId: name + " " + r.ID, ValidPrincipals: r.Targets,
			ValidAfter: uint64(c.now.Add(-time.Minute).Unix()), ValidBefore: until,
			Permissions: ssh.Permissions{CriticalOptions: map[string]string{control.SheetOption: control.SheetDigest(text, sum)},
				Extensions: map[string]string{"permit-pty": "", "request@postern": r.ID, "approvals@postern": c.digest()}},
		}, l.holder)
	}
	to, err := control.SheetKey{CA: "postern-ca", Bastion: "bastion-1", Public: []byte("a key")}.Sign(c.signers["bastion-1"])
	if err != nil {
		c.t.Fatal(err)
	}
	s := auditlog.Sheet{Request: r.ID, Terms: string(text), Envelope: sum, To: to}
	if l.sheet != nil {
		l.sheet(&s)
	}
	c.write(auditlog.Entry{Type: auditlog.TypeSheet, Actor: "alice", Sheet: &s})
	return t
}

// uses has the bastion tell of a use that began ago.
func (c *chronicle) uses(l lie, ago time.Duration, again bool) {
	started := c.now.Add(-ago)
	u := control.SheetUse{CA: "postern-ca", Request: c.request.ID, Session: "S-1", Bastion: "bastion-1", Target: "root@phi2", Person: "olga", Key: c.print("olga"),
		Serial: 2, Client: "127.0.0.1:1", Started: started, Deadline: started.Add(15 * time.Minute), RecordingKey: control.RecordingKeyID([]byte("public half")), Nonce: strings.Repeat("0a", 16)}
	if again {
		u.Nonce = strings.Repeat("0b", 16)
	}
	if l.use != nil {
		l.use(&u)
	}
	u, err := u.Sign(c.signers["bastion-1"])
	if err != nil {
		c.t.Fatal(err)
	}
	if u.Again = again; !again {
		u.ReviewBy = c.now.Add(24*time.Hour + time.Second)
	}
	if l.told != nil {
		l.told(&u)
	}
	c.write(auditlog.Entry{Type: auditlog.TypeSheetUse, Actor: "bastion-1", SheetUse: &u})
	if again {
		return
	}
	c.request.Sheet.Used, c.request.Sheet.UsedBy, c.request.Began = u.Started, u.Person, u.Started
	c.request.Owes = &control.ReviewOf{By: u.ReviewBy, Needs: c.request.Sheet.ReviewNeeds}
	c.session("S-1", func(s *control.Session) {
		s.Person, s.Key, s.Serial, s.Started, s.Deadline = u.Person, u.Key, u.Serial, u.Started, u.Deadline
		if l.session != nil {
			l.session(s)
		}
	})
	c.progress(control.Progress{Session: "S-1", Frames: 9, Head: "bb", Segments: 1, SealedHead: "cc", End: "closed", Sealed: true})
}

// drops has the CA take the grant away by itself.
func (c *chronicle) drops(reason string) {
	review := ""
	if c.request.Owes != nil {
		review = c.request.Owes.String()
	}
	c.write(auditlog.Entry{Type: auditlog.TypeState, State: &auditlog.State{Request: c.request.ID, State: control.Revoked, Ends: c.request.Ends, Review: review}})
	c.write(auditlog.Entry{Type: auditlog.TypeRevocation, Revocation: &control.Revocation{Seq: 1, Kind: "request", Value: c.request.ID, Reason: reason,
		By: control.ByPolicy, At: c.now.Add(time.Second), Requests: []string{c.request.ID}}})
}

// sheetStory is a sheet that is used days later while the CA is away, told of, revoked and reviewed.
func (c *chronicle) sheetStory() { c.sheetStoryOf(lie{}) }

func (c *chronicle) sheetStoryOf(l lie) {
	c.sheets()
	c.prepares(nil)
	c.hands(l)
	c.now = c.now.Add(5 * 24 * time.Hour)
	c.uses(l, 2*time.Hour, false)
	c.drops(sheetSpent)
	c.vote(control.Review, "bob", "bob")
}

func TestSheetHonest(t *testing.T) {
	for name, story := range map[string]func(*chronicle){
		"used": (*chronicle).sheetStory,
		"never used": func(c *chronicle) {
			c.sheets()
			c.prepares(nil)
			c.hands(lie{})
			c.now = c.request.Ends
			c.state(control.Ended, c.request.Ends)
		},
		"dropped by a policy": func(c *chronicle) { c.sheets(); c.prepares(nil); c.hands(lie{}); c.drops(sheetDropped) },
		"revoked by somebody": func(c *chronicle) { c.sheets(); c.prepares(nil); c.hands(lie{}); c.revoke("olga") },
		"used while it lasts": func(c *chronicle) { c.sheets(); c.prepares(nil); c.hands(lie{}); c.uses(lie{}, time.Second, false) },
		"the review is late": func(c *chronicle) {
			c.sheets()
			c.prepares(nil)
			c.hands(lie{})
			c.uses(lie{}, time.Second, false)
			c.drops(sheetSpent)
			c.now = c.request.Owes.By
			c.write(auditlog.Entry{Type: auditlog.TypeOverdue, Overdue: &control.Overdue{Request: c.request.ID, Person: "olga", By: c.request.Owes.By}})
			c.vote(control.Review, "bob", "bob")
		},
		"told after it was revoked": func(c *chronicle) {
			c.sheets()
			c.prepares(nil)
			c.hands(lie{})
			c.revoke("olga")
			c.uses(lie{}, 0, false)
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
}

// prepared is a story whose request is spoilt.
func prepared(change func(*control.Request)) func(*chronicle) {
	return func(c *chronicle) { c.sheets(); c.prepares(change) }
}

func lied(l lie) func(*chronicle) { return func(c *chronicle) { c.sheetStoryOf(l) } }

func TestSheetAttacks(t *testing.T) {
	for _, attack := range []attack{
		{"no rule", "no such rule for those", prepared(func(r *control.Request) { r.Rules = []string{"dba-phi"} })},
		{"an ordinary request by such a rule", "its rule paper is for those", prepared(func(r *control.Request) { r.Sheet, r.NotAfter = nil, r.ClaimBy.Add(15*time.Minute) })},
		{"without approvals", "without approvals", prepared(func(r *control.Request) { r.Needs = nil })},
		{"too long a session", "gives at most 900", prepared(func(r *control.Request) { r.ForSeconds = 901 })},
		{"too long a sheet", "gives at most 2592000", prepared(func(r *control.Request) { r.Sheet.Until = r.Sheet.Until.Add(time.Hour); r.NotAfter = r.Sheet.Until })},
		{"a review too late", "wants it after 86400", prepared(func(r *control.Request) { r.Sheet.ReviewSeconds++ })},
		{"a review by nobody", "without a review", prepared(func(r *control.Request) { r.Sheet.ReviewNeeds = nil })},
		{"a review by others", "wants its review by 1 of privacy", prepared(func(r *control.Request) { r.Sheet.ReviewNeeds[0].Group = "dba" })},
		{"a stranger's key", "which was not alice's", func(c *chronicle) {
			prepared(func(r *control.Request) { r.Sheet.Holders[0].Key = c.print("other") })(c)
		}},
		{"an unknown bastion", "does not know", prepared(func(r *control.Request) { r.Sheet.Bastion = "mine" })},
		{"two accounts", "more than one account", prepared(func(r *control.Request) { r.Targets = append(r.Targets, "root@phi1") })},
		{"not all recorded", "not everything is recorded", prepared(func(r *control.Request) { r.Record.Files = "head" })},
		{"used beforehand", "before it was asked for", prepared(func(r *control.Request) { r.Sheet.UsedBy = "olga" })},
		{"approved by a holder", "nobody decides about their own request", func(c *chronicle) {
			c.sheets()
			c.prepares(func(r *control.Request) {
				r.Sheet.Holders = append(r.Sheet.Holders, control.Holder{Person: "dana", Key: c.print("dana")})
			})
		}},
		{"handed out unapproved", "approvals are missing", func(c *chronicle) {
			c.sheets()
			c.askFor(nil)
			prepared(nil)(c)
			c.entries = slices.DeleteFunc(c.entries, func(e auditlog.Entry) bool { return e.Vote != nil })
			c.hands(lie{})
		}},
		{"handed out twice", "a second time", func(c *chronicle) { c.sheets(); c.prepares(nil); c.hands(lie{}); c.hands(lie{}) }},
		{"for longer than approved", "its sheet is good until", func(c *chronicle) {
			c.sheets()
			c.prepares(nil)
			c.request.Sheet.Until = c.request.Sheet.Until.Add(time.Hour)
			c.hands(lie{})
		}},
		{"and not logged", "its sheet was not logged", func(c *chronicle) {
			c.sheets()
			c.prepares(nil)
			c.hands(lie{})
			c.entries = c.entries[:len(c.entries)-1]
		}},
		{"a certificate that opens without its sheet", "opens without its sheet", lied(lie{holder: func(cert *ssh.Certificate) { cert.CriticalOptions = nil }})},
		{"of another sheet", "is of another sheet", lied(lie{holder: func(cert *ssh.Certificate) { cert.CriticalOptions[control.SheetOption] = strings.Repeat("00", 32) }})},
		{"over a stranger's key", "no holder's", func(c *chronicle) {
			lied(lie{holder: func(cert *ssh.Certificate) { cert.Key = c.signers["other"].PublicKey() }})(c)
		}},
		{"another key ID", "key ID", lied(lie{holder: func(cert *ssh.Certificate) { cert.KeyId = "alice R-OTHER0" }})},
		{"beyond the sheet", "outlives the grant", lied(lie{holder: func(cert *ssh.Certificate) { cert.ValidBefore++ }})},
		{"before the sheet", "begins before", lied(lie{holder: func(cert *ssh.Certificate) { cert.ValidAfter -= 3600 }})},
		{"for another account", "asked was root@phi2", lied(lie{holder: func(cert *ssh.Certificate) { cert.ValidPrincipals = []string{"root@phi1"} }})},
		{"the host's beyond the sheet", "outlives the grant", lied(lie{host: func(cert *ssh.Certificate) { cert.ValidBefore++ }})},
		{"the host's from everywhere", "every address", lied(lie{host: func(cert *ssh.Certificate) { cert.CriticalOptions = nil }})},
		{"the host's for another account", "asked was root@phi2", lied(lie{host: func(cert *ssh.Certificate) { cert.ValidPrincipals = []string{"root@phi1"} }})},
		{"an ordinary certificate with the option", "sealed grant that never was", func(c *chronicle) {
			c.granted()
			c.userCertificate("user", func(cert *ssh.Certificate) { cert.CriticalOptions = map[string]string{control.SheetOption: "00"} })
		}},
		{"terms for longer", "its terms are for 901 seconds", lied(lie{terms: func(t *control.Terms) { t.Seconds++ }})},
		{"terms until later", "its terms are for", lied(lie{terms: func(t *control.Terms) { t.Until = t.Until.Add(time.Second) }})},
		{"terms of more", "more than was granted", lied(lie{terms: func(t *control.Terms) { t.Capabilities = append(t.Capabilities, "agent") }})},
		{"terms that lead elsewhere", "more than was granted", lied(lie{terms: func(t *control.Terms) { t.Destinations = []string{"db:1"} }})},
		{"terms of another host", "of another grant", lied(lie{terms: func(t *control.Terms) { t.Target, t.HostName = "root@phi1", "phi1" }})},
		{"terms with a host key of the CA's own", "another host key", lied(lie{terms: func(t *control.Terms) { t.HostKey = "ssh-ed25519 AAAA" }})},
		{"terms that record less", "what was to be recorded", lied(lie{terms: func(t *control.Terms) { t.Record.Streams = 1 }})},
		{"terms that keep it for less long", "for less long", lied(lie{terms: func(t *control.Terms) { t.Record.RetainDays = 1 }})},
		{"terms that know of the future", "revocations that there were not", lied(lie{terms: func(t *control.Terms) { t.Seq = 9 }})},
		{"terms of another session", "another session", lied(lie{terms: func(t *control.Terms) { t.Session = "S-2" }})},
		{"terms at another bastion", "of another grant", lied(lie{terms: func(t *control.Terms) { t.Bastion = "bastion-2" }})},
		{"sealed to a key of the CA's own", "signed by another key", func(c *chronicle) {
			lied(lie{sheet: func(s *auditlog.Sheet) { s.To, _ = s.To.Sign(c.signers["other"]) }})(c)
		}},
		{"sealed to another bastion", "sealed to bastion", lied(lie{sheet: func(s *auditlog.Sheet) { s.To.Bastion = "bastion-2" }})},
		{"a use of no sheet", "none was handed out", func(c *chronicle) { c.sheets(); c.prepares(nil); c.uses(lie{}, 0, false) }},
		{"a use that nobody signed", "is signed by another key", func(c *chronicle) {
			lied(lie{told: func(u *control.SheetUse) {
				by, again := u.ReviewBy, u.Again
				*u, _ = u.Sign(c.signers["other"])
				u.ReviewBy, u.Again = by, again
			}})(c)
		}},
		{"a use by a stranger", "no holder's", func(c *chronicle) { lied(lie{use: func(u *control.SheetUse) { u.Key = c.print("other") }})(c) }},
		{"a use by another holder's certificate", "no holder's", lied(lie{use: func(u *control.SheetUse) { u.Serial = 1 }})},
		{"a use before the sheet", "when the sheet was not good", lied(lie{use: func(u *control.SheetUse) { u.Started = u.Started.Add(-6 * 24 * time.Hour) }})},
		{"a use after it", "when the sheet was not good", lied(lie{use: func(u *control.SheetUse) { u.Started = u.Started.Add(60 * 24 * time.Hour) }})},
		{"a use for hours", "longer than its terms", lied(lie{use: func(u *control.SheetUse) { u.Deadline = u.Deadline.Add(time.Hour) }})},
		{"a use elsewhere", "another bastion, session or target", lied(lie{use: func(u *control.SheetUse) { u.Target = "root@phi1" }})},
		{"a use in another session", "another bastion, session or target", lied(lie{use: func(u *control.SheetUse) { u.Session = "S-9" }})},
		{"a review whenever", "the rules want it by", lied(lie{told: func(u *control.SheetUse) { u.ReviewBy = u.ReviewBy.Add(time.Hour) }})},
		{"used twice", "was used twice", func(c *chronicle) { c.sheetStory(); c.uses(lie{}, 0, true) }},
		{"used twice, as if once", "says otherwise", func(c *chronicle) {
			c.sheetStory()
			c.uses(lie{told: func(u *control.SheetUse) { u.Again = false }}, 0, true)
		}},
		{"a session of nobody's", "another one than the use", lied(lie{session: func(s *control.Session) { s.Person = "bob" }})},
		{"a session that lasts", "other times", lied(lie{session: func(s *control.Session) { s.Deadline = s.Deadline.Add(time.Hour) }})},
		{"recorded to a stranger", "no auditor signed", lied(lie{use: func(u *control.SheetUse) { u.RecordingKey = "K-00" }, session: func(s *control.Session) { s.RecordingKey = "K-00" }})},
		{"a session that was not logged", "its session was not logged", func(c *chronicle) {
			c.sheets()
			c.prepares(nil)
			c.hands(lie{})
			c.uses(lie{}, 0, false)
			c.entries = c.entries[:len(c.entries)-2]
		}},
		{"a session without a use", "no use of its sheet", func(c *chronicle) { c.sheets(); c.prepares(nil); c.hands(lie{}); c.session("S-1", nil) }},
		{"a session by the CA", "no use of its sheet", func(c *chronicle) { c.sheetStory(); c.session("S-2", nil) }},
		{"taken away as used, and it was not", "was not used", func(c *chronicle) { c.sheets(); c.prepares(nil); c.hands(lie{}); c.drops(sheetSpent) }},
		{"taken away for no reason", "is no reason", func(c *chronicle) { c.sheets(); c.prepares(nil); c.hands(lie{}); c.drops("x") }},
		{"an ordinary grant taken away like that", "no limit was crossed", func(c *chronicle) { c.granted(); c.drops(sheetDropped) }},
		{"reviewed by who used it", "nobody reviews their own", func(c *chronicle) {
			c.sheets()
			p := c.policy()
			p.Digest, p.Groups["privacy"], p.Sealed = digest03, []string{"bob", "olga"}, maps.Clone(last(c).Policy.Sealed)
			c.write(auditlog.Entry{Type: auditlog.TypePolicy, Policy: p})
			c.prepares(nil)
			c.hands(lie{})
			c.uses(lie{}, 0, false)
			c.drops(sheetSpent)
			c.vote(control.Review, "olga", "olga")
		}},
		{"a rule that no policy has", "in a way that none can", func(c *chronicle) {
			c.sheets()
			rule := last(c).Policy.Sealed["paper"]
			rule.ValidSeconds = 91 * 86400
			last(c).Policy.Sealed["paper"] = rule
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

func TestEveryFieldOfASheet(t *testing.T) {
	free := map[string]string{
		"sheet.at":                                  "the CA's own clock; what counts is when it became granted",
		"policy.policy.sealed.paper.max_seconds":    "looser than what was asked for; postern verify --policy compares the rules",
		"policy.policy.sealed.paper.valid_seconds":  "the same",
		"policy.policy.sealed.paper.review_seconds": "the same",
	}
	maps.Copy(free, freeOfAll())
	everyField(t, (*chronicle).sheetStory, free)
}

// freeOfAll is what is free in every story, but for what this one has not.
func freeOfAll() map[string]string {
	all := maps.Clone(free)
	delete(all, "session.session.client") // the use says it, signed
	return all
}
