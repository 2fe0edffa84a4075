package ca

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
)

func TestUserCertificate(t *testing.T) {
	w := newWorld(t)
	r, made := w.granted("alice", "postgres@phi1.example", "bob")
	path := filepath.Join(t.TempDir(), "alice-cert.pub")
	os.WriteFile(path, []byte(made.Certificate+"\n"), 0o600)
	out, err := exec.Command("ssh-keygen", "-L", "-f", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ssh-keygen -L: %v\n%s", err, out)
	}
	for _, want := range []string{`Key ID: "alice ` + r.ID + `"`, "postgres@phi1\n", "Serial: 1\n", "permit-pty", RequestExtension, ApprovalsExtension, "Critical Options: (none)"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("ssh-keygen -L does not show %q:\n%s", want, out)
		}
	}
	cert := parse(t, made.Certificate)
	if len(cert.ValidPrincipals) != 1 || time.Unix(int64(cert.ValidBefore), 0).Sub(w.time()) != 15*time.Minute {
		t.Errorf("principals %v, life %v", cert.ValidPrincipals, time.Unix(int64(cert.ValidBefore), 0).Sub(w.time()))
	}
}

// Promise 2: minutes, never more.
func TestNoCertificateOutlivesItsGrant(t *testing.T) {
	w := newWorld(t)
	r, first := w.granted("alice", "root@phi1", "bob")
	for _, after := range []time.Duration{time.Minute, 13 * time.Minute} {
		w.pass(after)
		again, err := w.Certificate(w.who("alice"), r.ID, w.signers["alice2"].PublicKey())
		if err != nil || !again.NotAfter.Equal(first.NotAfter) {
			t.Fatalf("second certificate until %v, the grant ends %v: %v", again.NotAfter, first.NotAfter, err)
		}
		reply, err := w.open(again.Certificate, "root@phi1")
		if err != nil {
			t.Fatal(err)
		}
		session := parse(t, reply.Certificate)
		if time.Unix(int64(session.ValidBefore), 0).After(first.NotAfter) || int64(session.ValidBefore) > w.time().Add(sessionLife).Unix() {
			t.Fatalf("session certificate until %v", time.Unix(int64(session.ValidBefore), 0))
		}
		if !reply.Session.Deadline.Equal(first.NotAfter) {
			t.Fatalf("deadline %v", reply.Session.Deadline)
		}
	}
	w.pass(time.Minute)
	_, err := w.Certificate(w.who("alice"), r.ID, w.signers["alice"].PublicKey())
	refused(t, "after the end", err, "ended")
	_, err = w.open(first.Certificate, "root@phi1")
	refused(t, "open after the end", err, "ended")
}

func TestACertificateIsForTheRequestersOwnKeys(t *testing.T) {
	w := newWorld(t)
	r := w.ask("alice", "root@phi1")
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	for _, other := range []string{"adam", "stranger", "bob"} {
		_, err := w.Certificate(w.who("alice"), r.ID, w.signers[other].PublicKey())
		refused(t, "over the key of "+other, err, "not one of alice's")
	}
	_, err := w.Certificate(w.who("bob"), r.ID, w.signers["bob"].PublicKey())
	refused(t, "taken by the approver", err, "belongs to alice")
	_, err = w.Certificate(w.who("adam"), r.ID, w.signers["adam"].PublicKey())
	refused(t, "taken by somebody else", err, "no request")
}

