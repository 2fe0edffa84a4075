package policy

import "testing"

func TestRetain(t *testing.T) {
	for _, c := range []struct {
		rules [][2]string
		days  int64
	}{
		{[][2]string{{"", "shell exec"}}, 0},
		{[][2]string{{`@retain("30d")`, "shell exec"}}, 30},
		{[][2]string{{`@retain("30d")`, "shell"}, {`@retain("2192d")`, "exec"}}, 2192},
		{[][2]string{{`@retain("30d")`, "shell"}, {`@retain("2192d")`, "shell"}}, 2192},
		// Who says nothing wants it kept.
		{[][2]string{{`@retain("30d")`, "shell"}, {"", "exec"}}, 0},
		{[][2]string{{`@retain("30d")`, "shell"}, {"", "shell"}}, 0},
	} {
		d := ruled(t, permits(c.rules...)).Decide(ask("alice", "postgres@ehr"))
		if len(d.Allowed) == 0 || d.RetainDays != c.days {
			t.Errorf("%q: %d days, want %d (%q)", c.rules, d.RetainDays, c.days, d.Why)
		}
	}
	for _, value := range []string{"", "0d", "30", "-1d", "1.5d", "100000d", "30d ", "for ever"} {
		if days, err := parseDays(value); err == nil {
			t.Errorf("%q is %d days", value, days)
		}
	}
}
