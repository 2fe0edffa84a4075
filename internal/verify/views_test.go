package verify

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/sshsig"
)

// look is carol's honest view of sessions, signed with the key of signer; change makes it another one before it is signed.
func (c *chronicle) look(signer string, change func(*statement.View), sessions ...string) {
	s := statement.View{CA: "postern-ca", Person: "carol", Kind: control.ViewReplay, Sessions: sessions, Key: c.print("ephemeral"),
		Sequence: c.serials["view"], Reason: "review of INC-4412"}
	if change != nil {
		change(&s)
	}
	c.serials["view"]++
	signature, err := sshsig.Sign(c.signers[signer], control.ViewNamespace, []byte(s.Text()))
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(auditlog.Entry{Type: auditlog.TypeView, Actor: "carol", View: &auditlog.View{Kind: s.Kind, Sessions: s.Sessions, Keystrokes: s.Keystrokes,
		Sequence: s.Sequence, Reason: s.Reason, Key: s.Key, Public: c.public(signer), Statement: s.Text(), Signature: string(signature)}})
}

// pass is the certificate that follows a view.
func (c *chronicle) pass(spoil func(*ssh.Certificate), sessions ...string) {
	revocations := 0
	for _, e := range c.entries {
		if e.Revocation != nil {
			revocations++
		}
	}
	viewer := c.print("carol") + " " + string(rune('0'+revocations))
	c.certificate("user", "user", auditlog.Certificate{}, &ssh.Certificate{
		Key: c.signers["ephemeral"].PublicKey(), CertType: ssh.UserCert, KeyId: "carol audit " + string(rune('0'+c.serials["view"]-1)),
		ValidPrincipals: []string{"recordings@bastion-1"},
		ValidAfter:      uint64(c.now.Add(-time.Minute).Unix()), ValidBefore: uint64(c.now.Add(5 * time.Minute).Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{"audit@postern": strings.Join(sessions, ","), "viewer@postern": viewer}},
	}, spoil)
}

// audit is a view of S-1 and its certificate.
func (c *chronicle) audit(change func(*statement.View), spoil func(*ssh.Certificate)) {
	c.look("carol", change, "S-1")
	c.pass(spoil, "S-1")
}

// two opens S-1 and S-2.
func two(c *chronicle) {
	c.granted()
	c.userCertificate("user", nil)
	for _, id := range []string{"S-1", "S-2"} {
		c.sessionCertificate(id, nil)
		c.session(id, nil)
	}
}

func TestViews(t *testing.T) {
	c := begin(t)
	two(c)
	c.look("carol", nil, "S-1", "S-2")
	c.pass(nil, "S-1", "S-2")
	c.audit(func(s *statement.View) { s.Keystrokes = true }, nil)
	c.look("carol", nil, "S-2") // a bastion that left: no certificate
	report := Leaves(c.leaves(), c.keys())
	for _, f := range report.Failures {
		t.Error(f)
	}
	if n := len(report.Views); n != 3 || !report.Views[1].Keystrokes || report.Views[2].Auditor != "carol" || !slices.Equal(report.Views[0].Sessions, []string{"S-1", "S-2"}) {
		t.Errorf("%+v", report.Views)
	}
}

