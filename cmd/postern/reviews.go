package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/control"
)

var reviewsCommand = &cli.Command{
	Name:   "reviews",
	Usage:  "emergencies that were not reviewed yet, the most urgent first",
	Flags:  []cli.Flag{jsonFlag},
	Action: listing(func(open []control.Request) error { return printReviews(open, time.Now()) }, "reviews"),
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
		rows = append(rows, []string{r.ID, r.State, r.Owing(), strings.Join(r.Targets, " "), due, missingOf(r.Owes.Needs), r.Reason})
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
