package ca

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
)

func (w *world) extend(person, id string, by time.Duration) (control.Request, error) {
	return w.Extend(w.who(person), id, by, "the restore takes longer")
}

func (w *world) mustExtend(person, id string, by time.Duration) control.Request {
	w.t.Helper()
	r, err := w.extend(person, id, by)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func (w *world) show(id string) control.Request {
	w.t.Helper()
	r, err := w.Request(w.who("carol"), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// A grant is extended by the approvers that a request needs, its sessions live to the new end, and what was signed before keeps its own.
func TestExtend(t *testing.T) {
	w := newWorld(t)
	r, made := w.granted("alice", "root@phi1", "bob")
	opened, err := w.open(made.Certificate, "root@phi1")
	if err != nil {
		t.Fatal(err)
	}
	first := w.show(r.ID).Ends
	w.pass(10 * time.Minute)
	asked := w.mustExtend("alice", r.ID, 15*time.Minute)
	if e, waits := asked.Extending(); !waits || !e.Ends.Equal(first.Add(15*time.Minute)) || !asked.Ends.Equal(first) {
		t.Fatalf("%+v", asked)
	}
	if list, n, _ := w.Extended(0); len(list) != 0 || n != 0 {
		t.Fatalf("before the approval: %v", list)
	}
	if err := w.approve("bob", r.ID); err != nil { // who approved the request may approve more of it
		t.Fatal(err)
	}
	now := w.show(r.ID)
	if !now.Ends.Equal(first.Add(15*time.Minute)) || now.NotAfter.Before(now.Ends) || now.State != control.Granted {
		t.Fatalf("%+v", now)
	}
	if list, n, err := w.Extended(0); err != nil || len(list) != 1 || n != 1 || list[0].Request != r.ID || !list[0].Ends.Equal(now.Ends) {
		t.Fatalf("%v %d %v", list, n, err)
	}
	w.pass(6 * time.Minute) // beyond the first end
	if live, _ := w.Sessions(w.who("carol"), true); len(live) != 1 || live[0].ID != opened.Session.ID || !live[0].Deadline.Equal(now.Ends) {
		t.Fatalf("%+v", live)
	}
	_, err = w.open(made.Certificate, "root@phi1")
	refused(t, "the old certificate", err, "is over")
	fresh, err := w.Certificate(w.who("alice"), r.ID, w.signers["alice"].PublicKey())
	if err != nil || !fresh.NotAfter.Equal(now.Ends) {
		t.Fatalf("%+v %v", fresh, err)
	}
	if _, err := w.open(fresh.Certificate, "root@phi1"); err != nil {
		t.Fatal(err)
	}
	w.pass(15 * time.Minute)
	if err := w.sweep(); err != nil {
		t.Fatal(err)
	}
	if got := w.show(r.ID).State; got != control.Ended {
		t.Errorf("it is %s", got)
	}
	if list, _, _ := w.Extended(0); len(list) != 0 {
		t.Errorf("after its end: %v", list)
	}
	w.proven()
}

// What needs nobody is extended at once, but never beyond what a fresh request would get.
func TestExtendWithoutNeeds(t *testing.T) {
	w := newWorld(t)
	r, _ := w.granted("adam", "root@open") // 15 of at most 20 minutes
	_, err := w.extend("adam", r.ID, 6*time.Minute)
	refused(t, "beyond @max", err, "at most 20m")
	if got := w.mustExtend("adam", r.ID, 5*time.Minute); !got.Ends.Equal(w.time().Add(20*time.Minute)) || got.Extensions[0].State != control.Granted {
		t.Errorf("%+v", got)
	}
	_, err = w.extend("adam", r.ID, time.Second)
	refused(t, "one second more", err, "at most 20m")
	w.pass(time.Minute)
	w.mustExtend("adam", r.ID, time.Minute)
	w.proven()
}

func TestExtendIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		says string
		try  func(w *world, id string) error
	}{
		"somebody else's":  {"no request", func(w *world, id string) error { _, err := w.extend("adam", id, time.Minute); return err }},
		"an approver asks": {"only they can ask", func(w *world, id string) error { _, err := w.extend("bob", id, time.Minute); return err }},
		"too long":         {"at most 30m", func(w *world, id string) error { _, err := w.extend("alice", id, 16*time.Minute); return err }},
		"no reason": {"reason is missing", func(w *world, id string) error {
			_, err := w.Extend(w.who("alice"), id, time.Minute, " ")
			return err
		}},
		"no time":  {"not a time", func(w *world, id string) error { _, err := w.extend("alice", id, 0); return err }},
		"backward": {"not a time", func(w *world, id string) error { _, err := w.extend("alice", id, -time.Minute); return err }},
		"half a second": {"not a time", func(w *world, id string) error {
			_, err := w.extend("alice", id, 1500*time.Millisecond)
			return err
		}},
		"it is over": {"is ended", func(w *world, id string) error {
			w.pass(15 * time.Minute)
			_, err := w.extend("alice", id, time.Minute)
			return err
		}},
		"approved after the end": {"is ended", func(w *world, id string) error {
			w.mustExtend("alice", id, time.Minute)
			sig := w.sign("bob", "bob", control.Approve, id, "")
			w.pass(15 * time.Minute)
			_, err := w.Vote(w.who("bob"), id, control.Approve, "", sig)
			return err
		}},
		"the requester approves": {"nobody decides about their own", func(w *world, id string) error {
			w.mustExtend("alice", id, time.Minute)
			return w.approve("alice", id)
		}},
		"in another's name": {"not one of bob's", func(w *world, id string) error {
			w.mustExtend("alice", id, time.Minute)
			_, err := w.Vote(w.who("bob"), id, control.Approve, "", w.sign("bob", "alice", control.Approve, id, ""))
			return err
		}},
		"somebody of no group": {"none of the groups", func(w *world, id string) error {
			w.mustExtend("alice", id, time.Minute)
			return w.approve("olga", id)
		}},
		"the policy shrank": {"at most 10m", func(w *world, id string) error {
			w.mustExtend("alice", id, time.Minute)
			sig := w.sign("bob", "bob", control.Approve, id, "")
			w.reload(strings.Replace(dbaPhi1, "30m", "10m", 1))
			_, err := w.Vote(w.who("bob"), id, control.Approve, "", sig)
			return err
		}},
		"the policy wants more people": {"still waiting for 1 of ehr-owners", func(w *world, id string) error {
			w.reload(strings.Replace(dbaPhi1, "1 of privacy", "1 of privacy, 1 of ehr-owners", 1))
			_, err := w.extend("alice", id, time.Minute)
			return err
		}},
		"it was revoked": {"is revoked", func(w *world, id string) error {
			w.mustExtend("alice", id, time.Minute)
			sig := w.sign("bob", "bob", control.Approve, id, "")
			if _, err := w.revokeAs("olga", "request:"+id); err != nil {
				return err
			}
			_, err := w.Vote(w.who("bob"), id, control.Approve, "", sig)
			return err
		}},
		"the person is kept away": {"is revoked by olga until", func(w *world, id string) error {
			w.mustExtend("alice", id, time.Minute)
			sig := w.sign("bob", "bob", control.Approve, id, "")
			w.holdAs("olga", "approver:bob host:phi1", time.Hour)
			_, err := w.Vote(w.who("bob"), id, control.Approve, "", sig)
			return err
		}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r, _ := w.granted("alice", "root@phi1", "beth")
			before := w.show(r.ID).Ends
			refused(t, name, c.try(w, r.ID), c.says)
			if after := w.show(r.ID); after.Ends.After(before) {
				t.Errorf("it lasts until %s", after.Ends)
			}
			w.proven()
		})
	}
}

