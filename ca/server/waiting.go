package server

import (
	"context"
	"slices"
	"time"

	"postern/internal/control"
)

// followRequests prints what waits for somebody of what the caller may see, and then each again whenever it changed, or is gone: the live requests, and
// the emergencies that owe a review or were misused.
func followRequests(ctx context.Context, c *call) error {
	shown := map[string]display{}
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
		owing, err := c.ca.Reviews(caller)
		if err != nil {
			return err
		}
		for _, r := range owing {
			if !slices.ContainsFunc(list, func(l control.Request) bool { return l.ID == r.ID }) {
				list = append(list, r)
			}
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

// display is a request as it was shown.
type display struct {
	control.Request
	overdue bool
}

func (d display) same(r display) bool {
	return d.State == r.State && d.overdue == r.overdue && len(d.Votes) == len(r.Votes) && sameExtensions(d.Request, r.Request) && sameHalts(d.Request, r.Request)
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

// changed prints what is not as it was shown. One that waits for nobody any more is shown for the last time, as it ended.
func (c *call) changed(shown map[string]display, list []control.Request) error {
	now := map[string]bool{}
	for _, r := range list {
		now[r.ID] = true
		is := display{r, r.Overdue(time.Now())}
		if was, known := shown[r.ID]; known && was.same(is) {
			continue
		}
		shown[r.ID] = is
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
