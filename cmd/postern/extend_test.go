package main

import (
	"strings"
	"testing"
	"time"

	"postern/ca/statement"
	"postern/internal/control"
)

func extending() control.Request {
	r := shownRequest()
	r.State, r.ClaimBy, r.Ends = control.Granted, r.Created, r.Created.Add(15*time.Minute)
	r.Needs = []control.Need{{Count: 1, Group: "privacy", Have: []string{"bob"}}}
	r.Extensions = []control.Extension{{
		Number: 1, State: control.Pending, ForSeconds: 900, Ends: r.Ends.Add(15 * time.Minute), Reason: "longer", Nonce: "22",
		Needs: []control.Need{{Count: 1, Group: "privacy"}},
	}}
	return r
}

// What an extension says is shown and signed to the byte, and no approval of a request is signed for it, nor the other way round.
func TestWhatYouSeeOfAnExtension(t *testing.T) {
	r := extending()
	want := statement.About(r, "postern-ca", control.Approve, "bob", "")
	if err := checkDecision(want.Text(), r, want); err != nil {
		t.Fatal(err)
	}
	if want.Decision != control.Extend || !strings.Contains(want.Text(), "\nextend-by: 15m0s\n") {
		t.Fatal(want.Text())
	}
	for name, lie := range map[string]func(*control.Request){
		"longer":              func(r *control.Request) { r.Extensions[0].ForSeconds = 3600 },
		"a later end":         func(r *control.Request) { r.Extensions[0].Ends = r.Ends.Add(time.Hour) },
		"another reason":      func(r *control.Request) { r.Extensions[0].Reason = "party" },
		"another nonce":       func(r *control.Request) { r.Extensions[0].Nonce = "33" },
		"another number":      func(r *control.Request) { r.Extensions[0].Number = 2 },
		"one that is over":    func(r *control.Request) { r.Extensions[0].State = control.Granted },
		"none, but a request": func(r *control.Request) { r.State, r.Extensions = control.Pending, nil },
	} {
		signed := extending()
		lie(&signed)
		if err := checkDecision(statement.About(signed, "postern-ca", control.Approve, "bob", "").Text(), r, want); err == nil {
			t.Errorf("signed %s", name)
		}
	}
	revoke := statement.About(r, "postern-ca", control.Revoke, "bob", "x").Text()
	after := extending()
	after.Extensions[0].State, after.Ends, after.NotAfter = control.Granted, after.Extensions[0].Ends, after.Extensions[0].Ends
	if now := statement.About(after, "postern-ca", control.Revoke, "bob", "x").Text(); now != revoke {
		t.Errorf("a revocation that was signed before no longer fits:\n%s\n%s", revoke, now)
	}
}

// Whoever watches is asked about extensions of requests that they have approved already.
func TestExtensionsAreWatched(t *testing.T) {
	w := watcher{me: control.Identity{Name: "bob", Groups: []string{"privacy"}}}
	r := extending()
	r.Votes = []control.Vote{{Decision: control.Approve, Person: "bob"}}
	if w.asks(r) == "" {
		t.Error("it is bob's")
	}
	r.Extensions[0].Votes = []control.Vote{{Decision: control.Extend, Person: "bob"}}
	if w.asks(r) != "" {
		t.Error("bob has signed it")
	}
	r.Extensions[0].State = control.Granted
	if w.asks(r) != "" {
		t.Error("nothing waits")
	}
	w.me = control.Identity{Name: "alice", Groups: []string{"privacy"}}
	if w.asks(extending()) != "" {
		t.Error("it is alice's own")
	}
}
