package server

import (
	"context"
	"strings"
	"time"

	"postern/ca"
	"postern/internal/control"
)

func words(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

// duration reads an option that is a time; without it there is none.
func (c *call) duration(option string) (time.Duration, error) {
	if !c.has(option) {
		return 0, nil
	}
	d, err := time.ParseDuration(c.options[option])
	if err != nil || d < time.Second {
		return 0, misused("--%s %q is not a time such as 720h", option, c.options[option])
	}
	return d, nil
}

// sheetAsk is what prepare asks for beside what request does; nil: it is a request.
func (c *call) sheetAsk() (*ca.SheetAsk, error) {
	if !c.preparing {
		return nil, nil
	}
	if !c.has("bastion") || !c.has("holders") || !c.has("for") {
		return nil, misused("prepare wants --bastion, --holders and --for; usage: %s", commands["prepare"].usage)
	}
	valid, err := c.duration("valid")
	return &ca.SheetAsk{Bastion: c.options["bastion"], Names: words(c.options["holders"]), Valid: valid}, err
}

func prepare(ctx context.Context, c *call) error {
	c.preparing = true
	return ask(ctx, c)
}

func sheet(_ context.Context, c *call) error {
	made, err := c.ca.MakeSheet(c.caller, c.args[0])
	if err != nil {
		return err
	}
	return c.json(made)
}

func sheetKey(_ context.Context, c *call) error {
	var k control.SheetKey
	if err := c.inputJSON(&k); err != nil {
		return err
	}
	ready, err := c.ca.SheetKey(c.caller, k)
	if err != nil {
		return err
	}
	return c.json(ready)
}

func sheetUse(_ context.Context, c *call) error {
	var u control.SheetUse
	if err := c.inputJSON(&u); err != nil {
		return err
	}
	return c.ca.UseSheet(c.caller, u)
}
