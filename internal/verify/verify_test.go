package verify

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/mod/sumdb/tlog"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
)

func TestHonestLog(t *testing.T) {
	c := begin(t)
	c.wholeStory()
	report := Leaves(c.leaves(), c.keys())
	for _, f := range append(report.Failures, report.Notes...) {
		t.Error(f)
	}
	if report.Requests != 1 || report.Votes != 2 || report.Revocations != 1 || report.Certificates["user"] != 2 || report.Certificates["session"] != 1 {
		t.Errorf("%+v", report)
	}
	if len(report.Sessions) != 1 || report.Sessions[0].Frames != 9 || report.Sessions[0].SealedHead != "cc" || report.Sessions[0].BastionKey == nil {
		t.Errorf("%+v", report.Sessions)
	}
}

func TestOtherEnds(t *testing.T) {
	for name, story := range map[string]func(*chronicle){
		"denied": func(c *chronicle) { c.ask(); c.vote(control.Deny, "bob", "bob"); c.state(control.Denied, time.Time{}) },
		"withdrawn": func(c *chronicle) {
			c.ask()
			c.vote(control.Withdraw, "alice", "alice")
			c.state(control.Withdrawn, time.Time{})
		},
		"expired": func(c *chronicle) { c.ask(); c.now = c.request.ClaimBy; c.state(control.Expired, time.Time{}) },
		"ended":   func(c *chronicle) { c.granted(); c.now = c.request.Ends; c.state(control.Ended, c.request.Ends) },
		"forwards, and keystrokes recorded": func(c *chronicle) {
			c.recordingKey("carol", control.Keystrokes)
			id := last(c).RecordingKey.ID
			c.grantedFor(func(r *control.Request) { forward("/run/x", "[::1]:5432", "db:443")(r); typed(r) })
			c.userCertificate("user", func(cert *ssh.Certificate) { cert.Extensions["permit-port-forwarding"] = "" })
			c.sessionCertificate("S-1", nil)
			c.session("S-1", func(s *control.Session) { s.KeystrokeKey = id })
		},
		"an approval taken back and another given": func(c *chronicle) {
			c.ask()
			c.vote(control.Approve, "bob", "bob")
			c.vote(control.Withdraw, "bob", "bob")
		},
	} {
		c := begin(t)
		story(c)
		for _, f := range Leaves(c.leaves(), c.keys()).Failures {
			t.Errorf("%s: %v", name, f)
		}
	}
}