// Promise 6: a stolen bastion opens nothing without a live grant.
func TestOpenSessionRefusals(t *testing.T) {
	w := newWorld(t)
	_, made := w.granted("alice", "root@phi1", "bob")
	good := parse(t, made.Certificate)
	forge := func(change func(*ssh.Certificate)) string {
		c := *good
		c.Permissions = ssh.Permissions{Extensions: good.Extensions}
		change(&c)
		if err := c.SignCert(rand.Reader, w.keys.User); err != nil {
			t.Fatal(err)
		}
		return line(&c)
	}
	foreign := *good
	if err := foreign.SignCert(rand.Reader, w.signers["stranger"]); err != nil {
		t.Fatal(err)
	}
	view, err := w.openAudit(made)
	if err != nil {
		t.Fatal(err)
	}
	for name, try := range map[string]struct{ cert, target, words string }{
		"signed by the real CA key, never issued": {forge(func(c *ssh.Certificate) { c.Serial = 77 }), "root@phi1", "forged"},
		"an issued serial with more principals":   {forge(func(c *ssh.Certificate) { c.ValidPrincipals = []string{"root@phi1", "root@phi2"} }), "root@phi2", "forged"},
		"an issued serial with a longer life":     {forge(func(c *ssh.Certificate) { c.ValidBefore += 3600 }), "root@phi1", "forged"},
		"an issued serial over another key":       {forge(func(c *ssh.Certificate) { c.Key = w.signers["adam"].PublicKey() }), "root@phi1", "forged"},
		"another CA":                              {line(&foreign), "root@phi1", "not a user certificate"},
		"a plain key":                             {line(w.signers["alice"].PublicKey()), "root@phi1", "plain public key"},
		"nothing":                                 {"", "root@phi1", "certificate"},
		"another account":                         {made.Certificate, "postgres@phi1", "is not for"},
		"another host":                            {made.Certificate, "root@phi2", "is not for"},
		"an unknown host":                         {made.Certificate, "root@phi9", "is not for"},
		"an auditor's certificate":                {view, "root@phi1", "opens no sessions"},
	} {
		_, err := w.open(try.cert, try.target)
		refused(t, name, err, try.words)
	}
	_, err = w.OpenSession(w.who("alice"), control.OpenRequest{Certificate: made.Certificate, Target: "root@phi1"})
	refused(t, "a person", err, "only bastions")
	reply, err := w.open(made.Certificate, "root@phi1.example")
	if err != nil {
		t.Fatal(err)
	}
	cert := parse(t, reply.Certificate)
	if !slices.Equal(cert.ValidPrincipals, []string{"root@phi1"}) || cert.CriticalOptions["source-address"] != "127.0.0.1" ||
		!strings.HasPrefix(cert.KeyId, "alice R-") || !strings.HasSuffix(cert.KeyId, reply.Session.ID) || line(cert.SignatureKey) != line(w.keys.Session.PublicKey()) {
		t.Errorf("session certificate %+v", cert)
	}
	w.verified()
}

// openAudit opens a session and returns the certificate with which carol would fetch its recording.
func (w *world) openAudit(made control.Certificate) (string, error) {
	reply, err := w.open(made.Certificate, "root@phi1")
	if err != nil {
		return "", err
	}
	a, err := w.audit("carol", "carol", w.look(reply.Session.ID))
	if err != nil {
		return "", err
	}
	return a.Passes[0].Certificate, nil
}

func TestNoRecordingKeyNoSession(t *testing.T) {
	w := newWorld(t)
	w.pass(30 * 24 * time.Hour)
	_, made := w.granted("alice", "root@phi1", "bob")
	_, err := w.open(made.Certificate, "root@phi1")
	refused(t, "next month", err, "postern recording-key new --month 2026-12")
}

func TestSerialsAreDenseAndRiseOverARestart(t *testing.T) {
	w := newWorld(t)
	_, a := w.granted("alice", "root@phi1", "bob")
	w.open(a.Certificate, "root@phi1")
	w.Certificate(w.who("alice"), "R-NOSUCH", w.signers["alice"].PublicKey()) // a refusal takes no serial
	w.db.Close()
	w.start(w.policy(rules))
	_, b := w.granted("adam", "root@phi1", "bob")
	w.open(b.Certificate, "root@phi1")
	next := map[string]uint64{}
	for _, e := range w.verified() {
		if e.Type != auditlog.TypeCertificate {
			continue
		}
		next[e.Certificate.CA]++
		if e.Certificate.Serial != next[e.Certificate.CA] {
			t.Errorf("%s CA: serial %d, want %d", e.Certificate.CA, e.Certificate.Serial, next[e.Certificate.CA])
		}
	}
	if next["user"] != 2 || next["session"] != 2 {
		t.Errorf("%v", next)
	}
}

