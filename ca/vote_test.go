package ca

import (
	"strings"
	"testing"
	"time"

	"postern/ca/statement"
	"postern/internal/control"
)

// Promise 1: no certificate without its approvals.
func TestOnlyTheRightSignatureApproves(t *testing.T) {
	w := newWorld(t)
	r, other := w.ask("alice", "root@phi1"), w.ask("alice", "root@phi1")
	text, err := w.Statement(w.who("bob"), control.Approve, r.ID, "")
	if err != nil {
		t.Fatal(err)
	}
	vote := func(person string, sig []byte) error {
		_, err := w.Vote(w.who(person), r.ID, control.Approve, "", sig)
		return err
	}
	good := w.seal("bob", control.Namespace, text)
	for name, try := range map[string]struct {
		person string
		sig    []byte
		words  string
	}{
		"made for another request": {"bob", w.sign("bob", "bob", control.Approve, other.ID, ""), "does not fit"},
		"of a denial":              {"bob", w.sign("bob", "bob", control.Deny, r.ID, "no"), "does not fit"},
		"over an altered text":     {"bob", w.seal("bob", control.Namespace, strings.Replace(text, "15m0s", "30m0s", 1)), "does not fit"},
		"in another namespace":     {"bob", w.seal("bob", "file", text), "does not fit"},
		"by a stranger's key":      {"bob", w.seal("stranger", control.Namespace, text), "not one of bob's"},
		"by the requester's key":   {"bob", w.seal("alice", control.Namespace, text), "not one of bob's"},
		"by another approver":      {"bob", w.seal("beth", control.Namespace, text), "not one of bob's"},
		"shown to another":         {"beth", good, "does not fit"},
		"of the requester":         {"alice", w.sign("alice", "alice", control.Approve, r.ID, ""), "their own request"},
		"of the requester, key 2":  {"alice", w.sign("alice", "alice2", control.Approve, r.ID, ""), "their own request"},
		"of the wrong group":       {"dana", good, "no request"},
		"none":                     {"bob", nil, "does not fit"},
	} {
		refused(t, "signature "+name, vote(try.person, try.sig), try.words)
	}
	if _, err := w.Statement(w.who("dana"), control.Approve, r.ID, ""); err == nil {
		t.Error("dana, in no group that the request needs, is shown its statement")
	}
	if _, err := w.Certificate(w.who("alice"), r.ID, w.signers["alice"].PublicKey()); err == nil {
		t.Fatal("a certificate without an approval")
	}
	if err := vote("bob", good); err != nil {
		t.Fatal(err)
	}
	refused(t, "the same signature again", vote("bob", good), "already")
	w.verified()
}

func TestASecondKeyOfTheRequesterInARightGroupDoesNotHelp(t *testing.T) {
	w := newWorld(t)
	r := w.ask("pat", "root@phi1") // pat is a dba and in privacy
	refused(t, "own request", w.approve("pat", r.ID), "their own request")
}

func TestTwoOfTwoGroups(t *testing.T) {
	w := newWorld(t)
	state := func(id string) string {
		r, err := w.Request(w.who("alice"), id)
		if err != nil {
			t.Fatal(err)
		}
		return r.State
	}
	r := w.ask("alice", "root@phi2")
	if err := w.approve("bob", r.ID); err != nil || state(r.ID) != control.Pending {
		t.Fatal(err, state(r.ID))
	}
	refused(t, "a second of the same group", w.approve("beth", r.ID), "already")
	if err := w.approve("dana", r.ID); err != nil || state(r.ID) != control.Approved {
		t.Fatal(err, state(r.ID))
	}

	// Somebody in both groups stands for one of them, and it does not matter who came first.
	r = w.ask("alice", "root@phi2")
	if err := w.approve("both", r.ID); err != nil || state(r.ID) != control.Pending {
		t.Fatal(err, state(r.ID))
	}
	if err := w.approve("bob", r.ID); err != nil || state(r.ID) != control.Approved {
		t.Fatal(err, state(r.ID))
	}
}

