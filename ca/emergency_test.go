package ca

import (
	"slices"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
)

const urgent = `@id("usual") @approve("1 of privacy") @max("30m")
permit (principal in Group::"dba", action in Action::"connect", resource in Host::"phi1");
@id("urgent") @emergency("20m review 24h by 1 of privacy")
permit (principal in Group::"dba", action in [Action::"shell", Action::"exec"], resource in Host::"phi1");
`

// emergency asks for one and uses it until it is over.
func (w *world) emergency(person string) control.Request {
	w.t.Helper()
	r, err := w.Ask(w.who(person), Ask{Targets: []string{"root@phi1"}, Reason: "the ward is down", Emergency: true})
	if err != nil {
		w.t.Fatal(err)
	}
	cert, err := w.Certificate(w.who(person), r.ID, w.signers[person].PublicKey())
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.open(cert.Certificate, "root@phi1"); err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) review(person, signer, id string) error {
	w.t.Helper()
	return w.find(person, signer, id, Finding{Decision: control.Review, Verdict: control.Justified, Because: "all in order"})
}

func (w *world) find(person, signer, id string, f Finding) error {
	w.t.Helper()
	text, err := w.FindingStatement(w.who(person), id, f)
	if err != nil {
		return err
	}
	_, err = w.Review(w.who(person), id, f, w.seal(signer, control.Namespace, text))
	return err
}

func TestEmergencyIsGrantedAtOnceAndReviewed(t *testing.T) {
	w := newWorld(t)
	w.reload(urgent)
	if r := w.ask("alice", "root@phi1"); r.State != control.Pending || r.Emergency || slices.Contains(r.Rules, "urgent") {
		t.Errorf("not asked for as an emergency, and it is one: %+v", r)
	}
	r := w.emergency("alice")
	if r.State != control.Approved || !r.Emergency || r.Record.Files != "full" || r.Record.Streams != -1 || r.Record.Keystrokes || r.ForSeconds > 20*60 {
		t.Errorf("%+v", r)
	}
	_, err := w.Extend(w.who("alice"), r.ID, time.Minute, "a little more")
	refused(t, "more time", err, "not extended")
	refused(t, "a review of what runs", w.review("bob", "bob", r.ID), "when it is over")
	w.pass(21 * time.Minute)
	refused(t, "one's own", w.review("alice", "alice", r.ID), "nobody reviews their own")
	refused(t, "another's signature", w.review("bob", "beth", r.ID), "not one of bob's")
	refused(t, "an outsider's", w.review("carol", "carol", r.ID), "in none of the groups")
	refused(t, "somebody who may not know", w.review("dana", "dana", r.ID), "no request")
	if list, err := w.Reviews(w.who("bob")); err != nil || len(list) != 1 || list[0].ID != r.ID {
		t.Error(list, err)
	}
	if err := w.review("bob", "bob", r.ID); err != nil {
		t.Fatal(err)
	}
	refused(t, "twice", w.review("beth", "beth", r.ID), "complete")
	if list, err := w.Reviews(w.who("bob")); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
	w.pass(24 * time.Hour)
	w.emergency("alice")
	w.verified()
}

func TestAnOverdueReviewKeepsTheNextEmergencyAway(t *testing.T) {
	w := newWorld(t)
	w.reload(urgent)
	first := w.emergency("alice")
	w.pass(24*time.Hour - time.Minute)
	pocket, err := w.Ask(w.who("alice"), Ask{Targets: []string{"root@phi1"}, Reason: "once more", Emergency: true})
	if err != nil {
		t.Fatal(err)
	}
	w.pass(time.Minute)
	for range 2 {
		if err := w.sweep(); err != nil {
			t.Fatal(err)
		}
	}
	ask := func(person string) error {
		_, err := w.Ask(w.who(person), Ask{Targets: []string{"root@phi1"}, Reason: "again", Emergency: true})
		return err
	}
	refused(t, "another", ask("alice"), "the review of "+first.ID)
	_, err = w.Certificate(w.who("alice"), pocket.ID, w.signers["alice"].PublicKey())
	refused(t, "one that was asked for before", err, "the review of "+first.ID)
	if err := ask("adam"); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	w.ask("alice", "root@phi1") // with approvals, everything is as ever
	late := 0
	for _, e := range w.verified() {
		if e.Type == auditlog.TypeOverdue && e.Overdue.Request == first.ID {
			late++
		}
	}
	if late != 1 {
		t.Errorf("logged %d times that it is overdue", late)
	}
	if err := w.review("bob", "bob", first.ID); err != nil {
		t.Fatal(err)
	}
	if err := ask("alice"); err != nil {
		t.Errorf("after the review: %v", err)
	}
}

