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

// forwarded is a request with what older ones did not have. The statements and digests of those stay as they are: TestGolden.
func forwarded() control.Request {
	r := asked
	r.Capabilities = []string{"forward-local", "shell"}
	r.Destinations = []string{"/run/x", "127.0.0.1:5432", "[2001:db8::/32]:*"}
	r.Record = &control.Record{Keystrokes: true, Files: "full", Streams: 16 << 20, Forwards: -1}
	return r
}

func TestDestinationsAndRecords(t *testing.T) {
	r := forwarded()
	r.Digest = "sha256:df"
	want := strings.Replace(golden, "capabilities: exec shell\n", "capabilities: forward-local shell\n"+
		"destinations: /run/x 127.0.0.1:5432 [2001:db8::/32]:*\nrecords: keystrokes full-files full-forwards\n", 1)
	if got := About(r, "postern-ca", control.Approve, "bob", "").Text(); got != want {
		t.Fatalf("got:\n%s\nwant:\n%s", got, want)
	}
	if s, err := Parse(want); err != nil || len(s.Destinations) != 3 || len(s.Records) != 3 {
		t.Errorf("%+v, %v", s, err)
	}
	for name, record := range map[string]*control.Record{
		"none": nil, "the ordinary": {Files: "head", Streams: 16 << 20, Forwards: 64 << 10}, "nothing": {Files: "hash"},
	} {
		r := asked
		r.Record, r.Digest = record, "sha256:df"
		if got := About(r, "postern-ca", control.Approve, "bob", "").Text(); got != golden || Digest(r) != Digest(asked) {
			t.Errorf("%s: got:\n%s", name, got)
		}
	}
}

// The digests of requests that are in logs must never change.
func TestOldDigest(t *testing.T) {
	if got := Digest(asked); got != "sha256:aec9289e4be9ab51b5d74c235e9d24a70fc0f3160fe4cddc4c5888caa4a9eadd" {
		t.Error(got)
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
		all = append(all, About(asked, "postern-ca", d, "bob", because), About(forwarded(), "postern-ca", d, "bob", because))
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
		"no emergency":          strings.Replace(golden, "for:", "emergency: \nfor:", 1),
		"because on approve":    golden + "because: \"x\"\n",
		"no destinations":       strings.Replace(golden, "for:", "destinations: \nfor:", 1),
		"no records":            strings.Replace(golden, "for:", "records: \nfor:", 1),
		"records before them":   strings.Replace(golden, "for:", "records: keystrokes\ndestinations: db:443\nfor:", 1),
		"destinations too late": golden + "destinations: db:443\n",
	} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%s: accepted as %+v", name, s)
		}
	}
}

func TestDigestBindsEveryFieldAsAsked(t *testing.T) {
	base := Digest(asked)
	for name, change := range map[string]func(*control.Request){
		"id":           func(r *control.Request) { r.ID = "R-7K2M4R" },
		"person":       func(r *control.Request) { r.Person = "adam" },
		"key":          func(r *control.Request) { r.Key = "SHA256:abd" },
		"target":       func(r *control.Request) { r.Targets = []string{"root@phi1"} },
		"cap":          func(r *control.Request) { r.Capabilities = []string{"exec"} },
		"reason":       func(r *control.Request) { r.Reason = "x" },
		"for":          func(r *control.Request) { r.ForSeconds = 901 },
		"created":      func(r *control.Request) { r.Created = r.Created.Add(time.Second) },
		"destinations": func(r *control.Request) { r.Destinations = []string{"db:443"} },
		"keystrokes":   func(r *control.Request) { r.Record = &control.Record{Keystrokes: true} },
		"emergency":    func(r *control.Request) { r.Emergency, r.Owes = true, &control.ReviewOf{} },
		"review": func(r *control.Request) {
			r.Emergency, r.Owes = true, &control.ReviewOf{Needs: []control.Need{{Count: 1, Group: "x"}}}
		},
		"full files": func(r *control.Request) { r.Record = &control.Record{Files: "full"} },
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
	urgent := asked
	urgent.Emergency, urgent.Owes = true, &control.ReviewOf{By: asked.Created, Needs: []control.Need{{Count: 1, Group: "privacy"}}}
	f.Add(About(urgent, "ca", control.Review, "bob", "all in order").Text())
	f.Add(About(forwarded(), "ca", control.Approve, "bob", "").Text())
	f.Add(Statement{CA: "ca", Decision: control.Revoke, Person: "olga", Target: "all:", Because: "x"}.Text())
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := Parse(text); err == nil && s.Text() != text {
			t.Fatalf("%q parses and encodes to %q", text, s.Text())
		}
	})
}
