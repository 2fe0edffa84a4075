package server

import (
	"context"
	"strings"

	"postern/ca"
	"postern/internal/control"
)

func custody(_ context.Context, c *call) error {
	var d control.Custody
	if err := c.inputJSON(&d); err != nil {
		return err
	}
	out, err := c.ca.Decide(c.caller, d, c.has("dry-run"))
	if err != nil {
		return err
	}
	return c.answer(out, "%s %s by %s: %s\n", out.Custody.Act, out.Custody.Scope, out.Custody.Auditor, out.Custody.ID)
}

func holds(_ context.Context, c *call) error {
	if !c.ca.May(c.caller, "audit") && !c.ca.May(c.caller, "custody") {
		return &ca.Refused{Message: c.caller.Name + " may not see the holds: no rule permits audit or custody"}
	}
	list, err := c.ca.Holds()
	if err != nil {
		return err
	}
	return rows(c, list, "HOLD\tON\tBY\tSINCE\tREASON", decided)
}

func decided(d control.Custody) string {
	return strings.Join([]string{d.ID, d.Scope, d.Auditor, d.At.Format("2006-01-02 15:04:05Z"), d.Reason}, "\t")
}

func book(_ context.Context, c *call) error {
	list, err := c.ca.Book()
	if err != nil {
		return err
	}
	return rows(c, list, "NAME\tRECIPIENT\tBY\tSINCE", func(d control.Custody) string {
		return strings.Join([]string{d.Recipient.Label(), d.Recipient.ID, d.Auditor, d.At.Format("2006-01-02 15:04:05Z")}, "\t")
	})
}

func rewrap(_ context.Context, c *call) error {
	var r control.Rewrap
	if err := c.inputJSON(&r); err != nil {
		return err
	}
	k, err := c.ca.Rewrap(c.caller, r, c.has("dry-run"))
	if err != nil {
		return err
	}
	return c.answer(k, "%s is sealed to %d recipients\n", k.ID, len(r.Recipients))
}

func retention(_ context.Context, c *call) error {
	list, err := c.ca.Retention(c.caller, c.has("dry-run"))
	if err != nil {
		return err
	}
	return rows(c, list, deletionHeader, deletionRow)
}

const deletionHeader = "ORDER\tABOUT\tBASTION\tBY\tSTATE"

func deletionRow(d control.Deletion) string {
	by := strings.Join(d.Because, " ")
	if d.RetainDays > 0 {
		by = "policy"
	}
	return strings.Join([]string{d.ID, d.Session + d.Key, d.Bastion, by, d.State + d.Held}, "\t")
}

// deletions answers a bastion with what it has to know, and people with what was ordered.
func deletions(_ context.Context, c *call) error {
	if c.caller.Kind == "person" {
		list, err := c.ca.AllDeletions(c.caller)
		if err != nil {
			return err
		}
		return rows(c, list, deletionHeader, deletionRow)
	}
	from, err := c.number("from")
	if err != nil {
		return err
	}
	out, err := c.ca.Deletions(c.caller, from)
	if err != nil {
		return err
	}
	return c.json(out)
}

func deleted(_ context.Context, c *call) error {
	var r control.Receipt
	if err := c.inputJSON(&r); err != nil {
		return err
	}
	return c.ca.Deleted(c.caller, r)
}