func TestAnEmergencyThatWasNotUsedOwesNothing(t *testing.T) {
	w := newWorld(t)
	w.reload(urgent)
	if err := w.add(w.recordingKey(control.Keystrokes)); err != nil {
		t.Fatal(err)
	}
	r, err := w.Ask(w.who("alice"), Ask{Targets: []string{"root@phi1"}, Reason: "never mind", Emergency: true})
	if err != nil || !r.Record.Keystrokes {
		t.Fatal(err, r.Record)
	}
	w.pass(25 * time.Hour)
	if err := w.sweep(); err != nil {
		t.Fatal(err)
	}
	refused(t, "a review of nothing", w.review("bob", "bob", r.ID), "never used")
	if list, err := w.Reviews(w.who("bob")); err != nil || len(list) != 0 {
		t.Error(list, err)
	}
	if _, err := w.Ask(w.who("alice"), Ask{Targets: []string{"root@phi1"}, Reason: "now", Emergency: true}); err != nil {
		t.Error(err)
	}
	_, err = w.Ask(w.who("alice"), Ask{Targets: []string{"root@phi2"}, Reason: "no such rule", Emergency: true})
	refused(t, "without a rule", err, "no rule for emergencies")
}

// Who misused an emergency gets no other one until somebody else than the finder clears them.
func TestMisuseKeepsTheNextEmergencyAway(t *testing.T) {
	w := newWorld(t)
	w.reload(urgent)
	r := w.emergency("alice")
	w.pass(21 * time.Minute)
	ask := func(person string) error {
		_, err := w.Ask(w.who(person), Ask{Targets: []string{"root@phi1"}, Reason: "again", Emergency: true})
		return err
	}
	misused := Finding{Decision: control.Review, Verdict: control.Misused, Because: "she read the mayor's file"}
	cleared := Finding{Decision: control.Clear, Because: "we talked, and the ward had asked"}
	pocket, err := w.Ask(w.who("alice"), Ask{Targets: []string{"root@phi1"}, Reason: "once more", Emergency: true})
	if err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]Finding{"no verdict": {Decision: control.Review, Because: "x"}, "another verdict": {Decision: control.Review, Verdict: "fine", Because: "x"}} {
		refused(t, what, w.find("bob", "bob", r.ID, f), "say what you found")
	}
	refused(t, "clearing with a verdict", w.find("bob", "bob", r.ID, Finding{Decision: control.Clear, Verdict: control.Justified, Because: "x"}), "only a review")
	refused(t, "clearing what was not reviewed", w.find("bob", "bob", r.ID, cleared), "is not complete")
	signed, err := w.FindingStatement(w.who("bob"), r.ID, Finding{Decision: control.Review, Verdict: control.Justified, Because: misused.Because})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Review(w.who("bob"), r.ID, misused, w.seal("bob", control.Namespace, signed))
	refused(t, "a verdict that was not signed", err, "does not fit")
	if err := w.find("bob", "bob", r.ID, misused); err != nil {
		t.Fatal(err)
	}
	refused(t, "another", ask("alice"), "was found misused")
	_, err = w.Certificate(w.who("alice"), pocket.ID, w.signers["alice"].PublicKey())
	refused(t, "one that was asked for before", err, "was found misused")
	if err := ask("adam"); err != nil {
		t.Errorf("somebody else: %v", err)
	}
	if list, err := w.Reviews(w.who("beth")); err != nil || len(list) != 3 || list[0].ID != r.ID || !list[0].Owes.Misuse() { // and the two that are alive
		t.Error(list, err)
	}
	refused(t, "the finder", w.find("bob", "bob", r.ID, cleared), "somebody else clears it")
	refused(t, "oneself", w.find("alice", "alice", r.ID, cleared), "their own")
	refused(t, "an outsider", w.find("carol", "carol", r.ID, cleared), "in none of the groups")
	w.pass(48 * time.Hour)
	refused(t, "time heals nothing", ask("alice"), "was found misused")
	if err := w.find("beth", "beth", r.ID, cleared); err != nil {
		t.Fatal(err)
	}
	refused(t, "twice", w.find("beth", "beth", r.ID, cleared), "nothing to clear")
	if err := ask("alice"); err != nil {
		t.Errorf("cleared: %v", err)
	}
	w.verified()
}
