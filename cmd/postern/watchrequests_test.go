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
	w.states = func(r control.Request, s said) (*stated, error) { return &stated{request: r, said: s}, nil }
	w.signs = func(s *stated) (control.Request, error) {
		signed = append(signed, s.request.ID+" "+s.request.Digest+" "+s.said.decision+s.said.verdict+s.said.because)
		return s.request, nil
	}
	types := func(text string) { w.answered(typed{text, time.Now()}) }
	agrees := func(text string) {
		types(text)
		types("y")
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
	agrees("A")
	want("the first", "R-1 one approve")

	ask("R-3", "three", control.Pending)
	ask("R-2", "two", control.Withdrawn) // while bob reads it
	agrees("a")
	want("one that is gone")
	agrees("d Not Today")
	want("the next", "R-3 three denyNot Today")

	ask("R-4", "four", control.Pending)
	ask("R-5", "five", control.Pending)
	ask("R-4", "another", control.Pending) // the CA shows something else under the same name
	agrees("a")
	want("one that is not what was shown")
	agrees("approve")
	want("what is asked about now", "R-5 five approve")
	agrees("approve it")
	want("words that mean nothing")
	types("s")
	agrees("a")
	want("nothing left")
	w.asked = ""

	// Nothing is signed before its statement stood there, and nothing but a yes signs it.
	ask("R-6", "six", control.Pending)
	types("a")
	want("before the statement was agreed to")
	w.answered(typed{"y", time.Now().Add(-time.Minute)})
	want("a yes from before it was shown")
	ask("R-7", "seven", control.Pending)
	if w.stand == nil || w.asked != "R-6" {
		t.Fatal("what came meanwhile took the place of the statement")
	}
	types("no")
	want("a no")
	types("a")
	types("")
	want("an empty line")
	types("a")
	ask("R-6", "another", control.Pending)
	types("y")
	want("what became something else under the question")
	types("")
	types("y")
	want("a yes to no statement")
	agrees("a")
	want("the next", "R-7 seven approve")
}

// A review is not answered with the word that was typed for an approval, nor the other way round, and both want their reasons.
func TestReviewsAreAsked(t *testing.T) {
	var signed []string
	w := &watcher{cli: cli.NewContext(nil, flag.NewFlagSet("", 0), nil), me: control.Identity{Name: "bob", Groups: []string{"privacy"}}, ask: true}
	w.states = func(r control.Request, s said) (*stated, error) { return &stated{request: r, said: s}, nil }
	w.signs = func(s *stated) (control.Request, error) {
		signed = append(signed, s.request.ID+" "+s.said.decision+" "+s.said.verdict+" "+s.said.because)
		s.request.Owes.Found(s.said.verdict, true, time.Now())
		return s.request, nil
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
		w.answered(typed{text, time.Now()})
		if w.stand != nil {
			w.answered(typed{"y", time.Now()})
		}
		if !slices.Equal(signed, want) {
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