func TestLateAndAfterwards(t *testing.T) {
	w := newWorld(t)
	r := w.ask("alice", "root@phi1")
	sig := w.sign("bob", "bob", control.Approve, r.ID, "")
	w.pass(r.ClaimBy.Sub(r.Created))
	_, err := w.Vote(w.who("bob"), r.ID, control.Approve, "", sig)
	refused(t, "late", err, "expired")

	r = w.ask("alice", "root@phi1")
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	w.pass(r.ClaimBy.Sub(r.Created))
	_, err = w.Certificate(w.who("alice"), r.ID, w.signers["alice"].PublicKey())
	refused(t, "approved long ago", err, "expired")
	if err := w.sweep(); err != nil {
		t.Fatal(err)
	}
	list, err := w.Requests(w.who("alice"), false)
	if err != nil || len(list) != 0 {
		t.Fatal(list, err)
	}
}

func TestDenyAndWithdraw(t *testing.T) {
	w := newWorld(t)
	vote := func(person, decision, id, because string) error {
		_, err := w.Vote(w.who(person), id, decision, because, w.sign(person, person, decision, id, because))
		return err
	}
	r := w.ask("alice", "root@phi1")
	if err := vote("bob", control.Deny, r.ID, "no ticket"); err != nil {
		t.Fatal(err)
	}
	refused(t, "after a denial", w.approve("beth", r.ID), "denied")

	r = w.ask("alice", "root@phi1")
	if err := vote("alice", control.Withdraw, r.ID, ""); err != nil {
		t.Fatal(err)
	}
	refused(t, "after withdrawing", w.approve("bob", r.ID), "withdrawn")

	// An approver who withdraws ends what came of it, and their old signature does not approve again.
	r, cert := w.granted("alice", "root@phi1", "bob")
	if _, err := w.open(cert.Certificate, "root@phi1"); err != nil {
		t.Fatal(err)
	}
	if err := vote("bob", control.Withdraw, r.ID, "wrong host"); err != nil {
		t.Fatal(err)
	}
	_, err := w.open(cert.Certificate, "root@phi1")
	refused(t, "open after the approval was withdrawn", err, "revoked")
	list, _, err := w.Revocations(0)
	if err != nil || len(list) != 1 || list[0].Requests[0] != r.ID {
		t.Fatalf("%+v %v", list, err)
	}

	r = w.ask("alice", "root@phi2")
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	if err := vote("bob", control.Withdraw, r.ID, ""); err != nil {
		t.Fatal(err)
	}
	refused(t, "approve again", w.approve("bob", r.ID), "already")
	if err := w.approve("dana", r.ID); err != nil {
		t.Fatal(err)
	}
	if got, _ := w.Request(w.who("alice"), r.ID); got.State != control.Pending {
		t.Fatalf("a withdrawn approval still counts: %s", got.State)
	}
	w.verified()
}

func TestApproverWhoLeftNoLongerCounts(t *testing.T) {
	w := newWorld(t)
	r := w.ask("alice", "root@phi1")
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	// bob gets a new key; what he signed with the old one is not worth a certificate any more.
	old := w.signers["bob"]
	w.signers["bob"] = newSigner(t)
	if err := w.SetPolicy(w.policy(rules)); err != nil {
		t.Fatal(err)
	}
	_, err := w.Certificate(w.who("alice"), r.ID, w.signers["alice"].PublicKey())
	refused(t, "approved with a key that is gone", err, "no longer theirs")
	if _, err := w.Identify(old.PublicKey()); err == nil {
		t.Error("the old key still logs in")
	}
}

