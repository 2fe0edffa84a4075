package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"postern/ca"
	"postern/internal/control"
)

// wantedCut is what the words of revoke, and of show for a revocation, say.
func (c *call) wantedCut() (ca.Cut, error) {
	cut := ca.Cut{Target: strings.Join(c.args, " "), Because: c.options["reason"]}
	if !c.has("for") {
		return cut, nil
	}
	d, err := time.ParseDuration(c.options["for"])
	if err != nil || d < time.Second {
		return cut, misused("--for %q is not a time such as 2h", c.options["for"])
	}
	cut.For = d
	return cut, nil
}

func showCut(c *call) error {
	cut, err := c.wantedCut()
	if err != nil {
		return err
	}
	text, err := c.ca.CutStatement(c.caller, cut)
	if err != nil {
		return err
	}
	return c.statement(text)
}

func revoke(_ context.Context, c *call) error {
	cut, err := c.wantedCut()
	if err != nil {
		return err
	}
	if c.has("dry-run") {
		return wouldCut(c, cut)
	}
	signature, err := c.signature(control.Revoke)
	if err != nil {
		return err
	}
	rev, err := c.ca.Revoke(c.caller, cut, signature)
	if err != nil {
		return err
	}
	return c.answer(rev, "revocation %d: %s, %s\n", rev.Seq, rev.Target(), plural(len(rev.Requests), "grant"))
}

func wouldCut(c *call, cut ca.Cut) error {
	reach, err := c.ca.Reach(c.caller, cut)
	if err != nil {
		return err
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s would hit %s, %s and %s\n", reach.Target, plural(len(reach.Requests), "grant"),
		plural(reach.Certificates, "certificate"), plural(len(reach.Sessions), "live session"))
	for _, r := range reach.Requests {
		fmt.Fprintf(&text, "%s %s %s %s\n", r.ID, r.State, r.Person, strings.Join(r.Targets, ","))
	}
	for _, s := range reach.Sessions {
		fmt.Fprintf(&text, "%s live %s %s through %s\n", s.ID, s.Person, s.Target, s.Bastion)
	}
	return c.answer(reach, "%s", text.String())
}
