package main

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/sshsig"
)

func shownRequest() control.Request {
	r := control.Request{
		ID: "R-7K2M4Q", Person: "alice", Key: "SHA256:x", Targets: []string{"root@phi1"}, Capabilities: []string{"forward-local", "shell"}, Reason: "INC-4412",
		ForSeconds: 900, Rules: []string{"dba"}, Policy: "sha256:01", Created: time.Unix(1e9, 0), Destinations: []string{"db:443"}, Record: &control.Record{Files: "head"}, NotAfter: time.Unix(1e9+900, 0), Nonce: "00",
	}
	r.Digest = statement.Digest(r)
	return r
}

// A CA that shows one thing and has another signed gets no signature.
func TestWhatYouSeeIsWhatYouSign(t *testing.T) {
	r := shownRequest()
	want := statement.About(r, "postern-ca", control.Approve, "bob", "")
	if err := checkDecision(want.Text(), r, want); err != nil {
		t.Fatal(err)
	}
	for name, lie := range map[string]func(*control.Request){
		"another host":          func(r *control.Request) { r.Targets = []string{"root@phi2"} },
		"another person":        func(r *control.Request) { r.Person = "mallory" },
		"longer":                func(r *control.Request) { r.ForSeconds = 3600 },
		"more rights":           func(r *control.Request) { r.Capabilities = []string{"agent", "shell"} },
		"another reason":        func(r *control.Request) { r.Reason = "party" },
		"a later end":           func(r *control.Request) { r.NotAfter = r.NotAfter.Add(time.Hour) },
		"another policy":        func(r *control.Request) { r.Policy = "sha256:02" },
		"another digest":        func(r *control.Request) { r.Digest = "sha256:00" },
		"another request":       func(r *control.Request) { r.ID = "R-000000" },
		"other destinations":    func(r *control.Request) { r.Destinations = []string{"*:*"} },
		"no destinations":       func(r *control.Request) { r.Destinations = nil },
		"keystrokes":            func(r *control.Request) { r.Record = &control.Record{Keystrokes: true} },
		"files in full":         func(r *control.Request) { r.Record = &control.Record{Files: "full"} },
		"a nonce of an old one": func(r *control.Request) { r.Nonce = "11" },
	} {
		signed := r
		lie(&signed)
		if err := checkDecision(statement.About(signed, "postern-ca", control.Approve, "bob", "").Text(), r, want); err == nil {
			t.Errorf("signed %s", name)
		}
		if signed.Digest == r.Digest && statement.Digest(signed) != r.Digest {
			shown := statement.About(signed, "postern-ca", control.Approve, "bob", "")
			if err := checkDecision(shown.Text(), signed, shown); err == nil {
				t.Errorf("%s: shown and signed, and the digest is of another request", name)
			}
		}
	}
	for _, other := range []statement.Statement{
		statement.About(r, "postern-ca", control.Deny, "bob", "no"), statement.About(r, "other-ca", control.Approve, "bob", ""),
		statement.About(r, "postern-ca", control.Approve, "dana", ""),
	} {
		if err := checkDecision(other.Text(), r, want); err == nil {
			t.Errorf("signed %s", other.Text())
		}
	}
}

func TestCheckRevocation(t *testing.T) {
	me := control.Identity{CA: "postern-ca", Name: "olga"}
	revoke := func(target string, hold time.Duration) string {
		return statement.Statement{CA: "postern-ca", Decision: control.Revoke, Person: "olga", Target: target, For: hold, Because: "over"}.Text()
	}
	request := statement.About(shownRequest(), "postern-ca", control.Revoke, "olga", "over").Text()
	alice := revoke("person:alice", 0)
	for _, test := range []struct {
		text, target, shown string
		hold                time.Duration
		good                bool
	}{
		{text: alice, target: "person:alice", good: true},
		{text: request, target: "r-7k2m4q", good: true},
		{text: revoke("person:alice", 2*time.Hour), target: "person:alice", hold: 2 * time.Hour, good: true},
		{text: revoke("person:alice host:phi1", 0), target: "host:phi1 person:alice", good: true},
		{text: revoke("host:phi1", 0), target: "host:ehr", shown: "host:phi1", good: true},
		{text: revoke("account:root@phi1", 0), target: "account:root@ehr", shown: "account:root@phi1", good: true},
		{text: revoke("host:phi2", 0), target: "host:ehr", shown: "host:phi1"},
		{text: revoke("account:postgres@phi1", 0), target: "account:root@ehr", shown: "account:postgres@phi1"},
		{text: revoke("person:bob", 0), target: "person:alice"},
		{text: revoke("person:bob", 0), target: "person:alice", shown: "person:bob"},
		{text: alice, target: "person:alice host:phi1"},
		{text: alice, target: "person:alice host:phi1", shown: "person:alice"},
		{text: revoke("all:", 0), target: "person:alice"},
		{text: revoke("person:alice", time.Hour), target: "person:alice"},
		{text: alice, target: "person:alice", hold: time.Hour},
		{text: request, target: "R-000000"},
		{text: strings.Replace(request, "revoke", "approve", 1), target: "R-7K2M4Q"},
		{text: strings.Replace(alice, "olga", "mallory", 1), target: "person:alice"},
		{text: strings.Replace(alice, "over", "other", 1), target: "person:alice"},
		{text: "junk", target: "person:alice"},
	} {
		target, err := control.ParseTarget(test.target)
		if err != nil {
			t.Fatal(err)
		}
		if err := checkRevocation(test.text, me, revoking{target, test.hold, "over"}, test.shown); (err == nil) != test.good {
			t.Errorf("%s, shown %q, for\n%s: %v", test.target, test.shown, test.text, err)
		}
	}
}

func TestSignShown(t *testing.T) {
	_, private, _ := ed25519.GenerateKey(nil)
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := statement.About(shownRequest(), "postern-ca", control.Approve, "bob", "").Text()
	signature, err := signShown(text, signer, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sshsig.Verify(signature, control.Namespace, []byte(text)); err != nil {
		t.Error(err)
	}
	for _, hidden := range []string{"targets: root@phi1\x1b[1A\x1b[2K\n", "reason: \u202e\n", "a\rb\n", "a\u200bb\n", "a\x00\n", "a\u009b2K\n"} {
		if _, err := signShown(hidden, signer, true); err == nil {
			t.Errorf("signed %q", hidden)
		}
	}
}