func TestAPolicyThatTightensBindsAtOnce(t *testing.T) {
	w := newWorld(t)
	r, cert := w.granted("alice", "root@phi1", "bob")
	tight := strings.Replace(rules, `"1 of privacy")`, `"2 of privacy")`, 1)
	if err := w.SetPolicy(w.policy(tight)); err != nil {
		t.Fatal(err)
	}
	_, err := w.open(cert.Certificate, "root@phi1")
	refused(t, "one approval where two are needed now", err, "waiting for 1 of privacy")
	_, err = w.Certificate(w.who("alice"), r.ID, w.signers["alice"].PublicKey())
	refused(t, "certificate", err, "waiting for 1 of privacy")
	none := strings.Replace(rules, `Group::"dba", action in Action::"connect", resource in Host::"phi1"`, `Group::"privacy", action in Action::"connect", resource in Host::"phi1"`, 1)
	if err := w.SetPolicy(w.policy(none)); err != nil {
		t.Fatal(err)
	}
	_, err = w.open(cert.Certificate, "root@phi1")
	refused(t, "no rule any more", err, "may not open")
}

func TestStatementsAreKeptWithTheirExactBytes(t *testing.T) {
	w := newWorld(t)
	r, _ := w.granted("alice", "root@phi1", "bob")
	got, err := w.Request(w.who("alice"), r.ID)
	if err != nil {
		t.Fatal(err)
	}
	s, err := statement.Parse(got.Votes[0].Statement)
	if err != nil || s.Person != "bob" || s.Reason != r.Reason || s.Digest != statement.Digest(got) {
		t.Fatalf("%+v %v", s, err)
	}
}

func TestAskRefusals(t *testing.T) {
	w := newWorld(t)
	for name, try := range map[string]struct {
		who   string
		ask   Ask
		words string
	}{
		"no reason":          {"alice", Ask{Targets: []string{"root@phi1"}}, "a reason is missing"},
		"control characters": {"alice", Ask{Targets: []string{"root@phi1"}, Reason: "x\x1b[2J"}, "control or invisible"},
		"bidi override":      {"alice", Ask{Targets: []string{"root@phi1"}, Reason: "x\u202ey"}, "control or invisible"},
		"no target":          {"alice", Ask{Reason: "x"}, "no target"},
		"no account":         {"alice", Ask{Targets: []string{"phi1"}, Reason: "x"}, "account@host"},
		"unknown host":       {"alice", Ask{Targets: []string{"root@phi9"}, Reason: "x"}, "may not open"},
		"too long":           {"alice", Ask{Targets: []string{"root@phi1"}, Reason: "x", For: time.Hour}, "30m"},
		"not a dba":          {"carol", Ask{Targets: []string{"root@phi1"}, Reason: "x"}, "may not open"},
		"no such capability": {"alice", Ask{Targets: []string{"root@phi1"}, Reason: "x", Only: []string{"root"}}, "may not open"},
		"shell on exec only": {"alice", Ask{Targets: []string{"root@open"}, Reason: "x", Only: []string{"shell"}}, "may not open"},
		"a machine":          {"bastion-1", Ask{Targets: []string{"root@phi1"}, Reason: "x"}, "only people"},
	} {
		_, err := w.Ask(w.who(try.who), try.ask)
		refused(t, name, err, try.words)
	}
	_, err := w.Identify(w.signers["stranger"].PublicKey())
	refused(t, "stranger", err, "knows no key")
	if n, err := w.Requests(w.who("alice"), true); err != nil || len(n) != 0 {
		t.Errorf("a refused request was kept: %v %v", n, err)
	}
}

func TestAPolicyThatRelaxesDoesNotReachBack(t *testing.T) {
	w := newWorld(t)
	r := w.ask("alice", "root@phi2")
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.SetPolicy(w.policy(strings.Replace(rules, `"1 of privacy, 1 of ehr-owners"`, `"1 of privacy"`, 1))); err != nil {
		t.Fatal(err)
	}
	_, err := w.Certificate(w.who("alice"), r.ID, w.signers["alice"].PublicKey())
	refused(t, "one of the two approvals it was told", err, "waiting for 1 of ehr-owners")
}
