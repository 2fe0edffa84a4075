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

var reviewsCommand = &cli.Command{
	Name:  "reviews",
	Usage: "emergencies that were not reviewed yet, the most urgent first",
	Flags: []cli.Flag{jsonFlag},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		open, err := control.List[control.Request](c.Context, ca.Client, "reviews")
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return jsonLines(open)
		}
		return printReviews(open, time.Now())
	},
}

func printReviews(open []control.Request, now time.Time) error {
	if len(open) == 0 {
		fmt.Fprintln(os.Stderr, "no review is open")
		return nil
	}
	rows := [][]string{{"REQUEST", "STATE", "WHO", "WHAT", "REVIEW BY", "WAITS FOR", "REASON"}}
	for _, r := range open {
		if r.Owes == nil {
			return fmt.Errorf("%s: the CA calls it an emergency and does not say what it owes", r.ID)
		}
		due := when(r.Owes.By, now)
		if r.Overdue(now) {
			due = "OVERDUE since " + due
		}
		rows = append(rows, []string{r.ID, r.State, r.Person, strings.Join(r.Targets, " "), due, missingOf(r.Owes.Needs), r.Reason})
	}
	return table(os.Stdout, rows)
}

// owed is what an emergency owes, or that it was paid; "" for every other request.
func owed(r control.Request) string {
	switch {
	case r.Owes == nil:
		return ""
	case !r.Owes.Done.IsZero():
		return "reviewed"
	}
	return r.Owes.String()
}
