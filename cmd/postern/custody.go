package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

const scopes = "SCOPE is session:S-…, request:R-…, person:NAME, host:NAME, month:2026-11 or all."

var holdCommand = &cli.Command{
	Name:  "hold",
	Usage: "keep recordings from being destroyed, by anybody, until it is released",
	Subcommands: []*cli.Command{{
		Name:        "add",
		Usage:       "hold everything within a scope, what is still to be recorded too",
		Description: scopes,
		ArgsUsage:   "SCOPE --reason TEXT",
		Flags:       []cli.Flag{reasonFlag, dryRunFlag, jsonFlag},
		Action:      addHold,
	}, {
		Name:        "release",
		Usage:       "end the holds on a scope",
		Description: scopes + " Or a hold's own C-….",
		ArgsUsage:   "SCOPE --reason TEXT",
		Flags:       []cli.Flag{reasonFlag, dryRunFlag, jsonFlag},
		Action:      releaseHold,
	}, {
		Name:   "list",
		Usage:  "the holds in force",
		Flags:  []cli.Flag{jsonFlag},
		Action: listing(printHolds, "holds"),
	}},
}

// deciding makes one decision, signs it and tells what came of it.
func deciding(c *cli.Context, make func(*signing) (control.Custody, error)) error {
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	s, err := ca.signing(c)
	if err != nil {
		return err
	}
	d, err := make(s)
	if err != nil {
		return err
	}
	out, err := s.decide(c, d)
	if err == nil && !c.Bool("dry-run") {
		err = s.remember(out.Custody)
	}
	if err != nil {
		return err
	}
	return printCustody(c, out)
}

func printCustody(c *cli.Context, out control.Decided) error {
	if c.Bool("json") {
		return jsonLine(os.Stdout, out)
	}
	d, would := out.Custody, ""
	if c.Bool("dry-run") {
		would = "would "
	}
	switch d.Act {
	case control.Enrol, control.Retire:
		fmt.Printf("%s%s %s (%s)\n", would, d.Act, word(d.Recipient.Label()), d.Recipient.ID)
	case control.Shred:
		return printShred(c, out)
	default:
		fmt.Printf("%s%s %s", would, d.Act, word(d.Scope))
		if would == "" {
			fmt.Printf(": %s", d.ID)
		}
		fmt.Println()
	}
	return nil
}

// scope is what a person wrote, in the one form that it has.
func scope(text string) string {
	kind, value, ok := strings.Cut(text, ":")
	switch upper := strings.ToUpper(text); {
	case !ok && strings.HasPrefix(upper, "S-"):
		return "session:" + upper
	case !ok && strings.HasPrefix(upper, "R-"):
		return "request:" + upper
	case ok && (kind == "session" || kind == "request"):
		return kind + ":" + strings.ToUpper(value)
	}
	return text
}

func addHold(c *cli.Context) error {
	args, because, err := scopeAndReason(c)
	if err != nil {
		return err
	}
	return deciding(c, func(s *signing) (control.Custody, error) {
		return control.NewCustody(s.me.CA, control.Hold, scope(args), because), nil
	})
}

func scopeAndReason(c *cli.Context) (string, string, error) {
	args, err := command.Exactly(c, "SCOPE")
	if err != nil {
		return "", "", err
	}
	because, err := needReason(c)
	return args[0], because, err
}

func releaseHold(c *cli.Context) error {
	what, because, err := scopeAndReason(c)
	if err != nil {
		return err
	}
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	s, err := ca.signing(c)
	if err != nil {
		return err
	}
	holds, err := control.List[control.Custody](c.Context, ca.Client, "holds")
	if err != nil {
		return err
	}
	released := 0
	for _, h := range holds {
		if h.ID != what && h.Scope != scope(what) {
			continue
		}
		d := control.NewCustody(s.me.CA, control.Release, h.Scope, because)
		d.Hold = h.ID
		out, err := s.decide(c, d)
		if err == nil {
			err = printCustody(c, out)
		}
		if err != nil {
			return err
		}
		released++
	}
	if released == 0 {
		return fmt.Errorf("there is no hold on %s; see: postern hold list", what)
	}
	return nil
}

func printHolds(holds []control.Custody) error {
	rows := [][]string{{"HOLD", "ON", "BY", "SINCE", "REASON", "SIGNATURE"}}
	for _, h := range holds {
		verdict := "good"
		if _, err := h.Verify(); err != nil {
			verdict = "BAD: " + err.Error()
		}
		rows = append(rows, []string{h.ID, h.Scope, h.Auditor, when(h.At, time.Now()), h.Reason, verdict})
	}
	return rowsOr(rows, "nothing is held")
}