// Promise 5, the CA's part: a revocation and a session that opens at the very same moment. Either the session was
// refused, or it was told a number below the revocation's, so that the bastion cuts it.
func TestRevocationAgainstOpen(t *testing.T) {
	w := newWorld(t)
	for range 30 {
		r, made := w.granted("alice", "root@phi1", "bob")
		sig := w.sign("olga", "olga", control.Revoke, r.ID, "laptop stolen")
		var wg sync.WaitGroup
		var mu sync.Mutex
		var opened []control.OpenReply
		for range 8 {
			wg.Go(func() {
				if reply, err := w.open(made.Certificate, "root@phi1"); err == nil {
					mu.Lock()
					opened = append(opened, reply)
					mu.Unlock()
				}
			})
		}
		var rev control.Revocation
		wg.Go(func() {
			var err error
			if rev, err = w.Revoke(w.who("olga"), Cut{Target: r.ID, Because: "laptop stolen"}, sig); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		for _, o := range opened {
			if o.Seq >= rev.Seq {
				t.Fatalf("session opened with %d, after revocation %d", o.Seq, rev.Seq)
			}
		}
		_, err := w.open(made.Certificate, "root@phi1")
		refused(t, "open after", err, "revoked")
	}
}

func TestHostAndGatewayCertificates(t *testing.T) {
	w := newWorld(t)
	made, err := w.GatewayCertificates(w.who("bastion-1"), w.signers["bastion-1"].PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]*ssh.Certificate{}
	for _, m := range made {
		c := parse(t, m.Certificate)
		names[m.Host] = c
		if c.CertType != ssh.HostCert || slices.Contains(c.ValidPrincipals, "postern-ca") || line(c.SignatureKey) != line(w.keys.Gateway.PublicKey()) {
			t.Errorf("%+v", c)
		}
	}
	if !slices.Equal(names["phi1"].ValidPrincipals, []string{"phi1", "phi1.example"}) || names["bastion-1"] == nil || len(made) != 4 {
		t.Errorf("%v", names)
	}
	_, err = w.GatewayCertificates(w.who("phi1-agent"), w.signers["stranger"].PublicKey())
	refused(t, "a host", err, "only bastions")
	host, err := w.HostCertificate(w.who("phi1-agent"), w.signers["phi1-host"].PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if c := parse(t, host.Certificate); line(c.SignatureKey) != line(w.keys.Host.PublicKey()) || c.ValidPrincipals[0] != "phi1" {
		t.Errorf("%+v", c)
	}
	_, err = w.HostCertificate(w.who("bastion-1"), w.signers["phi1-host"].PublicKey())
	refused(t, "a bastion", err, "only hosts")
}

func TestNoMachineHasTheNameOfTheCA(t *testing.T) {
	w := newWorld(t)
	set := w.policy(rules)
	before := w.PolicyDigest()
	for old, name := range map[string]string{"open": "postern-ca", "open.example": "postern-ca"} {
		w.rename(old, name)
		if err := w.SetPolicy(w.policy(strings.ReplaceAll(rules, `"open"`, `"`+w.renamed("open")+`"`))); err == nil || !strings.Contains(err.Error(), "name of the CA itself") {
			t.Errorf("%s called %s: %v", old, name, err)
		}
		w.rename(old, "")
	}
	if w.PolicyDigest() != before || set.Digest() != before {
		t.Error("a refused policy came into force")
	}
}

func TestKeysWithoutTheirState(t *testing.T) {
	w := newWorld(t)
	w.db.Close()
	other := newWorld(t)
	if err := os.Rename(filepath.Join(w.dir, "state"), filepath.Join(w.dir, "lost")); err != nil {
		t.Fatal(err)
	}
	k, db := w.storage()
	if _, err := New(Config{Keys: k, DB: db, Policy: w.policy(rules)}); err == nil || !strings.Contains(err.Error(), "restore the state") {
		t.Errorf("empty state: %v", err)
	}
	if _, err := New(Config{Keys: k, DB: other.db, Policy: w.policy(rules)}); err == nil || !strings.Contains(err.Error(), "other keys") {
		t.Errorf("another CA's state: %v", err)
	}
	if err := Found(k, other.db); err == nil {
		t.Error("founded a CA over another")
	}
}
