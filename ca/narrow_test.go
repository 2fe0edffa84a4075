package ca

import (
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

// A serial is of a user certificate: sessions of others have numbers of their own.
func TestASerialOfASession(t *testing.T) {
	w := newWorld(t)
	hit, _ := w.granted("alice", "root@phi1", "bob")
	spared, made := w.granted("adam", "root@open")
	if _, err := w.open(made.Certificate, "root@open"); err != nil { // by session certificate 1
		t.Fatal(err)
	}
	rev, err := w.revokeAs("olga", "serial:1")
	if err != nil || len(rev.Requests) != 1 || rev.Requests[0] != hit.ID || w.show(spared.ID).State != control.Granted {
		t.Errorf("%+v, %v", rev, err)
	}
}

// A key that is revoked on one host only may log in and ask for others.
func TestAKeyOnOneHost(t *testing.T) {
	w := newWorld(t)
	if _, err := w.revokeAs("olga", "key:"+ssh.FingerprintSHA256(w.signers["alice"].PublicKey())+" host:phi1"); err != nil {
		t.Fatal(err)
	}
	w.granted("alice", "root@open")
	w.proven()
}

// What is kept away stays away though it hit nothing, also when the set was cleared of what is past.
func TestAHoldOfNothing(t *testing.T) {
	w := newWorld(t)
	w.holdAs("olga", "person:alice", time.Hour)
	w.pass(30 * time.Minute)
	if err := w.sweep(); err != nil {
		t.Fatal(err)
	}
	_, err := w.Ask(w.who("alice"), Ask{Targets: []string{"root@phi1"}, Reason: "x"})
	refused(t, "asking", err, "is revoked by olga until")
	if list, _, err := w.Revocations(0); err != nil || len(list) != 1 {
		t.Errorf("the set is %+v, %v", list, err)
	}
}

// Who released a grant carries it, too; and what the policy no longer allows nobody releases.
func TestWhoReleasedAGrant(t *testing.T) {
	w := newWorld(t)
	w.limited("denied 3 hold")
	released, unfit := w.heldGrant("bob"), w.heldGrant("bob")
	if err := w.approve("beth", released.ID); err != nil {
		t.Fatal(err)
	}
	rev, err := w.revokeAs("olga", "approver:beth")
	if err != nil || len(rev.Requests) != 1 || rev.Requests[0] != released.ID {
		t.Errorf("what beth released: %+v, %v", rev, err)
	}
	w.reload(keep(`@approve("1 of ehr-owners")`))
	refused(t, "a release that the policy does not carry", w.approve("bob", unfit.ID), "")
	if h, held := w.show(unfit.ID).Held(); !held || len(h.Votes) > 0 {
		t.Errorf("it is %+v", h)
	}
	w.proven()
}

// heldGrant is one of alice's that a limit holds.
func (w *world) heldGrant(approver string) control.Request {
	w.t.Helper()
	r, made := w.granted("alice", "root@phi1", approver)
	reply, err := w.open(made.Certificate, "root@phi1")
	if err == nil {
		err = w.Risk(w.who("bastion-1"), control.Risk{Session: reply.Session.ID, Limit: "denied 3 hold", Count: 4, At: w.time()})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// Who is in by a sheet stays in while the bastion tells of it; a second use is written, and makes neither a session nor another emergency.
func TestASheetInUse(t *testing.T) {
	w, key := sheets(t)
	r, made := w.made()
	u, bastion := w.used(r, made, nil), w.who("bastion-1")
	refused(t, "a use told by a person", w.UseSheet(w.as("alice", "bastion-1"), u), "its own sheets")
	refused(t, "a use told by another bastion", w.UseSheet(w.as("bastion-1", "bastion-2"), u), "its own sheets")
	_, err := w.SheetKey(w.as("alice", "bastion-1"), w.sheetKey(key, "bastion-1"))
	refused(t, "a key brought by a person", err, "brings its own key")
	if err := w.UseSheet(bastion, u); err != nil {
		t.Fatal(err)
	}
	if err := w.Progress(bastion, control.Progress{Session: u.Session, Frames: 1}); err != nil {
		t.Fatal(err)
	}
	if now := w.show(r.ID); now.State != control.Granted {
		t.Errorf("while it lasts it is %s", now.State)
	}
	again := w.used(r, made, func(u *control.SheetUse) { u.Nonce, u.Started = "00"+u.Nonce[2:], u.Started.Add(time.Minute) })
	if err := w.UseSheet(bastion, again); err != nil {
		t.Fatal(err)
	}
	list, err := w.Sessions(w.who("olga"), false)
	if now := w.show(r.ID); err != nil || len(list) != 1 || !list[0].Started.Equal(u.Started) || !now.Sheet.Used.Equal(u.Started) {
		t.Errorf("%+v, %+v, %v", list, now.Sheet, err)
	}
}
