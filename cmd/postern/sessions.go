package main

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
)

var sessionsCommand = &cli.Command{
	Name:      "sessions",
	Usage:     "sessions through the bastions",
	ArgsUsage: "[S-…]…",
	Flags: append([]cli.Flag{
		&cli.BoolFlag{Name: "live", Usage: "those that run now only: who is on what, for how long, until when"},
	}, append(sessionFlags, jsonFlag)...),
	Action: func(c *cli.Context) error {
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
		words := []string{"sessions"}
		if c.Bool("live") {
			words = append(words, "--live")
		}
		sessions, err := control.List[control.Session](c.Context, ca.Client, words...)
		if err != nil {
			return err
		}
		if missing := filter.missing(sessions); missing != "" && !c.Bool("live") {
			return fmt.Errorf("no session %s; list them with: postern sessions", missing)
		}
		sessions = slices.DeleteFunc(sessions, func(s control.Session) bool { return !filter.keeps(s) })
		switch {
		case c.Bool("json"):
			return jsonLines(sessions)
		case c.Bool("live"):
			return printLive(sessions, now)
		}
		return printSessions(sessions, now)
	},
}

// sessionFlags choose sessions.
var sessionFlags = []cli.Flag{
	&cli.StringFlag{Name: "since", Usage: "that ran at `WHEN` or later: 30d, 12h, 2w (ago), 2026-10-01, or a time"},
	&cli.StringFlag{Name: "until", Usage: "that began before `WHEN`"},
	&cli.StringFlag{Name: "user", Usage: "of this `PERSON`; * and ? match, here and below"},
	&cli.StringFlag{Name: "host", Usage: "on this `HOST`"},
	&cli.StringFlag{Name: "account", Usage: "as this `ACCOUNT`"},
	&cli.StringFlag{Name: "bastion", Usage: "through this `BASTION`"},
	&cli.StringFlag{Name: "request", Usage: "of this request `R-…`"},
}

// sessionFilter chooses sessions. What is empty or zero chooses all of them.
type sessionFilter struct {
	ids          []string
	since, until time.Time
	patterns     map[string]string // name of a flag to what it has to match
}

func sessionFilterOf(c *cli.Context, ids []string, now time.Time) (sessionFilter, error) {
	f := sessionFilter{patterns: map[string]string{}}
	for _, id := range ids {
		f.ids = append(f.ids, strings.ToUpper(id))
	}
	for name, at := range map[string]*time.Time{"since": &f.since, "until": &f.until} {
		if c.String(name) == "" {
			continue
		}
		var err error
		if *at, err = command.Since(c.String(name), now); err != nil {
			return f, command.Misuse("--%s: %v", name, err)
		}
	}
	if !f.since.IsZero() && !f.until.IsZero() && !f.since.Before(f.until) {
		return f, command.Misuse("nothing is both since %s and before %s", f.since.Format(time.DateTime), f.until.Format(time.DateTime))
	}
	for _, name := range []string{"user", "host", "account", "bastion", "request"} {
		pattern := c.String(name)
		if pattern == "" {
			continue
		}
		if name == "request" {
			pattern = strings.ToUpper(pattern)
		}
		if _, err := path.Match(pattern, ""); err != nil {
			return f, command.Misuse("--%s: %q is not a pattern", name, pattern)
		}
		f.patterns[name] = pattern
	}
	return f, nil
}

// missing is an ID that was asked for and that there is not.
func (f sessionFilter) missing(sessions []control.Session) string {
	for _, id := range f.ids {
		if !slices.ContainsFunc(sessions, func(s control.Session) bool { return s.ID == id }) {
			return id
		}
	}
	return ""
}

func (f sessionFilter) keeps(s control.Session) bool {
	if len(f.ids) > 0 && !slices.Contains(f.ids, s.ID) {
		return false
	}
	if !f.until.IsZero() && !s.Started.Before(f.until) {
		return false
	}
	if !f.since.IsZero() && !s.Ended.IsZero() && s.Ended.Before(f.since) {
		return false
	}
	account, host := accountAndHost(s.Target)
	for name, value := range map[string]string{"user": s.Person, "host": host, "account": account, "bastion": s.Bastion, "request": s.Request} {
		if pattern, ok := f.patterns[name]; ok {
			if matches, _ := path.Match(pattern, value); !matches {
				return false
			}
		}
	}
	return true
}

// accountAndHost cuts account@host. An account may hold an @.
func accountAndHost(target string) (account, host string) {
	at := strings.LastIndexByte(target, '@')
	return target[:max(at, 0)], target[at+1:]
}

func printLive(sessions []control.Session, now time.Time) error {
	rows := [][]string{{"SESSION", "WHO", "WHERE", "FOR", "UNTIL", "REQUEST", "FROM", "THROUGH"}}
	for _, s := range sessions {
		until := when(s.Deadline, now)
		if now.After(s.Deadline) {
			until = clock(s.Deadline, now) + "; the bastion has not told yet"
		}
		rows = append(rows, []string{s.ID, s.Person, s.Target, short(now.Sub(s.Started)), until, s.Request, s.Client, s.Bastion})
	}
	return rowsOr(rows, "nobody is on any host")
}

func printSessions(sessions []control.Session, now time.Time) error {
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
	return rowsOr(rows, "no sessions")
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
