package verify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

// handedAfter is a story whose sheet is handed out after something happened.
func handedAfter(what func(*chronicle), change func(*control.Request), l lie) func(*chronicle) {
	return func(c *chronicle) {
		c.sheets()
		c.prepares(change)
		if what != nil {
			what(c)
		}
		c.hands(l)
	}
}

// What a sealed grant must not be is found wherever a CA or a bastion says it.
func TestPromisesOfSheets(t *testing.T) {
	stolen := func(c *chronicle) { c.cut("key:"+c.print("bastion-1"), 0, 0) }
	terms := func(change func(*control.Terms)) func(*chronicle) { return lied(lie{terms: change}) }
	for _, attack := range []attack{
		{"sealed to a stolen bastion", "whose key was revoked before", handedAfter(stolen, nil, lie{})},
		{"used at a stolen bastion", "was revoked before", func(c *chronicle) { handedAfter(nil, nil, lie{})(c); stolen(c); c.uses(lie{}, 0, false) }},
		{"for a revoked key", "which was not olga's", func(c *chronicle) { c.sheets(); c.cut("key:"+c.print("olga"), 0, 0); c.prepares(nil) }},
		{"an emergency", "an emergency before it was used", prepared(func(r *control.Request) { r.Emergency = true })},
		{"that owes a review", "an emergency before it was used", prepared(func(r *control.Request) { r.Owes = &control.ReviewOf{} })},
		{"with a session", "used before it was asked for", prepared(func(r *control.Request) { r.Sheet.Session = "S-1" })},
		{"that was used", "used before it was asked for", prepared(func(r *control.Request) { r.Sheet.Used = r.Created })},
		{"by no rule", "without a rule", prepared(func(r *control.Request) { r.Rules = nil })},
		{"with half of what commands print", "not everything is recorded", prepared(func(r *control.Request) { r.Record.Streams = 1 })},
		{"with half of what is forwarded", "not everything is recorded", prepared(func(r *control.Request) { r.Record.Forwards = 1 })},
		{"taken when it is over", "and the request is until", prepared(func(r *control.Request) {
			r.ClaimBy = r.Sheet.Until.Add(time.Hour)
			r.Sheet.TakeBy = r.ClaimBy
		})},
		{"for a year", "and the request is until", prepared(func(r *control.Request) { r.Sheet.Until = r.Created.AddDate(1, 0, 0); r.NotAfter = r.Sheet.Until })},
		{"for nobody", "for nobody", prepared(func(r *control.Request) { r.Sheet.Holders = nil })},
		{"for a crowd", "for too many people", prepared(func(r *control.Request) { r.Sheet.Holders = slices.Repeat(r.Sheet.Holders, 2) })},
		{"reviewed at once", "without a review", prepared(func(r *control.Request) { r.Sheet.ReviewSeconds = 0 })},
		{"one holder's key twice", "has one already", func(c *chronicle) {
			lied(lie{holder: func(cert *ssh.Certificate) {
				cert.Key, cert.KeyId = c.signers["alice"].PublicKey(), "alice "+c.request.ID
			}})(c)
		}},
		{"a holder's without evidence", "does not point", lied(lie{holder: func(cert *ssh.Certificate) { delete(cert.Extensions, "approvals@postern") }})},
		{"the host's from nowhere", "every address", lied(lie{host: func(cert *ssh.Certificate) { cert.CriticalOptions["source-address"] = "" }})},
		{"terms of another CA", "of another grant", terms(func(t *control.Terms) { t.CA = "other" })},
		{"terms of another request", "of another grant", terms(func(t *control.Terms) { t.Request = "R-OTHER0" })},
		{"terms with another name of the host", "of another grant", terms(func(t *control.Terms) { t.HostName = "phi1" })},
		{"terms with another certificate", "another certificate for the host", terms(func(t *control.Terms) { t.Certificate = "ssh-ed25519-cert-v01@openssh.com AAAA" })},
		{"terms with less of files", "what was to be recorded", terms(func(t *control.Terms) { t.Record.Files = "head" })},
		{"terms with less of forwards", "what was to be recorded", terms(func(t *control.Terms) { t.Record.Forwards = 1 })},
		{"terms without what is typed", "what was to be recorded", handedAfter(nil, func(r *control.Request) { r.Record.Keystrokes = true }, lie{terms: func(t *control.Terms) { t.Record.Keystrokes = false }})},
		{"terms without its limits", "its terms limit it to", handedAfter(nil, func(r *control.Request) { r.Limits = "denied 3 log" }, lie{terms: func(t *control.Terms) { t.Limits = "" }})},
		{"a use for another CA", "another bastion, session or target", lied(lie{use: func(u *control.SheetUse) { u.CA = "other" }})},
		{"a use by the other holder's name", "no holder's", lied(lie{use: func(u *control.SheetUse) { u.Person = "alice" }})},
		{"a use that ended before it began", "it may last until", lied(lie{use: func(u *control.SheetUse) { u.Deadline = u.Started }})},
		{"a use at no time", "times that no bastion writes", lied(lie{use: func(u *control.SheetUse) { u.Started = time.Time{} }})},
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