const dbaPhi1 = `@id("dba-phi1") @approve("1 of privacy") @max("30m")
permit (principal in Group::"dba", action in Action::"connect", resource in Host::"phi1");
`

// No signature fits anything but what was shown: not the approval of the request, not that of another extension, not the extension of
// another length, not the denial.
func TestSignaturesOfAnExtension(t *testing.T) {
	w := newWorld(t)
	r := w.ask("alice", "root@phi1")
	approval := w.sign("bob", "bob", control.Approve, r.ID, "")
	if _, err := w.Vote(w.who("bob"), r.ID, control.Approve, "", approval); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Certificate(w.who("alice"), r.ID, w.signers["alice"].PublicKey()); err != nil {
		t.Fatal(err)
	}
	vote := func(decision, because string, sig []byte) error {
		_, err := w.Vote(w.who("bob"), r.ID, decision, because, sig)
		return err
	}
	w.mustExtend("alice", r.ID, time.Minute)
	refused(t, "the approval of the request", vote(control.Approve, "", approval), "does not fit")
	first := w.sign("bob", "bob", control.Approve, r.ID, "")
	denial := w.sign("bob", "bob", control.Deny, r.ID, "no")
	refused(t, "the denial", vote(control.Approve, "", denial), "does not fit")

	w.mustExtend("alice", r.ID, 10*time.Minute) // instead of the minute
	refused(t, "a signature for less", vote(control.Approve, "", first), "does not fit")
	w.mustExtend("alice", r.ID, time.Minute)
	refused(t, "a signature for as much", vote(control.Approve, "", first), "does not fit")
	third := w.sign("bob", "bob", control.Approve, r.ID, "")
	if err := vote(control.Approve, "", third); err != nil {
		t.Fatal(err)
	}
	refused(t, "once more, and nothing waits", vote(control.Approve, "", third), "decided about")

	w.mustExtend("alice", r.ID, time.Minute)
	refused(t, "the last one's", vote(control.Approve, "", third), "does not fit")
	refused(t, "the denial of another", vote(control.Deny, "no", denial), "does not fit")
	if err := vote(control.Deny, "no", w.sign("bob", "bob", control.Deny, r.ID, "no")); err != nil {
		t.Fatal(err)
	}
	if got := w.show(r.ID); got.State != control.Granted || got.Extensions[3].State != control.Denied || !got.Ends.Equal(got.Began.Add(16*time.Minute)) {
		t.Errorf("%+v", got)
	}
	text := statement.About(w.show(r.ID), "postern-ca", control.Approve, "bob", "").Text()
	if strings.Contains(text, "extend") {
		t.Errorf("nothing waits:\n%s", text)
	}
	w.proven()
}

