package verify

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/sshsig"
)

// chronicle writes the log of an honest CA, leaf by leaf; attacks change what it wrote, or let it write lies.
type chronicle struct {
	t       *testing.T
	now     time.Time
	signers map[string]ssh.Signer // people, CAs, bastion
	entries []auditlog.Entry
	serials map[string]uint64
	request control.Request
	votes   []control.Vote
}

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func line(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

// digest01 is that of the one policy there is.
var digest01 = "sha256:" + strings.Repeat("01", 32)

func begin(t *testing.T) *chronicle {
	c := &chronicle{t: t, now: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC), signers: map[string]ssh.Signer{}, serials: map[string]uint64{}}
	for _, name := range []string{"user", "session", "host", "gateway", "other", "alice", "bob", "dana", "carol", "olga", "bastion-1", "ephemeral"} {
		c.signers[name] = newSigner(t)
	}
	c.write(auditlog.Entry{Type: auditlog.TypeGenesis, Genesis: &auditlog.Genesis{Name: "postern-ca",
		UserCA: c.public("user"), SessionCA: c.public("session"), HostCA: c.public("host"), GatewayCA: c.public("gateway")}})
	c.write(auditlog.Entry{Type: auditlog.TypePolicy, Policy: c.policy()})
	c.recordingKey("carol", "")
	return c
}

func (c *chronicle) policy() *auditlog.Policy {
	return &auditlog.Policy{
		Digest: digest01,
		People: map[string][]string{"alice": {c.public("alice")}, "bob": {c.public("bob")}, "dana": {c.public("dana")},
			"carol": {c.public("carol")}, "olga": {c.public("olga")}},
		Groups:   map[string][]string{"dba": {"alice"}, "privacy": {"bob"}, "ehr-owners": {"dana"}, "auditors": {"carol"}, "operators": {"olga"}},
		Bastions: map[string]string{"bastion-1": c.public("bastion-1")},
		Hosts:    map[string]string{"phi1": "host-ca", "phi2": "host-ca"},
	}
}

func (c *chronicle) public(name string) string { return line(c.signers[name].PublicKey()) }
func (c *chronicle) print(name string) string {
	return ssh.FingerprintSHA256(c.signers[name].PublicKey())
}

func (c *chronicle) keys() Keys {
	public := func(name string) ssh.PublicKey { return c.signers[name].PublicKey() }
	return Keys{User: public("user"), Session: public("session"), Host: public("host"), Gateway: public("gateway")}
}

func (c *chronicle) write(e auditlog.Entry) {
	c.now = c.now.Add(time.Second)
	e.At = c.now
	if e.Actor == "" {
		e.Actor = actor(e)
	}
	c.entries = append(c.entries, e)
}

// actor is whom the CA would name as the cause.
func actor(e auditlog.Entry) string {
	switch {
	case e.Request != nil:
		return e.Request.Person
	case e.Certificate != nil:
		key, _ := parseKey(e.Certificate.Line)
		who, _, _ := strings.Cut(key.(*ssh.Certificate).KeyId, " ")
		return who
	case e.Revocation != nil:
		return e.Revocation.By
	case e.Session != nil, e.Progress != nil:
		return "bastion-1"
	case e.RecordingKey != nil:
		return e.RecordingKey.Auditor
	}
	return "ca"
}

func (c *chronicle) recordingKey(auditor, purpose string) {
	k := control.RecordingKey{Month: "2026-11", Purpose: purpose, Public: []byte("public half" + purpose), Auditor: auditor, AuditKey: c.public(auditor), BoxSum: control.BoxSum([]byte("box"))}
	k.ID = control.RecordingKeyID(k.Public)
	signature, err := sshsig.Sign(c.signers[auditor], control.RecordingKeyNamespace, []byte(k.Statement()))
	if err != nil {
		c.t.Fatal(err)
	}
	k.Signature = string(signature)
	c.write(auditlog.Entry{Type: auditlog.TypeRecordingKey, RecordingKey: &k})
}

// ask begins a request of alice's that needs 1 of privacy and 1 of ehr-owners.
func (c *chronicle) ask() { c.askFor(nil) }

// askFor lets change make it another one before it is filed.
func (c *chronicle) askFor(change func(*control.Request)) {
	r := control.Request{
		ID: "R-7K2M4Q", State: control.Pending, Person: "alice", Key: c.print("alice"), Targets: []string{"root@phi2"},
		Capabilities: []string{"exec", "shell"}, Reason: "INC-4412", ForSeconds: 900, Rules: []string{"dba-phi"}, Policy: digest01,
		Needs:   []control.Need{{Count: 1, Group: "privacy"}, {Count: 1, Group: "ehr-owners"}},
		Created: c.now, ClaimBy: c.now.Add(8 * time.Hour), Nonce: "0011",
	}
	r.NotAfter = r.ClaimBy.Add(15 * time.Minute)
	if change != nil {
		change(&r)
	}
	r.Digest = statement.Digest(r)
	c.request, c.votes = r, nil
	c.write(auditlog.Entry{Type: auditlog.TypeRequest, Actor: "alice", Request: &r})
}

// vote lets person decide, signed with the key of signer.
func (c *chronicle) vote(decision, person, signer string) {
	because := ""
	if decision != control.Approve {
		because = "because"
	}
	verdict := ""
	if decision == control.Review {
		verdict = control.Justified
	}
	c.finds(decision, verdict, person, signer, because)
}

func (c *chronicle) finds(decision, verdict, person, signer, because string) {
	text := statement.About(c.request, "postern-ca", decision, person, because).Finding(verdict).Text()
	v := control.Vote{Decision: decision, Verdict: verdict, Person: person, Key: c.print(signer), Public: c.public(signer), At: c.now.Add(time.Second),
		Statement: text, Signature: c.sign(signer, text)}
	c.votes = append(c.votes, v)
	c.write(auditlog.Entry{Type: auditlog.TypeVote, Actor: person, Vote: &auditlog.Vote{Request: c.request.ID, Vote: v}})
}

