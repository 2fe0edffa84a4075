package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

var requestsCommand = &cli.Command{
	Name:  "requests",
	Usage: "what is asked for and what is granted now",
	Flags: []cli.Flag{&cli.BoolFlag{Name: "all", Usage: "what is over, too"}, jsonFlag},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		words := []string{"requests"}
		if c.Bool("all") {
			words = append(words, "--all")
		}
		requests, err := control.List[control.Request](c.Context, ca.Client, words...)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return jsonLines(requests)
		}
		return printRequests(requests, time.Now())
	},
}

func printRequests(requests []control.Request, now time.Time) error {
	rows := [][]string{{"REQUEST", "STATE", "WHO", "WHAT", "FOR", "UNTIL", "WAITS FOR", "REASON"}}
	for _, r := range requests {
		until, waits := r.Ends, ""
		if h, held := r.Held(); held {
			waits = fmt.Sprintf("%s, to release it: %s", waitingFor(r), h.What())
		} else if e, extending := r.Extending(); extending {
			waits = fmt.Sprintf("%s, to extend it by %s: %s", waitingFor(r), short(time.Duration(e.ForSeconds)*time.Second), e.Reason)
		} else if r.State == control.Pending {
			waits = waitingFor(r)
		}
		if until.IsZero() && (r.State == control.Pending || r.State == control.Approved) {
			until = r.ClaimBy
		}
		rows = append(rows, []string{r.ID, r.State, r.Person, strings.Join(r.Targets, " "),
			short(time.Duration(r.ForSeconds) * time.Second), when(until, now), waits, r.Reason})
	}
	return rowsOr(rows, "no requests")
}

var showCommand = &cli.Command{
	Name:      "show",
	Usage:     "one request, with its approvals",
	ArgsUsage: "R-…",
	Flags:     []cli.Flag{jsonFlag},
	Action: func(c *cli.Context) error {
		args, err := command.Exactly(c, "R-…")
		if err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		request, err := control.Call[control.Request](c.Context, ca.Client, nil, "show", args[0])
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return jsonLine(os.Stdout, request)
		}
		return printRequest(request, time.Now())
	},
}

func printRequest(r control.Request, now time.Time) error {
	pairs := []string{
		"request", r.ID,
		"state", r.State,
		"who", r.Person + " with key " + r.Key,
		"what", strings.Join(r.Targets, ", "),
		"may", strings.Join(r.Capabilities, ", "),
		"leads to", strings.Join(r.Destinations, ", "),
		"recorded", recordedOf(r),
		"for", short(time.Duration(r.ForSeconds) * time.Second),
		"emergency", owed(r),
		"reason", r.Reason,
		"rules", strings.Join(r.Rules, ", ") + " of policy " + r.Policy,
		"needs", needs(r),
		"asked", when(r.Created, now),
	}
	switch r.State {
	case control.Pending, control.Approved:
		pairs = append(pairs, "claim by", when(r.ClaimBy, now))
	}
	pairs = append(pairs, "began", when(r.Began, now), "ends", when(r.Ends, now))
	for _, v := range r.Votes {
		pairs = append(pairs, strings.TrimSpace(v.Decision+" "+v.Verdict), fmt.Sprintf("%s, %s, key %s", v.Person, when(v.At, now), v.Key))
	}
	for _, h := range r.Halts {
		pairs = append(pairs, "held", fmt.Sprintf("%s, %s: %s", when(h.At, now), h.State, h.What()))
		for _, v := range h.Votes {
			pairs = append(pairs, v.Decision, fmt.Sprintf("%s, %s, key %s", v.Person, when(v.At, now), v.Key))
		}
	}
	for _, e := range r.Extensions {
		pairs = append(pairs, "extension", fmt.Sprintf("by %s until %s, %s: %s", short(time.Duration(e.ForSeconds)*time.Second), when(e.Ends, now), e.State, e.Reason))
		for _, v := range e.Votes {
			pairs = append(pairs, v.Decision, fmt.Sprintf("%s, %s, key %s", v.Person, when(v.At, now), v.Key))
		}
	}
	return facts(os.Stdout, pairs...)
}

func recordedOf(r control.Request) string {
	if r.Record == nil {
		return "" // asked before requests said so
	}
	return strings.Join(kept(*r.Record, r.Capabilities), ", ")
}

func needs(r control.Request) string {
	if len(r.Needs) == 0 {
		return "nobody's approval"
	}
	var all []string
	for _, need := range r.Needs {
		text := fmt.Sprintf("%d of %s", need.Count, need.Group)
		if len(need.Have) > 0 {
			text += " (has " + strings.Join(need.Have, ", ") + ")"
		}
		all = append(all, text)
	}
	if r.PIN {
		all = append(all, "signed with a FIDO key's PIN")
	} else if r.Touch {
		all = append(all, "signed with a FIDO key's touch")
	}
	return strings.Join(all, ", ")
}
