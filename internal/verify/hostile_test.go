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

// cut is a revocation by olga of something that is no request, signed as number sequence of that target, for a time or at once.
func (c *chronicle) cut(target string, sequence uint64, length time.Duration) {
	text := statement.Statement{CA: "postern-ca", Decision: control.Revoke, Person: "olga", Target: target, Sequence: sequence, For: length, Because: "x"}.Text()
	kind, value, _ := strings.Cut(target, ":")
	c.serials["revocation"]++
	rev := control.Revocation{Seq: c.serials["revocation"], Kind: kind, Value: value, Reason: "x", By: "olga", At: c.now.Add(time.Second),
		Statement: text, Signature: c.sign("olga", text)}
	if length > 0 {
		rev.Holds = rev.At.Add(length)
	}
	c.write(auditlog.Entry{Type: auditlog.TypeRevocation, Revocation: &rev})
}

// newer is a recording key of carol's beside the one that there is.
func (c *chronicle) newer(month string) string {
	k := control.RecordingKey{Month: month, Public: []byte("public half of " + month), Auditor: "carol", AuditKey: c.public("carol"), BoxSum: control.BoxSum([]byte("box"))}
	k.ID = control.RecordingKeyID(k.Public)
	signature, err := sshsig.Sign(c.signers["carol"], control.RecordingKeyNamespace, []byte(k.Statement()))
	if err != nil {
		c.t.Fatal(err)
	}
	k.Signature = string(signature)
	c.write(auditlog.Entry{Type: auditlog.TypeRecordingKey, RecordingKey: &k})
	return k.ID
}

// decides is a hold of carol's that she signed some time ago.
func (c *chronicle) decides(ago time.Duration) {
	d := control.NewCustody("postern-ca", control.Hold, "all", "INC-4412")
	d.Signed = c.now.Add(-ago).Truncate(time.Second)
	d, err := d.Sign("carol", c.signers["carol"])
	if err != nil {
		c.t.Fatal(err)
	}
	d.At = c.now.Add(time.Second)
	c.write(auditlog.Entry{Type: auditlog.TypeCustody, Actor: "carol", Custody: &d})
}

// wants is a request that says more of what approvers must prove.
func wants(touch, pin bool) func(*control.Request) {
	return func(r *control.Request) { r.Touch, r.PIN = touch, pin }
}

