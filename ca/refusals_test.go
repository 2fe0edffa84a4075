package ca

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

// as is somebody by another name: what a machine that was broken into would like to be.
func (w *world) as(name, posing string) Caller {
	c := w.who(name)
	c.Name = posing
	return c
}

// no says that each of these is refused, and why.
type no struct {
	what, words string
	err         error
}

func refuseAll(t *testing.T, list []no) {
	t.Helper()
	for _, n := range list {
		refused(t, n.what, n.err, n.words)
	}
}

func TestRequestsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	ask := func(change func(*Ask)) error {
		a := Ask{Targets: []string{"root@phi1"}, For: time.Minute, Reason: "x"}
		change(&a)
		_, err := w.Ask(w.who("alice"), a)
		return err
	}
	targets := func(list ...string) error { return ask(func(a *Ask) { a.Targets = list }) }
	refuseAll(t, []no{
		{"a reason that is a book", "at most 1000 fit", ask(func(a *Ask) { a.Reason = strings.Repeat("x", maxReason+1) })},
		{"a reason that is no text", "not valid UTF-8", ask(func(a *Ask) { a.Reason = "a\xff" })},
		{"a reason that runs backwards", "control or invisible", ask(func(a *Ask) { a.Reason = "a\u202eb" })},
		{"no target", "no target", targets()},
		{"seventeen", "at most 16 fit", targets(strings.Split(strings.Repeat("root@phi1 ", 17), " ")[:17]...)},
		{"no account", "not of the form", targets("@phi1")},
		{"no host", "not of the form", targets("root@")},
		{"two hosts", "not of the form", targets("root@phi1@phi2")},
		{"a line more", "may not open", targets("root\nnonce: 0@phi1")},
		{"a host with a dot", "may not open", targets("root@phi1.")},
	})
	_, err := w.Statement(w.who("bastion-1"), control.Approve, "R-X", "")
	refused(t, "a machine that decides", err, "only people decide")
	r := w.ask("alice", "root@PHI1", "root@phi1", "root@phi1.example")
	if len(r.Targets) != 1 || r.Targets[0] != "root@phi1" {
		t.Errorf("one host by three names: %q", r.Targets)
	}
	_, err = w.Statement(w.who("bob"), control.Approve, r.ID, "because")
	refused(t, "an approval with a reason", err, "no reason of its own")
	_, err = w.Request(w.as("bastion-1", "alice"), r.ID)
	refused(t, "a machine with a person's name", err, "no request")
	for range maxLive - 1 {
		w.ask("alice", "root@phi1")
	}
	refused(t, "one more", ask(func(*Ask) {}), "has 50 requests in flight")
}

func TestRevocationsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	r, _ := w.granted("alice", "root@phi1", "bob")
	statement := func(target string, length time.Duration) error {
		_, err := w.CutStatement(w.who("olga"), Cut{Target: target, For: length, Because: "x"})
		return err
	}
	refuseAll(t, []no{
		{"before now", "not a time in whole seconds", statement("person:alice", -time.Second)},
		{"for ever", "not a time in whole seconds", statement("person:alice", maxHold+time.Second)},
		{"half a second", "not a time in whole seconds", statement("person:alice", time.Second/2)},
		{"a request for a time", "ends once and for all", statement(r.ID, time.Hour)},
		{"a serial for a time", "ends once and for all", statement("serial:1 person:alice", time.Hour)},
	})
	w.pass(time.Hour)
	refused(t, "what is over", statement(r.ID, 0), "nothing of it is alive")
}

func TestReportsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	w.limited("bytes-out 100M revoke")
	r, made := w.granted("alice", "root@phi1", "bob")
	reply, err := w.open(made.Certificate, "root@phi1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.revokeAs("olga", "person:adam"); err != nil {
		t.Fatal(err)
	}
	own, other, s := w.who("bastion-1"), w.as("bastion-1", "bastion-2"), reply.Session
	head := strings.Repeat("ab", 32)
	receipt := func(c Caller, change func(*control.CutReceipt)) error {
		told := control.CutReceipt{Seq: 1, Parts: 1, Sessions: []control.CutSession{{Session: s.ID}}}
		change(&told)
		return w.CutReceipt(c, told)
	}
	progress := func(c Caller, change func(*control.Progress)) error {
		p := control.Progress{Session: s.ID, Frames: 9, Head: head, Segments: 1, SealedHead: head}
		change(&p)
		return w.Progress(c, p)
	}
	if err := progress(own, func(*control.Progress) {}); err != nil {
		t.Fatal(err)
	}
	crossed := func(c Caller) error {
		return w.Risk(c, control.Risk{Session: s.ID, Limit: "bytes-out 100M revoke", Count: 1 << 40, At: w.time()})
	}
	refuseAll(t, []no{
		{"no part of none", "is no receipt", receipt(own, func(c *control.CutReceipt) { c.Parts = 0 })},
		{"a part before the first", "is no receipt", receipt(own, func(c *control.CutReceipt) { c.Part = -1 })},
		{"a part after the last", "is no receipt", receipt(own, func(c *control.CutReceipt) { c.Part = 1 })},
		{"parts without end", "is no receipt", receipt(own, func(c *control.CutReceipt) { c.Parts = 1001 })},
		{"a receipt of another's session", "has no session", receipt(other, func(*control.CutReceipt) {})},
		{"a receipt of a revocation to come", "never was", receipt(own, func(c *control.CutReceipt) { c.Seq = 9 })},
		{"a book of what is left", "is too much", receipt(own, func(c *control.CutReceipt) { c.Sessions[0].Survivors = make([]string, 129) })},
		{"a word that is a book", "is too much", receipt(own, func(c *control.CutReceipt) { c.Sessions[0].Survivors = []string{strings.Repeat("x", 201)} })},
		{"cut before it was asked", "is too much", receipt(own, func(c *control.CutReceipt) { c.Sessions[0].Left = -1 })},
		{"another's recording", "has no session", progress(other, func(*control.Progress) {})},
		{"a recording of nothing", "has no session", progress(own, func(p *control.Progress) { p.Session = "S-NONE" })},
		{"fewer frames", "shrank", progress(own, func(p *control.Progress) { p.Frames = 8 })},
		{"fewer segments", "shrank", progress(own, func(p *control.Progress) { p.Segments = 0 })},
		{"half a head", "64 hex digits", progress(own, func(p *control.Progress) { p.Head = "abab" })},
		{"an end that is a book", "at most 200 fit", progress(own, func(p *control.Progress) { p.End = strings.Repeat("x", 201) })},
		{"a limit of another's session", "has no session", crossed(other)},
	})
	if w.show(r.ID).State != control.Granted {
		t.Error("another bastion's word cut it")
	}
	_, err = w.HostState(w.who("phi1-agent"), control.HostState{Logins: make([]uint64, control.MaxHostLogins+1)})
	refused(t, "logins without end", err, "is too much")
	_, err = w.HostCertificate(w.as("phi1-agent", "phi2"), w.signers["phi2-host"].PublicKey())
	refused(t, "a host that is trusted by its key", err, "trust: host-ca")
	_, err = w.AllDeletions(w.who("alice"))
	refused(t, "what was destroyed", err, "no rule permits")
}

