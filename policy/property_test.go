package policy

import (
	"fmt"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// randomRule writes a rule that loads, over the data of testdata/clinic.
func randomRule(r *rand.Rand, effect, id string) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	var b strings.Builder
	fmt.Fprintf(&b, "@id(%q)\n", id)
	if effect == "permit" {
		fmt.Fprintf(&b, "@max(\"%dm\")\n", 1+r.IntN(60))
		b.WriteString(pick("", "", `@approve("1 of privacy")`, `@approve("1 of privacy, 1 of ehr-owners")`, `@approve("2 of privacy") @touch("true")`))
		b.WriteString(pick("", "", `@files("hash")`, `@files("full")`, `@streams("0")`, `@streams("1M")`, `@streams("full")`, `@forwards("1G")`))
		b.WriteString(pick("", `@keystrokes("true")`, `@source("pin")`, `@environment("LANG, LC_*")`, `@idle("5m")`, `@hold("2m")`, `@claim("1h")`))
	}
	capability := func() string { return `Action::"` + pick(Capabilities()...) + `"` }
	leads := effect == "permit" && r.IntN(2) == 0
	if leads {
		b.WriteString(pick(`@destinations("127.0.0.1:5432")`, `@destinations("127.0.0.1:5432, db:443")`, `@destinations("*:443")`))
	}
	action := pick(`in Action::"connect"`, `in Action::"connect"`, "== "+capability(), "in ["+capability()+", "+capability()+"]")
	if leads {
		action = pick(`in Action::"connect"`, `== Action::"forward-local"`)
	}
	fmt.Fprintf(&b, "\n%s (principal%s, action %s, resource%s)", effect,
		pick("", "", "", ` in Group::"dba"`, ` in Group::"oncall"`, ` == Person::"erin"`), action,
		pick("", "", "", ` in Host::"ehr-db-1"`, ` == Account::"root@ehr-db-1"`, ` == Account::"viewer@monitor-1"`))
	b.WriteString(pick("", "", ` when { resource.host.labels.contains("phi") }`, ` unless { context.reason like "INC-*" }`,
		` when { context.hour < 12 }`, ` when { context.for_seconds <= 600 }`, ` unless { context.source.isInRange(ip("198.51.100.0/24")) }`))
	b.WriteString(";\n")
	return b.String()
}

func randomQuery(r *rand.Rand, set *Set) Query {
	people, hosts := set.People(), set.Hosts()
	host := hosts[r.IntN(len(hosts))]
	q := Query{
		Person: people[r.IntN(len(people))].Name, Host: host.Name, Account: host.Accounts[r.IntN(len(host.Accounts))],
		For: time.Duration(r.IntN(70)) * time.Minute, At: monday.Add(time.Duration(r.IntN(7*24)) * time.Hour),
	}
	if r.IntN(3) > 0 {
		q.Reason = []string{"INC-1", "curious"}[r.IntN(2)]
	}
	if r.IntN(3) > 0 {
		q.Source = vendor
	}
	if r.IntN(2) == 0 {
		q.Capabilities = []string{Capabilities()[r.IntN(10)]}
	}
	return q
}

// TestForbidsOnlyNarrow: whatever the rules, one more forbid takes away or changes nothing. It neither grants, nor
// prolongs, nor spares an approval to what is still granted.
func TestForbidsOnlyNarrow(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	clinic := directory(t, "testdata/clinic")
	granted, narrowed := 0, 0
	for round := range 80 {
		f := files{"people.yaml": clinic["people.yaml"], "hosts.yaml": clinic["hosts.yaml"]}
		for i := range 1 + r.IntN(5) {
			f["rules.cedar"] += randomRule(r, "permit", fmt.Sprintf("p%d", i))
		}
		for i := range r.IntN(2) {
			f["rules.cedar"] += randomRule(r, "forbid", fmt.Sprintf("f%d", i))
		}
		before := mustLoad(t, f.fs())
		f["more.cedar"] = randomRule(r, "forbid", "one-more")
		after := mustLoad(t, f.fs())
		for range 40 {
			q := randomQuery(r, before)
			b, a := before.Decide(q), after.Decide(q)
			checkBounds(t, q, b)
			checkBounds(t, q, a)
			if len(b.Allowed) > 0 {
				granted++
			}
			if len(a.Allowed) < len(b.Allowed) {
				narrowed++
			}
			for _, capability := range a.Allowed {
				if !slices.Contains(b.Allowed, capability) {
					t.Fatalf("round %d: the forbid grants %s\n%s%s%+v", round, capability, f["rules.cedar"], f["more.cedar"], q)
				}
				q.Capabilities = []string{capability}
				if b, a := before.Decide(q), after.Decide(q); !reflect.DeepEqual(a, b) {
					t.Fatalf("round %d: the forbid changes the terms of %s\n%s%s%+v\n%+v", round, capability, f["rules.cedar"], f["more.cedar"], b, a)
				}
			}
		}
	}
	if granted < 100 || narrowed < 50 {
		t.Errorf("the rules are too tame to show anything: %d granted, %d narrowed", granted, narrowed)
	}
}

