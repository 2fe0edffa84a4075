package report

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"flag"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/verify"
	"postern/recorder/index"
)

var update = flag.Bool("update", false, "write the golden files")

// The JSON document is what other programs read: its names and what they mean stay.
func TestGoldenJSON(t *testing.T) {
	var out bytes.Buffer
	if err := full(t, newBook(t)).JSON(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/report.json", out.Bytes())
}

func TestGoldenText(t *testing.T) {
	var out bytes.Buffer
	if err := full(t, newBook(t)).Text(&out); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/report.txt", out.Bytes())
	narrow(t, out.String())
}

func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has changed (go test -update writes it):\n%s", path, got)
	}
}

func narrow(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestTotals(t *testing.T) {
	r := full(t, newBook(t))
	want := Totals{Requests: 4, Sessions: 2, Seconds: 930, Commands: 4, FilesFrom: 1, FilesTo: 1, BytesFrom: 48211, BytesTo: 7_400_000, Forwards: 1, Denied: 2, Cut: 1}
	if r.Totals != want {
		t.Errorf("totals are\n%+v, want\n%+v", r.Totals, want)
	}
	for name, list := range map[string][]Totals{"people": r.People, "hosts": r.Hosts, "days": r.Days} {
		var sum Totals
		for _, part := range list {
			sum.add(part)
			sum.Requests += part.Requests
		}
		if sum != want {
			t.Errorf("%s make %+v", name, sum)
		}
	}
	if q := find(t, r.Requests, func(q *Request) bool { return q.ID == "R-AAA" }); q.Used != 750 || q.Granted != 1200 || q.Asked != 1200 {
		t.Errorf("%+v", q)
	}
	if len(r.unused()) != 1 || r.unused()[0].ID != "R-DDD" {
		t.Errorf("unused: %v", r.unused())
	}
	if s := r.Session("S-BBB"); s.Cut != "revoked by olga: wrong host" {
		t.Errorf("cut because %q", s.Cut)
	}
	if f := r.Session("S-AAA").Files; len(f) != 4 || f[2].Status != "ok" {
		t.Errorf("an operation that is told twice: %+v", f)
	}
}

// What began before the period or ends after it is cut to it, and marked.
func TestCutToThePeriod(t *testing.T) {
	b := newBook(t)
	b.at = october.Add(-5 * time.Minute)
	b.grant(t, "R-1", "alice", "a@h1", "night work", "bob")
	b.open(t, "S-1", "R-1", "alice", "a@h1")
	b.pass(15 * time.Minute)
	b.end(t, "S-1", "closed")
	b.at = october.AddDate(0, 1, 0).Add(-2 * time.Minute)
	b.grant(t, "R-2", "alice", "a@h1", "night work", "bob")
	b.open(t, "S-2", "R-2", "alice", "a@h1")
	b.pass(time.Hour) // nobody says that it ended
	b.ask(t, "R-3", "alice", "a@h1", "later")
	r := b.month()
	if len(r.Sessions) != 2 || len(r.Requests) != 2 {
		t.Fatalf("%d sessions, %d requests", len(r.Sessions), len(r.Requests))
	}
	first, last := r.Session("S-1"), r.Session("S-2")
	if !first.Before || first.After || first.Seconds != 600 || last.Before || !last.After || last.Seconds != 120 || r.Totals.Seconds != 720 {
		t.Errorf("%+v\n%+v\n%+v", first, last, r.Totals)
	}
	r.Take(first, []index.Entry{{Commands: []index.Command{{At: 4 * time.Minute, Text: "before"}, {At: 6 * time.Minute, Text: "in it"}}}})
	if len(first.Commands) != 1 || first.Commands[0].Text != "in it" || first.Outside != 1 {
		t.Errorf("%+v", first)
	}
	for name, o := range map[string]Options{"another person": {User: "bob"}, "another host": {Host: "h2*"}, "another month": {From: october.AddDate(0, 1, 1), To: october.AddDate(0, 2, 0)}} {
		b := newBook(t)
		full(t, b)
		if o.From.IsZero() {
			o.From, o.To = october, october.AddDate(0, 1, 0)
		}
		if r := b.ledger.Report(o, Proof{}); len(r.Sessions)+len(r.Requests) != 0 {
			t.Errorf("%s: %d sessions, %d requests", name, len(r.Sessions), len(r.Requests))
		}
	}
}

func TestHands(t *testing.T) {
	b := newBook(t)
	for i := range 5 {
		who := "bob"
		if i == 4 {
			who = "dana"
		}
		b.grant(t, "R-A"+string(rune('0'+i)), "alice", "a@h", "x", who)
	}
	for i := range 4 {
		b.grant(t, "R-B"+string(rune('0'+i)), "eve", "a@h", "x", "bob", "dana")
	}
	b.grant(t, "R-C", "bob", "a@h", "x", "alice")
	r := b.month()
	if h := r.Hands[0]; h.Approver != "bob" || h.Requester != "alice" || h.Approved != 4 || h.Of != 5 || h.Share() != 80 {
		t.Errorf("%+v", r.Hands)
	}
	// 4 of 5 is not more than 80 %, 4 of 4 is, 1 of 1 is too few to say anything.
	if len(r.OneSided) != 2 || r.OneSided[0].Requester != "eve" || r.OneSided[1].Requester != "eve" {
		t.Errorf("one-sided: %+v", r.OneSided)
	}
	if want := []Mutual{{A: "alice", B: "bob", AForB: 1, BForA: 4}}; !reflect.DeepEqual(r.Mutual, want) {
		t.Errorf("mutual: %+v", r.Mutual)
	}
}

func TestKeysNearlyMissing(t *testing.T) {
	b := newBook(t)
	b.at = october.AddDate(0, 1, 2)
	b.key(t, "2026-11") // two days late
	b.at = october.AddDate(0, 2, -1)
	b.key(t, "2026-12") // a day before
	r := b.ledger.Report(Options{From: october, To: october.AddDate(0, 4, 0), Made: october.AddDate(0, 4, 0)}, Proof{})
	var got []string
	for _, k := range r.Keys {
		got = append(got, k.Month+" "+k.Problem)
	}
	want := []string{"2026-10 ", "2026-11 it came 2 days into the month; until then there were no sessions", "2026-12 it came only 24 hours before the month",
		"2027-01 there is none, so there were no sessions", "2027-02 there is none, so there were no sessions"}
	if !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// The section is there when somebody used a rule for emergencies, and not before.
func TestEmergencies(t *testing.T) {
	b := newBook(t)
	r := full(t, b)
	var out bytes.Buffer
	if err := r.HTML(&out); err != nil || strings.Contains(out.String(), "Emergency") || r.Emergencies != nil {
		t.Errorf("a section without an emergency: %v", err)
	}
	b = newBook(t)
	for _, id := range []string{"R-1", "R-2", "R-3"} {
		asked := control.Request{ID: id, Person: "alice", Created: b.at, Emergency: true,
			Owes: &control.ReviewOf{By: b.at.Add(24 * time.Hour), Needs: []control.Need{{Count: 1, Group: "privacy"}}}}
		b.ledger.Add(b.n, auditlog.Entry{Type: auditlog.TypeRequest, At: b.at, Request: &asked})
		if id != "R-3" {
			b.ledger.Add(b.n, auditlog.Entry{Type: auditlog.TypeState, At: b.at, State: &auditlog.State{Request: id, State: control.Granted}})
		}
	}
	b.vote(t, "R-2", "dana", review, "it was one")
	r = b.month()
	if len(r.Emergencies) != 3 || len(r.Emergencies[0].Reviewed) != 0 || !slices.Equal(r.Emergencies[1].Reviewed, []string{"dana"}) {
		t.Errorf("%+v", r.Emergencies)
	}
	out.Reset()
	if err := r.Text(&out); err != nil || !strings.Contains(out.String(), "R-1  2026-10-01 00:00  alice: THE REVIEW IS OPEN, due 2026-10-02 00:00\n") ||
		!strings.Contains(out.String(), "alice: never used") || !strings.Contains(out.String(), "alice: reviewed by dana") {
		t.Errorf("%v: %s", err, out.String())
	}
	b.ledger.Add(b.n, auditlog.Entry{Type: auditlog.TypeOverdue, At: b.at.Add(25 * time.Hour), Overdue: &control.Overdue{Request: "R-1"}})
	out.Reset()
	if err := b.month().Text(&out); err != nil || !strings.Contains(out.String(), "alice: THE REVIEW IS OVERDUE since 2026-10-02 00:00\n") {
		t.Errorf("%v: %s", err, out.String())
	}
}

// What a reviewer found stands in the report, and stays until somebody cleared it, also when the emergency was long before the period.
func TestVerdicts(t *testing.T) {
	b := newBook(t)
	asked := control.Request{ID: "R-1", Person: "alice", Created: b.at, Emergency: true,
		Owes: &control.ReviewOf{By: b.at.Add(24 * time.Hour), Needs: []control.Need{{Count: 1, Group: "privacy"}, {Count: 1, Group: "ward"}}}}
	b.ledger.Add(b.n, auditlog.Entry{Type: auditlog.TypePolicy, At: b.at, Policy: &auditlog.Policy{Groups: map[string][]string{"privacy": {"dana", "beth", "bob"}, "ward": {"bob"}}}})
	b.ledger.Add(b.n, auditlog.Entry{Type: auditlog.TypeRequest, At: b.at, Request: &asked})
	b.ledger.Add(b.n, auditlog.Entry{Type: auditlog.TypeState, At: b.at, State: &auditlog.State{Request: "R-1", State: control.Granted}})
	later := func() *Report {
		from := b.at.AddDate(0, 2, 0)
		return b.ledger.Report(Options{From: from, To: from.AddDate(0, 1, 0), By: "carol", Reason: "x", Made: from}, Proof{Leaves: b.n})
	}
	says := func(text string, owes bool) {
		t.Helper()
		for which, r := range map[string]*Report{"that month": b.month(), "long after": later()} {
			var out, page bytes.Buffer
			if err := errors.Join(r.Text(&out), r.HTML(&page)); err != nil {
				t.Fatal(err)
			}
			want := owes || which == "that month"
			if strings.Contains(out.String(), text) != want || strings.Contains(page.String(), text) != want || len(r.Emergencies) > 0 && r.Emergencies[0].Owes() != owes {
				t.Errorf("%s: want %v of %q:\n%s", which, want, text, out.String())
			}
		}
	}
	b.at = b.at.Add(48 * time.Hour)
	b.ledger.Add(b.n, auditlog.Entry{Type: auditlog.TypeOverdue, At: b.at, Overdue: &control.Overdue{Request: "R-1"}})
	says("THE REVIEW IS OVERDUE", true)
	b.finds(t, "R-1", "dana", review, control.Misused)
	says("MISUSED, says dana; THE REVIEW IS OVERDUE", true)
	b.finds(t, "R-1", "beth", review, control.Justified) // of the same group, so a place is still empty
	says("MISUSED, says dana, beth; THE REVIEW IS OVERDUE", true)
	b.finds(t, "R-1", "bob", review, control.Justified)
	says("MISUSED, reviewed by dana, beth, bob; nobody has cleared alice", true)
	b.finds(t, "R-1", "bob", control.Clear, "")
	says("MISUSED, reviewed by dana, beth, bob; cleared by bob", false)
}

// A log that does not verify is the first thing anybody reads, in every format.
func TestFailuresComeFirst(t *testing.T) {
	b := newBook(t)
	full(t, b)
	vote := find(t, b.ledger.requests["R-AAA"].Approvals, func(a Approval) bool { return a.Person == "bob" })
	r := b.ledger.Report(Options{From: october, To: october.AddDate(0, 1, 0)}, Proof{
		Failures: []verify.Failure{{Leaf: vote.Leaf, Text: "approve of R-AAA by bob: the signature is not good"}}})
	if a := r.Session("S-AAA").Approvals; a[0].How() != "NOT PROVEN" || a[1].How() != "key without touch" {
		t.Errorf("a vote that does not count stands there as %s, and the other as %s", a[0].How(), a[1].How())
	}
	forms := map[string]func(*bytes.Buffer) error{
		"text": func(b *bytes.Buffer) error { return r.Text(b) }, "html": func(b *bytes.Buffer) error { return r.HTML(b) },
	}
	for name, write := range forms {
		var out bytes.Buffer
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
		text := out.String()
		failure, first := strings.Index(text, "the signature is not good"), strings.Index(text, "alice")
		if failure < 0 || first < failure || strings.Contains(text, "Proven:") || !strings.Contains(text, "NOT PROVEN") {
			t.Errorf("%s: failure at %d, people at %d", name, failure, first)
		}
	}
	var out bytes.Buffer
	if err := r.CSV(&out, "sessions"); err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(&out).ReadAll()
	if err != nil || len(rows) != 3 || rows[1][len(rows[1])-1] != "false" {
		t.Errorf("a table from a log that fails does not say so: %v %v", rows, err)
	}
}

// A bastion may write what it likes into an index.
func TestIndexThatLies(t *testing.T) {
	b := newBook(t)
	b.grant(t, "R-1", "alice", "a@h", "x", "bob")
	b.open(t, "S-1", "R-1", "alice", "a@h")
	b.pass(time.Minute)
	b.end(t, "S-1", "closed")
	r := b.month()
	s := r.Session("S-1")
	var lots []index.Command
	for range mostOfOne + 500 {
		lots = append(lots, index.Command{At: time.Second, Text: "x"})
	}
	r.Take(s, []index.Entry{
		{Files: []index.File{{At: time.Second, Operation: "read", Path: "a", Bytes: math.MaxUint64}, {At: time.Second, Operation: "read", Path: "b", Bytes: math.MaxUint64},
			{At: -time.Hour, Operation: "write", Path: "c", Bytes: 1}, {At: math.MaxInt64, Operation: "write", Path: "d", Bytes: 1}, {At: 3 * time.Hour, Operation: "write", Path: "e"}}},
		{Commands: lots},
	})
	r.Total()
	if r.Totals.BytesFrom != math.MaxUint64 {
		t.Errorf("sizes wrapped around to %d", r.Totals.BytesFrom)
	}
	if r.Totals.Commands != len(lots) || len(s.Commands) > mostOfOne || s.Omitted == 0 || len(r.Limits) == 0 {
		t.Errorf("%d commands counted, %d kept, %d left out, %v", r.Totals.Commands, len(s.Commands), s.Omitted, r.Limits)
	}
	if !strings.Contains(s.Recording.Problem, "3 moments") || len(r.Recordings) != 1 || !r.Recordings[0].Bad {
		t.Errorf("moments outside of the session: %q, %v", s.Recording.Problem, r.Recordings)
	}
	var out bytes.Buffer
	if err := r.Text(&out); err != nil {
		t.Fatal(err)
	}
	narrow(t, out.String())
	frames := index.Entry{Files: []index.File{{Operation: "read", Path: "a", Bytes: 9}}}
	if Same(index.Entry{Files: []index.File{{Operation: "read", Path: "a", Bytes: 8}}}, frames) || !Same(frames, frames) {
		t.Error("a size that is not that of the frames passes")
	}
}

// Recordings that are missing, broken or gone are named, and none hides behind another.
func TestGaps(t *testing.T) {
	b := newBook(t)
	for _, id := range []string{"S-ok", "S-down", "S-cut", "S-live", "S-gone"} {
		b.grant(t, "R-"+id, "alice", "a@h", "x", "bob")
		b.open(t, id, "R-"+id, "alice", "a@h")
		if id != "S-live" && id != "S-cut" {
			b.end(t, id, "closed")
		}
	}
	b.add(t, auditlog.Entry{Type: auditlog.TypeProgress, Progress: &control.Progress{Session: "S-cut", End: "lost", Interrupted: true, Sealed: true}})
	b.add(t, auditlog.Entry{Type: auditlog.TypeReceipt, Actor: "bastion-1", Receipt: &control.Receipt{Session: "S-gone", Bastion: "bastion-1"}})
	r := b.month()
	r.Session("S-down").Recording.Problem = "bastion bastion-1 at 192.0.2.1:22: connection refused"
	r.Total()
	got := map[string]bool{}
	for _, g := range r.Recordings {
		got[g.Session] = g.Bad
	}
	if want := map[string]bool{"S-down": true, "S-cut": true, "S-live": false, "S-gone": false}; !reflect.DeepEqual(got, want) {
		t.Errorf("%v: %v", got, r.Recordings)
	}
}

// Ten thousand sessions are no reason to wait.
func TestTenThousandSessions(t *testing.T) {
	t.Parallel()
	b := newBook(t)
	began := time.Now()
	for i := range 10_000 {
		id := string(rune('A'+i%26)) + "-" + time.Duration(i).String()
		b.pass(4 * time.Minute)
		b.grant(t, "R"+id, []string{"alice", "adam", "eve"}[i%3], "a@h"+id[:1], "INC", "bob")
		b.open(t, "S"+id, "R"+id, "alice", "a@h"+id[:1])
		b.pass(time.Second)
		b.end(t, "S"+id, "closed")
	}
	written := time.Since(began)
	began = time.Now()
	r := b.month()
	if len(r.Sessions) != 10_000 {
		t.Fatalf("%d sessions", len(r.Sessions))
	}
	for _, s := range r.Sessions {
		r.Take(s, []index.Entry{{Commands: []index.Command{{Text: "true"}}}})
	}
	r.Total()
	made := time.Since(began)
	began = time.Now()
	for _, write := range []func(*bytes.Buffer) error{
		func(w *bytes.Buffer) error { return r.Text(w) }, func(w *bytes.Buffer) error { return r.HTML(w) },
		func(w *bytes.Buffer) error { return r.JSON(w) }, func(w *bytes.Buffer) error { return r.CSV(w, "sessions") },
	} {
		var out bytes.Buffer
		if err := write(&out); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("log written in %s, report made in %s, in four formats in %s", written, made, time.Since(began))
	if made > time.Minute {
		t.Errorf("the report took %s", made)
	}
	var doc map[string]any
	var out bytes.Buffer
	if err := r.JSON(&out); err != nil || json.Unmarshal(out.Bytes(), &doc) != nil || doc["format"] != Format {
		t.Error(err, doc["format"])
	}
}

// docs/reports.md names every member of the JSON document.
func TestDocumentNamesEveryMember(t *testing.T) {
	doc, err := os.ReadFile("../../docs/reports.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[reflect.Type]bool{}
	var walk func(reflect.Type)
	walk = func(of reflect.Type) {
		for of.Kind() == reflect.Pointer || of.Kind() == reflect.Slice {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || seen[of] || of == reflect.TypeFor[time.Time]() {
			return
		}
		seen[of] = true
		for field := range of.Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if !field.IsExported() {
				continue
			}
			if name == "" || !bytes.Contains(doc, []byte("`"+name+"`")) {
				t.Errorf("docs/reports.md does not name `%s` of %s", name, of)
			}
			walk(field.Type)
		}
	}
	walk(reflect.TypeFor[Report]())
	if len(seen) < 10 {
		t.Errorf("only %d types", len(seen))
	}
}

// Each way in which a bastion ends a session has words that its operator's auditor understands.
func TestWhySessionsEnd(t *testing.T) {
	for end, says := range map[string]string{"": "", "closed": "", "deadline": "time", "idle": "nothing was done", "held": "limit", "bastion": "was stopped", "interrupted": "died",
		"host": "the host", "lost": "lost the CA", "recorder": "recorded"} {
		if why := new(Ledger).why(&entered{Session: control.Session{End: end}}); !strings.Contains(why, says) || (why == "") != (says == "") {
			t.Errorf("%q: %q", end, why)
		}
	}
}
