package server

import (
	"context"

	"postern/ca"
	"postern/internal/control"
)

// printLog prints leaves, and with --follow those that come, as they are committed.
func printLog(ctx context.Context, c *call) error {
	from, err := c.number("from")
	if err != nil {
		return err
	}
	to, err := c.number("to")
	if err != nil {
		return err
	}
	if c.has("follow") && c.has("to") {
		return misused("--follow has no end, so no --to")
	}
	// Auditors read all of it; so does whoever the policy lets revoke. Others have their own requests and sessions.
	if err := c.mayReadLog(); err != nil {
		return err
	}
	if c.has("follow") {
		return c.ca.Follow(ctx, int64(from), func(leaves []control.Leaf) error { return c.follow(leaves) })
	}
	if to > 0 && to <= from {
		return nil
	}
	return c.ca.Leaves(int64(from), int64(to), c.leaf)
}

func (c *call) mayReadLog() error {
	if !c.ca.May(c.caller, "audit") && !c.ca.May(c.caller, "revoke") {
		return &ca.Refused{Message: c.caller.Name + " may not read the log: no rule permits audit or revoke"}
	}
	return nil
}

// follow prints a batch to one who may read the log still: a stream outlives the policy it began under.
func (c *call) follow(leaves []control.Leaf) error {
	if _, err := c.ca.Identify(c.key); err != nil {
		return err
	}
	if err := c.mayReadLog(); err != nil {
		return err
	}
	for _, l := range leaves {
		if err := c.leaf(l); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) leaf(l control.Leaf) error { return c.answer(l, "%d %s\n", l.Index, l.Data) }
