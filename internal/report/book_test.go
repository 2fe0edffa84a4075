package report

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/recorder/index"
)

// book writes a log for a ledger: what a CA would log, without its signatures, which are the verifier's.
type book struct {
	ledger Ledger
	at     time.Time
	n      int64
}

var october = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)

func newBook(t *testing.T) *book {
	b := &book{at: october.AddDate(0, -1, -5)}
	b.add(t, auditlog.Entry{Type: auditlog.TypeGenesis, Actor: "ca", Genesis: &auditlog.Genesis{Name: "postern-ca"}})
	b.key(t, "2026-09")
	b.key(t, "2026-10")
	b.at = october
	return b
}

func (b *book) add(t testing.TB, e auditlog.Entry) {
	t.Helper()
	e.At = b.at
	leaf, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	// As the ledger gets it: from the log.
	if e, err = auditlog.Decode(leaf); err != nil {
		t.Fatal(err)
	}
	b.ledger.Add(b.n, e)
	b.n++
}

func (b *book) key(t testing.TB, month string) {
	b.add(t, auditlog.Entry{Type: auditlog.TypeRecordingKey, Actor: "carol", RecordingKey: &control.RecordingKey{ID: "K-" + month, Month: month, Auditor: "carol"}})
}

func (b *book) pass(d time.Duration) { b.at = b.at.Add(d) }

// ask makes a request of 20 minutes.
func (b *book) ask(t testing.TB, id, person, target, reason string) {
	b.add(t, auditlog.Entry{Type: auditlog.TypeRequest, Actor: person, Request: &control.Request{
		ID: id, State: control.Pending, Person: person, Targets: []string{target}, Capabilities: []string{"exec", "shell"}, Reason: reason,
		Rules: []string{"dba"}, ForSeconds: 1200, Created: b.at,
	}})
}

func (b *book) vote(t testing.TB, id, person, decision, because string) {
	text := statement.Statement{CA: "postern-ca", Decision: decision, Person: person, Request: id, Because: because}.Text()
	b.add(t, auditlog.Entry{Type: auditlog.TypeVote, Actor: person, Vote: &auditlog.Vote{Request: id, Vote: control.Vote{
		Decision: decision, Person: person, At: b.at, Key: "SHA256:" + person, Statement: text,
	}}})
}

func (b *book) finds(t testing.TB, id, person, decision, verdict string) {
	b.add(t, auditlog.Entry{Type: auditlog.TypeVote, Actor: person, Vote: &auditlog.Vote{Request: id, Vote: control.Vote{
		Decision: decision, Verdict: verdict, Person: person, At: b.at, Key: "SHA256:" + person}}})
}

func (b *book) state(t testing.TB, id, state string) {
	s := &auditlog.State{Request: id, State: state}
	if state == control.Granted {
		s.Ends = b.at.Add(20 * time.Minute)
	}
	b.add(t, auditlog.Entry{Type: auditlog.TypeState, Actor: "ca", State: s})
}

// grant is a request that was approved and taken.
func (b *book) grant(t testing.TB, id, person, target, reason string, approvers ...string) {
	b.ask(t, id, person, target, reason)
	for _, a := range approvers {
		b.vote(t, id, a, control.Approve, "")
	}
	b.state(t, id, control.Approved)
	b.state(t, id, control.Granted)
}

func (b *book) open(t testing.TB, id, request, person, target string) {
	b.add(t, auditlog.Entry{Type: auditlog.TypeSession, Actor: "bastion-1", Session: &control.Session{
		ID: id, Request: request, Person: person, Target: target, Bastion: "bastion-1", Client: "192.0.2.7:40022", Started: b.at, Deadline: b.at.Add(20 * time.Minute),
	}})
}

func (b *book) end(t testing.TB, id, how string) {
	b.add(t, auditlog.Entry{Type: auditlog.TypeProgress, Actor: "bastion-1", Progress: &control.Progress{Session: id, Frames: 7, Segments: 1, End: how, Sealed: true}})
}

// month is the report of October.
func (b *book) month() *Report {
	return b.ledger.Report(Options{From: october, To: october.AddDate(0, 1, 0), By: "carol", Reason: "monthly review", Made: october.AddDate(0, 1, 2)},
		Proof{Leaves: b.n, Root: "k9pYqk1Tq3C4b7mVJ0b3l6N9v9mJm3W1yqgqQm2aF0k=", Recordings: FromIndex})
}

