package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

var reviewCommand = &cli.Command{
	Name:      "review",
	Usage:     "say, signed, what you found when you reviewed an emergency that is over",
	ArgsUsage: "R-… --verdict justified|misused --reason TEXT",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "verdict", Usage: "`WHAT` it was: " + control.Justified + ", or " + control.Misused + " (no emergency, or more was done than it needed)"},
		reasonFlag, yesFlag, jsonFlag,
	},
	Action: func(c *cli.Context) error {
		args, err := command.Exactly(c, "R-…")
		if err != nil {
			return err
		}
		because, err := needReason(c)
		if err != nil {
			return err
		}
		verdict := c.String("verdict")
		if verdict == "" {
			if verdict, err = askLine(fmt.Sprintf("Was it %s or %s? ", control.Justified, control.Misused)); err != nil {
				verdict = ""
			}
		}
		if verdict, err = verdictOf(verdict); err != nil {
			return err
		}
		return sign(c, args[0], said{control.Review, verdict, because})
	},
}

// verdictOf takes a verdict as it is typed, or what it begins with.
func verdictOf(text string) (string, error) {
	for _, v := range []string{control.Justified, control.Misused} {
		if text != "" && strings.HasPrefix(v, strings.ToLower(text)) {
			return v, nil
		}
	}
	return "", command.Misuse("say what you found: --verdict %s, or --verdict %s", control.Justified, control.Misused)
}

var clearCommand = &cli.Command{
	Name:      "clear",
	Usage:     "let somebody have emergencies again after one was found misused",
	ArgsUsage: "R-… --reason TEXT",
	Flags:     []cli.Flag{reasonFlag, yesFlag, jsonFlag},
	Action:    func(c *cli.Context) error { return decide(c, control.Clear) },
}

var reviewsCommand = &cli.Command{
	Name:   "reviews",
	Usage:  "emergencies that were not reviewed yet, or misused and not cleared, the most urgent first",
	Flags:  []cli.Flag{jsonFlag},
	Action: listing(func(open []control.Request) error { return printReviews(open, time.Now()) }, "reviews"),
}

func printReviews(open []control.Request, now time.Time) error {
	rows := [][]string{{"REQUEST", "STATE", "WHO", "WHAT", "REVIEW BY", "WAITS FOR", "REASON"}}
	for _, r := range open {
		if r.Owes == nil {
			return fmt.Errorf("%s: the CA calls it an emergency and does not say what it owes", r.ID)
		}
		due, waits := when(r.Owes.By, now), missingOf(r.Owes.Needs)
		if r.Overdue(now) {
			due = "OVERDUE since " + due
		}
		switch {
		case r.Owes.Misuse() && !r.Owes.Done.IsZero():
			due, waits = "MISUSED", "somebody else to clear "+r.Owing()
		case r.Owes.Misuse():
			due += ", MISUSED"
		}
		rows = append(rows, []string{r.ID, r.State, r.Owing(), strings.Join(r.Targets, " "), due, waits, r.Reason})
	}
	return rowsOr(rows, "no review is open")
}

// owed is what an emergency owes, or that it was paid; "" for every other request.
func owed(r control.Request) string {
	switch {
	case r.Owes == nil:
		return ""
	case !r.Owes.Cleared.IsZero():
		return "reviewed: misused; " + r.Owing() + " was cleared"
	case !r.Owes.Done.IsZero():
		return strings.TrimSuffix("reviewed: "+r.Owes.Verdict, ": ")
	case r.Owes.Verdict != "":
		return r.Owes.String() + "; so far: " + r.Owes.Verdict
	}
	return r.Owes.String()
}
