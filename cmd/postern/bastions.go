package main

import (
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/control"
)

var bastionsCommand = &cli.Command{
	Name:   "bastions",
	Usage:  "when each bastion was heard last, and when its sessions end if it is not heard again",
	Flags:  []cli.Flag{jsonFlag},
	Action: listing(func(list []control.BastionLease) error { return printBastions(list) }, "bastions"),
}

// quietBastion is a bastion that pings every second and was not heard for so long.
const quietBastion = 5 * time.Second

func printBastions(list []control.BastionLease) error {
	rows := [][]string{{"BASTION", "STATE", "LAST WORD", "ITS SESSIONS END"}}
	for _, l := range list {
		rows = append(rows, bastionRow(l))
	}
	return colouredTable(os.Stdout, rows, func(n int) string {
		if rows[n+1][1] != "ok" {
			return red
		}
		return ""
	})
}

func bastionRow(l control.BastionLease) []string {
	now := l.Now
	row := []string{l.Bastion, "ok", since(l.Heard, now), "not before they should"}
	switch {
	case l.Heard.IsZero():
		row[1], row[2] = "silent", "not since the CA was started"
	case now.Sub(l.Heard) > quietBastion:
		row[1] = "silent"
	default:
		return row
	}
	row[3] = "at the latest " + clockTime(l.Keeps, now)
	if !now.Before(l.Keeps) {
		row[3] = "have ended, " + clockTime(l.Keeps, now)
	}
	return row
}
