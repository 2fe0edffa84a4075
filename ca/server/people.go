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

func ask(_ context.Context, c *call) error {
	a := ca.Ask{Targets: c.args, Reason: c.options["reason"], Rule: c.options["rule"], Emergency: c.has("emergency")}
	if c.has("only") {
		a.Only = words(c.options["only"])
	}
	if c.has("for") {
		d, err := time.ParseDuration(c.options["for"])
		if err != nil || d < time.Second || d%time.Second != 0 {
			return misused("--for %q is not a time in whole seconds or more, such as 20m", c.options["for"])
		}
		a.For = d
	}
	var err error
	if a.Sheet, err = c.sheetAsk(); err != nil {
		return err
	}
	r, err := c.ca.Ask(c.caller, a)
	if err != nil {
		return err
	}
	return c.answer(r, "%s\n", describe(r))
}

func requests(ctx context.Context, c *call) error {
	if c.has("follow") {
		return followRequests(ctx, c)
	}
	list, err := c.ca.Requests(c.caller, c.has("all"))
	if err != nil {
		return err
	}
	return rows(c, list, "ID\tSTATE\tWHO\tTARGETS\tFOR\tWAITS FOR\tREASON", func(r control.Request) string {
		return strings.Join([]string{r.ID, r.State, r.Person, strings.Join(r.Targets, ","), duration(r), waiting(r), r.Reason}, "\t")
	})
}

func show(_ context.Context, c *call) error {
	if c.options["decision"] == control.Revoke {
		return showCut(c)
	}
	if len(c.args) > 1 || c.has("for") {
		return misused("show takes one ID; several words and --for are for --decision revoke")
	}
	if !c.has("statement") && !c.has("decision") {
		r, err := c.ca.Request(c.caller, c.args[0])
		if err != nil {
			return err
		}
		return c.answer(r, "%s", details(r))
	}
	decision := c.options["decision"]
	if decision == "" {
		decision = control.Approve
	}
	text, err := "", error(nil)
	if decision == control.Review || decision == control.Clear {
		text, err = c.ca.FindingStatement(c.caller, c.args[0], c.finding(decision))
	} else {
		text, err = c.ca.Statement(c.caller, decision, c.args[0], c.options["reason"])
	}
	if err != nil {
		return err
	}
	return c.statement(text)
}

func (c *call) finding(kind string) ca.Finding {
	return ca.Finding{Decision: kind, Verdict: c.options["verdict"], Because: c.options["reason"]}
}

func decision(kind string) func(context.Context, *call) error {
	return func(_ context.Context, c *call) error {
		signature, err := c.signature(kind)
		if err != nil {
			return err
		}
		var r control.Request
		if kind == control.Review || kind == control.Clear {
			r, err = c.ca.Review(c.caller, c.args[0], c.finding(kind), signature)
		} else {
			r, err = c.ca.Vote(c.caller, c.args[0], kind, c.options["reason"], signature)
		}
		if err != nil {
			return err
		}
		return c.answer(r, "%s\n", describe(r))
	}
}

func extend(_ context.Context, c *call) error {
	by, err := time.ParseDuration(c.options["for"])
	if err != nil {
		return misused("--for %q is not a time such as 15m", c.options["for"])
	}
	r, err := c.ca.Extend(c.caller, c.args[0], by, c.options["reason"])
	if err != nil {
		return err
	}
	return c.answer(r, "%s\n", describe(r))
}

func (c *call) signature(kind string) ([]byte, error) {
	b, err := c.input()
	if err == nil && len(b) == 0 {
		extra := ""
		if kind != control.Approve {
			extra = " --decision " + kind + " --reason …"
		}
		if kind == control.Review {
			extra += " --verdict …"
		}
		err = misused("no signature on standard input; pipe it in: ssh ca show %s --statement%s | ssh-keygen -Y sign -n %s -f KEY | ssh ca %s %s",
			c.args[0], extra, control.Namespace, kind, c.args[0])
	}
	return b, err
}

func reviews(_ context.Context, c *call) error {
	list, err := c.ca.Reviews(c.caller)
	if err != nil {
		return err
	}
	now := time.Now()
	return rows(c, list, "ID\tSTATE\tWHO\tTARGETS\tREVIEW BY\t\tWAITS FOR\tREASON", func(r control.Request) string {
		late := ""
		switch {
		case r.Overdue(now):
			late = "OVERDUE"
		case r.Owes.Misuse():
			late = "MISUSED"
		}
		return strings.Join([]string{r.ID, r.State, r.Owing(), strings.Join(r.Targets, ","), r.Owes.By.Format(time.RFC3339), late, open(r.Owes.Needs), r.Reason}, "\t")
	})
}

func certificate(_ context.Context, c *call) error {
	pub, err := c.publicKey()
	if err != nil {
		return err
	}
	cert, err := c.ca.Certificate(c.caller, c.args[0], pub)
	if err != nil {
		return err
	}
	return c.answer(cert, "%s\n", cert.Certificate)
}

func sessions(_ context.Context, c *call) error {
	list, err := c.ca.Sessions(c.caller, c.has("live"))
	if err != nil {
		return err
	}
	return rows(c, list, "SESSION\tWHO\tTARGET\tREQUEST\tBEGAN\tLASTED\tEND", func(s control.Session) string {
		end, until := s.End, s.Ended
		if s.Ended.IsZero() {
			end, until = "live", time.Now()
		}
		if s.Interrupted {
			end += " (interrupted)"
		}
		lasted := until.Sub(s.Started).Truncate(time.Second).String()
		return strings.Join([]string{s.ID, s.Person, s.Target, s.Request, s.Started.Format(time.RFC3339), lasted, end}, "\t")
	})
}

