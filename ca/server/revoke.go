package server

import (
	"context"
	"fmt"
	"strconv"
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
	fmt.Fprintf(&text, "%s would hit %s, %s and %s\n", reach.Target, plural(reach.Grants, "grant"),
		plural(reach.Certificates, "certificate"), plural(reach.LiveSessions(), "live session"))
	for _, r := range reach.Requests {
		fmt.Fprintf(&text, "%s %s %s %s\n", r.ID, r.State, r.Person, strings.Join(r.Targets, ","))
	}
	for _, s := range reach.Sessions {
		fmt.Fprintf(&text, "%s live %s %s through %s\n", s.ID, s.Person, s.Target, s.Bastion)
	}
	if more := reach.Grants - len(reach.Requests) + reach.LiveSessions() - len(reach.Sessions); more > 0 {
		fmt.Fprintf(&text, "and %d more grants and sessions\n", more)
	}
	return c.answer(reach, "%s", text.String())
}

func cutReceipt(_ context.Context, c *call) error {
	var r control.CutReceipt
	if err := c.inputJSON(&r); err != nil {
		return err
	}
	return c.ca.CutReceipt(c.caller, r)
}

// longestWait bounds how long receipts are waited for: a bastion that is away may never tell.
const longestWait = time.Minute

// receipts prints those of one revocation; with --wait also those that come within that time.
func receipts(ctx context.Context, c *call) error {
	seq, err := strconv.ParseUint(c.args[0], 10, 64)
	if err != nil {
		return misused("%q is not the number of a revocation", c.args[0])
	}
	if !c.ca.May(c.caller, "audit") && !c.ca.May(c.caller, "revoke") {
		return &ca.Refused{Message: c.caller.Name + " may not see what was cut: no rule permits audit or revoke"}
	}
	var patience time.Duration
	if c.has("wait") {
		if patience, err = time.ParseDuration(c.options["wait"]); err != nil || patience < 0 || patience > longestWait {
			return misused("--wait %q is not a time up to %s", c.options["wait"], longestWait)
		}
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	seen := map[string]bool{}
	for {
		changed := c.ca.Changed()
		list, err := c.ca.CutReceipts(seq)
		if err != nil {
			return err
		}
		for _, r := range list {
			id := fmt.Sprintf("%s/%d", r.Bastion, r.Part)
			if seen[id] {
				continue
			}
			seen[id] = true
			if err := c.answer(control.Told{CutReceipt: r}, "%s heard %s, ended %s\n", r.Bastion, r.Heard.Format(time.RFC3339Nano), plural(len(r.Sessions), "session")); err != nil {
				return err
			}
		}
		if err := c.hostAccounts(seq, seen); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-late.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// hostAccounts prints what hosts told of a revocation and was not printed yet.
func (c *call) hostAccounts(seq uint64, seen map[string]bool) error {
	list, err := c.ca.HostAccounts(seq)
	if err != nil {
		return err
	}
	for _, e := range list {
		id := fmt.Sprintf("%s %s %d", e.Host, e.Session, e.Left)
		if seen[id] {
			continue
		}
		seen[id] = true
		if err := c.answer(control.Told{CutReceipt: control.CutReceipt{Seq: seq}, HostEnded: &e}, "%s\n", e); err != nil {
			return err
		}
	}
	return nil
}
