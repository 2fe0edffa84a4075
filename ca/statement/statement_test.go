package statement

import (
	"strings"
	"testing"
	"time"

	"postern/internal/control"
)

var asked = control.Request{
	ID: "R-7K2M4Q", Person: "alice", Key: "SHA256:abc", Targets: []string{"root@phi1", "root@phi2"},
	Capabilities: []string{"exec", "shell"}, Reason: "INC-4412 \"restore\"\nfailed \u202e", ForSeconds: 900,
	Rules: []string{"dba-phi1"}, Policy: "sha256:00", Nonce: "5f",
	Created:  time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC),
	NotAfter: time.Date(2026, 11, 22, 12, 15, 0, 0, time.UTC),
}

const golden = `postern statement v1
ca: postern-ca
decision: approve
person: bob
request: R-7K2M4Q
digest: sha256:df
requester: alice
targets: root@phi1 root@phi2
capabilities: exec shell
for: 15m0s
not-after: 2026-11-22T12:15:00Z
reason: "INC-4412 \"restore\"\nfailed \u202e"
rules: dba-phi1
policy: sha256:00
nonce: 5f
`

func TestGolden(t *testing.T) {
	r := asked
	r.Digest = "sha256:df"
	if got := About(r, "postern-ca", control.Approve, "bob", "").Text(); got != golden {
		t.Fatalf("got:\n%s\nwant:\n%s", got, golden)
	}
}

func TestEveryDecisionRoundTrips(t *testing.T) {
	all := []Statement{
		{CA: "ca", Decision: control.Revoke, Person: "olga", Target: "person:adam", Sequence: 3, Because: "left; laptop\nlost"},
	}
	for _, d := range []string{control.Approve, control.Deny, control.Withdraw, control.Revoke} {
		because := ""
		if d != control.Approve {
			because = "no ticket"
		}
		all = append(all, About(asked, "postern-ca", d, "bob", because))
	}
	seen := map[string]bool{}
	for _, s := range all {
		text := s.Text()
		back, err := Parse(text)
		if err != nil || back.Text() != text {
			t.Errorf("%v\n%s", err, text)
		}
		if seen[text] {
			t.Errorf("two decisions share the text\n%s", text)
		}
		seen[text] = true
	}
}

func TestParseRefusesWhatTextDoesNotWrite(t *testing.T) {
	for name, text := range map[string]string{
		"no newline at the end": strings.TrimSuffix(golden, "\n"),
		"blank line":            strings.Replace(golden, "nonce", "\nnonce", 1),
		"unknown field":         golden + "note: yes\n",
		"a field twice":         golden + "nonce: 5f\n",
		"order":                 strings.Replace(golden, "rules: dba-phi1\npolicy: sha256:00\n", "policy: sha256:00\nrules: dba-phi1\n", 1),
		"other duration form":   strings.Replace(golden, "15m0s", "900s", 1),
		"other time zone":       strings.Replace(golden, "12:15:00Z", "13:15:00+01:00", 1),
		"raw quote":             strings.Replace(golden, `\"restore\"`, `'restore'" "`, 1),
		"other version":         strings.Replace(golden, "v1", "v2", 1),
		"carriage returns":      strings.ReplaceAll(golden, "\n", "\r\n"),
		"two spaces":            strings.Replace(golden, "root@phi1 root@phi2", "root@phi1  root@phi2", 1),
		"because on approve":    golden + "because: \"x\"\n",
	} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%s: accepted as %+v", name, s)
		}
	}
}

func TestDigestBindsEveryFieldAsAsked(t *testing.T) {
	base := Digest(asked)
	for name, change := range map[string]func(*control.Request){
		"id":      func(r *control.Request) { r.ID = "R-7K2M4R" },
		"person":  func(r *control.Request) { r.Person = "adam" },
		"key":     func(r *control.Request) { r.Key = "SHA256:abd" },
		"target":  func(r *control.Request) { r.Targets = []string{"root@phi1"} },
		"cap":     func(r *control.Request) { r.Capabilities = []string{"exec"} },
		"reason":  func(r *control.Request) { r.Reason = "x" },
		"for":     func(r *control.Request) { r.ForSeconds = 901 },
		"created": func(r *control.Request) { r.Created = r.Created.Add(time.Second) },
	} {
		r := asked
		if change(&r); Digest(r) == base {
			t.Errorf("%s is not bound", name)
		}
	}
	later := asked
	later.State, later.Votes = control.Granted, []control.Vote{{Person: "bob"}}
	if Digest(later) != base {
		t.Error("the digest changed with what happened later")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(golden)
	f.Add(Statement{CA: "ca", Decision: control.Revoke, Person: "olga", Target: "all:", Because: "x"}.Text())
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := Parse(text); err == nil && s.Text() != text {
			t.Fatalf("%q parses and encodes to %q", text, s.Text())
		}
	})
}
