package main

import (
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/control"
)

// An answer is for the request that the prompt names, whatever happened to the queue since.
func TestAnAnswerIsForWhatWasAsked(t *testing.T) {
	var signed []string
	w := &watcher{cli: cli.NewContext(nil, flag.NewFlagSet("", 0), nil), me: control.Identity{Name: "bob", Groups: []string{"dba"}}, ask: true}
	w.decides = func(r control.Request, s said) (control.Request, error) {
		signed = append(signed, r.ID+" "+r.Digest+" "+s.decision+s.verdict+s.because)
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

// A review is not answered with the word that was typed for an approval, nor the other way round, and both want their reasons.
func TestReviewsAreAsked(t *testing.T) {
	var signed []string
	w := &watcher{cli: cli.NewContext(nil, flag.NewFlagSet("", 0), nil), me: control.Identity{Name: "bob", Groups: []string{"privacy"}}, ask: true}
	w.decides = func(r control.Request, s said) (control.Request, error) {
		signed = append(signed, r.ID+" "+s.decision+" "+s.verdict+" "+s.because)
		r.Owes.Found(s.verdict, true, time.Now())
		return r, nil
	}
	over := func(person string, owes control.ReviewOf, votes ...control.Vote) control.Request {
		owes.Needs = []control.Need{{Count: 1, Group: "privacy"}}
		return control.Request{ID: "R-1", Digest: "one", State: control.Ended, Person: person, Began: time.Now(), Owes: &owes, Votes: votes}
	}
	heard := func(r control.Request) {
		t.Helper()
		if err := w.heard(r); err != nil {
			t.Fatal(err)
		}
	}
	say := func(text string, want ...string) {
		t.Helper()
		if w.answered(text); !slices.Equal(signed, want) {
			t.Errorf("%q: signed %q, want %q", text, signed, want)
		}
		signed = nil
	}
	running := over("alice", control.ReviewOf{})
	running.State = control.Granted
	heard(running)
	heard(over("bob", control.ReviewOf{}))
	say("j fine")
	heard(over("alice", control.ReviewOf{}))
	say("a")
	say("j")
	say("misused")
	say("o no, wait")
	say("m read the mayor's file", "R-1 review misused read the mayor's file")

	// Who found it is not asked to clear it; who did not is.
	found := control.ReviewOf{Done: time.Now(), Verdict: control.Misused}
	heard(over("alice", found, control.Vote{Person: "bob", Decision: control.Review, Verdict: control.Misused}))
	say("c fine")
	heard(over("alice", found, control.Vote{Person: "beth", Decision: control.Review, Verdict: control.Misused}))
	say("j fine")
	say("c")

	// The review turns into something else while bob types: his words were for what it was.
	heard(over("alice", control.ReviewOf{}))
	say("c we talked")
	say("")
	heard(over("alice", found, control.Vote{Person: "beth", Decision: control.Review, Verdict: control.Misused}))
	say("j fine")
	say("c we talked", "R-1 clear  we talked")
}
