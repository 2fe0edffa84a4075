package ca

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
	"postern/internal/verify"
)

// decision is one of carol's that only wants what a test changes.
func (w *world) decision(act, scope string) control.Custody {
	d := control.NewCustody("postern-ca", act, scope, "INC-4412")
	d.Signed = w.time()
	return d
}

func (w *world) decide(person string, d control.Custody) (control.Decided, error) {
	w.t.Helper()
	d, err := d.Sign(person, w.signers[person])
	if err != nil {
		w.t.Fatal(err)
	}
	return w.Decide(w.who(person), d, false)
}

func (w *world) decided(person string, d control.Custody) control.Decided {
	w.t.Helper()
	out, err := w.decide(person, d)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// recorded is a session whose recording is sealed to its end.
func (w *world) recorded() control.Session {
	w.t.Helper()
	s := w.session()
	head := strings.Repeat("ab", 32)
	if err := w.Progress(w.who("bastion-1"), control.Progress{Session: s.ID, Frames: 9, Head: head, Segments: 1, SealedHead: head, End: "closed", Sealed: true}); err != nil {
		w.t.Fatal(err)
	}
	return s
}

// awaited is what bastion-1 is to destroy.
func (w *world) awaited() []control.Deletion {
	w.t.Helper()
	out, err := w.Deletions(w.who("bastion-1"), 1)
	if err != nil {
		w.t.Fatal(err)
	}
	return out.Orders
}

func (w *world) receipt(d control.Deletion) control.Receipt {
	return control.Receipt{Order: d.ID, CA: "postern-ca", Session: d.Session, Bastion: "bastion-1", Box: control.BoxSum([]byte("key box")), Segments: 1, Everything: d.Everything, At: w.time()}
}

func (w *world) answer(r control.Receipt) error {
	w.t.Helper()
	r, err := r.Sign(w.signers["bastion-1"])
	if err != nil {
		w.t.Fatal(err)
	}
	return w.Deleted(w.who("bastion-1"), r)
}

// proven checks the log as an auditor does, and returns what it says.
func (w *world) proven() verify.Report {
	w.t.Helper()
	var leaves [][]byte
	if err := w.Leaves(0, 0, func(l control.Leaf) error { leaves = append(leaves, l.Data); return nil }); err != nil {
		w.t.Fatal(err)
	}
	report := verify.Leaves(leaves, verify.Keys{User: w.keys.User.PublicKey(), Session: w.keys.Session.PublicKey(), Host: w.keys.Host.PublicKey(), Gateway: w.keys.Gateway.PublicKey()})
	for _, f := range report.Failures {
		if !strings.Contains(f.Text, "clock went back") { // the genesis is by the real one
			w.t.Error(f)
		}
	}
	return report
}

func (w *world) size() int64 {
	w.t.Helper()
	var n int64
	err := w.db.View(func(tx *store.Tx) (err error) { n, err = auditlog.Size(tx); return err })
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

func TestShred(t *testing.T) {
	w := newWorld(t)
	live := w.session()
	_, err := w.decide("carol", w.decision(control.Shred, "session:"+live.ID))
	refused(t, "a running session", err, "is not sealed to its end")
	s, other := w.recorded(), w.recorded()
	hold := w.decided("carol", w.decision(control.Hold, "request:"+s.Request)).Custody
	_, err = w.decide("carol", w.decision(control.Shred, "session:"+s.ID))
	refused(t, "a held session", err, "hold "+hold.ID+" on request:"+s.Request)

	before := w.size()
	if _, err := w.Decide(w.who("carol"), func() control.Custody {
		d := w.decision(control.Shred, "session:"+other.ID)
		d.Auditor = "carol"
		return d
	}(), true); err != nil || w.size() != before || len(w.awaited()) > 0 {
		t.Errorf("a dry run: %v, %d leaves, were %d", err, w.size(), before)
	}
	release := w.decision(control.Release, "request:"+s.Request)
	release.Hold = hold.ID
	w.decided("cara", release)
	if holds, err := w.Holds(); err != nil || len(holds) > 0 {
		t.Errorf("%+v, %v", holds, err)
	}
	told, err := w.Deletions(w.who("bastion-1"), 1)
	if err != nil || len(told.Custody) != 2 || told.Custody[0].Act != control.Hold || told.Custody[1].Act != control.Release || told.Next != 3 {
		t.Errorf("the bastion is told %+v, %v", told, err)
	}

	out := w.decided("carol", w.decision(control.Shred, "session:"+s.ID))
	orders := w.awaited()
	if len(orders) != 1 || len(out.Deletions) != 1 || orders[0].Session != s.ID || orders[0].Everything || len(orders[0].Orders) != 1 || orders[0].Orders[0].Auditor != "carol" {
		t.Fatalf("%+v", orders)
	}
	declined := w.receipt(orders[0])
	declined.Box, declined.Declined = "", "2 auditors must order it, here are 1"
	if err := w.answer(declined); err != nil || len(w.awaited()) > 0 {
		t.Errorf("%v", err)
	}
	w.pass(time.Minute)
	// Another auditor wants the same, and the bastion judges again.
	second := w.decided("cara", w.decision(control.Shred, "session:"+s.ID))
	if orders = w.awaited(); second.Signers != 2 || len(orders) != 1 || len(orders[0].Orders) != 2 {
		t.Fatalf("%+v, %+v", second, orders)
	}
	if err := w.answer(w.receipt(orders[0])); err != nil || len(w.awaited()) > 0 {
		t.Error(err)
	}
	if err := w.answer(w.receipt(orders[0])); err != nil {
		t.Errorf("told again: %v", err)
	}
	for _, found := range w.proven().Sessions {
		if (found.Destroyed != nil) != (found.ID == s.ID) {
			t.Errorf("%s: %v", found.ID, found.Destroyed)
		}
		if d := found.Destroyed; d != nil && (!slices.Equal(d.By, []string{"carol", "cara"}) || d.Reasons[0] != "INC-4412" || !strings.Contains(d.String(), "shredded on 2026-11-22, as ordered by carol and cara")) {
			t.Errorf("%s", d)
		}
	}
}

func TestRetention(t *testing.T) {
	w := newWorld(t)
	w.reload(onPhi(`@approve("1 of privacy") @retain("30d")`, `Action::"connect"`))
	s, held := w.recorded(), w.recorded()
	if s.RetainDays != 30 {
		t.Fatalf("%+v", s)
	}
	// A later policy shortens nothing that was recorded, and nothing that was asked for.
	w.reload(onPhi(`@approve("1 of privacy") @retain("3d")`, `Action::"connect"`))
	w.decided("carol", w.decision(control.Hold, "session:"+held.ID))
	w.pass(29 * 24 * time.Hour)
	if list, err := w.Retention(w.who("carol"), false); err != nil || len(list) > 0 {
		t.Errorf("after 29 days: %+v, %v", list, err)
	}
	_, err := w.Retention(w.who("olga"), true)
	refused(t, "an operator", err, "custody")
	w.pass(25 * time.Hour)
	before := w.size()
	list, err := w.Retention(w.who("carol"), true)
	if err != nil || len(list) != 2 || w.size() != before || len(w.awaited()) > 0 {
		t.Fatalf("a dry run: %+v, %v", list, err)
	}
	for _, d := range list {
		if (d.Held != "") != (d.Session == held.ID) || d.RetainDays != 30 {
			t.Errorf("%+v", d)
		}
	}
	if err := w.keepCustody(); err != nil {
		t.Fatal(err)
	}
	orders := w.awaited()
	if len(orders) != 1 || orders[0].Session != s.ID || !orders[0].Everything || orders[0].RetainDays != 30 || len(orders[0].Orders) > 0 {
		t.Fatalf("%+v", orders)
	}
	young := w.receipt(orders[0])
	young.Box, young.Everything, young.Declined = "", false, "bastion-1 keeps everything at least 2192 days"
	for range 3 { // asked again day by day, and logged once
		if err := w.answer(young); err != nil {
			t.Fatal(err)
		}
		before = w.size()
		w.pass(24 * time.Hour)
		if err := w.keepCustody(); err != nil || w.size() != before || len(w.awaited()) != 1 {
			t.Errorf("%v, %d leaves, were %d, %d orders", err, w.size(), before, len(w.awaited()))
		}
	}
	box := w.receipt(orders[0])
	box.Everything = false
	refused(t, "half of it", w.answer(box), "about everything")
	if err := w.answer(w.receipt(orders[0])); err != nil {
		t.Error(err)
	}
	report := w.proven()
	i := slices.IndexFunc(report.Sessions, func(found verify.Session) bool { return found.ID == s.ID })
	if d := report.Sessions[i].Destroyed; d == nil || !strings.Contains(d.String(), "deleted on") || !strings.Contains(d.String(), "the policy, which kept it 30 days") {
		t.Errorf("%v", d)
	}
}

func TestShredMonth(t *testing.T) {
	w := newWorld(t)
	november := w.recordingKey("")
	one, two := w.recorded(), w.recorded()
	_, err := w.decide("carol", w.decision(control.Shred, "month:2026-11"))
	refused(t, "this month", err, "is not over")
	w.pass(9 * 24 * time.Hour)
	_, err = w.decide("carol", w.decision(control.Shred, "month:2026-10"))
	refused(t, "a month without a key", err, "no recording key of 2026-10")
	hold := w.decided("carol", w.decision(control.Hold, "host:phi1"))
	_, err = w.decide("carol", w.decision(control.Shred, "month:2026-11"))
	refused(t, "a session is held", err, hold.Custody.ID)
	release := w.decision(control.Release, "host:phi1")
	release.Hold = hold.Custody.ID
	w.decided("carol", release)

	before := w.size()
	for _, scope := range []string{"foo", "person:", "S-0"} {
		mistyped := w.decision(control.Hold, scope)
		mistyped.Auditor = "carol"
		if out, err := w.Decide(w.who("carol"), mistyped, true); err == nil || !strings.Contains(err.Error(), "there is no such scope") {
			t.Errorf("a dry run of a hold on %s: %+v, %v", scope, out, err)
		}
	}
	dry := w.decision(control.Shred, "month:2026-11")
	dry.Auditor = "carol"
	if out, err := w.Decide(w.who("carol"), dry, true); err != nil || len(out.Deletions) != 3 || w.size() != before || len(w.awaited()) > 0 {
		t.Errorf("a dry run: %+v, %v", out, err)
	}
	w.decided("carol", w.decision(control.Shred, "month:2026-11"))
	orders := w.awaited()
	if len(orders) != 2 {
		t.Fatalf("%+v", orders)
	}
	boxIs := func(there bool) {
		t.Helper()
		keys, err := w.RecordingKeys()
		if err != nil || len(keys) != 1 || (len(keys[0].Box) > 0) != there || keys[0].Shredded.IsZero() != there {
			t.Errorf("the box is there: %v; %+v, %v", !there, keys, err)
		}
	}
	for i, order := range orders {
		boxIs(true)
		if err := w.answer(w.receipt(order)); err != nil {
			t.Fatal(err)
		}
		boxIs(i < len(orders)-1)
	}
	err = w.db.View(func(tx *store.Tx) error {
		return tx.Scan([]byte(boxRows), func(k, _ []byte) error { t.Errorf("row %q is left", k); return nil })
	})
	if err != nil {
		t.Error(err)
	}
	for _, s := range w.proven().Sessions {
		if (s.ID == one.ID || s.ID == two.ID) && s.Destroyed == nil {
			t.Errorf("%s is not proven destroyed", s.ID)
		}
	}
	_, err = w.Rewrap(w.who("carol"), w.rewrap(november, control.Recipient{ID: control.RecipientID("x"), Public: "x"}), false)
	refused(t, "a rewrap of what is gone", err, "was destroyed")
}

// Each attack is refused, and leaves no trace in the log.
func TestCustodyAttacks(t *testing.T) {
	w := newWorld(t)
	s := w.recorded()
	scope := "session:" + s.ID
	signed := func(person, key string, d control.Custody) control.Custody {
		d, err := d.Sign(person, w.signers[key])
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	with := func(change func(*control.Custody)) control.Custody {
		d := w.decision(control.Shred, scope)
		change(&d)
		return d
	}
	used := signed("carol", "carol", w.decision(control.Hold, "all"))
	if _, err := w.Decide(w.who("carol"), used, false); err != nil {
		t.Fatal(err)
	}
	altered := signed("carol", "carol", w.decision(control.Hold, scope))
	altered.Scope = "person:alice"
	before := w.size()
	for name, c := range map[string]struct {
		by   string
		d    control.Custody
		says string
	}{
		"who may not":           {"olga", signed("olga", "olga", w.decision(control.Hold, "all")), "no rule permits custody"},
		"in another's name":     {"cara", signed("carol", "carol", w.decision(control.Hold, "all")), "names auditor carol"},
		"with another's key":    {"carol", signed("carol", "bob", w.decision(control.Hold, "all")), "carol"},
		"twice":                 {"carol", used, "decided already"},
		"altered":               {"carol", altered, "its ID is not"},
		"for another CA":        {"carol", signed("carol", "carol", with(func(d *control.Custody) { d.CA = "other-ca" })), `for CA "other-ca"`},
		"kept back for a day":   {"carol", signed("carol", "carol", with(func(d *control.Custody) { d.Signed = w.time().Add(-24 * time.Hour) })), "sign it anew"},
		"of tomorrow":           {"carol", signed("carol", "carol", with(func(d *control.Custody) { d.Signed = w.time().Add(24 * time.Hour) })), "sign it anew"},
		"under the hold on all": {"carol", signed("carol", "carol", w.decision(control.Shred, scope)), used.ID},
		"a release of no hold":  {"carol", signed("carol", "carol", with(func(d *control.Custody) { d.Act, d.Hold, d.Scope = control.Release, "C-0000000000000000", "all" })), "no hold"},
		"a release of another":  {"carol", signed("carol", "carol", with(func(d *control.Custody) { d.Act, d.Hold = control.Release, used.ID })), "is on all and not on"},
		"a hold on no session":  {"carol", signed("carol", "carol", with(func(d *control.Custody) { d.Act, d.Scope = control.Hold, "session:S-0" })), "no session S-0"},
		"no signature": {"carol", func() control.Custody {
			d := signed("carol", "carol", w.decision(control.Hold, "all"))
			d.Signature = ""
			return d
		}(), "hold all"},
	} {
		_, err := w.Decide(w.who(c.by), c.d, false)
		if err == nil {
			t.Errorf("%s: it was decided", name)
		} else if !strings.Contains(err.Error(), c.says) && c.says != "hold all" {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	if w.size() != before {
		t.Errorf("%d leaves, were %d", w.size(), before)
	}
	for _, bad := range []control.Custody{w.decision("burn", "all"), w.decision(control.Hold, "everything"), w.decision(control.Shred, "person:alice"), w.decision(control.Hold, "month:2026-13"), w.decision(control.Hold, "session:S-1\nact: shred")} {
		if _, err := bad.Sign("carol", w.signers["carol"]); err == nil {
			t.Errorf("%s %q can be signed", bad.Act, bad.Scope)
		}
	}
}

// A receipt is the word of the bastion that keeps the recording, and of nobody else.
func TestReceiptAttacks(t *testing.T) {
	w := newWorld(t)
	s, other := w.recorded(), w.recorded()
	w.decided("carol", w.decision(control.Shred, "session:"+s.ID))
	order := w.awaited()[0]
	sign := func(r control.Receipt, by ssh.Signer) control.Receipt {
		r, err := r.Sign(by)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	before := w.size()
	for name, c := range map[string]struct {
		who    string
		signer string
		change func(*control.Receipt)
		says   string
	}{
		"signed by a stranger": {"bastion-1", "stranger", func(*control.Receipt) {}, "another key"},
		"by an auditor":        {"carol", "carol", func(r *control.Receipt) { r.Bastion = "carol" }, "by bastion"},
		"for another session":  {"bastion-1", "bastion-1", func(r *control.Receipt) { r.Session = other.ID }, "no order"},
		"for no order":         {"bastion-1", "bastion-1", func(r *control.Receipt) { r.Order = "D-0" }, "no order"},
		"for another CA":       {"bastion-1", "bastion-1", func(r *control.Receipt) { r.CA = "other" }, "no order"},
		"of no box":            {"bastion-1", "bastion-1", func(r *control.Receipt) { r.Box = "" }, "names no key box"},
	} {
		r := w.receipt(order)
		c.change(&r)
		refused(t, name, w.Deleted(w.who(c.who), sign(r, w.signers[c.signer])), c.says)
	}
	altered := sign(w.receipt(order), w.signers["bastion-1"])
	altered.Box = control.BoxSum([]byte("another"))
	refused(t, "altered", w.Deleted(w.who("bastion-1"), altered), "receipt")
	if w.size() != before || len(w.awaited()) != 1 {
		t.Errorf("%d leaves, were %d", w.size(), before)
	}
	_, err := w.Deletions(w.who("carol"), 1)
	refused(t, "orders are for bastions", err, "only bastions")
}

// A month has more sessions than one transaction, or one answer to a bastion, takes.
func TestShredMonthOfMany(t *testing.T) {
	w := newWorld(t)
	k := w.recordingKey("")
	const many = 2*orderTogether + 50
	for i := range many {
		s := control.Session{ID: fmt.Sprintf("S-%04d", i), Person: "alice", Target: "root@phi1", Bastion: "bastion-1", Started: w.time(), Ended: w.time(), Sealed: true, RecordingKey: k.ID}
		if err := w.db.Update(func(tx *store.Tx) error { return saveSession(tx, s) }); err != nil {
			t.Fatal(err)
		}
	}
	w.pass(9 * 24 * time.Hour)
	if out := w.decided("carol", w.decision(control.Shred, "month:2026-11")); len(out.Deletions) != many+1 {
		t.Errorf("%d orders", len(out.Deletions))
	}
	for answered := 0; ; {
		orders := w.awaited()
		if len(orders) == 0 {
			if answered != many {
				t.Errorf("%d of %d were destroyed", answered, many)
			}
			break
		}
		for _, order := range orders {
			if err := w.answer(w.receipt(order)); err != nil {
				t.Fatal(err)
			}
			answered++
		}
	}
	if keys, err := w.RecordingKeys(); err != nil || keys[0].Shredded.IsZero() || len(keys[0].Box) > 0 {
		t.Errorf("%+v, %v", keys, err)
	}
}
