package policy

import (
	"strings"
	"testing"
	"time"
)

func TestTurns(t *testing.T) {
	saturday := time.Date(2026, 11, 21, 20, 3, 7, 0, time.UTC)
	for condition, want := range map[string]string{
		"context.weekday <= 5 && context.hour >= 7 && context.hour < 17":                                    "opens Mon 2026-11-23 07:00 UTC, until Mon 2026-11-23 17:00 UTC",
		"context.hour >= 20 && context.hour < 21":                                                           "open until Sat 2026-11-21 21:00 UTC; opens again Sun 2026-11-22 20:00 UTC",
		`context.now >= datetime("2026-11-28T22:00:05Z") && context.now < datetime("2026-11-29T02:30:00Z")`: "opens Sat 2026-11-28 22:00:05 UTC, until Sun 2026-11-29 02:30 UTC",
		`context.now < datetime("2026-11-21T20:03:09Z")`:                                                    "open until Sat 2026-11-21 20:03:09 UTC",
		`context.now < datetime("2026-11-21T20:03:07Z")`:                                                    "",
		`context has reason`: "",
	} {
		set := ruled(t, strings.Replace(permits([2]string{"", "connect"}), ");", ") when { "+condition+" };", 1))
		q := ask("alice", "postgres@ehr")
		q.At = saturday
		if got := strings.Join(turnsText(set.Turns(q)), "\n"); got != want {
			t.Errorf("%s:\n%q, not\n%q", condition, got, want)
		}
	}
	set := ruled(t, permits([2]string{"", "connect"}))
	if q := ask("alice", "postgres@ehr"); len(set.Turns(q)) > 0 {
		t.Error("a policy without hours turns")
	}
}
