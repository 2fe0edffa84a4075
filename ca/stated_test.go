package ca

import (
	"testing"

	"postern/internal/control"
)

// Whoever may not decide is told so when they ask for what they would sign, not after they have touched a token.
func TestNobodySignsToBeRefused(t *testing.T) {
	w := newWorld(t)
	r := w.ask("alice", "root@phi1")
	asks := func(what, person, decision, words string) {
		t.Helper()
		text, err := w.Statement(w.who(person), decision, r.ID, map[string]string{control.Deny: "no"}[decision])
		if refused(t, what, err, words); text != "" {
			t.Errorf("%s: is shown what to sign: %s", what, text)
		}
	}
	asks("their own", "alice", control.Approve, "their own request")
	asks("their own, to deny", "alice", control.Deny, "their own request")
	asks("another group", "carol", control.Approve, "in none of the groups")
	asks("what they never gave", "bob", control.Withdraw, "nothing to withdraw")
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	asks("again", "bob", control.Approve, "already")
	if _, err := w.Certificate(w.who("alice"), r.ID, w.signers["alice"].PublicKey()); err != nil {
		t.Fatal(err)
	}
	asks("nothing left", "beth", control.Approve, "nothing is left")
	text, err := w.FindingStatement(w.who("bob"), r.ID, Finding{Decision: control.Review, Verdict: control.Justified, Because: "fine"})
	if refused(t, "a review of what is no emergency", err, "no emergency"); text != "" {
		t.Errorf("a review of what is no emergency is shown: %s", text)
	}
	if _, err := w.Statement(w.who("bob"), control.Withdraw, r.ID, ""); err != nil {
		t.Error(err)
	}
}
