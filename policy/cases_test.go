package policy

import (
	"os"
	"slices"
	"strings"
	"testing"
)

func TestCasesOfTheClinic(t *testing.T) {
	content, err := os.ReadFile("testdata/clinic/tests/cases.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := ParseCases("cases.yaml", content)
	if err != nil || len(cases) < 5 {
		t.Fatalf("%d cases: %v", len(cases), err)
	}
	set := clinic(t)
	for _, c := range cases {
		for _, line := range set.Test(c) {
			t.Errorf("%s: %s: %s", c.Place, c.Name, line)
		}
	}
}

func TestCasesThatDiffer(t *testing.T) {
	const ask = "person: alice\n    target: postgres@ehr\n    for: 10m\n    "
	for _, c := range []struct{ expects, differs string }{
		{"expect: denied", "granted, expected denied"},
		{"why: because", `expected to say "because"`},
		{"needs: [1 of privacy]", "needs: 1 of ehr-owners, 1 of privacy, expected 1 of privacy"},
		{"max: 1h", "max is 30m, expected 1h"},
		{"may: [shell]", "may: exec, sftp-read, shell, expected shell"},
		{"rules: [break-glass]", "rules: dba-ehr, expected break-glass"},
		{"limits: [denied 5 log]", `limits are "", expected "denied 5 log"`},
		{"crosses: [denied 5 log]", `crosses "", expected "denied 5 log"`},
	} {
		cases, err := ParseCases("x.yaml", []byte("cases:\n  - name: x\n    "+ask+c.expects+"\n"))
		if err != nil {
			t.Fatalf("%s: %v", c.expects, err)
		}
		if got := clinic(t).Test(cases[0]); len(got) != 1 || !strings.Contains(got[0], c.differs) {
			t.Errorf("%s: %q", c.expects, got)
		}
	}
}

func TestLimitsOfSeveralRules(t *testing.T) {
	dir := files(directory(t, "testdata/minimal"))
	dir["more.cedar"] = `@id("one") @limits("denied 5 hold; bytes-out 1M log") permit (principal, action == Action::"shell", resource);
@id("two") @limits("denied 3 revoke; bytes-out 2M hold") permit (principal, action == Action::"shell", resource);
`
	cases, err := ParseCases("x.json", []byte(`{"cases": [{"name": "x", "person": "alice", "target": "root@phi1", "only": ["shell"],
		"does": {"denied": 4, "bytes-out": "1500K", "paths": ["/a"], "commands": ["x", "x"], "sources": 2},
		"limits": ["bytes-out 1M log", "bytes-out 2M hold", "denied 3 revoke"], "crosses": ["bytes-out 1M log", "denied 3 revoke"]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := mustLoad(t, dir.fs()).Test(cases[0]); len(got) > 0 {
		t.Error(got)
	}
}

func TestBadCases(t *testing.T) {
	for _, c := range []struct{ text, says string }{
		{"", "the file is empty"},
		{"case: []", `unknown field "case"`},
		{"cases: []\nmore: x", `unknown field "more"`},
		{"cases: x", "must be a list"},
		{"cases:\n  - name: x", "a case has no person"},
		{"cases:\n  - {name: x, person: alice, target: phi1, expect: denied}", "account@host"},
		{"cases:\n  - {name: x, person: alice, target: root@phi1}", "expects nothing"},
		{"cases:\n  - {name: x, person: alice, target: root@phi1, expect: maybe}", "neither granted nor denied"},
		{"cases:\n  - {name: x, person: alice, target: root@phi1, expect: denied, at: Saturday}", "no time"},
		{"cases:\n  - {name: x, person: alice, target: root@phi1, expect: denied, for: ten}", "not a duration"},
		{"cases:\n  - {name: x, person: alice, target: root@phi1, expect: denied, source: here}", "not an IP address"},
		{"cases:\n  - {name: x, person: alice, target: root@phi1, crosses: [denied]}", "3 words"},
		{"cases:\n  - {name: x, person: alice, target: root@phi1, crosses: [], does: {denied: lots}}", "no such count"},
		{"cases:\n  - {name: x, person: alice, target: root@phi1, crosses: [], does: {bytes: 5}}", "unknown field"},
		{"cases:\n  - {name: x, person: alice, target: root@phi1, expected: denied}", `unknown field "expected"`},
	} {
		if _, err := ParseCases("x.yaml", []byte(c.text)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", c.text, err, c.says)
		}
	}
}

func TestBadLimits(t *testing.T) {
	for text, says := range map[string]string{
		"":               "no limit is named",
		"denied":         "3 words",
		"denied 5 shout": "nothing that is done",
		strings.Join(slices.Repeat([]string{"denied 1 log"}, 3), ";") + strings.Repeat("; paths /x 1 log", 0): "",
	} {
		dir := files(directory(t, "testdata/minimal"))
		dir["more.cedar"] = `@id("one") @limits("` + text + `") permit (principal, action == Action::"shell", resource);`
		_, err := Load(dir.fs())
		if says == "" && err != nil || says != "" && (err == nil || !strings.Contains(err.Error(), "more.cedar:1: @limits: ") || !strings.Contains(err.Error(), says)) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// Cases are as bad as their file says, line by line, or each has what it is asked with.
func FuzzCases(f *testing.F) {
	f.Add("cases:\n  - {name: x, person: alice, target: root@phi1, at: \"2026-11-21T22:00:00Z\", source: 192.0.2.1, for: 5m, expect: granted, needs: [1 of privacy]}\n")
	f.Add(`{"cases": [{"name": "x", "person": "alice", "target": "root@phi1", "only": ["shell"], "does": {"bytes-out": "1M"}, "crosses": "denied 5 log"}]}`)
	f.Add("cases: &a [*a, *a]\n")
	f.Add("cases: [&x {name: x, person: p, target: a@h}, *x, *x]\n")
	f.Fuzz(func(t *testing.T, text string) {
		cases, err := ParseCases("x.yaml", []byte(text))
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.HasPrefix(line, "x.yaml:") && !strings.HasPrefix(line, "and ") {
					t.Errorf("an error without a place: %q", line)
				}
			}
			return
		}
		for _, c := range cases {
			if c.Place == "" || c.Query.Host == "" && strings.Contains(text, "target") && c.Query.Account == "" || c.Query.For < 0 {
				t.Errorf("%q has the case %+v", text, c)
			}
		}
		if len(cases) > len(text) {
			t.Errorf("%d cases in %d bytes", len(cases), len(text))
		}
	})
}
