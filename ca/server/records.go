package server

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"

	"postern/ca"
	"postern/internal/control"
)

func audit(_ context.Context, c *call) error {
	v := ca.View{Kind: c.options["kind"], Sessions: c.args, Reason: c.options["reason"], Keystrokes: c.has("keystrokes")}
	for _, option := range []string{"kind", "reason", "key"} {
		if !c.has(option) {
			return misused("--%s is missing; usage: %s", option, commands["audit"].usage)
		}
	}
	var err error
	if v.Key, err = ca.ParsePublicKey(c.options["key"]); err != nil {
		return err
	}
	if c.has("statement") {
		text, err := c.ca.AuditStatement(c.caller, v)
		if err != nil {
			return err
		}
		return c.statement(text)
	}
	signature, err := c.input()
	if err != nil {
		return err
	}
	if len(signature) == 0 {
		return misused("no signature on standard input; pipe it in: ssh ca audit … --statement | ssh-keygen -Y sign -n %s -f KEY | ssh ca audit …", control.ViewNamespace)
	}
	a, err := c.ca.Audit(c.caller, v, signature)
	if err != nil {
		return err
	}
	return c.answer(a, "%s", certificates(a))
}

// certificates are a line each, with the bastion as its comment.
func certificates(a control.Audit) string {
	var b strings.Builder
	for _, p := range a.Passes {
		fmt.Fprintf(&b, "%s %s\n", p.Certificate, p.Bastion.Name)
	}
	return b.String()
}

// statement prints a text to sign.
func (c *call) statement(text string) error {
	return c.answer(struct {
		Statement string `json:"statement"`
	}{text}, "%s", text)
}

func recordingKeys(_ context.Context, c *call) error {
	list, err := c.ca.RecordingKeys()
	if err != nil {
		return err
	}
	if !c.ca.May(c.caller, "audit") && !c.ca.May(c.caller, "recording-key") {
		for i := range list { // private halves are for auditors, though they could do nothing with them but wait for a quantum computer
			list[i].Box = nil
		}
	}
	return rows(c, list, "KEY\tMONTH\tFOR\tBY\tADDED", func(k control.RecordingKey) string {
		return strings.Join([]string{k.ID, k.Month, recorded(k), k.Auditor, k.Added.Format("2006-01-02 15:04:05Z")}, "\t")
	})
}

func addRecordingKey(_ context.Context, c *call) error {
	var k control.RecordingKey
	if err := c.inputJSON(&k); err != nil {
		return err
	}
	k, err := c.ca.AddRecordingKey(c.caller, k)
	if err != nil {
		return err
	}
	return c.answer(k, "%s records the %s of %s from now on\n", k.ID, recorded(k), k.Month)
}

// recorded is what a key is for.
func recorded(k control.RecordingKey) string { return cmp.Or(k.Purpose, "sessions") }

func trust(_ context.Context, c *call) error {
	t, err := c.ca.Trust()
	if err != nil {
		return err
	}
	if c.has("json") {
		return c.json(t)
	}
	fmt.Fprintf(c.out, "user_ca    %s\nsession_ca %s\nhost_ca    %s\ngateway_ca %s\nlog        %s\n", t.UserCA, t.SessionCA, t.HostCA, t.GatewayCA, t.Log)
	for _, k := range t.KnownHosts {
		fmt.Fprintln(c.out, k)
	}
	return nil
}

func (c *call) number(option string) (uint64, error) {
	if !c.has(option) {
		return 0, nil
	}
	n, err := strconv.ParseUint(c.options[option], 10, 63)
	if err != nil {
		return 0, misused("--%s %q is not a number", option, c.options[option])
	}
	return n, nil
}