func TestKeysThatAreRefused(t *testing.T) {
	w := newWorld(t)
	add := func(person string, change func(*control.RecordingKey)) error {
		k := w.recordingKey("")
		k.Public = []byte("another")
		change(&k)
		k.ID = control.RecordingKeyID(k.Public)
		k.Signature = string(w.seal("carol", control.RecordingKeyNamespace, k.Statement()))
		_, err := w.AddRecordingKey(w.who(person), k)
		return err
	}
	keys, _ := w.RecordingKeys()
	honest := w.rewrapped(keys[0].ID)
	rewrap := func(person string, change func(*control.Rewrap)) error {
		r := honest
		change(&r)
		_, err := w.Rewrap(w.who(person), r, false)
		return err
	}
	refuseAll(t, []no{
		{"a key by who may not", "may not add recording keys", add("bob", func(*control.RecordingKey) {})},
		{"a key of another's", "names auditor carol, but cara", add("cara", func(*control.RecordingKey) {})},
		{"a key for another purpose", "no such purpose", add("carol", func(k *control.RecordingKey) { k.Purpose = "both" })},
		{"a key without its box", "comes with its box", add("carol", func(k *control.RecordingKey) { k.Box = nil })},
		{"a key that is gone", "comes with its box", add("carol", func(k *control.RecordingKey) { k.Shredded = w.time() })},
		{"a key that was sealed anew", "comes with its box", add("carol", func(k *control.RecordingKey) { k.Rewrap = &control.Rewrap{} })},
		{"a public half that is a book", "at most 4096", add("carol", func(k *control.RecordingKey) { k.Public = make([]byte, maxPublic+1) })},
		{"a box that is a book", "at most 4096 and 61440 fit", add("carol", func(k *control.RecordingKey) { k.Box = make([]byte, maxBox+1) })},
		{"another box than was signed", "not the one that was signed", add("carol", func(k *control.RecordingKey) { k.Box = []byte("xob") })},
		{"sealed anew by who may not", "may not seal", rewrap("bob", func(*control.Rewrap) {})},
		{"sealed anew by another", "names auditor carol, but cara", rewrap("cara", func(*control.Rewrap) {})},
		{"nothing sealed anew", "comes with a reason", rewrap("carol", func(r *control.Rewrap) { r.Box = nil })},
		{"a book sealed anew", "comes with a reason", rewrap("carol", func(r *control.Rewrap) { r.Box = make([]byte, maxBox+1) })},
		{"sealed anew for no reason", "comes with a reason", rewrap("carol", func(r *control.Rewrap) { r.Reason = "" })},
		{"a key that never was", "no recording key K-none", func() error {
			r, err := control.Rewrap{Key: "K-none", Before: honest.Before, After: honest.After, Box: honest.Box, Reason: "x", Recipients: honest.Recipients}.Sign("carol", w.signers["carol"])
			if err != nil {
				t.Fatal(err)
			}
			_, err = w.Rewrap(w.who("carol"), r, false)
			return err
		}()},
	})
	if _, err := ParsePublicKey(line(w.signers["bob"].PublicKey()) + "\n" + line(w.signers["beth"].PublicKey())); err == nil {
		t.Error("two keys are one")
	}
	if _, err := ParsePublicKey(`command="x" ` + line(w.signers["bob"].PublicKey())); err == nil {
		t.Error("a key with options is a key")
	}
	_, made := w.granted("alice", "root@phi1", "bob")
	if _, err := ParsePublicKey(made.Certificate); err == nil {
		t.Error("a certificate is a key")
	}
	v := w.look("S-X")
	v.Key = newToken(t, 1).PublicKey()
	_, err := w.AuditStatement(w.who("carol"), v)
	refused(t, "a view over a token", err, "no Ed25519 key")
}

// Nobody counts twice, for more time and for a release neither, and no third person is asked in vain.
func TestNobodyCountsTwice(t *testing.T) {
	w := newWorld(t)
	w.reload(keep(`@approve("2 of privacy") @limits("denied 3 hold")`))
	r, made := w.granted("alice", "root@phi1", "bob", "beth")
	w.mustExtend("alice", r.ID, time.Minute)
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	ends := w.show(r.ID).Ends
	refused(t, "the same once more", w.approve("bob", r.ID), "has decided about this extension")
	refused(t, "of another group", w.approve("dana", r.ID), "no request")
	if now := w.show(r.ID); !now.Ends.Equal(ends) {
		t.Fatal("one of two was enough")
	}
	if err := w.approve("beth", r.ID); err != nil {
		t.Fatal(err)
	}
	reply, err := w.open(made.Certificate, "root@phi1")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Risk(w.who("bastion-1"), control.Risk{Session: reply.Session.ID, Limit: "denied 3 hold", Count: 4, At: w.time()}); err != nil {
		t.Fatal(err)
	}
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	refused(t, "released by one twice", w.approve("bob", r.ID), "has decided about what holds")
	refused(t, "by the requester", w.approve("alice", r.ID), "nobody decides about their own")
	_, err = w.open(made.Certificate, "root@phi1")
	refused(t, "released by one of two", err, "is held")
	if err := w.approve("beth", r.ID); err != nil {
		t.Fatal(err)
	}
	_, err = w.Extend(w.who("alice"), r.ID, 2*time.Hour, "x")
	refused(t, "two hours more", err, "whole seconds up to 1h0m0s")
	w.proven()
}