var shredCommand = &cli.Command{
	Name:  "shred",
	Usage: "destroy what opens a session's recording, or a whole month's, so that nobody can ever read it",
	Description: "What is left proves that it existed, who recorded it and by whose order it was destroyed. Copies that somebody\n" +
		"exported before, and backups of a bastion's directory, are not reached.",
	ArgsUsage: "S-…|month:2026-11 --reason TEXT",
	Flags:     []cli.Flag{reasonFlag, yesFlag, dryRunFlag, jsonFlag},
	Action: func(c *cli.Context) error {
		what, because, err := scopeAndReason(c)
		if err != nil {
			return err
		}
		what = scope(what)
		if !c.Bool("yes") && !c.Bool("dry-run") {
			yes, err := confirm("Destroy what opens " + visible(what) + ", for good?")
			if err != nil {
				return fmt.Errorf("%w; look with --dry-run, then give --yes", err)
			}
			if !yes {
				return fmt.Errorf("nothing was destroyed")
			}
		}
		return deciding(c, func(s *signing) (control.Custody, error) {
			return control.NewCustody(s.me.CA, control.Shred, what, because), nil
		})
	},
}

func printShred(c *cli.Context, out control.Decided) error {
	if c.Bool("dry-run") {
		fmt.Printf("would order %s shredded:\n", word(out.Custody.Scope))
	} else {
		fmt.Printf("%s is ordered shredded, by %d of the auditors: %s\n", word(out.Custody.Scope), out.Signers, out.Custody.ID)
	}
	rows := [][]string{{"WHAT", "AT", "STATE"}}
	for _, d := range out.Deletions {
		what, at := "key box of "+d.Session, d.Bastion
		if d.Key != "" {
			what, at = "private half of "+d.Key, "the CA, when no bastion keeps a key box for it"
		}
		rows = append(rows, []string{what, at, d.State})
	}
	if err := table(os.Stdout, rows); err != nil || c.Bool("dry-run") {
		return err
	}
	fmt.Fprintln(os.Stderr, "the bastions carry it out when they hear of it and sign for it: postern retention list")
	return nil
}

var retentionCommand = &cli.Command{
	Name:  "retention",
	Usage: "what is destroyed because the policy keeps it no longer, and what was",
	Subcommands: []*cli.Command{{
		Name:   "run",
		Usage:  "order destroyed what is due; the CA does this by itself once a day",
		Flags:  []cli.Flag{dryRunFlag, jsonFlag},
		Action: runRetention,
	}, {
		Name:   "list",
		Usage:  "every order to destroy, by the policy and by auditors, and what the bastions answered",
		Flags:  []cli.Flag{jsonFlag},
		Action: listDeletions,
	}},
}

func runRetention(c *cli.Context) error {
	words := []string{"retention"}
	if c.Bool("dry-run") {
		words = append(words, "--dry-run")
	}
	return deletions(c, words, func(list []control.Deletion) error {
		rows := [][]string{{"SESSION", "BASTION", "KEPT FOR", "NOW"}}
		for _, d := range list {
			now := "ordered destroyed: " + d.ID
			switch {
			case d.Held != "":
				now = "stays: " + d.Held
			case c.Bool("dry-run"):
				now = "would be destroyed"
			}
			rows = append(rows, []string{d.Session, d.Bastion, fmt.Sprintf("%d days", d.RetainDays), now})
		}
		return rowsOr(rows, "nothing is due")
	})
}

func listDeletions(c *cli.Context) error {
	return deletions(c, []string{"deletions"}, func(list []control.Deletion) error {
		rows := [][]string{{"ORDER", "WHAT", "AT", "BY", "ORDERED", "STATE"}}
		for _, d := range list {
			by := strings.Join(d.Because, " ")
			if d.RetainDays > 0 {
				by = fmt.Sprintf("the policy, after %d days", d.RetainDays)
			}
			rows = append(rows, []string{d.ID, d.Session + d.Key, d.Bastion, by, when(d.At, time.Now()), fateOf(d)})
		}
		return rowsOr(rows, "nothing was ordered destroyed")
	})
}

func fateOf(d control.Deletion) string {
	switch {
	case d.Receipt == nil:
		return d.State
	case d.Receipt.Declined != "":
		return "declined: " + d.Receipt.Declined
	case d.Receipt.Everything:
		return "deleted " + d.Receipt.At.Format(time.DateOnly)
	}
	return "shredded " + d.Receipt.At.Format(time.DateOnly)
}

func deletions(c *cli.Context, words []string, print func([]control.Deletion) error) error {
	if err := command.FlagsOnly(c); err != nil {
		return err
	}
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	list, err := control.List[control.Deletion](c.Context, ca.Client, words...)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return jsonLines(list)
	}
	return print(list)
}
