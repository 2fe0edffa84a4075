package ca

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/ca/keys"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/sshsig"
	"postern/internal/store"
	"postern/policy"
)

// world is a CA with people in it, on a clock that the test moves.
type world struct {
	*CA
	t       testing.TB
	dir     string
	mu      sync.Mutex
	clock   time.Time
	signers map[string]ssh.Signer
	names   map[string]string // of hosts and aliases that go by another name
}

func (w *world) rename(name, to string) {
	if w.names = map[string]string{}; to != "" {
		w.names[name] = to
	}
}

func (w *world) renamed(name string) string {
	if to, ok := w.names[name]; ok {
		return to
	}
	return name
}

const rules = `
@id("dba-phi1") @approve("1 of privacy") @max("30m")
permit (principal in Group::"dba", action in Action::"connect", resource in Host::"phi1");
@id("dba-phi2") @approve("1 of privacy, 1 of ehr-owners") @max("30m")
permit (principal in Group::"dba", action in Action::"connect", resource in Host::"phi2");
@id("free") @max("20m")
permit (principal in Group::"dba", action in [Action::"exec"], resource in Host::"open");
@id("revoke") permit (principal in Group::"operators", action == Action::"revoke", resource);
@id("audit") permit (principal in Group::"auditors", action in [Action::"audit", Action::"recording-key", Action::"custody"], resource);
`

// people and their groups; alice owns two keys.
var people = map[string]string{
	"alice": "dba", "adam": "dba", "bob": "privacy", "beth": "privacy", "dana": "ehr-owners", "both": "privacy, ehr-owners",
	"carol": "auditors", "cara": "auditors", "olga": "operators", "pat": "dba, privacy",
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), clock: time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC), signers: map[string]ssh.Signer{}}
	for _, n := range []string{"alice2", "bastion-1", "phi1-agent", "phi1-host", "phi2-host", "open-host", "stranger"} {
		w.signers[n] = newSigner(t)
	}
	for n := range people {
		w.signers[n] = newSigner(t)
	}
	if err := keys.Init(w.dir, "postern-ca", nil); err != nil {
		t.Fatal(err)
	}
	k, db := w.storage()
	if err := Found(k, db); err != nil {
		t.Fatal(err)
	}
	db.Close()
	w.start(w.policy(rules))
	if err := w.add(w.recordingKey("")); err != nil {
		t.Fatal(err)
	}
	return w
}

func newSigner(t testing.TB) ssh.Signer {
	t.Helper()
	_, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(priv)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) storage() (*keys.Set, *store.DB) {
	w.t.Helper()
	k, err := keys.Open(w.dir, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	db, err := store.Open(filepath.Join(w.dir, "state"), k.Store)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { db.Close() })
	return k, db
}

func (w *world) start(set *policy.Set) {
	w.t.Helper()
	k, db := w.storage()
	var err error
	w.CA, err = New(Config{Keys: k, DB: db, Policy: set, Now: w.time})
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) policy(rules string) *policy.Set {
	w.t.Helper()
	var p, h strings.Builder
	p.WriteString("groups: [dba, privacy, ehr-owners, auditors, operators]\npeople:\n")
	for _, n := range slices.Sorted(maps.Keys(people)) {
		groups := people[n]
		fmt.Fprintf(&p, "  %s:\n    groups: [%s]\n    keys:\n      - %s\n", n, groups, line(w.signers[n].PublicKey()))
		if n == "alice" {
			fmt.Fprintf(&p, "      - %s\n", line(w.signers["alice2"].PublicKey()))
		}
	}
	h.WriteString("hosts:\n")
	for i, n := range []string{"phi1", "phi2", "open"} {
		fmt.Fprintf(&h, "  %s:\n    aliases: [%s]\n    address: 127.0.0.1:%d\n    accounts: [root, postgres]\n", w.renamed(n), w.renamed(n+".example"), 2200+i)
		if n == "phi1" {
			fmt.Fprintf(&h, "    trust: host-ca\n    agent: %s\n", line(w.signers["phi1-agent"].PublicKey()))
		} else {
			fmt.Fprintf(&h, "    host_key: %s\n", line(w.signers[n+"-host"].PublicKey()))
		}
	}
	fmt.Fprintf(&h, "bastions:\n  bastion-1:\n    address: 127.0.0.1:2022\n    sources: [127.0.0.1]\n    key: %s\n", line(w.signers["bastion-1"].PublicKey()))
	set, err := policy.Load(fstest.MapFS{
		"people.yaml": {Data: []byte(p.String())}, "hosts.yaml": {Data: []byte(h.String())}, "rules.cedar": {Data: []byte(rules)},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return set
}

func (w *world) time() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.clock }
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock = w.clock.Add(d)
}

