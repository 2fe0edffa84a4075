package main

import (
	"flag"
	"slices"
	"testing"

	"github.com/urfave/cli/v2"

	"postern/internal/control"
)

// An answer is for the request that the prompt names, whatever happened to the queue since.
func TestAnAnswerIsForWhatWasAsked(t *testing.T) {
	var signed []string
	w := &watcher{cli: cli.NewContext(nil, flag.NewFlagSet("", 0), nil), me: control.Identity{Name: "bob", Groups: []string{"dba"}}, ask: true}
	w.decides = func(r control.Request, decision, because string) (control.Request, error) {
		signed = append(signed, r.ID+" "+r.Digest+" "+decision+because)
		return r, nil
	}
	ask := func(id, digest, state string, votes ...control.Vote) {
		t.Helper()
		r := control.Request{ID: id, Digest: digest, State: state, Person: "alice", Needs: []control.Need{{Count: 2, Group: "dba"}}, Votes: votes}
		if err := w.heard(r); err != nil {
			t.Fatal(err)
		}
	}
	want := func(what string, list ...string) {
		t.Helper()
		if !slices.Equal(signed, list) {
			t.Errorf("%s: signed %q, want %q", what, signed, list)
		}
		signed = nil
	}
	ask("R-1", "one", control.Pending)
	ask("R-2", "two", control.Pending)
	ask("R-1", "one", control.Pending, control.Vote{Person: "dana"}) // somebody else approved, which changes nothing for bob
	w.answered("A")
	want("the first", "R-1 one approve")

	ask("R-3", "three", control.Pending)
	ask("R-2", "two", control.Withdrawn) // while bob reads it
	w.answered("a")
	want("one that is gone")
	w.answered("d Not Today")
	want("the next", "R-3 three denyNot Today")

	ask("R-4", "four", control.Pending)
	ask("R-5", "five", control.Pending)
	ask("R-4", "another", control.Pending) // the CA shows something else under the same name
	w.answered("a")
	want("one that is not what was shown")
	w.answered("approve")
	want("what is asked about now", "R-5 five approve")
	w.answered("approve it")
	want("words that mean nothing")
	w.answered("s")
	w.answered("a")
	want("nothing left")
}