// A CA that gives what it promised not to give, or has old signatures speak again, is found out.
func TestPromisesOfTheCA(t *testing.T) {
	for _, attack := range []struct {
		name, says string
		lie        func(*chronicle)
	}{
		{"a revocation that is used again", "signed as number 0 of that target, and 1 came before", func(c *chronicle) {
			c.cut("person:dana", 0, 0)
			c.cut("person:dana", 0, 0)
		}},
		{"a revocation from tomorrow", "signed as number 1 of that target, and 0 came before", func(c *chronicle) { c.cut("person:dana", 1, 0) }},
		{"a request by a revoked key", "which was revoked", func(c *chronicle) { c.cut("key:"+c.print("alice"), 0, 0); c.ask() }},
		{"a certificate over a key that is kept away", "kept key:", func(c *chronicle) {
			p := c.policy()
			p.People["alice"] = append(p.People["alice"], c.public("other"))
			c.write(auditlog.Entry{Type: auditlog.TypePolicy, Policy: p})
			c.granted()
			c.cut("key:"+c.print("other"), 0, time.Hour)
			c.userCertificate("user", func(cert *ssh.Certificate) { cert.Key = c.signers["other"].PublicKey() })
		}},
		{"a recording key by a revoked key", "which was revoked", func(c *chronicle) { c.cut("key:"+c.print("carol"), 0, 0); c.recordingKey("carol", control.Keystrokes) }},
		{"a recording key by who is kept away", "kept person:carol away", func(c *chronicle) {
			c.cut("person:carol", 0, time.Hour)
			c.recordingKey("carol", control.Keystrokes)
		}},
		{"a decision by who is kept away", "kept person:carol away", func(c *chronicle) { c.cut("person:carol", 0, time.Hour); c.decides(0) }},
		{"a decision that was kept back", "somebody kept it back", func(c *chronicle) { c.decides(time.Hour) }},
		{"a view by who is kept away", "kept person:carol away", func(c *chronicle) {
			opened(nil)(c)
			c.cut("person:carol", 0, time.Hour)
			c.audit(nil, nil)
		}},
		{"recorded to whoever opened the key of before", "not the newest of its month", func(c *chronicle) { c.newer("2026-11"); opened(nil)(c) }},
		{"recorded to the key of another month", "not the newest of its month", func(c *chronicle) {
			id := c.newer("2026-10")
			opened(func(s *control.Session) { s.RecordingKey = id })(c)
		}},
		{"a host that poses as another", "pose as another host", func(c *chronicle) { machine(c, "host", "phi1", "phi2") }},
		{"the host CA for the CA's name", "pose as the CA", func(c *chronicle) { machine(c, "host", "postern-ca") }},
		{"the CA's name for a bastion", "pose as the CA", gateway("postern-ca")},
		{"a machine for years", "lives longer than", func(c *chronicle) {
			c.certificate("gateway", "gateway", auditlog.Certificate{}, &ssh.Certificate{Key: c.signers["bastion-1"].PublicKey(), CertType: ssh.HostCert,
				KeyId: "bastion-1 phi1", ValidPrincipals: []string{"phi1"}, ValidBefore: uint64(c.now.AddDate(5, 0, 0).Unix())}, nil)
		}},
		{"another request's evidence", "points to request", cert(func(cert *ssh.Certificate) { cert.Extensions["request@postern"] = "R-OTHER0" })},
		{"no approvals in it", "does not point", cert(func(cert *ssh.Certificate) { delete(cert.Extensions, "approvals@postern") })},
		{"good before the grant", "begins before the grant", cert(func(cert *ssh.Certificate) { cert.ValidAfter -= 3600 })},
		{"a session certificate for two accounts", "granted was root@phi2", sessionCert(func(cert *ssh.Certificate) { cert.ValidPrincipals = []string{"root@phi2", "root@phi2"} })},
		{"two certificates of one session", "has one already", func(c *chronicle) { sessionCert(nil)(c); c.sessionCertificate("S-1", nil) }},
		{"a certificate for a session that runs", "has one already", func(c *chronicle) { opened(nil)(c); c.sessionCertificate("S-1", nil) }},
		{"an approval without a touch", "does not prove it", func(c *chronicle) { c.askFor(wants(true, false)); c.vote(control.Approve, "bob", "bob") }},
		{"an approval without a PIN", "does not prove it", func(c *chronicle) { c.askFor(wants(false, true)); c.vote(control.Approve, "bob", "bob") }},
		{"a request for nothing", "is for nothing", func(c *chronicle) { c.askFor(func(r *control.Request) { r.Targets = nil }) }},
		{"a request for no time", "is for 0s", func(c *chronicle) {
			c.askFor(func(r *control.Request) { r.ForSeconds, r.NotAfter = 0, r.ClaimBy })
		}},
		{"denied by nobody", "nobody denied it", func(c *chronicle) { c.ask(); c.state(control.Denied, time.Time{}) }},
		{"withdrawn by nobody", "nobody withdrew it", func(c *chronicle) { c.ask(); c.state(control.Withdrawn, time.Time{}) }},
		{"expired before its time", "before its time", func(c *chronicle) { c.ask(); c.state(control.Expired, time.Time{}) }},
		{"without an end", "longer than it was asked for", func(c *chronicle) {
			c.ask()
			c.vote(control.Approve, "bob", "bob")
			c.vote(control.Approve, "dana", "dana")
			c.state(control.Approved, time.Time{})
			c.state(control.Granted, time.Time{})
		}},
		{"an approval of what is granted", "was granted already", func(c *chronicle) { c.granted(); c.vote(control.Approve, "olga", "olga") }},
		{"taken back by who gave nothing", "neither asked for it nor approved it", func(c *chronicle) { c.ask(); c.vote(control.Withdraw, "dana", "dana") }},
		{"taken back when it was over", "was denied already", func(c *chronicle) {
			c.ask()
			c.vote(control.Deny, "bob", "bob")
			c.state(control.Denied, time.Time{})
			c.vote(control.Withdraw, "alice", "alice")
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

// What an honest CA does in the same places is no failure.
func TestPromisesKept(t *testing.T) {
	for name, story := range map[string]func(*chronicle){
		"revoked again, and signed again": func(c *chronicle) { c.cut("person:dana", 0, 0); c.cut("person:dana", 1, 0) },
		"a newer key, and a month to come": func(c *chronicle) {
			c.newer("2026-12")
			id := c.newer("2026-11")
			opened(func(s *control.Session) { s.RecordingKey = id })(c)
		},
		"a decision under way": func(c *chronicle) { c.decides(10 * time.Minute) },
		"a hold that is over": func(c *chronicle) {
			c.cut("person:carol", 0, time.Hour)
			c.now = c.now.Add(time.Hour + time.Minute)
			c.decides(0)
		},
		"given back without a token": func(c *chronicle) {
			c.askFor(wants(true, true))
			c.vote(control.Withdraw, "alice", "alice")
			c.state(control.Withdrawn, time.Time{})
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
