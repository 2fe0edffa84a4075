package ca

import (
	"slices"
	"testing"
	"time"

	"postern/internal/control"
)

// follow is a session of that person on phi1 that its host follows.
func (w *world) follow(person string) (control.Request, control.OpenReply, uint64) {
	w.t.Helper()
	r, made := w.granted(person, "root@phi1", "bob")
	reply, err := w.open(made.Certificate, "root@phi1")
	if err != nil {
		w.t.Fatal(err)
	}
	return r, reply, parse(w.t, reply.Certificate).Serial
}

// ordered are the orders that phi1 gets.
func (w *world) ordered(serials ...uint64) []control.EndOrder {
	w.t.Helper()
	orders, err := w.HostState(w.who("phi1-agent"), control.HostState{Logins: serials})
	if err != nil {
		w.t.Fatal(err)
	}
	return orders.End
}

// What is left of a session is ended for the revocations that hit it, and for no others.
func TestWhatAHostIsToEnd(t *testing.T) {
	for target, hits := range map[string]bool{
		"person:alice": true, "host:phi1": true, "account:root@phi1": true, "bastion:bastion-1": true, "all:": true, "serial:1": true, "approver:bob": true,
		"person:adam": false, "host:phi2": false, "account:postgres@phi1": false, "person:alice host:phi2": false,
	} {
		t.Run(target, func(t *testing.T) {
			w := newWorld(t)
			_, reply, serial := w.follow("alice")
			if orders := w.ordered(serial, 99); len(orders) > 0 {
				t.Fatalf("before: %+v", orders)
			}
			w.pass(time.Second)
			rev, err := w.revokeAs("olga", target)
			if err != nil {
				t.Fatal(err)
			}
			want := []control.EndOrder{{Serial: serial, Session: reply.Session.ID, Seq: rev.Seq}}
			if orders := w.ordered(serial, 99); slices.Equal(orders, want) != hits {
				t.Errorf("%+v", orders)
			}
			// A host that was away for long is told all the same of what was granted then.
			w.pass(time.Hour)
			if orders := w.ordered(serial); hits && target != "bastion:bastion-1" && !slices.Equal(orders, want) {
				t.Errorf("later: %+v", orders)
			}
		})
	}
}

// Who gives access back leaves running what runs, as when its time is over; a revocation that comes later finds it.
func TestWhatIsGivenBackIsInReach(t *testing.T) {
	for name, finish := range map[string]func(*world, control.Request) error{
		"given back": func(w *world, r control.Request) error {
			_, err := w.Vote(w.who("alice"), r.ID, control.Withdraw, "because", w.sign("alice", "alice", control.Withdraw, r.ID, "because"))
			return err
		},
		"its time is over": func(w *world, r control.Request) error { w.pass(20 * time.Minute); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r, reply, serial := w.follow("alice")
			if err := finish(w, r); err != nil {
				t.Fatal(err)
			}
			if orders := w.ordered(serial); len(orders) > 0 {
				t.Fatalf("%+v", orders)
			}
			w.pass(time.Second)
			rev, err := w.revokeAs("olga", "person:alice")
			if err != nil {
				t.Fatal(err)
			}
			if orders := w.ordered(serial); !slices.Equal(orders, []control.EndOrder{{Serial: serial, Session: reply.Session.ID, Seq: rev.Seq}}) {
				t.Errorf("%+v", orders)
			}
		})
	}
}

// A host tells what it ended of its own sessions, once, and more only when less is left.
func TestAccountsOfHosts(t *testing.T) {
	w := newWorld(t)
	agent := w.who("phi1-agent")
	r, reply, serial := w.follow("alice")
	_, spared, other := w.follow("adam")
	e := control.HostEnded{Seq: 1, Session: reply.Session.ID, Serial: serial, By: control.ByAudit, Found: 4, Left: 1}
	refused(t, "before the revocation", w.HostEnded(agent, e), "did not end")
	if _, err := w.revokeAs("olga", r.ID); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]func(e *control.HostEnded){
		"did not end":   func(e *control.HostEnded) { e.Session, e.Serial = spared.Session.ID, other },
		"has no":        func(e *control.HostEnded) { e.Serial = other },
		"no account of": func(e *control.HostEnded) { e.By = "magic" },
		"of what":       func(e *control.HostEnded) { e.Killed = 5 },
		"revocation 7":  func(e *control.HostEnded) { e.Seq = 7 },
	} {
		spoilt := e
		bad(&spoilt)
		refused(t, name, w.HostEnded(agent, spoilt), name)
	}
	for _, who := range []string{"olga", "alice", "bastion-1"} {
		refused(t, who, w.HostEnded(w.who(who), e), "only hosts")
	}
	for _, left := range []int64{2, 2, 3, 0, 0} {
		e.Left = left
		if err := w.HostEnded(agent, e); err != nil {
			t.Fatal(err)
		}
	}
	list, err := w.HostAccounts(1)
	if err != nil || len(list) != 2 || list[0].Left != 2 || list[1].Left != 0 || list[0].Host != "phi1" || list[0].At.IsZero() {
		t.Errorf("%+v, %v", list, err)
	}
	w.proven()
}
