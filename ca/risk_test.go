package ca

import (
	"slices"
	"strings"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// limited puts a rule with limits into force, by which alice may open everything with an approval.
func (w *world) limited(limits string) {
	w.t.Helper()
	w.reload(`@id("limited")
@approve("1 of privacy")
@max("30m")
@limits("` + limits + `")
permit (principal in Group::"dba", action in Action::"connect", resource);
`)
}

func (w *world) openFrom(cert control.Certificate, address string) (control.OpenReply, error) {
	return w.OpenSession(w.who("bastion-1"), control.OpenRequest{
		Certificate: cert.Certificate, Target: "root@phi1", SessionKey: line(w.signers["stranger"].PublicKey()), Client: address,
	})
}

// types are the kinds of the last leaves.
func types(entries []auditlog.Entry, n int) (list []string) {
	for _, e := range entries[len(entries)-n:] {
		list = append(list, e.Type)
	}
	return list
}

func TestALimitCutsTheGrant(t *testing.T) {
	for action, also := range map[string]bool{"revoke": false, "revoke-person": true} {
		t.Run(action, func(t *testing.T) {
			w := newWorld(t)
			w.limited("bytes-out 100M " + action + "; denied 3 log")
			_, other := w.granted("alice", "root@phi2", "bob")
			r, made := w.granted("alice", "root@phi1", "bob")
			if r.Limits != "bytes-out 100M "+action+"; denied 3 log" {
				t.Fatalf("the request is limited to %q", r.Limits)
			}
			reply, err := w.open(made.Certificate, "root@phi1")
			if err != nil || reply.Session.Limits != r.Limits {
				t.Fatalf("%+v %v", reply.Session, err)
			}
			bastion := w.who("bastion-1")
			crossed := control.Risk{Session: reply.Session.ID, Limit: "bytes-out 100M " + action, Count: 100<<20 + 5, At: w.time()}
			for name, lie := range map[string]func(*control.Risk){
				"no such limit":      func(r *control.Risk) { r.Limit = "bytes-out 1M revoke" },
				"another action":     func(r *control.Risk) { r.Limit = "bytes-out 100M hold" },
				"not crossed":        func(r *control.Risk) { r.Count = 100 << 20 },
				"no such session":    func(r *control.Risk) { r.Session = "S-0000000000" },
				"no session":         func(r *control.Risk) { r.Session = "" },
				"no limit":           func(r *control.Risk) { r.Limit = "" },
				"of another counter": func(r *control.Risk) { r.Limit = "denied 3 revoke" },
			} {
				told := crossed
				lie(&told)
				if err := w.Risk(bastion, told); err == nil {
					t.Errorf("%s was taken", name)
				}
			}
			refused(t, "a person", w.Risk(w.who("adam"), crossed), "only bastions")
			for range 2 { // told twice, it counts once
				if err := w.Risk(bastion, crossed); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Risk(bastion, control.Risk{Session: reply.Session.ID, Limit: "denied 3 log", Count: 4, At: w.time().Add(time.Hour)}); err != nil {
				t.Fatal(err)
			}
			_, err = w.open(made.Certificate, "root@phi1")
			refused(t, "again", err, r.ID+" is revoked")
			_, err = w.open(other.Certificate, "root@phi2")
			if (err != nil) != also {
				t.Errorf("the other grant: %v", err)
			}
			w.proven()
			entries := w.verified()
			if i := slices.IndexFunc(entries, func(e auditlog.Entry) bool { return e.Revocation != nil }); entries[i].Revocation.By != "policy" || entries[i].Actor != "policy" {
				t.Errorf("%+v", entries[i])
			}
		})
	}
}

func TestALimitHoldsTheGrant(t *testing.T) {
	w := newWorld(t)
	w.limited("files-read 20 hold")
	_, made := w.granted("alice", "root@phi1", "bob")
	reply, err := w.open(made.Certificate, "root@phi1")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Risk(w.who("bastion-1"), control.Risk{Session: reply.Session.ID, Limit: "files-read 20 hold", Count: 21, At: w.time()}); err != nil {
		t.Fatal(err)
	}
	_, err = w.open(made.Certificate, "root@phi1")
	refused(t, "the held grant", err, "is held: it crossed the limit files-read 20 hold")
	_, fresh := w.granted("alice", "root@phi1", "bob")
	if _, err := w.open(fresh.Certificate, "root@phi1"); err != nil {
		t.Errorf("after a fresh approval: %v", err)
	}
	w.proven()
}

// What a later policy limits more strictly counts for what was granted before, and what it no longer limits as well.
func TestLimitsOfBothPolicies(t *testing.T) {
	w := newWorld(t)
	w.limited("denied 5 hold; files-read 9 log; sessions-hour 1 log")
	_, made := w.granted("alice", "root@phi1", "bob")
	w.limited("denied 3 revoke; bytes-out 1G warn; sessions-hour 1 warn")
	if _, err := w.open(made.Certificate, "root@phi1"); err != nil {
		t.Fatal(err)
	}
	reply, err := w.open(made.Certificate, "root@phi1")
	if want := "bytes-out 1G warn; files-read 9 log; denied 3 revoke; sessions-hour 1 warn"; err != nil || reply.Session.Limits != want {
		t.Errorf("%q %v", reply.Session.Limits, err)
	}
	w.proven()
}

func TestSessionsAnHour(t *testing.T) {
	w := newWorld(t)
	w.limited("sessions-hour 2 warn; sessions-hour 3 revoke")
	_, made := w.granted("alice", "root@phi1", "bob")
	for n := 1; n <= 3; n++ {
		reply, err := w.open(made.Certificate, "root@phi1")
		if err != nil || (len(reply.Warnings) > 0) != (n == 3) {
			t.Fatalf("session %d: %v %q", n, err, reply.Warnings)
		}
		w.pass(time.Second)
	}
	_, err := w.open(made.Certificate, "root@phi1")
	refused(t, "the fourth", err, "limit sessions-hour 3 revoke was crossed")
	_, err = w.open(made.Certificate, "root@phi1")
	refused(t, "the fifth", err, "is revoked")
	w.proven()
	entries := w.verified()
	if got := strings.Join(types(entries, 3), " "); got != "risk state revocation" {
		t.Errorf("the log ends with %s", got)
	}
	w.pass(time.Hour)
	_, made = w.granted("alice", "root@phi1", "bob")
	if reply, err := w.open(made.Certificate, "root@phi1"); err != nil || len(reply.Warnings) > 0 {
		t.Errorf("an hour later: %v %q", err, reply.Warnings)
	}
	w.proven()
}

func TestANewAddress(t *testing.T) {
	w := newWorld(t)
	w.limited("sources 1 notify; sources 2 hold")
	_, made := w.granted("alice", "root@phi1", "bob")
	for _, c := range []struct{ from, refused string }{
		{"192.0.2.1:1000", ""}, {"192.0.2.1:2000", ""}, {"[::ffff:192.0.2.1]:3000", ""}, {"192.0.2.2:1000", ""}, {"192.0.2.1:1000", ""},
		{"192.0.2.3:1000", "limit sources 2 hold was crossed"},
		{"192.0.2.1:1000", "is held"},
	} {
		w.pass(time.Second)
		if _, err := w.openFrom(made, c.from); c.refused != "" {
			refused(t, c.from, err, c.refused)
		} else if err != nil {
			t.Errorf("%s: %v", c.from, err)
		}
	}
	// A grant that somebody approved after that is good from there; one from before is not.
	w.pass(time.Second)
	_, fresh := w.granted("alice", "root@phi1", "bob")
	if _, err := w.openFrom(fresh, "192.0.2.3:1000"); err != nil {
		t.Errorf("after a fresh approval: %v", err)
	}
	if _, err := w.openFrom(fresh, "192.0.2.3:1001"); err != nil {
		t.Errorf("from there again: %v", err)
	}
	_, err := w.openFrom(fresh, "192.0.2.4:1000")
	refused(t, "the next", err, "limit sources 2 hold")
	w.proven()
	var told []string
	for _, e := range w.verified() {
		if e.Risk != nil {
			told = append(told, e.Risk.Action)
		}
	}
	if got := strings.Join(told, " "); got != "notify hold notify hold hold" {
		t.Errorf("the log has crossings with %s", got)
	}
}