func TestAttacksOnViews(t *testing.T) {
	logged := func(change func(*auditlog.View)) func(*chronicle) {
		return func(c *chronicle) { two(c); c.look("carol", nil, "S-1"); change(last(c).View) }
	}
	signed := func(change func(*statement.View)) func(*chronicle) {
		return func(c *chronicle) { two(c); c.look("carol", change, "S-1") }
	}
	passed := func(spoil func(*ssh.Certificate)) func(*chronicle) {
		return func(c *chronicle) { two(c); c.audit(nil, spoil) }
	}
	for _, attack := range []struct {
		name, says string
		happen     func(*chronicle)
	}{
		{"nobody signed", "sshsig", logged(func(v *auditlog.View) { v.Statement, v.Signature = "", "" })},
		{"signed by somebody else", "did not give to carol", func(c *chronicle) { two(c); c.look("olga", nil, "S-1") }},
		{"signed by a stranger", "did not give to carol", func(c *chronicle) { two(c); c.look("other", nil, "S-1") }},
		{"signed by a key that was revoked", "was revoked", func(c *chronicle) {
			two(c)
			text := statement.Statement{CA: "postern-ca", Decision: control.Revoke, Person: "olga", Target: "key:" + c.print("carol"), Because: "lost"}.Text()
			c.write(auditlog.Entry{Type: auditlog.TypeRevocation, Revocation: &control.Revocation{Seq: 1, Kind: "key", Value: c.print("carol"), Reason: "lost", By: "olga",
				Statement: text, Signature: c.sign("olga", text)}})
			c.look("carol", nil, "S-1")
		}},
		{"signed as a decision", "namespace", logged(func(v *auditlog.View) {
			v.Signature = strings.Replace(v.Signature, "dmlld0Bwb3N0ZXJu", "dmlld0Bwb3N0ZXJv", 1)
		})},
		{"a decision in its place", "first line", func(c *chronicle) {
			two(c)
			text := statement.About(c.request, "postern-ca", control.Approve, "carol", "").Text()
			c.look("carol", nil, "S-1")
			signature, _ := sshsig.Sign(c.signers["carol"], control.ViewNamespace, []byte(text))
			last(c).View.Statement, last(c).View.Signature = text, string(signature)
		}},
		{"the text was altered", "sshsig", logged(func(v *auditlog.View) { v.Statement = strings.Replace(v.Statement, "S-1", "S-2", 1) })},
		{"another session is logged", "does not say what was logged", logged(func(v *auditlog.View) { v.Sessions = []string{"S-2"} })},
		{"another session is logged with it", "does not say what was logged", logged(func(v *auditlog.View) { v.Sessions = []string{"S-1", "S-2"} })},
		{"no session is logged", "does not say what was logged", logged(func(v *auditlog.View) { v.Sessions = nil })},
		{"another reason is logged", "does not say what was logged", logged(func(v *auditlog.View) { v.Reason = "routine" })},
		{"another kind is logged", "does not say what was logged", logged(func(v *auditlog.View) { v.Kind = control.ViewVerify })},
		{"another key is logged", "does not say what was logged", logged(func(v *auditlog.View) { v.Key = "SHA256:other" })},
		{"another signer is logged", "does not say what was logged", func(c *chronicle) { two(c); c.look("carol", nil, "S-1"); last(c).View.Public = c.public("olga") }},
		{"keystrokes are logged that nobody signed for", "does not say what was logged", logged(func(v *auditlog.View) { v.Keystrokes = true })},
		{"keystrokes were signed for and are not logged", "does not say what was logged", func(c *chronicle) {
			two(c)
			c.look("carol", func(s *statement.View) { s.Keystrokes = true }, "S-1")
			last(c).View.Keystrokes = false
		}},
		{"another person is logged", "does not say what was logged", func(c *chronicle) { two(c); c.look("carol", nil, "S-1"); last(c).Actor = "olga" }},
		{"for another CA", "for the CA elsewhere", signed(func(s *statement.View) { s.CA = "elsewhere" })},
		{"of a kind that is none", "no kind", signed(func(s *statement.View) { s.Kind = "peek" })},
		{"without a reason", "does not say why", signed(func(s *statement.View) { s.Reason = " " })},
		{"of a session that never was", "never was", signed(func(s *statement.View) { s.Sessions = []string{"S-1", "S-9"} })},
		{"of a session that came later", "S-1 never was", func(c *chronicle) {
			c.look("carol", nil, "S-1")
			two(c)
		}},
		{"a view was left out", "1 came before", func(c *chronicle) {
			two(c)
			c.look("carol", nil, "S-1")
			c.serials["view"]++
			c.look("carol", nil, "S-1")
		}},
		{"one was used again", "it is number 0, and 1 came before", func(c *chronicle) {
			two(c)
			c.audit(nil, nil)
			c.write(c.entries[len(c.entries)-2])
		}},
		{"a number of somebody else's", "it is number 1, and 0 came before", signed(func(s *statement.View) { s.Sequence = 1 })},
		{"a certificate without a view", "no view that holds", func(c *chronicle) { two(c); c.serials["view"]++; c.pass(nil, "S-1") }},
		{"a certificate of a view that does not hold", "no view that holds", func(c *chronicle) {
			two(c)
			c.look("olga", nil, "S-1")
			c.pass(nil, "S-1")
		}},
		{"a certificate long after its view", "no view that holds", func(c *chronicle) {
			two(c)
			c.look("carol", nil, "S-1")
			c.progress(control.Progress{Session: "S-1", Frames: 5, Head: "aa"})
			c.pass(nil, "S-1")
		}},
		{"a second certificate", "for no request, and for recordings@bastion-1", func(c *chronicle) {
			two(c)
			c.audit(nil, nil)
			c.pass(nil, "S-1")
		}},
		{"a certificate for another session", "other recordings", func(c *chronicle) { two(c); c.look("carol", nil, "S-1"); c.pass(nil, "S-2") }},
		{"a certificate for another session too", "other recordings", func(c *chronicle) { two(c); c.look("carol", nil, "S-1"); c.pass(nil, "S-1", "S-2") }},
		{"a certificate for a host", "for root@phi1", passed(func(cert *ssh.Certificate) { cert.ValidPrincipals = []string{"root@phi1"} })},
		{"a certificate for a host too", "for no request", passed(func(cert *ssh.Certificate) { cert.ValidPrincipals = append(cert.ValidPrincipals, "root@phi1") })},
		{"a certificate for another bastion", "for recordings@bastion-2", passed(func(cert *ssh.Certificate) { cert.ValidPrincipals = []string{"recordings@bastion-2"} })},
		{"a certificate for more", "more than the view", passed(func(cert *ssh.Certificate) { cert.Extensions["permit-pty"] = "" })},
		{"a certificate that names another signer", "another signer", passed(func(cert *ssh.Certificate) { cert.Extensions["viewer@postern"] = "SHA256:other 0" })},
		{"a certificate over another key", "the view names", func(c *chronicle) {
			two(c)
			c.audit(nil, func(cert *ssh.Certificate) { cert.Key = c.signers["other"].PublicKey() })
		}},
		{"a certificate in another name", "key ID", passed(func(cert *ssh.Certificate) { cert.KeyId = "dana audit 0" })},
		{"a certificate for ever", "lives longer", passed(func(cert *ssh.Certificate) { cert.ValidBefore = ssh.CertTimeInfinity })},
		{"a certificate for a bastion that left", "knows no bastion", func(c *chronicle) {
			two(c)
			p := c.policy()
			p.Bastions = nil
			c.write(auditlog.Entry{Type: auditlog.TypePolicy, Policy: p})
			c.audit(nil, nil)
		}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			c := begin(t)
			attack.happen(c)
			report := Leaves(c.leaves(), c.keys())
			if !slices.ContainsFunc(report.Failures, func(f Failure) bool { return strings.Contains(f.Text, attack.says) }) {
				t.Errorf("want a failure that says %q, got %v", attack.says, report.Failures)
			}
		})
	}
}
