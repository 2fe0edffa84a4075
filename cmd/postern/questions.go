package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"postern/internal/control"
)

// What watch-requests can ask of somebody about a request: each is the command that does it too.
const (
	toApprove = control.Approve // the request, more time, or what a limit holds
	toReview  = control.Review  // an emergency that is over
	toClear   = control.Clear   // the person of one that was misused
)

// prompts are by what is asked. No letter means one thing here and another there.
var prompts = map[string]string{
	toApprove: "[a]pprove, [d]eny WHY, [o]pen, [s]kip",
	toReview:  "[j]ustified WHY, [m]isused WHY, [o]pen, [s]kip",
	toClear:   "[c]lear WHY, [o]pen, [s]kip",
}

// answers are the letters of a prompt and what they sign.
var answers = map[string]map[string]said{
	toApprove: {"a": {decision: control.Approve}, "d": {decision: control.Deny}},
	toReview:  {"j": {decision: control.Review, verdict: control.Justified}, "m": {decision: control.Review, verdict: control.Misused}},
	toClear:   {"c": {decision: control.Clear}},
}

// answer is what a line that was typed would sign, or what is wrong with it.
func answer(kind, verb, because string) (said, string) {
	for letter, s := range answers[kind] {
		word := s.verdict
		if word == "" {
			word = s.decision
		}
		switch {
		case verb != letter && verb != word:
		case s.decision == control.Approve && because == "":
			return s, ""
		case s.decision == control.Approve:
			return s, "an approval carries no reason: a, and nothing else"
		case because == "":
			return s, "say why: " + letter + " REASON"
		default:
			s.because = because
			return s, ""
		}
	}
	return said{}, "the answers are: " + prompts[kind]
}

// asks is what waits for this person of a request, or nothing: of a group that is still missing, not theirs, not decided by them.
func (w *watcher) asks(r control.Request) string {
	votes, needs := r.Votes, r.Needs
	e, extending := r.Extending()
	h, held := r.Held()
	review := r.Owes != nil && !r.Began.IsZero() && r.State != control.Granted
	switch {
	case r.Person == w.me.Name:
		return ""
	case held:
		votes, needs = h.Votes, h.Needs
	case extending:
		votes, needs = e.Votes, e.Needs
	case review && r.Owes.Settled():
		return ""
	case review && !r.Owes.Done.IsZero():
		return w.clears(r)
	case review:
		needs = r.Owes.Needs
	case r.State != control.Pending:
		return ""
	}
	decided := slices.ContainsFunc(votes, func(v control.Vote) bool { return v.Person == w.me.Name })
	needed := slices.ContainsFunc(needs, func(n control.Need) bool {
		return len(n.Have) < n.Count && slices.Contains(w.me.Groups, n.Group)
	})
	switch {
	case decided || !needed:
		return ""
	case review && !held && !extending:
		return toReview
	}
	return toApprove
}

// clears says whether this person is another pair of eyes on a misuse.
func (w *watcher) clears(r control.Request) string {
	found := slices.ContainsFunc(r.Votes, func(v control.Vote) bool { return v.Person == w.me.Name && v.Verdict == control.Misused })
	if found || !slices.ContainsFunc(r.Owes.Needs, func(n control.Need) bool { return slices.Contains(w.me.Groups, n.Group) }) {
		return ""
	}
	return toClear
}

// became is what there is to say of a request that waits for this person no more.
func became(r control.Request) string {
	if text := owed(r); text != "" && !r.Owes.Done.IsZero() {
		return text
	}
	return r.State
}

func (w *watcher) showReview(r control.Request, kind string) {
	now := time.Now()
	what, due := "an emergency of "+r.Person+" on "+strings.Join(r.Targets, ", ")+" is over", "review by "+when(r.Owes.By, now)
	if r.Overdue(now) {
		due = colour(red, "OVERDUE since "+when(r.Owes.By, now))
	}
	if kind == toClear {
		what, due = "an emergency of "+r.Person+" on "+strings.Join(r.Targets, ", ")+" was found misused", r.Person+" gets no other one until somebody clears them"
	}
	fmt.Printf("\n%s  %s: %s\n  began %s, ended %s; %s\n", colour(bold, r.ID), word(what), word(r.Reason), clock(r.Began, now), clock(r.Ends, now), due)
	for _, v := range r.Votes {
		if v.Decision == control.Review {
			fmt.Printf("  %s found it %s\n", word(v.Person), word(v.Verdict))
		}
	}
	if !w.ask {
		fmt.Printf("  postern %s %s\n", kind, r.ID)
	}
}

// open shows all of a request, and for a review where to look.
func (w *watcher) open(r control.Request, kind string) {
	if err := printRequest(r, time.Now()); err != nil {
		fmt.Fprintln(os.Stderr, "postern: "+visible(err.Error()))
		return
	}
	if kind == toApprove {
		return
	}
	sessions, err := control.List[control.Session](w.cli.Context, w.ca.Client, "sessions")
	if err != nil {
		fmt.Fprintln(os.Stderr, "postern: "+visible(err.Error()))
		return
	}
	none := true
	for _, s := range sessions {
		if s.Request == r.ID {
			none = false
			fmt.Printf("look at it in another window: postern replay %s --reason \"review of %s\"\n", word(s.ID), r.ID)
		}
	}
	if none {
		fmt.Println("its sessions are not yours to see, or there are none; an auditor can look together with you: postern sessions")
	}
}
