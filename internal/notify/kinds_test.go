package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
)

// What operators rely on being told, each in words that name the thing and what to do.
func TestEachKindIsTold(t *testing.T) {
	due := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	owes := control.ReviewOf{By: due, Needs: []control.Need{{Count: 1, Group: "privacy"}}}
	urgent := control.Request{ID: "R-7K2M4Q", Person: "alice", Targets: []string{"root@phi1"}, Reason: "the ward is down", ForSeconds: 900, Emergency: true, Owes: &owes}
	found := func(decision, verdict string) *auditlog.Vote {
		text := statement.About(urgent, "postern-ca", decision, "bob", "read the mayor's file").Finding(verdict).Text()
		return &auditlog.Vote{Request: urgent.ID, Vote: control.Vote{Decision: decision, Verdict: verdict, Person: "bob", Statement: text}}
	}
	for _, kind := range []struct {
		event string
		entry auditlog.Entry
		says  string
	}{
		{"request.waiting", asked("R-ABCDEF", "INC-4412"), "alice asks for root@phi1 for 15m: INC-4412. It waits for 1 of privacy: postern approve R-ABCDEF"},
		{"request.granted", auditlog.Entry{State: &auditlog.State{Request: urgent.ID, State: control.Granted, Why: "taken"}}, "R-7K2M4Q of alice for root@phi1 is granted: taken"},
		{"revocation", auditlog.Entry{Revocation: &control.Revocation{Kind: "person", Value: "alice", By: "olga", Reason: "left", Requests: []string{"R-1", "R-2"}}}, "olga revoked person:alice: left (2 grants)"},
		{"cut", auditlog.Entry{Cut: &control.CutReceipt{Bastion: "bastion-1", Seq: 7}}, "bastion-1 ended 0 sessions for revocation 7"},
		{"risk", auditlog.Entry{Risk: &control.Risk{Session: "S-1", Person: "alice", Limit: "denied 5 hold", Count: 6, Action: "hold"}}, "alice: limit denied 5 hold was crossed in S-1 (6): hold"},
		{"emergency", auditlog.Entry{Request: &urgent}, "EMERGENCY: alice has root@phi1 for 15m, approved by nobody: the ward is down. It owes a review by 2026-11-23T12:00:00Z of 1 of privacy"},
		{"review.waiting", auditlog.Entry{State: &auditlog.State{Request: urgent.ID, State: control.Ended, Review: owes.String()}}, "R-7K2M4Q, an emergency of alice on root@phi1, is over (ended). It owes a review by 2026-11-23T12:00:00Z of 1 of privacy: postern review R-7K2M4Q"},
		{"review.overdue", auditlog.Entry{Overdue: &control.Overdue{Request: urgent.ID, Person: "alice", By: due}}, "is overdue (due 2026-11-23T12:00:00Z); until it is signed they have no other one: postern review R-7K2M4Q"},
		{"review.misused", auditlog.Entry{Vote: found(control.Review, control.Misused)}, "bob found that alice misused an emergency, R-7K2M4Q on root@phi1: read the mayor's file. alice gets no other one until somebody else says: postern clear R-7K2M4Q"},
		{"review.cleared", auditlog.Entry{Vote: found(control.Clear, "")}, "bob cleared alice, who may have emergencies again after R-7K2M4Q: read the mayor's file"},
		{"", auditlog.Entry{Vote: found(control.Review, control.Justified)}, ""},
	} {
		// As after a restart: nothing was heard of the request, so the CA is asked.
		after := &teller{ca: "postern-ca", asked: func(id string) (control.Request, bool) { return urgent, id == urgent.ID }}
		m, told := after.tell(7, kind.entry)
		if told != (kind.event != "") || m.Event != kind.event || !strings.Contains(m.Text, kind.says) {
			t.Errorf("want %q, told %v: %+v", kind.event, told, m)
		}
		if told && !(&Hook{Events: []string{strings.Split(kind.event, ".")[0]}}).wants(m.Event) {
			t.Errorf("%s is none of Events", kind.event)
		}
	}
}