// full is a month in which everything happened.
func full(t testing.TB, b *book) *Report {
	b.pass(33 * time.Hour)
	b.grant(t, "R-AAA", "alice", "postgres@ehr-db-1", "INC-4412 restore failed", "bob", "dana")
	b.pass(time.Minute)
	b.open(t, "S-AAA", "R-AAA", "alice", "postgres@ehr-db-1")
	b.pass(12*time.Minute + 30*time.Second)
	b.end(t, "S-AAA", "closed")
	b.pass(50 * time.Hour)
	b.grant(t, "R-BBB", "adam", "root@ehr-web-1", "CHG-77 certificate", "bob")
	b.open(t, "S-BBB", "R-BBB", "adam", "root@ehr-web-1")
	b.pass(3 * time.Minute)
	b.add(t, auditlog.Entry{Type: auditlog.TypeRevocation, Actor: "olga", Revocation: &control.Revocation{Seq: 1, Kind: "request", Value: "R-BBB", By: "olga", Reason: "wrong host", Requests: []string{"R-BBB"}}})
	b.state(t, "R-BBB", control.Revoked)
	b.end(t, "S-BBB", "revoked")
	b.pass(26 * time.Hour)
	b.ask(t, "R-CCC", "alice", "root@ehr-db-1", "to look around")
	b.vote(t, "R-CCC", "dana", control.Deny, "say which ticket")
	b.state(t, "R-CCC", control.Denied)
	b.grant(t, "R-DDD", "alice", "postgres@ehr-db-1", "INC-4413, was not needed", "bob")
	b.pass(time.Hour)
	b.add(t, auditlog.Entry{Type: auditlog.TypeView, Actor: "carol", View: &auditlog.View{Kind: "replay", Sessions: []string{"S-BBB"}, Reason: "why was it cut", Key: "SHA256:carol"}})
	r := b.month()
	three := uint32(3)
	r.Take(r.Session("S-AAA"), []index.Entry{{
		Commands: []index.Command{{At: time.Second, Text: "subsystem sftp"}, {At: 2 * time.Second, Text: "pg_restore -d ehr /tmp/dump", Exit: &three}, {At: 70 * time.Second, Text: "psql -c 'select 1'", Seen: true}},
		Files: []index.File{
			{At: 3 * time.Second, Protocol: "sftp", Operation: "read", Path: "/var/log/pg.log", Bytes: 48211, SHA256: hash('a'), Status: "ok"},
			{At: 4 * time.Second, Protocol: "sftp", Operation: "write", Path: "/tmp/dump", Bytes: 7_400_000, SHA256: hash('b'), Status: "ok"},
			{At: 5 * time.Second, Protocol: "sftp", Number: 7, Operation: "rename", Path: "/tmp/dump", To: "/tmp/dump.old"},
			{At: 5 * time.Second, Protocol: "sftp", Number: 7, Operation: "rename", Path: "/tmp/dump", To: "/tmp/dump.old", Status: "ok"},
			{At: 6 * time.Second, Protocol: "sftp", Operation: "remove", Path: "/etc/passwd", Denied: true, Status: "denied"},
		},
		Forwards: []index.Forward{{At: 8 * time.Second, Channel: 4, Kind: "direct-tcpip", To: "127.0.0.1:5432"},
			{At: 60 * time.Second, Channel: 4, Kind: "direct-tcpip", To: "127.0.0.1:5432", Sent: 1200, Received: 98000, Seconds: 52, Ended: true}},
		Marks: []index.Mark{{At: 6 * time.Second, Kind: "denied", Text: "remove /etc/passwd"}, {At: 9 * time.Second, Kind: "denied", Text: "x11-req"}},
	}})
	r.Take(r.Session("S-BBB"), []index.Entry{{Commands: []index.Command{{At: time.Second, Text: "certbot renew"}}, Marks: []index.Mark{{At: 3 * time.Minute, Kind: "note", Text: "your access was revoked"}}}})
	r.Total()
	return r
}

func hash(c byte) string {
	out := make([]byte, 64)
	for i := range out {
		out[i] = c
	}
	return string(out)
}

func find[T any](t *testing.T, list []T, is func(T) bool) T {
	t.Helper()
	for _, v := range list {
		if is(v) {
			return v
		}
	}
	t.Fatalf("not found in %s", fmt.Sprint(list))
	panic("")
}