// checkBounds holds what no policy can change.
func checkBounds(t *testing.T, q Query, d Decision) {
	t.Helper()
	switch {
	case d.Max > HardMax:
		t.Fatalf("at most %s, above the hard maximum: %+v", d.Max, q)
	case len(d.Allowed) > 0 && (d.Max <= 0 || q.For > d.Max || d.Claim <= 0 || d.Claim > MaxClaim || len(d.Rules) == 0):
		t.Fatalf("allowed without bounds: %+v: %+v", q, d)
	case len(d.Allowed) == 0 && len(d.Why) == 0:
		t.Fatalf("denied without a word: %+v", q)
	case slices.Contains(d.Allowed, ForwardLocal) != (len(d.Destinations) > 0):
		t.Fatalf("forward-local without destinations, or the other way round: %+v: %+v", q, d)
	case len(d.Allowed) > 0 && (d.Files == "" || d.Streams < Full || d.Forwards < Full):
		t.Fatalf("allowed, and not said what is kept: %+v: %+v", q, d)
	case len(d.Allowed) == 0 && (len(d.Rules) > 0 || len(d.Needs) > 0):
		t.Fatalf("denied, with duties: %+v: %+v", q, d)
	}
	for _, capability := range d.Allowed {
		if !slices.Contains(Capabilities(), capability) || len(q.Capabilities) > 0 && !slices.Contains(q.Capabilities, capability) {
			t.Fatalf("%s was not asked for: %+v", capability, q)
		}
	}
}

// TestPermitsNeverLoosen: one more permit may widen what is allowed, but what was allowed already is not had for
// longer or with fewer approvals.
func TestPermitsNeverLoosen(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	clinic := directory(t, "testdata/clinic")
	compared := 0
	for range 60 {
		f := files{"people.yaml": clinic["people.yaml"], "hosts.yaml": clinic["hosts.yaml"]}
		for i := range 1 + r.IntN(4) {
			f["rules.cedar"] += randomRule(r, "permit", fmt.Sprintf("p%d", i))
		}
		before := mustLoad(t, f.fs())
		f["more.cedar"] = randomRule(r, "permit", "one-more")
		after := mustLoad(t, f.fs())
		for range 40 {
			q := randomQuery(r, before)
			q.Capabilities = []string{Capabilities()[r.IntN(10)]}
			b, a := before.Decide(q), after.Decide(q)
			if len(b.Allowed) == 0 || len(a.Allowed) == 0 {
				continue
			}
			compared++
			if a.Max > b.Max || !reflect.DeepEqual(uniteNeeds(a.Needs, b.Needs), a.Needs) || b.Touch && !a.Touch ||
				MoreFiles(a.Files, b.Files) != a.Files || MoreOf(a.Streams, b.Streams) != a.Streams || MoreOf(a.Forwards, b.Forwards) != a.Forwards ||
				!reflect.DeepEqual(common(b.Destinations, a.Destinations), a.Destinations) ||
				b.PinSource && !a.PinSource || b.Keystrokes && !a.Keystrokes || !slices.Equal(intersect(a.Environment, b.Environment), a.Environment) {
				t.Fatalf("looser\n%s%s%+v\n%+v\n%+v", f["rules.cedar"], f["more.cedar"], q, b, a)
			}
		}
	}
	if compared < 100 {
		t.Errorf("only %d comparisons", compared)
	}
}

// FuzzLoad: whatever the files hold, Load returns; and what loads decides within the bounds, reads back the keys it
// gives, and loads again to the same digest.
func FuzzLoad(f *testing.F) {
	seeds := 0
	for _, dir := range []string{"testdata/minimal", "testdata/clinic"} {
		d := directory(f, dir)
		rules := ""
		for _, name := range []string{"rules.cedar", "connect.cedar", "limits.cedar", "admin.cedar"} {
			rules += d[name]
		}
		f.Add(d["people.yaml"], d["hosts.yaml"], rules)
		seeds++
	}
	if corpus, err := fs.Glob(seedFS, "testdata/fuzz/FuzzLoad/*"); err != nil || len(corpus) == 0 || seeds == 0 {
		f.Fatalf("no seeds for the fuzzer: %v", err)
	}
	f.Fuzz(func(t *testing.T, people, hosts, rules string) {
		d := files{"people.yaml": people, "hosts.yaml": hosts, "rules.cedar": rules}
		set, err := Load(d.fs())
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				if !strings.Contains(line, ":") && !strings.HasPrefix(line, "and ") {
					t.Errorf("an error without a place: %q", line)
				}
			}
			return
		}
		if again := mustLoad(t, d.fs()); again.Digest() != set.Digest() {
			t.Errorf("two digests of the same files")
		}
		for _, p := range set.People() {
			for _, key := range p.Keys {
				if same, err := parseKey(key.Line); err != nil || same != key {
					t.Errorf("%+v reads back as %+v: %v", key, same, err)
				}
				if owner, ok := set.PersonByKey(key.Fingerprint); !ok || owner.Name != p.Name {
					t.Errorf("%s's key is not theirs", p.Name)
				}
			}
			for _, h := range set.Hosts() {
				for _, account := range h.Accounts {
					q := Query{Person: p.Name, Host: h.Name, Account: account, At: monday, Reason: "x", Source: vendor}
					checkBounds(t, q, set.Decide(q))
					_ = set.Explain(q).String()
				}
			}
		}
	})
}
