package server

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"

	"postern/internal/control"
)

// proof answers with hashes: of consistency with --from, of inclusion with --leaf.
func proof(_ context.Context, c *call) error {
	if c.has("from") == c.has("leaf") || !c.has("to") {
		return misused("proof wants --to and either --from, for consistency, or --leaf, for inclusion")
	}
	to, err := c.number("to")
	if err != nil {
		return err
	}
	what, prove := "from", c.ca.Consistency
	if c.has("leaf") {
		what, prove = "leaf", c.ca.Inclusion
	}
	from, err := c.number(what)
	if err != nil {
		return err
	}
	p, err := prove(int64(from), int64(to))
	if err != nil {
		return err
	}
	var text strings.Builder
	for _, h := range p.Hashes {
		fmt.Fprintln(&text, base64.StdEncoding.EncodeToString(h))
	}
	return c.answer(p, "%s", text.String())
}

// checkpoint prints a note that is signed now, or those that witnesses cosigned.
func checkpoint(_ context.Context, c *call) error {
	if c.has("cosigned") {
		list, err := c.ca.Cosigned()
		if err != nil {
			return err
		}
		for _, one := range list {
			if err := c.answer(one, "%s\n", one.Checkpoint); err != nil {
				return err
			}
		}
		return nil
	}
	b, err := c.ca.Checkpoint()
	if err != nil {
		return err
	}
	return c.answer(struct {
		Checkpoint string `json:"checkpoint"`
	}{string(b)}, "%s", b)
}

func cosign(_ context.Context, c *call) error {
	b, err := c.input()
	if err != nil {
		return err
	}
	by, err := c.ca.TakeCosigned(b)
	if err != nil {
		return err
	}
	for _, one := range by {
		if err := c.answer(control.Cosigned{Witness: one.Witness, Checkpoint: string(b)}, "cosigned by %s at %s\n", one.Witness, one.At.Format("2006-01-02 15:04:05Z")); err != nil {
			return err
		}
	}
	return nil
}