// What an admin writes as a reason reaches a program's standard input, and nothing that a shell would run.
func TestACommandGetsNoShell(t *testing.T) {
	f, dir := newFeed(), t.TempDir()
	out := filepath.Join(dir, "out")
	hook, err := json.Marshal(map[string]any{"name": "pager", "command": []string{"/bin/sh", "-c", `cat >"$0.new"; echo "$# $POSTERN_EVENT $POSTERN_ID" >>"$0.new"; mv "$0.new" "$0"`, out}})
	if err != nil {
		t.Fatal(err)
	}
	stop, _ := run(t, f, dir, `{"hooks": [`+string(hook)+`]}`)
	defer stop()
	evil := `"; touch ` + dir + `/a; $(touch ` + dir + `/b) ` + "`touch " + dir + "/c`" + ` %s \u0027 ' | tee`
	e := asked("R-7K2M4Q", evil)
	e.Request.Targets = []string{"$(touch " + dir + "/d)@phi1"}
	f.add(t, e)
	var data []byte
	for data == nil {
		data, _ = os.ReadFile(out)
		time.Sleep(time.Millisecond)
	}
	var m Message
	line, rest, _ := strings.Cut(string(data), "\n")
	if err := json.Unmarshal([]byte(line), &m); err != nil || m.Reason != evil || rest != "0 request.waiting postern-ca/0\n" {
		t.Errorf("%v: %q %q", err, m.Reason, rest)
	}
	for _, name := range []string{"a", "b", "c", "d"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			t.Errorf("a shell ran %s", name)
		}
	}
}

// The receiver that docs/operations.md shows takes what we send and nothing that was changed, replayed or signed by others.
func TestTheReceiverOfTheDocs(t *testing.T) {
	doc, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, program, _ := strings.Cut(string(doc), "```python receiver.py\n")
	program, _, ok := strings.Cut(program, "```")
	if !ok {
		t.Fatal("docs/operations.md shows no receiver.py")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"receiver.py": program, "siem.secret": secret + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	h := &Hook{key: []byte(secret)}
	body := []byte(`{"id":"postern-ca/7","event":"emergency","text":"“the ward” is down"}`)
	now := time.Now()
	old := h.signature(now.Add(-time.Hour), body)
	stranger := (&Hook{key: []byte("another secret of this length")}).signature(now, body)
	changed := strings.Replace(string(body), "emergency", "test", 1)
	tries := []struct {
		what, signature, body string
		taken                 bool
	}{
		{"honest", h.signature(now, body), string(body), true},
		{"altered", h.signature(now, body), changed, false},
		{"an hour old", old, string(body), false},
		{"old, with our time", fmt.Sprintf("t=%d%s", now.Unix(), old[strings.IndexByte(old, ','):]), string(body), false},
		{"another's secret", stranger, string(body), false},
		{"no signature", "", string(body), false},
		{"half of one", "t=12", string(body), false},
	}
	var pairs [][2]string
	for _, try := range tries {
		pairs = append(pairs, [2]string{try.signature, try.body})
	}
	input, err := json.Marshal(pairs)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command("python3", "-c", "import json, sys, receiver\nprint(json.dumps([receiver.genuine(s, b.encode()) for s, b in json.load(sys.stdin)]))")
	c.Dir, c.Stdin, c.Stderr = dir, bytes.NewReader(input), os.Stderr
	out, err := c.Output()
	var taken []bool
	if err != nil || json.Unmarshal(out, &taken) != nil || len(taken) != len(tries) {
		t.Fatalf("%v: %s", err, out)
	}
	for i, try := range tries {
		if taken[i] != try.taken {
			t.Errorf("%s: taken %v", try.what, taken[i])
		}
	}
}
