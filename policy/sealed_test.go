package policy

import (
	"strings"
	"testing"
	"time"
)

func TestSealed(t *testing.T) {
	set, err := emergencySet(`@id("usual") @approve("1 of ehr-owners")` + scope +
		`@id("urgent") @emergency("20m review 24h by 1 of privacy")` + scope +
		`@id("paper") @approve("1 of ehr-owners") @sealed("15m valid 30d review 24h by 1 of privacy")` + scope +
		`@id("sheet") @approve("1 of privacy") @sealed("20m valid 7d review 48h by 1 of ehr-owners")` + scope)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(person string, length time.Duration) Decision {
		return set.Decide(Query{Person: person, Account: "root", Host: "phi1", Sealed: true, For: length, Reason: "x"})
	}
	d := ask("alice", 15*time.Minute)
	if strings.Join(d.Rules, " ") != "paper sheet" || needsText(d.Needs) != "1 of ehr-owners, 1 of privacy" || d.Review != nil ||
		d.Files != FilesFull || d.Streams != Full || d.Forwards != Full || d.Max != 15*time.Minute {
		t.Errorf("%+v", d)
	}
	if s := d.Sealed; s == nil || s.String() != "15m valid 7d review 24h by 1 of ehr-owners, 1 of privacy" {
		t.Errorf("%v", s)
	}
	if d := ask("alice", 16*time.Minute); len(d.Allowed) != 0 {
		t.Errorf("longer than the rule says: %+v", d)
	}
	// Rules for sealed grants give nothing else, and others no sealed grant.
	for _, q := range []Query{{}, {Emergency: true}} {
		q.Person, q.Account, q.Host, q.For, q.Reason = "alice", "root", "phi1", time.Minute, "x"
		if d := set.Decide(q); d.Sealed != nil || len(d.Rules) != 1 {
			t.Errorf("%+v", d)
		}
	}
	if d := ask("dana", time.Minute); len(d.Allowed) != 0 || !strings.Contains(strings.Join(d.Why, " "), "no rule for sealed grants allows dana") {
		t.Errorf("%+v", d)
	}
	if len(set.SealedRules()) != 2 || len(set.Emergencies()) != 1 {
		t.Error(set.SealedRules(), set.Emergencies())
	}
}

func TestSealedRefused(t *testing.T) {
	for rule, says := range map[string]string{
		`@sealed("15m valid 30d review 24h by 1 of privacy")`:                                              "@sealed wants @approve",
		`@approve("1 of privacy") @sealed("15m valid 91d review 24h by 1 of privacy")`:                     "more than 90 days",
		`@approve("1 of privacy") @sealed("2h valid 30d review 24h by 1 of privacy")`:                      "nothing may exceed",
		`@approve("1 of privacy") @sealed("15m valid 30d")`:                                                "is not of the form",
		`@approve("1 of privacy") @sealed("15m valid 30 review 24h by 1 of privacy")`:                      "not a number of days",
		`@approve("1 of privacy") @sealed("15m valid 30d review 10m by 1 of privacy")`:                     "is due before",
		`@approve("1 of privacy") @sealed("15m valid 30d review 24h by 1 of privacy") @max("5m")`:          "beside @sealed",
		`@emergency("15m review 24h by 1 of privacy") @sealed("15m valid 30d review 24h by 1 of privacy")`: "beside @sealed",
		`@approve("1 of privacy") @sealed("15m valid 30d review 24h by 1 of privacy") @source("pin")`:      "beside @sealed",
		`@approve("1 of privacy") @sealed("15m valid 30d review 24h by somebody")`:                         "is not of the form",
	} {
		if _, err := emergencySet(`@id("p") ` + rule + scope); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", rule, err)
		}
	}
}