func (c *chronicle) sign(signer, text string) string {
	signature, err := sshsig.Sign(c.signers[signer], control.Namespace, []byte(text))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(signature)
}

func (c *chronicle) state(state string, ends time.Time) {
	c.write(auditlog.Entry{Type: auditlog.TypeState, State: &auditlog.State{Request: c.request.ID, State: state, Ends: ends}})
}

// granted asks, lets bob and dana approve, and grants.
func (c *chronicle) granted() { c.grantedFor(nil) }

func (c *chronicle) grantedFor(change func(*control.Request)) {
	c.askFor(change)
	c.vote(control.Approve, "bob", "bob")
	c.vote(control.Approve, "dana", "dana")
	c.state(control.Approved, time.Time{})
	c.request.Ends = c.now.Add(15 * time.Minute)
	c.state(control.Granted, c.request.Ends)
}

func (c *chronicle) digest() string {
	r := request{Request: c.request}
	for _, v := range c.votes {
		r.votes = append(r.votes, vote{decision: v.Decision, person: v.Person, key: v.Key, statement: v.Statement})
	}
	return r.approvalsDigest()
}

// userCertificate is an honest one; spoil makes it something else before it is signed by the CA called by.
func (c *chronicle) userCertificate(by string, spoil func(*ssh.Certificate)) {
	c.certificate("user", by, auditlog.Certificate{Request: c.request.ID}, &ssh.Certificate{
		Key: c.signers["alice"].PublicKey(), CertType: ssh.UserCert, KeyId: "alice " + c.request.ID, ValidPrincipals: c.request.Targets,
		ValidAfter: uint64(c.now.Add(-time.Minute).Unix()), ValidBefore: uint64(c.request.Ends.Unix()),
		Permissions: ssh.Permissions{Extensions: map[string]string{"permit-pty": "", "request@postern": c.request.ID, "approvals@postern": c.digest()}},
	}, spoil)
}

func (c *chronicle) certificate(ca, by string, about auditlog.Certificate, cert *ssh.Certificate, spoil func(*ssh.Certificate)) {
	c.serials[ca]++
	cert.Serial = c.serials[ca]
	if spoil != nil {
		spoil(cert)
	}
	if err := cert.SignCert(rand.Reader, c.signers[by]); err != nil {
		c.t.Fatal(err)
	}
	about.CA, about.Serial, about.Line = ca, cert.Serial, line(cert)
	c.write(auditlog.Entry{Type: auditlog.TypeCertificate, Certificate: &about})
}

func (c *chronicle) sessionCertificate(session string, spoil func(*ssh.Certificate)) {
	c.certificate("session", "session", auditlog.Certificate{Request: c.request.ID, Session: session}, &ssh.Certificate{
		Key: c.signers["ephemeral"].PublicKey(), CertType: ssh.UserCert, KeyId: "alice " + c.request.ID + " " + session,
		ValidPrincipals: c.request.Targets, ValidAfter: uint64(c.now.Add(-time.Minute).Unix()), ValidBefore: uint64(c.now.Add(2 * time.Minute).Unix()),
		Permissions: ssh.Permissions{CriticalOptions: map[string]string{"source-address": "127.0.0.1"},
			Extensions: map[string]string{"permit-pty": "", "request@postern": c.request.ID, "approvals@postern": c.digest()}},
	}, spoil)
}

func (c *chronicle) session(id string, spoil func(*control.Session)) {
	s := control.Session{ID: id, Request: c.request.ID, Person: "alice", Key: c.print("alice"), Serial: 1, Target: "root@phi2",
		Bastion: "bastion-1", Client: "127.0.0.1:1", Started: c.now, Deadline: c.request.Ends, RecordingKey: control.RecordingKeyID([]byte("public half"))}
	if spoil != nil {
		spoil(&s)
	}
	c.write(auditlog.Entry{Type: auditlog.TypeSession, Session: &s})
}

func (c *chronicle) progress(p control.Progress) {
	c.write(auditlog.Entry{Type: auditlog.TypeProgress, Progress: &p})
}

// wholeStory is a grant used for one session that ends, an audit of it, and a revocation of what is left.
func (c *chronicle) wholeStory() {
	c.granted()
	c.userCertificate("user", nil)
	c.sessionCertificate("S-1", nil)
	c.session("S-1", nil)
	c.progress(control.Progress{Session: "S-1", Frames: 5, Head: "aa"})
	c.progress(control.Progress{Session: "S-1", Frames: 9, Head: "bb", Segments: 1, SealedHead: "cc", End: "closed", Sealed: true})
	c.audit(nil, nil)
	c.revoke("olga")
}

func (c *chronicle) revoke(by string) {
	text := statement.About(c.request, "postern-ca", control.Revoke, by, "stolen laptop").Text()
	c.state(control.Revoked, c.request.Ends)
	c.write(auditlog.Entry{Type: auditlog.TypeRevocation, Revocation: &control.Revocation{Seq: 1, Kind: "request", Value: c.request.ID,
		Reason: "stolen laptop", By: by, At: c.now.Add(time.Second), Requests: []string{c.request.ID}, Statement: text, Signature: c.sign(by, text)}})
}

func (c *chronicle) leaves() [][]byte {
	var leaves [][]byte
	for _, e := range c.entries {
		b, err := json.Marshal(e)
		if err != nil {
			c.t.Fatal(err)
		}
		leaves = append(leaves, b)
	}
	return leaves
}
