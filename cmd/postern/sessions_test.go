package main

import (
	"slices"
	"testing"
	"time"

	"github.com/urfave/cli/v2"

	"postern/ca/auditlog"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/verify"
)

// chosen runs a command with the flags of sessions and returns the filter.
func chosen(t *testing.T, now time.Time, words ...string) (f sessionFilter) {
	t.Helper()
	app := command.Prepare(&cli.App{Name: "postern", Commands: []*cli.Command{{
		Name: "sessions", ArgsUsage: "[S-…]…", Flags: sessionFlags,
		Action: func(c *cli.Context) (err error) { f, err = sessionFilterOf(c, c.Args().Slice(), now); return err },
	}}})
	if err := command.Run(t.Context(), app, append([]string{"postern", "sessions"}, words...)); err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWhichSessions(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	sessions := []control.Session{
		{ID: "S-OLD", Person: "alice", Target: "root@phi1", Bastion: "bastion-1", Request: "R-1", Started: ago(50 * time.Hour), Ended: ago(49 * time.Hour)},
		{ID: "S-LONG", Person: "adam", Target: "j@doe@phi2", Bastion: "bastion-2", Request: "R-2", Started: ago(30 * time.Hour), Ended: ago(2 * time.Hour)},
		{ID: "S-LIVE", Person: "alice", Target: "postgres@phi2", Bastion: "bastion-1", Request: "R-3", Started: ago(time.Hour)},
	}
	for _, try := range []struct {
		words []string
		want  []string
	}{
		{nil, []string{"S-OLD", "S-LONG", "S-LIVE"}},
		{[]string{"--since", "1d"}, []string{"S-LONG", "S-LIVE"}},
		{[]string{"--until", "1d"}, []string{"S-OLD", "S-LONG"}},
		{[]string{"--since", "3h", "--until", "90m"}, []string{"S-LONG"}},
		{[]string{"--until", "2026-11-21"}, []string{"S-OLD"}},
		{[]string{"--user", "alice"}, []string{"S-OLD", "S-LIVE"}},
		{[]string{"--user", "a*", "--host", "phi2"}, []string{"S-LONG", "S-LIVE"}},
		{[]string{"--account", "j@doe"}, []string{"S-LONG"}},
		{[]string{"--bastion", "bastion-?", "--request", "r-1"}, []string{"S-OLD"}},
		{[]string{"s-live", "S-OLD", "--user", "alice"}, []string{"S-OLD", "S-LIVE"}},
		{[]string{"--host", "phi"}, nil},
	} {
		f := chosen(t, now, try.words...)
		var got []string
		for _, s := range sessions {
			if f.keeps(s) {
				got = append(got, s.ID)
			}
		}
		if !slices.Equal(got, try.want) {
			t.Errorf("%v: %v, want %v", try.words, got, try.want)
		}
	}
	if missing := chosen(t, now, "S-OLD", "s-none").missing(sessions); missing != "S-NONE" {
		t.Errorf("missing is %q", missing)
	}
}

func TestWhichViews(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	v := verify.View{View: auditlog.View{Sessions: []string{"S-1", "S-2"}}, At: now.Add(-2 * time.Hour)}
	for _, try := range []struct {
		words []string
		keeps bool
	}{
		{nil, true}, {[]string{"s-2"}, true}, {[]string{"S-3"}, false}, {[]string{"S-3", "S-1"}, true},
		{[]string{"--since", "3h"}, true}, {[]string{"--since", "1h"}, false}, {[]string{"--until", "1h"}, true}, {[]string{"--until", "3h"}, false},
	} {
		if got := chosen(t, now, try.words...).keepsView(v); got != try.keeps {
			t.Errorf("%v: %t", try.words, got)
		}
	}
}
