package server

import (
	"context"
	"slices"

	"postern/internal/control"
)

// followRequests prints the live requests that the caller may see, and then each one again whenever it changed, or is gone.
func followRequests(ctx context.Context, c *call) error {
	shown := map[string]control.Request{}
	for {
		moved := c.ca.Moved()
		// A stream outlives the policy it began under, and the key.
		caller, err := c.ca.Identify(c.key)
		if err != nil {
			return err
		}
		list, err := c.ca.Requests(caller, false)
		if err != nil {
			return err
		}
		if err := c.changed(shown, list); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-moved:
		}
	}
}

func sameHalts(a, b control.Request) bool {
	return slices.EqualFunc(a.Halts, b.Halts, func(x, y control.Halt) bool {
		return x.State == y.State && len(x.Votes) == len(y.Votes)
	})
}

func sameExtensions(a, b control.Request) bool {
	return slices.EqualFunc(a.Extensions, b.Extensions, func(x, y control.Extension) bool {
		return x.State == y.State && len(x.Votes) == len(y.Votes)
	})
}

// changed prints what is not as it was shown. One that is no longer alive is shown for the last time, as it ended.
func (c *call) changed(shown map[string]control.Request, list []control.Request) error {
	now := map[string]bool{}
	for _, r := range list {
		now[r.ID] = true
		was, known := shown[r.ID]
		if known && was.State == r.State && len(was.Votes) == len(r.Votes) && sameExtensions(was, r) && sameHalts(was, r) {
			continue
		}
		shown[r.ID] = r
		if err := c.answer(r, "%s\n", describe(r)); err != nil {
			return err
		}
	}
	for id := range shown {
		if now[id] {
			continue
		}
		delete(shown, id)
		r, err := c.ca.Request(c.caller, id)
		if err != nil {
			continue // not theirs to see any more
		}
		if err := c.answer(r, "%s\n", describe(r)); err != nil {
			return err
		}
	}
	return nil
}