// Each attack is a log that a dishonest CA, or a thief of its log key, could have signed: the tree is in order, and what
// the leaves say is not.
func TestAttacks(t *testing.T) {
	for _, attack := range slices.Concat(newerAttacks, strictAttacks, []attack{
		{"no approval at all", "approvals are missing", func(c *chronicle) { c.ask(); c.state(control.Approved, time.Time{}) }},
		{"one approval of two", "approvals are missing", func(c *chronicle) {
			c.ask()
			c.vote(control.Approve, "bob", "bob")
			c.request.Ends = c.now.Add(15 * time.Minute)
			c.state(control.Granted, c.request.Ends)
		}},
		{"self-approval", "nobody decides about their own request", func(c *chronicle) { c.ask(); c.vote(control.Approve, "alice", "alice") }},
		{"self-approval in another's name", "did not give to bob", func(c *chronicle) { c.ask(); c.vote(control.Approve, "bob", "alice") }},
		{"an approval by a stranger's key", "did not give to bob", func(c *chronicle) { c.ask(); c.vote(control.Approve, "bob", "other") }},
		{"the same approver twice", "decided already", func(c *chronicle) {
			c.ask()
			c.vote(control.Approve, "bob", "bob")
			c.vote(control.Approve, "bob", "bob")
		}},
		{"a forged signature", "signature", func(c *chronicle) {
			c.ask()
			c.vote(control.Approve, "bob", "bob")
			last(c).Vote.Statement = strings.Replace(last(c).Vote.Statement, "15m", "55m", 1)
		}},
		{"an approval of another request", "does not say what the request says", func(c *chronicle) {
			c.ask()
			honest := c.request
			c.request.Targets = []string{"root@phi1"}
			c.vote(control.Approve, "bob", "bob")
			c.request = honest
		}},
		{"a denial counted as approval", "does not say what the request says", func(c *chronicle) {
			c.ask()
			c.vote(control.Deny, "bob", "bob")
			last(c).Vote.Decision = control.Approve
		}},
		{"a late approval", "too late", func(c *chronicle) { c.ask(); c.now = c.request.ClaimBy; c.vote(control.Approve, "bob", "bob") }},
		{"an approval that was taken back", "lacked approvals", func(c *chronicle) {
			c.granted()
			c.vote(control.Withdraw, "dana", "dana")
			c.userCertificate("user", nil)
		}},
		{"a request altered after the approvals", "does not have the digest", func(c *chronicle) {
			c.ask()
			last(c).Request.Targets = []string{"root@phi1"}
		}},
		{"an approval of another nonce", "does not say", func(c *chronicle) {
			c.ask()
			c.request.Nonce = "other"
			c.vote(control.Approve, "bob", "bob")
		}},
		{"a certificate without a grant", "was approved then", func(c *chronicle) {
			c.ask()
			c.vote(control.Approve, "bob", "bob")
			c.vote(control.Approve, "dana", "dana")
			c.state(control.Approved, time.Time{})
			c.request.Ends = c.now.Add(15 * time.Minute)
			c.userCertificate("user", nil)
		}},
		{"a certificate after the revocation", "was revoked then", func(c *chronicle) { c.granted(); c.revoke("olga"); c.userCertificate("user", nil) }},
		{"a certificate of no request", "which never was", func(c *chronicle) {
			c.granted()
			c.request.ID = "R-OTHER0"
			c.userCertificate("user", nil)
		}},
		{"beyond the grant", "outlives the grant", cert(func(cert *ssh.Certificate) { cert.ValidBefore += 60 })},
		{"for ever", "outlives the grant", cert(func(cert *ssh.Certificate) { cert.ValidBefore = ssh.CertTimeInfinity })},
		{"another principal", "asked was root@phi2", cert(func(cert *ssh.Certificate) { cert.ValidPrincipals = []string{"root@phi1"} })},
		{"one principal more", "asked was root@phi2", cert(func(cert *ssh.Certificate) { cert.ValidPrincipals = []string{"root@phi2", "root@phi1"} })},
		{"no principal", "good for everybody", cert(func(cert *ssh.Certificate) { cert.ValidPrincipals = nil })},
		{"another key ID", "key ID", cert(func(cert *ssh.Certificate) { cert.KeyId = "alice" })},
		{"a right that was not granted", "permit-agent-forwarding", cert(func(cert *ssh.Certificate) { cert.Extensions["permit-agent-forwarding"] = "" })},
		{"an unknown extension", "permit-everything", cert(func(cert *ssh.Certificate) { cert.Extensions["permit-everything"] = "" })},
		{"a forced command", "force-command", cert(func(cert *ssh.Certificate) { cert.CriticalOptions = map[string]string{"force-command": "x"} })},
		{"other approvals", "other approvals", cert(func(cert *ssh.Certificate) { cert.Extensions["approvals@postern"] = "00" })},
		{"no evidence", "does not point", cert(func(cert *ssh.Certificate) { cert.Extensions = nil })},
		{"a host certificate", "wrong type", cert(func(cert *ssh.Certificate) { cert.CertType = ssh.HostCert })},
		{"a gap in the serials", "follows 0", cert(func(cert *ssh.Certificate) { cert.Serial++ })},
		{"the wrong CA", "not signed by the user CA", func(c *chronicle) { c.granted(); c.userCertificate("session", nil) }},
		{"an unknown CA", "not signed by the user CA", func(c *chronicle) { c.granted(); c.userCertificate("other", nil) }},
		{"another's key", "not alice's", func(c *chronicle) {
			c.granted()
			c.userCertificate("user", func(cert *ssh.Certificate) { cert.Key = c.signers["other"].PublicKey() })
		}},
		{"a signature that does not verify", "signature", func(c *chronicle) {
			c.granted()
			c.userCertificate("user", nil)
			leaf := last(c).Certificate
			parsed, _ := parseKey(leaf.Line)
			altered := parsed.(*ssh.Certificate)
			altered.Signature.Blob[10] ^= 1
			leaf.Line = line(altered)
		}},
		{"a certificate signed and not logged", "so one was signed and not logged", func(c *chronicle) {
			c.granted()
			c.userCertificate("user", nil)
			c.entries = c.entries[:len(c.entries)-1]
			c.userCertificate("user", nil)
		}},
		{"a session nobody granted", "no session certificate", func(c *chronicle) { c.granted(); c.userCertificate("user", nil); c.session("S-1", nil) }},
		{"a session that was not logged", "no such session was logged", func(c *chronicle) { c.granted(); c.sessionCertificate("S-1", nil) }},
		{"a session after the end", "was over then", func(c *chronicle) {
			c.granted()
			c.userCertificate("user", nil)
			c.now = c.request.Ends.Add(time.Minute)
			c.sessionCertificate("S-1", nil)
			c.session("S-1", nil)
		}},
		{"a session certificate of hours", "outlives", sessionCert(func(cert *ssh.Certificate) { cert.ValidBefore += 3600 })},
		{"a session certificate of minutes", "lives longer than 2m", sessionCert(func(cert *ssh.Certificate) { cert.ValidBefore += 300 })},
		{"a session certificate from everywhere", "every address", sessionCert(func(cert *ssh.Certificate) { delete(cert.CriticalOptions, "source-address") })},
		{"a session certificate for another host", "granted was root@phi2", sessionCert(func(cert *ssh.Certificate) { cert.ValidPrincipals = []string{"root@phi1"} })},
		{"a session of another person", "it is bob's", opened(func(s *control.Session) { s.Person = "bob" })},
		{"a session without a deadline in the grant", "the grant ends", opened(func(s *control.Session) { s.Deadline = s.Deadline.Add(time.Hour) })},
		{"a session by a certificate of nobody", "none of R-7K2M4Q", opened(func(s *control.Session) { s.Serial = 7 })},
		{"a session recorded to a stranger", "no auditor signed", opened(func(s *control.Session) { s.RecordingKey = "K-00" })},
		{"a session through no bastion", "no bastion", opened(func(s *control.Session) { s.Bastion = "mine" })},
		{"a recording that shrank", "shrank", func(c *chronicle) {
			c.wholeStory()
			rewrite(c, auditlog.TypeProgress, func(e *auditlog.Entry) { e.Progress.Sealed, e.Progress.Frames = false, 20-e.Progress.Frames })
		}},
		{"a recording changed after it was sealed", "after it was sealed", func(c *chronicle) {
			c.wholeStory()
			c.progress(control.Progress{Session: "S-1", Frames: 10, Head: "dd"})
		}},
		{"another head at the same length", "another head", func(c *chronicle) {
			c.wholeStory()
			rewrite(c, auditlog.TypeProgress, func(e *auditlog.Entry) { e.Progress.Sealed, e.Progress.Frames = false, 9 })
		}},
		{"a recording key of the CA's own", "signed by another key", func(c *chronicle) {
			c.recordingKey("other", control.Keystrokes)
			last(c).RecordingKey.AuditKey = c.public("carol")
		}},
		{"a recording key by a stranger", "not carol's", func(c *chronicle) {
			rewrite(c, auditlog.TypePolicy, func(e *auditlog.Entry) { e.Policy.People["carol"] = []string{c.public("other")} })
		}},
		{"a million approvals", "more than 1000", func(c *chronicle) { c.ask(); last(c).Request.Needs[0].Count = 1 << 40 }},
		{"fewer approvals than none", "no policy asks for", func(c *chronicle) { c.ask(); last(c).Request.Needs[0].Count = -1 }},
		{"a revocation nobody signed", "did not give to olga", func(c *chronicle) {
			c.granted()
			c.revoke("olga")
			last(c).Revocation.Signature = c.sign("other", last(c).Revocation.Statement)
		}},
		{"a revocation without its leaf", "no revocation says by whom", func(c *chronicle) { c.granted(); c.state(control.Revoked, time.Time{}) }},
		{"a revocation that spared somebody", "left R-7K2M4Q alive", func(c *chronicle) {
			c.granted()
			text := statement.Statement{CA: "postern-ca", Decision: control.Revoke, Person: "olga", Target: "person:alice", Because: "x"}.Text()
			c.write(auditlog.Entry{Type: auditlog.TypeRevocation, Revocation: &control.Revocation{Seq: 1, Kind: "person", Value: "alice", By: "olga",
				Statement: text, Signature: c.sign("olga", text)}})
		}},
		{"a signature by a revoked key", "was revoked", func(c *chronicle) {
			text := statement.Statement{CA: "postern-ca", Decision: control.Revoke, Person: "olga", Target: "key:" + c.print("bob"), Because: "x"}.Text()
			c.write(auditlog.Entry{Type: auditlog.TypeRevocation, Revocation: &control.Revocation{Seq: 1, Kind: "key", Value: c.print("bob"), By: "olga",
				Statement: text, Signature: c.sign("olga", text)}})
			c.ask()
			c.vote(control.Approve, "bob", "bob")
		}},
		{"a key of two people", "both", func(c *chronicle) {
			p := c.policy()
			p.People["bob"] = append(p.People["bob"], c.public("alice"))
			c.write(auditlog.Entry{Type: auditlog.TypePolicy, Policy: p})
		}},
		{"a grant of a day", "nothing longer", func(c *chronicle) {
			c.ask()
			r := last(c).Request
			r.ForSeconds = 86400
			r.Digest = statement.Digest(*r)
		}},
		{"a grant that outlives what was asked", "longer than it was asked", func(c *chronicle) {
			c.ask()
			c.vote(control.Approve, "bob", "bob")
			c.vote(control.Approve, "dana", "dana")
			c.state(control.Approved, time.Time{})
			c.state(control.Granted, c.now.Add(time.Hour))
		}},
		{"another genesis", "another user CA key", func(c *chronicle) { c.entries[0].Genesis.UserCA = c.public("other") }},
		{"a second genesis", "second genesis", func(c *chronicle) { c.write(c.entries[0]) }},
		{"a log from nowhere", "first leaf", func(c *chronicle) { c.entries = c.entries[1:] }},
		{"the clock set back", "clock went back", func(c *chronicle) { c.now = c.now.Add(-time.Hour); c.ask() }},
		{"what cannot be understood", "cannot check", func(c *chronicle) { c.write(auditlog.Entry{Type: "miracle"}) }},
		{"a gateway certificate for the CA's name", "pose as the CA", gateway("postern-ca", "phi1")},
		{"a gateway certificate for a stranger", "does not know", gateway("www.example")},
		{"a host certificate for a stranger", "does not trust", func(c *chronicle) { machine(c, "host", "www.example") }},
	}) {
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

func last(c *chronicle) *auditlog.Entry { return &c.entries[len(c.entries)-1] }

func rewrite(c *chronicle, kind string, change func(*auditlog.Entry)) {
	for i := range c.entries {
		if c.entries[i].Type == kind {
			change(&c.entries[i])
		}
	}
}

func cert(spoil func(*ssh.Certificate)) func(*chronicle) {
	return func(c *chronicle) { c.granted(); c.userCertificate("user", spoil) }
}

func sessionCert(spoil func(*ssh.Certificate)) func(*chronicle) {
	return func(c *chronicle) { c.granted(); c.userCertificate("user", nil); c.sessionCertificate("S-1", spoil) }
}

func opened(spoil func(*control.Session)) func(*chronicle) {
	return func(c *chronicle) {
		c.granted()
		c.userCertificate("user", nil)
		c.sessionCertificate("S-1", nil)
		c.session("S-1", spoil)
	}
}

func gateway(principals ...string) func(*chronicle) {
	return func(c *chronicle) { machine(c, "gateway", principals...) }
}

func machine(c *chronicle, ca string, principals ...string) {
	c.certificate(ca, ca, auditlog.Certificate{}, &ssh.Certificate{Key: c.signers["bastion-1"].PublicKey(), CertType: ssh.HostCert,
		KeyId: "bastion-1 " + principals[0], ValidPrincipals: principals,
		ValidAfter: uint64(c.now.Unix()), ValidBefore: uint64(c.now.Add(time.Hour).Unix())}, nil)
}

func TestMachineCertificates(t *testing.T) {
	c := begin(t)
	machine(c, "gateway", "bastion-1", "127.0.0.1")
	machine(c, "gateway", "phi1", "phi1.example")
	machine(c, "host", "phi1", "phi1.example")
	c.certificate("gateway", "gateway", auditlog.Certificate{}, &ssh.Certificate{Key: c.signers["other"].PublicKey(), CertType: ssh.HostCert,
		KeyId: "postern-ca", ValidPrincipals: []string{"postern-ca"}, ValidBefore: uint64(c.now.Add(time.Hour).Unix())}, nil)
	for _, f := range Leaves(c.leaves(), c.keys()).Failures {
		t.Error(f)
	}
}

// grown is a log in a tree, as a server would hand it out.
type grown struct {
	leaves [][]byte
	hashes []tlog.Hash
}

func (g *grown) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for _, i := range indexes {
		out = append(out, g.hashes[i])
	}
	return out, nil
}

func (g *grown) add(t *testing.T, leaf []byte) {
	t.Helper()
	hashes, err := tlog.StoredHashes(int64(len(g.leaves)), leaf, g)
	if err != nil {
		t.Fatal(err)
	}
	g.leaves, g.hashes = append(g.leaves, leaf), append(g.hashes, hashes...)
}

func (g *grown) checkpoint(t *testing.T, signer *auditlog.Signer, n int) []byte {
	t.Helper()
	hash, err := tlog.TreeHash(int64(n), g)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Checkpoint(tlog.Tree{N: int64(n), Hash: hash})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func logSigner(t *testing.T) *auditlog.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := auditlog.NewSigner("postern-ca", private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func TestTree(t *testing.T) {
	signer, thief := logSigner(t), logSigner(t)
	keys := Keys{Log: signer.VerifierKey()}
	honest, forked := &grown{}, &grown{}
	for i := range 10 {
		leaf, _ := json.Marshal(map[string]int{"n": i})
		honest.add(t, leaf)
		if i == 3 {
			leaf = []byte(`{"n":33}`)
		}
		forked.add(t, leaf)
	}
	leaves := honest.leaves
	newer, before := honest.checkpoint(t, signer, 10), honest.checkpoint(t, signer, 6)
	if err := log(leaves, newer, before, keys); err != nil {
		t.Fatal(err)
	}
	if err := log(leaves, newer, nil, keys); err != nil {
		t.Fatal(err)
	}
	swapped := slices.Clone(leaves)
	swapped[2], swapped[3] = swapped[3], swapped[2]
	for _, attack := range []struct {
		name, says    string
		leaves        [][]byte
		newer, before []byte
	}{
		{"dropped in the middle", "9 leaves", slices.Delete(slices.Clone(leaves), 4, 5), newer, before},
		{"dropped at the end", "9 leaves", leaves[:9], newer, before},
		{"one more", "has 10 leaves", append(slices.Clone(leaves), []byte("{}")), newer, before},
		{"reordered", "do not make the root", swapped, newer, before},
		{"changed", "do not make the root", forked.leaves, newer, before},
		{"shrunk", "shrank", leaves[:6], before, newer},
		{"forked", "forked", forked.leaves, forked.checkpoint(t, signer, 10), before},
		{"signed by another key", "checkpoint", leaves, honest.checkpoint(t, thief, 10), nil},
		{"not signed", "checkpoint", leaves, []byte(fmt.Sprintf("postern-ca\n10\n%s\n", "x")), nil},
		{"memory of another log", "checkpoint", leaves, newer, honest.checkpoint(t, thief, 6)},
	} {
		if err := log(attack.leaves, attack.newer, attack.before, keys); err == nil || !strings.Contains(err.Error(), attack.says) {
			t.Errorf("%s: %v, want %q", attack.name, err, attack.says)
		}
	}
}

// log is what the caller of a [Checker] does before it believes the report.
func log(leaves [][]byte, checkpoint, before []byte, keys Keys) error {
	newer, err := auditlog.OpenCheckpoint(checkpoint, keys.Log)
	if err != nil {
		return err
	}
	var older auditlog.TreeHead
	if before != nil {
		if older, err = auditlog.OpenCheckpoint(before, keys.Log); err != nil {
			return err
		}
	}
	return auditlog.Verify(leaves, newer, older)
}
