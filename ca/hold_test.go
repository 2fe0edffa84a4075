package ca

import (
	"strings"
	"testing"
	"time"

	"postern/internal/control"
)

func (w *world) holdAs(person, target string, length time.Duration) control.Revocation {
	w.t.Helper()
	cut := Cut{Target: target, For: length, Because: "because"}
	text, err := w.CutStatement(w.who(person), cut)
	if err != nil {
		w.t.Fatal(err)
	}
	rev, err := w.Revoke(w.who(person), cut, w.seal(person, control.Namespace, text))
	if err != nil {
		w.t.Fatal(err)
	}
	return rev
}

// A revocation with a time keeps away what it hits, everywhere, and no longer than it says.
func TestHolds(t *testing.T) {
	for target, hits := range map[string]bool{
		"person:alice": true, "host:phi1": true, "account:root@phi1": true, "person:alice host:phi1": true,
		"person:adam": false, "person:alice host:open": false, "account:postgres@phi1": false,
	} {
		t.Run(target, func(t *testing.T) {
			w := newWorld(t)
			pending := w.ask("alice", "root@phi1")
			w.holdAs("olga", target, time.Hour)
			_, err := w.Ask(w.who("alice"), Ask{Targets: []string{"root@phi1"}, Reason: "again", For: time.Minute})
			if (err != nil) != hits || hits && !strings.Contains(err.Error(), "is revoked by olga until") {
				t.Fatalf("asking: %v", err)
			}
			if r, _ := w.Request(w.who("alice"), pending.ID); (r.State == control.Revoked) != hits {
				t.Fatalf("the one that was pending is %s", r.State)
			}
			w.pass(time.Hour + time.Second)
			r, made := w.granted("alice", "root@phi1", "bob")
			if _, err := w.open(made.Certificate, "root@phi1"); err != nil {
				t.Fatalf("%s afterwards: %v", r.ID, err)
			}
			w.proven()
		})
	}
}

// Through a bastion that is held nothing opens, and the grant stays good for others.
func TestABastionIsHeld(t *testing.T) {
	w := newWorld(t)
	_, made := w.granted("alice", "root@phi1", "bob")
	if rev := w.holdAs("olga", "bastion:bastion-1", time.Hour); len(rev.Requests) > 0 {
		t.Errorf("it hit %v", rev.Requests)
	}
	_, err := w.open(made.Certificate, "root@phi1")
	refused(t, "through it", err, "bastion:bastion-1 is revoked by olga")
	w.proven()
}

// A revoked bastion is nobody any more, until the policy gives it another key.
func TestARevokedBastionIsOut(t *testing.T) {
	w := newWorld(t)
	_, made := w.granted("alice", "root@phi1", "bob")
	caller := w.who("bastion-1")
	if _, err := w.revokeAs("olga", "bastion:bastion-1"); err != nil {
		t.Fatal(err)
	}
	_, err := w.Identify(w.signers["bastion-1"].PublicKey())
	refused(t, "logging in", err, "was revoked")
	// One whose command had been let in the moment before.
	_, err = w.OpenSession(caller, control.OpenRequest{
		Certificate: made.Certificate, Target: "root@phi1", SessionKey: line(w.signers["stranger"].PublicKey()), Client: "127.0.0.1:5000",
	})
	refused(t, "opening", err, "was revoked")
	w.proven()
}

// Who is kept away as an approver approves nothing, and may still take back.
func TestAnApproverIsHeld(t *testing.T) {
	w := newWorld(t)
	r := w.ask("alice", "root@phi1")
	w.holdAs("olga", "approver:bob", time.Hour)
	refused(t, "approving", w.approve("bob", r.ID), "approver:bob is revoked by olga")
	w.proven()
}

func TestReach(t *testing.T) {
	w := newWorld(t)
	r, made := w.granted("alice", "root@phi1", "bob")
	w.granted("adam", "root@open")
	opened, err := w.open(made.Certificate, "root@phi1")
	if err != nil {
		t.Fatal(err)
	}
	size := w.size()
	reach, err := w.Reach(w.who("olga"), Cut{Target: "host:phi1 person:alice"})
	if err != nil {
		t.Fatal(err)
	}
	if len(reach.Requests) != 1 || reach.Requests[0].ID != r.ID || len(reach.Sessions) != 1 || reach.Sessions[0].ID != opened.Session.ID || reach.Certificates != 2 {
		t.Errorf("%+v", reach)
	}
	if reach, err = w.Reach(w.who("olga"), Cut{Target: "bastion:bastion-1"}); err != nil || len(reach.Requests) != 0 || len(reach.Sessions) != 1 {
		t.Errorf("%+v, %v", reach, err)
	}
	_, err = w.Reach(w.who("alice"), Cut{Target: "person:adam"})
	refused(t, "without the right", err, "may not revoke")
	if w.size() != size {
		t.Error("looking wrote to the log")
	}
}

func TestCutReceipts(t *testing.T) {
	w := newWorld(t)
	_, made := w.granted("alice", "root@phi1", "bob")
	opened, err := w.open(made.Certificate, "root@phi1")
	if err != nil {
		t.Fatal(err)
	}
	bastion := w.who("bastion-1")
	receipt := control.CutReceipt{Seq: 1, Parts: 1, Heard: w.now(), Sessions: []control.CutSession{{Session: opened.Session.ID, Closed: 300, Survivors: []string{"x"}}}}
	refused(t, "before there was one", w.CutReceipt(bastion, receipt), "never was")
	rev, err := w.revokeAs("olga", "person:alice")
	if err != nil {
		t.Fatal(err)
	}
	refused(t, "by a person", w.CutReceipt(w.who("alice"), receipt), "only bastions")
	for what, spoil := range map[string]func(*control.CutReceipt){
		"no such session":   func(r *control.CutReceipt) { r.Sessions = []control.CutSession{{Session: "S-0000000000"}} },
		"a part beyond":     func(r *control.CutReceipt) { r.Part = 1 },
		"too many sessions": func(r *control.CutReceipt) { r.Sessions = make([]control.CutSession, control.MaxCutSessions+1) },
		"a long survivor": func(r *control.CutReceipt) {
			r.Sessions = []control.CutSession{{Session: opened.Session.ID, Survivors: []string{strings.Repeat("x", 201)}}}
		},
		"number 0":            func(r *control.CutReceipt) { r.Seq = 0 },
		"one that is to come": func(r *control.CutReceipt) { r.Seq = 99 },
	} {
		bad := receipt
		spoil(&bad)
		if err := w.CutReceipt(bastion, bad); err == nil {
			t.Errorf("%s: taken", what)
		}
	}
	for range 2 { // told twice, written once
		if err := w.CutReceipt(bastion, receipt); err != nil {
			t.Fatal(err)
		}
	}
	list, err := w.CutReceipts(rev.Seq)
	if err != nil || len(list) != 1 || list[0].Bastion != "bastion-1" || list[0].At.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
	w.proven()
}
