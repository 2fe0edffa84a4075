package ca

import (
	"slices"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// heldSession is a live session that a limit holds, told as its bastion does.
func (w *world) heldSession(limits, crossed string, count uint64) (control.Request, control.Certificate, control.Session) {
	w.t.Helper()
	w.limited(limits)
	r, made := w.granted("alice", "root@phi1", "bob")
	reply, err := w.open(made.Certificate, "root@phi1")
	if err != nil {
		w.t.Fatal(err)
	}
	w.crosses(reply.Session.ID, crossed, count, 0)
	return r, made, reply.Session
}

func (w *world) crosses(session, limit string, count, lifted uint64) {
	w.t.Helper()
	if err := w.Risk(w.who("bastion-1"), control.Risk{Session: session, Limit: limit, Count: count, Lifted: lifted, At: w.time()}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) lifts(after uint64) (list []control.Lifted, n uint64) {
	w.t.Helper()
	list, n, err := w.Lifts("bastion-1", after)
	if err != nil {
		w.t.Fatal(err)
	}
	return list, n
}

// What a limit holds goes on when its approver signs for it: the session, and the grant. It can be held again, and the signature from before is no good then.
func TestALiftedHold(t *testing.T) {
	w := newWorld(t)
	const limit = "files-read 20 hold"
	r, made, s := w.heldSession(limit, limit, 21)
	h, held := w.show(r.ID).Held()
	if !held || h.Session != s.ID || h.Target != "root@phi1" || h.Limit != limit || h.Count != 21 {
		t.Fatalf("%+v", h)
	}
	_, err := w.open(made.Certificate, "root@phi1")
	refused(t, "another session", err, "is held: it crossed the limit")
	refused(t, "by who asked", w.approve("alice", r.ID), "nobody decides about their own request")
	signature := w.sign("bob", "bob", control.Approve, r.ID, "")
	for range 2 { // told twice
		w.crosses(s.ID, limit, 21, 0)
	}
	if _, err := w.Vote(w.who("bob"), r.ID, control.Approve, "", signature); err != nil {
		t.Fatal(err)
	}
	list, n := w.lifts(0)
	if len(list) != 1 || list[0].Session != s.ID || list[0].Limit != limit || list[0].Before != 0 || !slices.Equal(list[0].By, []string{"bob"}) || list[0].Denied {
		t.Errorf("the bastion is told %+v", list)
	}
	if more, _ := w.lifts(n); len(more) > 0 {
		t.Errorf("it is told again: %+v", more)
	}
	if other, _, _ := w.Lifts("bastion-2", 0); len(other) > 0 {
		t.Errorf("another is told: %+v", other)
	}
	if _, err := w.open(made.Certificate, "root@phi1"); err != nil {
		t.Errorf("another session, then: %v", err)
	}
	refused(t, "out of turn", w.Risk(w.who("bastion-1"), control.Risk{Session: s.ID, Limit: limit, Count: 21, Lifted: 2, At: w.time()}), "was released 1 times, not 2")
	w.crosses(s.ID, limit, 21, 1)
	_, err = w.Vote(w.who("bob"), r.ID, control.Approve, "", signature)
	refused(t, "the old signature", err, "does not fit the statement")
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	if list, _ := w.lifts(n); len(list) != 1 || list[0].Before != 1 {
		t.Errorf("the second time: %+v", list)
	}
	if err := w.Progress(w.who("bastion-1"), control.Progress{Session: s.ID, End: "closed"}); err != nil {
		t.Fatal(err)
	}
	if list, _ := w.lifts(0); len(list) > 0 {
		t.Errorf("of a session that ended: %+v", list)
	}
	w.proven()
}

// Who denies leaves the grant held, and the bastion ends the session.
func TestADeniedHold(t *testing.T) {
	w := newWorld(t)
	r, made, s := w.heldSession("denied 3 hold", "denied 3 hold", 4)
	if _, err := w.Vote(w.who("bob"), r.ID, control.Deny, "no", w.sign("bob", "bob", control.Deny, r.ID, "no")); err != nil {
		t.Fatal(err)
	}
	if list, _ := w.lifts(0); len(list) != 1 || !list[0].Denied || list[0].Session != s.ID {
		t.Errorf("the bastion is told %+v", list)
	}
	_, err := w.open(made.Certificate, "root@phi1")
	refused(t, "another session", err, "is held")
	refused(t, "after all", w.approve("bob", r.ID), "has decided about")
	w.proven()
}

// Two limits, one after the other; the session ends before anybody comes, and the grant opens another when both are released.
func TestTwoHoldsOfAGrant(t *testing.T) {
	w := newWorld(t)
	r, made, s := w.heldSession("denied 3 hold; files-read 20 hold", "denied 3 hold", 4)
	w.crosses(s.ID, "files-read 20 hold", 21, 0)
	if err := w.Progress(w.who("bastion-1"), control.Progress{Session: s.ID, End: "held"}); err != nil {
		t.Fatal(err)
	}
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	_, err := w.open(made.Certificate, "root@phi1")
	refused(t, "after one", err, "is held")
	if h, held := w.show(r.ID).Held(); !held || h.Number != 2 {
		t.Errorf("%+v", h)
	}
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.open(made.Certificate, "root@phi1"); err != nil {
		t.Errorf("after both: %v", err)
	}
	if list, _ := w.lifts(0); len(list) > 0 {
		t.Errorf("the bastion is told of a session that is over: %+v", list)
	}
	w.proven()
}

// A grant that was kept from opening a session opens it when it is released: that is the fresh approval.
func TestAReleasedGrant(t *testing.T) {
	w := newWorld(t)
	w.limited("sessions-hour 1 hold")
	r, made := w.granted("alice", "root@phi1", "bob")
	if _, err := w.open(made.Certificate, "root@phi1"); err != nil {
		t.Fatal(err)
	}
	_, err := w.open(made.Certificate, "root@phi1")
	refused(t, "the second", err, "limit sessions-hour 1 hold was crossed")
	w.pass(time.Second)
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.open(made.Certificate, "root@phi1"); err != nil {
		t.Errorf("released: %v", err)
	}
	_, err = w.open(made.Certificate, "root@phi1")
	refused(t, "the one after", err, "limit sessions-hour 1 hold was crossed")
	w.proven()
}

// What sessions have counted when they end, the next one begins with; a release begins anew, and nothing is added up twice.
func TestUsed(t *testing.T) {
	w := newWorld(t)
	const bytes, files = "bytes-out 1M hold", "files-read 9 revoke"
	w.limited(bytes + "; " + files + "; paths /phi/* 3 log")
	r, made := w.granted("alice", "root@phi1", "bob")
	open := func() control.OpenReply {
		reply, err := w.open(made.Certificate, "root@phi1")
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	ends := func(s control.Session, counts map[string]uint64) error {
		return w.Progress(w.who("bastion-1"), control.Progress{Session: s.ID, End: "closed", Counts: counts})
	}
	one, two := open(), open()
	if len(one.Used)+len(two.Used) > 0 {
		t.Errorf("%v %v", one.Used, two.Used)
	}
	refused(t, "a limit it had not", ends(one.Session, map[string]uint64{"denied 3 log": 1}), "has no limit")
	refused(t, "one that is not added up", ends(one.Session, map[string]uint64{"paths /phi/* 3 log": 1}), "has no limit")
	refused(t, "more than there is", ends(one.Session, map[string]uint64{bytes: 1 << 63}), "has no limit")
	for range 3 {
		if err := ends(one.Session, map[string]uint64{bytes: 600_000, files: 4}); err != nil {
			t.Fatal(err)
		}
	}
	three := open()
	if three.Used[bytes] != 600_000 || three.Used[files] != 4 {
		t.Errorf("%v", three.Used)
	}
	w.crosses(three.Session.ID, bytes, 1<<20+1, 0)
	if err := ends(two.Session, map[string]uint64{bytes: 100}); err != nil {
		t.Fatal(err)
	}
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	if four := open(); four.Used[bytes] != 0 || four.Used[files] != 4 {
		t.Errorf("after the release: %v", four.Used)
	}
	if _, err := w.revokeAs("olga", "person:alice"); err != nil {
		t.Fatal(err)
	}
	if err := ends(three.Session, map[string]uint64{bytes: 5}); err != nil {
		t.Fatal(err)
	}
	w.proven()
}

// What is revoked, or whose approver is, is not released; and who released it can take that back.
func TestAHoldAndARevocation(t *testing.T) {
	w := newWorld(t)
	r, _, s := w.heldSession("denied 3 hold", "denied 3 hold", 4)
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	w.crosses(s.ID, "denied 3 hold", 4, 1)
	if _, err := w.revokeAs("olga", "approver:bob"); err != nil {
		t.Fatal(err)
	}
	refused(t, "then", w.approve("bob", r.ID), "is revoked")
	if _, held := w.show(r.ID).Held(); held {
		t.Error("it waits still")
	}
	entries := w.verified()
	if i := slices.IndexFunc(entries, func(e auditlog.Entry) bool { return e.Halt != nil }); entries[i-1].Risk == nil {
		t.Error("a halt without what crossed right before")
	}
	w.proven()
}
