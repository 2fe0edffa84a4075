package policy

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"
)

const emergencyPeople = `groups: [dba, privacy, ehr-owners]
people:
  alice:
    groups: [dba]
    keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB]
  bob:
    groups: [dba, privacy]
    keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgIC]
  dana:
    groups: [ehr-owners]
    keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMD]
`

const emergencyHosts = `hosts:
  phi1: {address: "127.0.0.1:22", accounts: [root], trust: host-ca}
`

func emergencySet(rules string) (*Set, error) {
	return Load(fstest.MapFS{"people.yaml": {Data: []byte(emergencyPeople)}, "hosts.yaml": {Data: []byte(emergencyHosts)}, "rules.cedar": {Data: []byte(rules)}})
}

const scope = ` permit (principal in Group::"dba", action in [Action::"shell"], resource in Host::"phi1");` + "\n"

func TestEmergency(t *testing.T) {
	set, err := emergencySet(`@id("usual") @approve("1 of ehr-owners")` + scope +
		`@id("urgent") @emergency("20m review 24h by 1 of privacy")` + scope +
		`@id("also") @emergency("30m review 2h by 1 of ehr-owners")` + scope +
		`@id("never-long") forbid (principal, action in Action::"connect", resource) when { context.for_seconds > 900 } unless { context.emergency };`)
	if err != nil {
		t.Fatal(err)
	}
	for rule, emergency := range map[string]bool{"urgent": false, "usual": true} {
		q := Query{Person: "alice", Account: "root", Host: "phi1", Emergency: emergency, For: time.Minute, Reason: "x", Rule: rule}
		if why := set.Explain(q).String(); !strings.Contains(why, "--emergency") || strings.Contains(why, "those that do") {
			t.Errorf("rule %s by name, emergency %v:\n%s", rule, emergency, why)
		}
	}
	ask := func(person string, emergency bool, length time.Duration) Decision {
		return set.Decide(Query{Person: person, Account: "root", Host: "phi1", Emergency: emergency, For: length, Reason: "x"})
	}
	if d := ask("alice", false, 10*time.Minute); len(d.Rules) != 1 || d.Rules[0] != "usual" || d.Review != nil || len(d.Needs) != 1 || d.Files == FilesFull {
		t.Errorf("%+v", d)
	}
	d := ask("alice", true, 20*time.Minute)
	if strings.Join(d.Rules, " ") != "also urgent" || len(d.Needs) != 0 || d.Max != 20*time.Minute || d.Claim != EmergencyClaim ||
		d.Files != FilesFull || d.Streams != Full || d.Forwards != Full {
		t.Errorf("%+v", d)
	}
	if r := d.Review; r == nil || r.Within != 2*time.Hour || needsText(r.Needs) != "1 of ehr-owners, 1 of privacy" {
		t.Errorf("%+v", r)
	}
	for _, no := range []struct {
		why string
		d   Decision
	}{
		{"forbids it", ask("alice", false, 16*time.Minute)},
		{"at most 20m", ask("alice", true, 25*time.Minute)},
		{"besides bob there are not as many who could sign", ask("bob", true, 5*time.Minute)},
		{"no rule for emergencies allows dana", ask("dana", true, 5*time.Minute)},
		{"rule urgent is for emergencies: ask with --emergency", set.Decide(Query{Person: "alice", Account: "root", Host: "phi1", Rule: "urgent", For: time.Minute, Reason: "x"})},
	} {
		if len(no.d.Allowed) > 0 || !strings.Contains(strings.Join(no.d.Why, "\n"), no.why) {
			t.Errorf("want a no that says %q, got %q %q", no.why, no.d.Allowed, no.d.Why)
		}
	}
}

func TestEmergencyMistakes(t *testing.T) {
	for value, says := range map[string]string{
		"":                                 "is not of the form",
		"30m":                              "is not of the form",
		"30m by 1 of privacy":              "is not of the form",
		"2h review 24h by 1 of privacy":    "more than 1h",
		"30m review 400h by 1 of privacy":  "more than 336h",
		"30m review 0s by 1 of privacy":    "not a positive number",
		"30m review 30m by 1 of privacy":   "due before 30m are over",
		"30m review 24h by privacy":        "is not of the form",
		"30m review 24h by 1 of nobody":    `unknown group "nobody"`,
		"30m review 24h by 2 of privacy":   "can never be had",
		"30m  review 24h by 1 of privacy":  "is not of the form",
		"30m review 24h by 1 of privacy\n": "is not of the form",
	} {
		if _, err := emergencySet(`@id("e") @emergency("` + strings.ReplaceAll(value, "\n", `\n`) + `")` + scope); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v", value, err)
		}
	}
	for _, beside := range []string{`@approve("1 of privacy")`, `@max("5m")`, `@claim("1h")`, `@files("hash")`, `@streams("0")`, `@forwards("0")`} {
		_, err := emergencySet(`@id("e") @emergency("30m review 24h by 1 of privacy") ` + beside + scope)
		if err == nil || !strings.Contains(err.Error(), "beside @emergency") {
			t.Errorf("%s: %v", beside, err)
		}
	}
}
