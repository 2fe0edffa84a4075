package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/ca/auditlog"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/verify"
)

var viewsCommand = &cli.Command{
	Name:      "views",
	Usage:     "who looked at which recordings, and why: from the log, which is verified",
	ArgsUsage: "[S-…]…",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "auditor", Usage: "by this `PERSON`"},
		&cli.StringFlag{Name: "kind", Usage: "of this `KIND`: replay, web, watch, search, export, verify, report or evidence"},
		&cli.StringFlag{Name: "since", Usage: "at `WHEN` or later: 30d, 12h, 2w (ago), 2026-10-01, or a time"},
		&cli.StringFlag{Name: "until", Usage: "before `WHEN`"},
		jsonFlag,
	},
	Action: func(c *cli.Context) error {
		if kind := c.String("kind"); kind != "" && !slices.Contains(control.ViewKinds, kind) {
			return command.Misuse("--kind: there is no kind %q (kinds are: %s)", kind, strings.Join(control.ViewKinds, ", "))
		}
		now := time.Now()
		filter, err := sessionFilterOf(c, c.Args().Slice(), now)
		if err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		proof, err := ca.proveLog(c.Context)
		if err != nil {
			return err
		}
		views := slices.DeleteFunc(proof.Views, func(v verify.View) bool {
			return !filter.keepsView(v) || !isOrEmpty(c.String("auditor"), v.Auditor) || !isOrEmpty(c.String("kind"), v.Kind)
		})
		if c.Bool("json") {
			err = jsonLines(views)
		} else {
			err = printViews(views, now)
		}
		if n := len(proof.Failures); err == nil && n > 0 {
			return fmt.Errorf("%d things in this log should not be, so somebody may have looked unseen; see: postern verify --no-recordings", n)
		}
		return err
	},
}

func isOrEmpty(want, is string) bool { return want == "" || want == is }

func (f sessionFilter) keepsView(v verify.View) bool {
	of := func(id string) bool { return slices.Contains(v.Sessions, id) }
	return (len(f.ids) == 0 || slices.ContainsFunc(f.ids, of)) &&
		(f.since.IsZero() || !v.At.Before(f.since)) && (f.until.IsZero() || v.At.Before(f.until))
}

func printViews(views []verify.View, now time.Time) error {
	rows := [][]string{{"LEAF", "WHEN", "WHO", "WHAT", "SESSIONS", "WHY"}}
	for _, v := range views {
		rows = append(rows, []string{fmt.Sprint(v.Leaf), when(v.At, now), v.Auditor, kindOf(v.View), briefly(v.Sessions), v.Reason})
	}
	return rowsOr(rows, "nobody looked")
}

// viewed is one line on a view.
func viewed(v auditlog.View) string {
	return fmt.Sprintf("%s of %s: %s", kindOf(v), briefly(v.Sessions), v.Reason)
}

func kindOf(v auditlog.View) string {
	if v.Keystrokes {
		return v.Kind + " with what was typed"
	}
	return v.Kind
}

// briefly names a few of many.
func briefly(ids []string) string {
	const few = 3
	if len(ids) <= few {
		return strings.Join(ids, " ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(ids[:few], " "), len(ids)-few)
}