func TestSheetsThatAreRefused(t *testing.T) {
	w, key := sheets(t)
	prepare := func(change func(*Ask), holders ...string) error {
		_, err := w.prepare("alice", change, holders...)
		return err
	}
	tell := func(change func(*control.SheetKey)) error {
		k := control.SheetKey{CA: "postern-ca", Bastion: "bastion-1", Public: key.Public()}
		change(&k)
		k, err := k.Sign(w.signers["bastion-1"])
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.SheetKey(w.who("bastion-1"), k)
		return err
	}
	r, made := w.made()
	use := func(change func(*control.SheetUse)) error {
		return w.UseSheet(w.who("bastion-1"), w.used(r, made, change))
	}
	refuseAll(t, []no{
		{"good before now", "whole seconds", prepare(func(a *Ask) { a.Sheet.Valid = -time.Second }, "adam")},
		{"good for half a second", "whole seconds", prepare(func(a *Ask) { a.Sheet.Valid = time.Second / 2 }, "adam")},
		{"for a crowd", "not for 4", prepare(nil, "adam", "pat", ssh.FingerprintSHA256(w.signers["alice"].PublicKey()), ssh.FingerprintSHA256(w.signers["alice2"].PublicKey()))},
		{"a key of another bastion", "brings its own key", tell(func(k *control.SheetKey) { k.Bastion = "bastion-2" })},
		{"a key for another CA", "brings its own key", tell(func(k *control.SheetKey) { k.CA = "other" })},
		{"no key", "the key for sheets", tell(func(k *control.SheetKey) { k.Public = []byte("x") })},
		{"a use of another bastion", "its own sheets", use(func(u *control.SheetUse) { u.Bastion = "bastion-2" })},
		{"a use for another CA", "its own sheets", use(func(u *control.SheetUse) { u.CA = "other" })},
		{"a use of another session", "another bastion, session", use(func(u *control.SheetUse) { u.Session = "S-X" })},
		{"a use by another", "another bastion, session", use(func(u *control.SheetUse) { u.Person = "pat" })},
		{"a use of another certificate", "another bastion, session", use(func(u *control.SheetUse) { u.Serial++ })},
		{"a use of no sheet", "there is no sheet", use(func(u *control.SheetUse) { u.Request = "R-NONE00" })},
		{"a key name that is a book", "too long", use(func(u *control.SheetUse) { u.RecordingKey = strings.Repeat("K", 65) })},
		{"another that is one", "too long", use(func(u *control.SheetUse) { u.KeystrokeKey = strings.Repeat("K", 65) })},
	})
	if err := use(nil); err != nil {
		t.Fatal(err)
	}
	if err := w.Progress(w.who("bastion-1"), control.Progress{Session: r.Sheet.Session, End: "closed", Sealed: true}); err != nil {
		t.Fatal(err)
	}
	refused(t, "who used it reviews it", w.reviewing("adam", r.ID), "nobody reviews their own")
	refused(t, "who asked for it reviews it", w.reviewing("alice", r.ID), "nobody reviews their own")
	if err := w.review("bob", "bob", r.ID); err != nil {
		t.Error(err)
	}
}

// reviewing is the answer to who wants to sign a review.
func (w *world) reviewing(person, id string) error {
	_, err := w.FindingStatement(w.who(person), id, Finding{Decision: control.Review, Verdict: control.Justified, Because: "x"})
	return err
}