// An approver who is revoked takes what they extended along.
func TestRevokingWhoExtended(t *testing.T) {
	for _, target := range []string{"approver:bob", "person:alice", "key:%s"} {
		w := newWorld(t)
		r, _ := w.granted("alice", "root@phi1", "beth")
		w.mustExtend("alice", r.ID, time.Minute)
		if err := w.approve("bob", r.ID); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(target, "key") {
			target = "key:" + w.who("bob").Key
		}
		rev, err := w.revokeAs("olga", target)
		if err != nil || len(rev.Requests) != 1 || rev.Until.Before(w.show(r.ID).Ends) && !rev.Until.IsZero() {
			t.Errorf("%s: %+v %v", target, rev, err)
		}
		w.proven()
	}
}

// Whatever the order, a revocation wins: the grant is revoked, and nothing tells bastions that it lasts longer.
func TestExtensionsRaceWithRevocations(t *testing.T) {
	w := newWorld(t)
	for i := range 100 {
		r, _ := w.granted("alice", "root@phi1", "beth")
		w.mustExtend("alice", r.ID, time.Minute)
		sig := w.sign("bob", "bob", control.Approve, r.ID, "")
		cut := w.sign("olga", "olga", control.Revoke, "request:"+r.ID, "because")
		var both sync.WaitGroup
		both.Go(func() { _, _ = w.Vote(w.who("bob"), r.ID, control.Approve, "", sig) })
		var err error
		both.Go(func() {
			_, err = w.Revoke(w.who("olga"), Cut{Target: "request:" + r.ID, Because: "because"}, cut)
		})
		both.Wait()
		if err != nil {
			t.Fatal(i, err)
		}
		if got := w.show(r.ID).State; got != control.Revoked {
			t.Fatalf("%d: it is %s", i, got)
		}
		if list, _, _ := w.Extended(0); len(list) != 0 {
			t.Fatalf("%d: %v", i, list)
		}
	}
	w.proven()
}