func (w *world) who(name string) Caller {
	w.t.Helper()
	c, err := w.Identify(w.signers[name].PublicKey())
	if err != nil {
		w.t.Fatal(err)
	}
	c.Address = "127.0.0.1"
	return c
}

// recordingKey is one that carol made for this month.
func (w *world) recordingKey(purpose string) control.RecordingKey {
	w.t.Helper()
	public := []byte("a public half that the CA only passes on " + purpose)
	k := control.RecordingKey{
		ID: control.RecordingKeyID(public), Month: "2026-11", Purpose: purpose, Public: public, Auditor: "carol",
		AuditKey: line(w.signers["carol"].PublicKey()), Box: []byte("box"), BoxSum: control.BoxSum([]byte("box")),
	}
	sig, err := sshsig.Sign(w.signers["carol"], control.RecordingKeyNamespace, []byte(k.Statement()))
	if err != nil {
		w.t.Fatal(err)
	}
	k.Signature = string(sig)
	return k
}

func (w *world) add(k control.RecordingKey) error {
	_, err := w.AddRecordingKey(w.who("carol"), k)
	return err
}

// reload puts other rules for sessions into force.
func (w *world) reload(connect string) {
	w.t.Helper()
	_, rest, _ := strings.Cut(rules, `@id("revoke")`)
	if err := w.SetPolicy(w.policy(connect + `@id("revoke")` + rest)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) ask(person string, targets ...string) control.Request {
	w.t.Helper()
	r, err := w.Ask(w.who(person), Ask{Targets: targets, For: 15 * time.Minute, Reason: "INC-4412 restore failed"})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// rendered is the text for a decision as anybody can write it who knows the request, whether the CA would show it to them or not.
func (w *world) rendered(person, decision, id, because string) (text string, err error) {
	err = w.db.View(func(tx *store.Tx) error {
		r, err := load(tx, strings.ToUpper(id))
		text = statement.About(w.shown(r).Request, w.keys.Name, decision, person, because).Text()
		return err
	})
	return text, err
}

// sign signs what person would sign for a decision, with the key of signer.
func (w *world) sign(person, signer, decision, about, because string) []byte {
	w.t.Helper()
	text, err := "", error(nil)
	if decision == control.Revoke {
		text, err = w.CutStatement(w.who(person), Cut{Target: about, Because: because})
	} else {
		text, err = w.rendered(person, decision, about, because)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return w.seal(signer, control.Namespace, text)
}

func (w *world) seal(signer, namespace, text string) []byte {
	w.t.Helper()
	sig, err := sshsig.Sign(w.signers[signer], namespace, []byte(text))
	if err != nil {
		w.t.Fatal(err)
	}
	return sig
}

func (w *world) approve(person, id string) error {
	w.t.Helper()
	_, err := w.Vote(w.who(person), id, control.Approve, "", w.sign(person, person, control.Approve, id, ""))
	return err
}

// granted asks, approves and takes the certificate.
func (w *world) granted(person, target string, approvers ...string) (control.Request, control.Certificate) {
	w.t.Helper()
	r := w.ask(person, target)
	for _, a := range approvers {
		if err := w.approve(a, r.ID); err != nil {
			w.t.Fatal(err)
		}
	}
	cert, err := w.Certificate(w.who(person), r.ID, w.signers[person].PublicKey())
	if err != nil {
		w.t.Fatal(err)
	}
	return r, cert
}

func (w *world) open(cert, target string) (control.OpenReply, error) {
	w.t.Helper()
	return w.OpenSession(w.who("bastion-1"), control.OpenRequest{
		Certificate: cert, Target: target, SessionKey: line(w.signers["stranger"].PublicKey()), Client: "127.0.0.1:5000",
	})
}

// refused checks that err is a no a person may read, and says the words.
func refused(t *testing.T, what string, err error, words string) {
	t.Helper()
	var r *Refused
	if !errors.As(err, &r) || !strings.Contains(r.Message, words) {
		t.Errorf("%s: got %v, want a refusal with %q", what, err, words)
	}
}

func parse(t testing.TB, text string) *ssh.Certificate {
	t.Helper()
	cert, err := parseCertificate(text)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// verified checks that the log is whole, whatever the test did.
func (w *world) verified() []auditlog.Entry {
	w.t.Helper()
	cp, err := w.Checkpoint()
	if err != nil {
		w.t.Fatal(err)
	}
	tree, err := auditlog.OpenCheckpoint(cp, w.signer.VerifierKey())
	if err != nil {
		w.t.Fatal(err)
	}
	var leaves [][]byte
	var entries []auditlog.Entry
	w.Leaves(0, 0, func(l control.Leaf) error {
		e, err := auditlog.Decode(l.Data)
		leaves, entries = append(leaves, l.Data), append(entries, e)
		return err
	})
	if err := auditlog.Verify(leaves, tree, tree); err != nil {
		w.t.Fatal(err)
	}
	return entries
}
