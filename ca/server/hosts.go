package server

import (
	"context"
	"fmt"
	"strings"
	"time"

	"postern/internal/control"
)

func hostState(_ context.Context, c *call) error {
	var s control.HostState
	if err := c.inputJSON(&s); err != nil {
		return err
	}
	orders, err := c.ca.HostState(c.caller, s)
	if err != nil {
		return err
	}
	return c.json(orders)
}

func hostEnded(_ context.Context, c *call) error {
	var e control.HostEnded
	if err := c.inputJSON(&e); err != nil {
		return err
	}
	return c.ca.HostEnded(c.caller, e)
}

func hosts(_ context.Context, c *call) error {
	list, err := c.ca.Hosts(c.caller)
	if err != nil {
		return err
	}
	return rows(c, list, "HOST\tSTATE\tKRL\tCA\tLAST WORD\tWHY", func(s control.HostStatus) string {
		word := "never"
		if !s.At.IsZero() {
			word = s.At.Format(time.RFC3339)
		}
		return strings.Join([]string{s.Host, s.State, fmt.Sprint(s.KRLVersion), fmt.Sprint(s.CAVersion), word, s.Why}, "\t")
	})
}