// A grant ends when its window closes, to the second, and is not extended beyond.
func TestWindows(t *testing.T) {
	for condition, open := range map[string]time.Duration{
		"context.hour < 5": time.Hour,
		"context.now < datetime(\"2026-11-22T04:50:00Z\")":              50 * time.Minute,
		"context.now < datetime(\"2026-11-22T04:50:30Z\")":              50*time.Minute + 30*time.Second,
		"context.now.toTime() < duration(\"4h52m\")":                    52 * time.Minute,
		"context.weekday == 7 && context.hour >= 4 && context.hour < 5": time.Hour,
	} {
		t.Run(condition, func(t *testing.T) {
			w := newWorld(t)
			w.reload(strings.Replace(dbaPhi1, ");", fmt.Sprintf(") when { %s };", condition), 1))
			shut := w.time().Add(open)
			w.pass(45 * time.Minute)
			r, made := w.granted("alice", "root@phi1", "bob")
			want := shut
			if last := w.time().Add(15 * time.Minute); last.Before(want) {
				want = last
			}
			if got := w.show(r.ID); !got.Ends.Equal(want) || !made.NotAfter.Equal(want) {
				t.Errorf("it lasts until %s, the window closes %s", got.Ends, want)
			}
			if told := len(r.Notes) > 0 && strings.Contains(r.Notes[len(r.Notes)-1], "the rules allow this until"); told != (want == shut && open < time.Hour) {
				t.Errorf("notes: %q", r.Notes)
			}
			_, err := w.extend("alice", r.ID, time.Minute)
			refused(t, "beyond the window", err, "the rules allow it until "+shut.Format(time.RFC3339))
			w.pass(want.Sub(w.time()))
			_, err = w.open(made.Certificate, "root@phi1")
			refused(t, "after it", err, "is over")
			w.proven()
		})
	}
}

// A rule of another time of day that wants more people closes the window of who has fewer.
func TestAWindowOfFewerPeople(t *testing.T) {
	w := newWorld(t)
	w.reload(`@id("day") @approve("1 of privacy") @max("30m")
permit (principal in Group::"dba", action in Action::"connect", resource in Host::"phi1") when { context.hour < 5 };
@id("night") @approve("1 of privacy, 1 of ehr-owners") @max("30m")
permit (principal in Group::"dba", action in Action::"connect", resource in Host::"phi1") when { context.hour >= 5 };
`)
	w.pass(55 * time.Minute)
	r, _ := w.granted("alice", "root@phi1", "bob")
	if got := w.show(r.ID).Ends; !got.Equal(w.time().Add(5 * time.Minute)) {
		t.Errorf("it lasts until %s", got)
	}
	w.proven()
}

// Nothing in the log but what happened, in its order.
func TestLeavesOfAnExtension(t *testing.T) {
	w := newWorld(t)
	r, _ := w.granted("alice", "root@phi1", "bob")
	n := len(w.verified())
	w.mustExtend("alice", r.ID, time.Minute)
	if err := w.approve("beth", r.ID); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, e := range w.verified()[n:] {
		kinds = append(kinds, e.Type+" of "+e.Actor)
		if e.Type == auditlog.TypeExtension && (e.Extension.Request != r.ID || len(e.Extension.Votes) > 0) {
			t.Errorf("%+v", e.Extension)
		}
	}
	if got := strings.Join(kinds, ", "); got != "extension of alice, vote of beth, extension of ca" {
		t.Error(got)
	}
	w.proven()
}

// Whatever keeps a grant from lasting longer is told for what it is, also when it is no answer for the person who asked.
func TestRegarding(t *testing.T) {
	broken := errors.New("the row is damaged")
	for _, err := range []error{regarding(refuse("no rule"), "R-%d", 7), regarding(fmt.Errorf("deep: %w", refuse("no rule")), "R-%d", 7)} {
		refused(t, "a no", err, "R-7: no rule")
	}
	if err := regarding(broken, "R-%d", 7); !errors.Is(err, broken) || errors.As(err, new(*Refused)) {
		t.Errorf("%v", err)
	}
}
