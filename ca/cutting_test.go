package ca

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/store"
)

// plant has n grants alive that person was given on a target, in the log as if each had been asked for. All of them were approved by who is named.
func (w *world) plant(prefix, person, target string, n int, approver string) {
	w.t.Helper()
	first := w.ask(person, target)
	var err error
	for made := 0; made < n && err == nil; made += 50 {
		err = w.db.Update(func(tx *store.Tx) error {
			for i := made; i < min(made+50, n); i++ {
				if err := w.sow(tx, first.ID, fmt.Sprintf("R-%s%05d", prefix, i), approver); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err == nil {
		_, err = w.Vote(w.who(person), first.ID, control.Withdraw, "", w.sign(person, person, control.Withdraw, first.ID, ""))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) sow(tx *store.Tx, like, id, approver string) error {
	r, err := load(tx, like)
	if err != nil {
		return err
	}
	r.ID, r.State = id, control.Pending
	r.Digest = statement.Digest(r.Request)
	entry := r.Request
	if err := w.record(tx, auditlog.Entry{Type: auditlog.TypeRequest, Actor: r.Person, Request: &entry}); err != nil {
		return err
	}
	if approver != "" {
		text := statement.About(r.Request, w.keys.Name, control.Approve, approver, "").Text()
		vote, err := w.signed(tx, Caller{Identity: control.Identity{Name: approver}}, r, control.Approve, text, w.seal(approver, control.Namespace, text))
		if err != nil {
			return err
		}
		r.Votes = append(r.Votes, vote)
		if err := w.record(tx, auditlog.Entry{Type: auditlog.TypeVote, Actor: approver, Vote: &auditlog.Vote{Request: r.ID, Vote: vote}}); err != nil {
			return err
		}
	}
	if err := w.become(tx, &r, control.Approved, "planted"); err != nil {
		return err
	}
	d, err := w.stillApproved(tx, r)
	if err != nil {
		return err
	}
	return w.begin(tx, &r, d)
}

// alive counts the requests of a prefix that the CA says are alive, and those whose rows say so.
func (w *world) alive(prefix string) (said, rows int) {
	w.t.Helper()
	err := w.db.View(func(tx *store.Tx) error {
		if err := eachLive(tx, func(r request) error {
			if strings.HasPrefix(r.ID, "R-"+prefix) {
				said++
			}
			return nil
		}); err != nil {
			return err
		}
		return tx.Scan(key(liveRows, "R-"+prefix), func(_, _ []byte) error { rows++; return nil })
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return said, rows
}

// enough is more than one update holds.
const enough = 400

func TestRevokingMuch(t *testing.T) {
	w := newWorld(t)
	for _, g := range []struct{ prefix, person, target, approver, revoke string }{
		{"B", "alice", "root@phi1", "bob", "approver:bob"},
		{"P", "adam", "root@open", "", "person:adam"},
		{"H", "pat", "root@phi1", "beth", "host:phi1"},
		{"A", "alice", "root@open", "", "all:"},
	} {
		w.plant(g.prefix, g.person, g.target, enough, g.approver)
		before, err := auditlogSize(w)
		if err != nil {
			t.Fatal(err)
		}
		rev, err := w.revokeAs("olga", g.revoke)
		if err != nil {
			t.Fatalf("%s: %v", g.revoke, err)
		}
		if after, _ := auditlogSize(w); len(rev.Requests) != enough || after != before+1 {
			t.Errorf("%s hits %d in %d leaves", g.revoke, len(rev.Requests), after-before)
		}
		if said, rows := w.alive(g.prefix); said != 0 || rows != enough {
			t.Errorf("%s: %d are said to be alive, and %d rows are", g.revoke, said, rows)
		}
		if again, err := w.revokeAs("olga", "all:"); err != nil || len(again.Requests) != 0 {
			t.Errorf("a second revocation hits %d once more: %v", len(again.Requests), err)
		}
		if err := w.finishCuts(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, rows := w.alive(g.prefix); rows != 0 {
			t.Errorf("%s: %d rows are still alive", g.revoke, rows)
		}
	}
	w.said(4 * enough)
	w.honest()
}

func auditlogSize(w *world) (n int64, err error) {
	err = w.db.View(func(tx *store.Tx) (err error) { n, err = auditlog.Size(tx); return err })
	return n, err
}

// said checks that each request that a revocation names was logged as revoked, once, and that there are so many.
func (w *world) said(n int) {
	w.t.Helper()
	named, marked := map[string]bool{}, map[string]int{}
	for _, e := range w.verified() {
		if e.Revocation != nil {
			for _, id := range e.Revocation.Requests {
				named[id] = true
			}
		}
		if e.State != nil && e.State.State == control.Revoked {
			marked[e.State.Request]++
		}
	}
	for id := range named {
		if marked[id] != 1 {
			w.t.Errorf("%s was marked %d times", id, marked[id])
		}
	}
	if len(named) != n || len(marked) != n {
		w.t.Errorf("%d were named and %d marked, not %d", len(named), len(marked), n)
	}
}

// A CA that dies after any of the parts goes on where it was, and refuses all along.
func TestACrashBetweenTheParts(t *testing.T) {
	w := newWorld(t)
	w.plant("A", "alice", "root@open", enough, "")
	last := fmt.Sprintf("R-A%05d", enough-1)
	made, err := w.Certificate(w.who("alice"), last, w.signers["alice"].PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.revokeAs("olga", "all:"); err != nil {
		t.Fatal(err)
	}
	for parts := 0; ; parts++ {
		_, err := w.open(made.Certificate, "root@open")
		refused(t, "opening", err, last+" is revoked")
		_, err = w.Certificate(w.who("alice"), last, w.signers["alice"].PublicKey())
		refused(t, "another certificate", err, last+" is revoked")
		_, err = w.Extend(w.who("alice"), last, time.Minute, "more")
		refused(t, "more time", err, last+" is revoked")
		if r, err := w.Request(w.who("olga"), last); err != nil || r.State != control.Revoked {
			t.Errorf("it is shown as %s: %v", r.State, err)
		}
		more, err := w.cutPart()
		if err != nil {
			t.Fatal(err)
		}
		w.db.Close()
		w.start(w.policy(rules))
		if !more {
			if parts < 2 {
				t.Errorf("all of it went in %d parts", parts+1)
			}
			break
		}
	}
	if said, rows := w.alive("A"); said+rows != 0 {
		t.Errorf("%d, %d left", said, rows)
	}
	w.said(enough)
	w.honest()
}

// Run goes on with what it finds, and with what comes.
func TestRunFinishes(t *testing.T) {
	w := newWorld(t)
	w.plant("A", "alice", "root@open", enough, "")
	if _, err := w.revokeAs("olga", "all:"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go w.Run(ctx)
	through := func() {
		t.Helper()
		for end := time.After(time.Minute); ; {
			changed := w.db.Changed()
			if _, rows := w.alive("A"); rows == 0 {
				return
			}
			select {
			case <-changed:
			case <-end:
				t.Fatal("it does not come to an end")
			}
		}
	}
	through()
	w.plant("A0", "alice", "root@open", enough, "")
	if _, err := w.revokeAs("olga", "person:alice"); err != nil {
		t.Fatal(err)
	}
	through()
}

// An emergency that was hit is reviewed before its turn: the log says first that it was revoked.
func TestOvertaking(t *testing.T) {
	w := newWorld(t)
	w.plant("A", "alice", "root@open", enough, "")
	if _, err := w.revokeAs("olga", "all:"); err != nil {
		t.Fatal(err)
	}
	last := fmt.Sprintf("R-A%05d", enough-1)
	for range 2 {
		if err := w.db.Update(func(tx *store.Tx) error { return w.expire(tx, last) }); err != nil {
			t.Fatal(err)
		}
	}
	w.pass(time.Hour) // their time passes as well, and they stay revoked
	if err := w.sweep(); err != nil {
		t.Fatal(err)
	}
	if err := w.finishCuts(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.said(enough)
	w.honest()
}

// While the parts move, nothing that was hit comes through, in whatever moment it is tried; what is asked for anew does.
func TestNothingSlipsBetweenTheParts(t *testing.T) {
	w := newWorld(t)
	w.plant("A", "alice", "root@open", enough, "")
	var hit []string
	var certificates sync.Map
	for i := 0; i < enough; i += enough / 8 {
		id := fmt.Sprintf("R-A%05d", i)
		made, err := w.Certificate(w.who("alice"), id, w.signers["alice"].PublicKey())
		if err != nil {
			t.Fatal(err)
		}
		hit = append(hit, id)
		certificates.Store(id, made.Certificate)
	}
	pending := w.ask("adam", "root@phi1")
	vote := w.sign("bob", "bob", control.Approve, pending.ID, "")
	alice, adam, bob := w.who("alice"), w.who("adam"), w.who("bob")
	signature := w.sign("olga", "olga", control.Revoke, "all:", "because")

	var revoked, stop atomic.Bool
	var slipped, before atomic.Int64
	var all sync.WaitGroup
	try := func(do func(id string) error) {
		for i := 0; !stop.Load(); i++ {
			late := revoked.Load()
			switch err := do(hit[i%len(hit)]); {
			case err == nil && late:
				slipped.Add(1)
			case err == nil:
				before.Add(1)
			}
		}
	}
	all.Go(func() {
		try(func(id string) error {
			c, _ := certificates.Load(id)
			_, err := w.open(c.(string), "root@open")
			return err
		})
	})
	all.Go(func() {
		try(func(id string) error { _, err := w.Certificate(alice, id, w.signers["alice"].PublicKey()); return err })
	})
	all.Go(func() {
		try(func(id string) error { _, err := w.Extend(alice, id, time.Second, "more"); return err })
	})
	all.Go(func() {
		try(func(string) error { _, err := w.Vote(bob, pending.ID, control.Approve, "", vote); return err })
	})
	for before.Load() < 20 {
		<-w.db.Changed()
	}
	if _, err := w.Revoke(w.who("olga"), Cut{Target: "all:", Because: "because"}, signature); err != nil {
		t.Fatal(err)
	}
	revoked.Store(true)
	if err := w.finishCuts(t.Context()); err != nil {
		t.Fatal(err)
	}
	stop.Store(true)
	all.Wait()
	if n := slipped.Load(); n > 0 {
		t.Errorf("%d slipped through", n)
	}
	if _, err := w.Ask(adam, Ask{Targets: []string{"root@phi1"}, Reason: "anew"}); err != nil {
		t.Errorf("asked anew: %v", err)
	}
	w.proven()
}

// honest checks what an auditor says of the log.
func (w *world) honest() {
	w.t.Helper()
	for _, note := range w.proven().Notes {
		w.t.Error(note)
	}
}
