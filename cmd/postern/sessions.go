package main

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

var sessionsCommand = &cli.Command{
	Name:  "sessions",
	Usage: "sessions through the bastions",
	Flags: []cli.Flag{&cli.BoolFlag{Name: "live", Usage: "those that run now only"}, jsonFlag},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		words := []string{"sessions"}
		if c.Bool("live") {
			words = append(words, "--live")
		}
		sessions, err := control.List[control.Session](c.Context, ca.Client, words...)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return jsonLines(sessions)
		}
		return printSessions(sessions, time.Now())
	},
}

func printSessions(sessions []control.Session, now time.Time) error {
	if len(sessions) == 0 {
		fmt.Fprintln(os.Stderr, "no sessions")
		return nil
	}
	rows := [][]string{{"SESSION", "WHO", "WHERE", "REQUEST", "FROM", "STARTED", "TOOK", "END", "FRAMES", "RECORDING"}}
	for _, s := range sessions {
		took, end := now.Sub(s.Started), "live until "+clock(s.Deadline, now)
		switch {
		case !s.Ended.IsZero():
			took, end = s.Ended.Sub(s.Started), s.End
		case now.After(s.Deadline):
			took, end = s.Deadline.Sub(s.Started), "deadline; the bastion has not told yet"
		}
		rows = append(rows, []string{s.ID, s.Person, s.Target, s.Request, s.Client, when(s.Started, now), short(took), end,
			strconv.FormatUint(s.Frames, 10), recordingState(s)})
	}
	return table(os.Stdout, rows)
}

func recordingState(s control.Session) string {
	switch {
	case s.Interrupted:
		return "interrupted"
	case s.Sealed:
		return "sealed"
	}
	return "open"
}
