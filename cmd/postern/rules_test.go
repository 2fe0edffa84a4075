package main

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/verify"
)

func newKeyLine(t *testing.T) string {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	// Of a FIDO token, because the rules below want a touch.
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, public, "ssh:"}))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))
}

// reviewedDir is a policy directory, and the leaf that an honest CA writes of it.
func reviewedDir(t *testing.T) (string, auditlog.Policy) {
	t.Helper()
	dir := t.TempDir()
	leaf := auditlog.Policy{People: map[string][]string{}, Groups: map[string][]string{}, Bastions: map[string]string{}, Hosts: map[string]string{"phi1": "host-ca"}}
	people := "groups: [dba, privacy]\npeople:\n"
	for name, group := range map[string]string{"alice": "dba", "bob": "privacy"} {
		key := newKeyLine(t)
		people += fmt.Sprintf("  %s:\n    groups: [%s]\n    keys:\n      - %s\n", name, group, key)
		leaf.People[name], leaf.Groups[group] = []string{key}, []string{name}
	}
	leaf.Bastions["bastion-1"] = newKeyLine(t)
	for name, text := range map[string]string{
		"people.yaml": people,
		"hosts.yaml": fmt.Sprintf("hosts:\n  phi1:\n    address: 127.0.0.1:22\n    accounts: [root]\n    trust: host-ca\nbastions:\n  bastion-1:\n    address: 127.0.0.1:2022\n    sources: [127.0.0.1]\n    key: %s\n",
			leaf.Bastions["bastion-1"]),
		"rules.cedar": `@id("dba") @approve("1 of privacy") @max("30m") @touch("true")
permit (principal in Group::"dba", action in Action::"shell", resource in Host::"phi1");
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, leaf
}

// A CA that files a request with less than the rules want, or a policy leaf with other keys than the directory, is found by who has the directory.
func TestJudge(t *testing.T) {
	dir, leaf := reviewedDir(t)
	sets, err := loadReviewed([]string{dir})
	if err != nil {
		t.Fatal(err)
	}
	for leaf.Digest = range sets {
	}
	now := time.Now().UTC()
	for _, test := range []struct {
		says  string
		spoil func(*control.Request, *auditlog.Policy)
	}{
		{"", func(*control.Request, *auditlog.Policy) {}},
		{"the touch of a FIDO key", func(r *control.Request, _ *auditlog.Policy) { r.Touch = false }},
		{"1 of privacy", func(r *control.Request, _ *auditlog.Policy) { r.Needs = nil }},
		{"1 of privacy", func(r *control.Request, _ *auditlog.Policy) { r.Needs[0].Group = "dba" }},
		{"do not allow", func(r *control.Request, _ *auditlog.Policy) { r.ForSeconds = 3599 }},
		{"do not allow", func(r *control.Request, _ *auditlog.Policy) { r.Capabilities = []string{"exec", "shell"} }},
		{"do not allow", func(r *control.Request, _ *auditlog.Policy) { r.Person = "bob" }},
		{"do not allow", func(r *control.Request, _ *auditlog.Policy) { r.Rules = []string{"other"} }},
		{"an end within", func(r *control.Request, _ *auditlog.Policy) { r.ClaimBy = now.AddDate(1, 0, 0) }},
		{"does not name the people", func(_ *control.Request, p *auditlog.Policy) { p.People["bob"] = []string{newKeyLine(t)} }},
		{"does not name the people", func(_ *control.Request, p *auditlog.Policy) { p.Groups["privacy"] = []string{"alice", "bob"} }},
		{"does not name the people", func(_ *control.Request, p *auditlog.Policy) { p.Bastions["bastion-2"] = newKeyLine(t) }},
		{"is in none of the directories", func(_ *control.Request, p *auditlog.Policy) { p.Digest = "sha256:other" }},
	} {
		r := control.Request{ID: "R-1", Person: "alice", Targets: []string{"root@phi1"}, Capabilities: []string{"shell"}, Reason: "x", ForSeconds: 900, Rules: []string{"dba"},
			Needs: []control.Need{{Count: 1, Group: "privacy"}}, Touch: true, Created: now, ClaimBy: now.Add(time.Hour)}
		b, err := json.Marshal(leaf)
		var written auditlog.Policy
		if err != nil || json.Unmarshal(b, &written) != nil {
			t.Fatal(err)
		}
		test.spoil(&r, &written)
		data, err := json.Marshal(auditlog.Entry{Type: auditlog.TypePolicy, Policy: &written})
		if err != nil {
			t.Fatal(err)
		}
		p := &verify.Report{Policies: []verify.InForce{{Digest: written.Digest, Requests: []verify.Asked{{Leaf: 1, Request: r}}}}}
		judge(p, sets, func(int64) auditlog.Entry {
			e, err := auditlog.Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			return e
		})
		if said := fmt.Sprint(p.Failures, p.Notes); test.says == "" && said != "[] []" || !strings.Contains(said, test.says) {
			t.Errorf("want %q, got %s", test.says, said)
		}
	}
}