func describe(r control.Request) string {
	if h, held := r.Held(); held {
		return fmt.Sprintf("%s of %s is granted until %s, and %s; to go on waits for %s; approve that with: postern approve %s",
			r.ID, r.Person, r.Ends.Format(time.RFC3339), h.What(), waiting(r), r.ID)
	}
	if e, waits := r.Extending(); waits {
		return fmt.Sprintf("%s is granted until %s; to extend it until %s waits for %s; approve that with: postern approve %s",
			r.ID, r.Ends.Format(time.RFC3339), e.Ends.Format(time.RFC3339), waiting(r), r.ID)
	}
	if r.Sheet != nil && r.State == control.Approved {
		return fmt.Sprintf("%s is approved; take its sheet with: postern sheet take %s --out FILE", r.ID, r.ID)
	}
	switch r.State {
	case control.Pending:
		return fmt.Sprintf("%s is waiting for %s; approve it with: postern approve %s", r.ID, waiting(r), r.ID)
	case control.Approved:
		return fmt.Sprintf("%s is approved; take the certificate with: postern certificate %s", r.ID, r.ID)
	case control.Granted:
		return fmt.Sprintf("%s is granted until %s", r.ID, r.Ends.Format(time.RFC3339))
	}
	return fmt.Sprintf("%s is %s", r.ID, r.State)
}

func details(r control.Request) string {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-13s %s\n", name, fmt.Sprintf(format, args...))
	}
	line(r.ID, "%s", r.State)
	line("who", "%s, key %s", r.Person, r.Key)
	line("targets", "%s", strings.Join(r.Targets, " "))
	line("capabilities", "%s", strings.Join(r.Capabilities, " "))
	if len(r.Destinations) > 0 {
		line("leads to", "%s", strings.Join(r.Destinations, " "))
	}
	if r.Record != nil {
		line("keeps", "%s", keeps(*r.Record))
	}
	line("for", "%s", duration(r))
	if r.Sheet != nil {
		line("sealed grant", "%s", r.Sheet)
	}
	if r.Sheet != nil && !r.Sheet.Used.IsZero() {
		line("used", "by %s at %s (%s)", r.Sheet.UsedBy, r.Sheet.Used.Format(time.RFC3339), r.Sheet.Session)
	}
	if r.Owes != nil {
		line("emergency", "%s", r.Owes)
		for _, n := range r.Owes.Needs {
			line("review", "%d of %s, has %s", n.Count, n.Group, list(n.Have))
		}
		if r.Owes.Verdict != "" {
			line("verdict", "%s", r.Owes.Verdict)
		}
	}
	line("reason", "%s", r.Reason)
	line("rules", "%s", strings.Join(r.Rules, " "))
	line("policy", "%s", r.Policy)
	line("asked", "%s", r.Created.Format(time.RFC3339))
	line("claim by", "%s", r.ClaimBy.Format(time.RFC3339))
	if !r.Ends.IsZero() {
		line("ends", "%s", r.Ends.Format(time.RFC3339))
	}
	for _, n := range r.Notes {
		line("note", "%s", n)
	}
	for _, n := range r.Needs {
		line("needs", "%d of %s, has %s", n.Count, n.Group, list(n.Have))
	}
	for _, v := range r.Votes {
		line(strings.TrimSpace(v.Decision+" "+v.Verdict), "by %s with %s at %s", v.Person, v.Key, v.At.Format(time.RFC3339))
	}
	for _, h := range r.Halts {
		line("held", "%d, %s: %s", h.Number, h.State, h.What())
		for _, v := range h.Votes {
			line("  "+v.Decision, "by %s with %s at %s", v.Person, v.Key, v.At.Format(time.RFC3339))
		}
	}
	for _, e := range r.Extensions {
		line("extension", "%d, %s: by %s until %s: %s", e.Number, e.State, time.Duration(e.ForSeconds)*time.Second, e.Ends.Format(time.RFC3339), e.Reason)
		for _, v := range e.Votes {
			line("  "+v.Decision, "by %s with %s at %s", v.Person, v.Key, v.At.Format(time.RFC3339))
		}
	}
	return b.String()
}

// keeps names what makes a recording a second copy of something.
func keeps(r control.Record) string {
	words := []string{"files " + r.Files}
	if r.Keystrokes {
		words = append(words, "keystrokes")
	}
	if r.Streams < 0 {
		words = append(words, "streams of commands full")
	}
	if r.Forwards < 0 {
		words = append(words, "forwards full")
	}
	return strings.Join(words, ", ")
}

func waiting(r control.Request) string {
	if h, held := r.Held(); held {
		return open(h.Needs)
	}
	if e, waits := r.Extending(); waits {
		return open(e.Needs)
	}
	if r.State != control.Pending {
		return list(nil)
	}
	return open(r.Needs)
}

// open are the places that nobody fills.
func open(needs []control.Need) string {
	var open []string
	for _, n := range needs {
		if left := n.Count - len(n.Have); left > 0 {
			open = append(open, strconv.Itoa(left)+" of group "+n.Group)
		}
	}
	return list(open)
}

func list(names []string) string {
	if len(names) == 0 {
		return "nobody"
	}
	return strings.Join(names, ", ")
}

func duration(r control.Request) string { return (time.Duration(r.ForSeconds) * time.Second).String() }

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
