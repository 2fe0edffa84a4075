package policy

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// Keys that belong to nobody in the examples.
const (
	spareKey   = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIG6gXzq/rcanjbCJTf8RMzyA7jogOQHP3yv6HgpvgXQ4"
	anotherKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDn6b4gfW160PvyCpJP0GU0GS58qVSt8B/Mj1gdyhf0/"
)

// files is a policy directory in memory.
type files map[string]string

func directory(t testing.TB, dir string) files {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	f := files{}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		content, err := os.ReadFile(dir + "/" + entry.Name())
		if err != nil {
			t.Fatal(err)
		}
		f[entry.Name()] = string(content)
	}
	return f
}

func (f files) fs() fs.FS {
	m := fstest.MapFS{}
	for name, content := range f {
		m[name] = &fstest.MapFile{Data: []byte(content)}
	}
	return m
}

// with returns the directory with one text in it replaced, or appended when old is empty.
func (f files) with(t testing.TB, file, old, new string) files {
	t.Helper()
	changed := maps.Clone(f)
	if old == "" {
		changed[file] += new
		return changed
	}
	if !strings.Contains(f[file], old) {
		t.Fatalf("%s does not hold %q", file, old)
	}
	changed[file] = strings.Replace(f[file], old, new, 1)
	return changed
}

func mustLoad(t testing.TB, fsys fs.FS) *Set {
	t.Helper()
	set, err := Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestExamplesLoad(t *testing.T) {
	for _, dir := range []string{"testdata/minimal", "testdata/clinic"} {
		set := mustLoad(t, os.DirFS(dir))
		if len(set.People()) == 0 || len(set.Hosts()) == 0 || len(set.Bastions()) == 0 || len(set.Rules()) == 0 {
			t.Errorf("%s: something is missing: %s", dir, set.Summary())
		}
	}
}

// destinations lists n of them.
func destinations(n int) string {
	var all []string
	for port := range n {
		all = append(all, fmt.Sprintf("db:%d", port+1))
	}
	return strings.Join(all, ", ")
}

// Every mistake, as an edit of testdata/minimal, and the lines that report it.
var mistakes = []struct {
	file, old, new string
	want           []string
}{
	// people.yaml
	{"people.yaml", "groups: [dba]", "groups: [dbaa]", []string{
		`people.yaml:4: unknown group "dbaa" (groups are: dba, privacy)`}},
	{"people.yaml", "groups: [dba, privacy]", "groups: [dba, privacy, dba]", []string{
		`people.yaml:1: "dba" stands twice in groups, first on line 1`}},
	{"people.yaml", "groups: [dba, privacy]", "groups: [dba, privacy, Nurses]", []string{
		`people.yaml:1: groups: name "Nurses" holds 'N'; names are made of lower case letters, digits, '.', '_' and '-'`}},
	{"people.yaml", "groups: [dba, privacy]", "groups: dba", []string{
		`people.yaml:1: groups must be a list, not text`,
		`people.yaml:4: unknown group "dba" (there are no groups)`,
		`people.yaml:8: unknown group "privacy" (there are no groups)`,
		`rules.cedar:2: @approve: unknown group "privacy" (there are no groups)`,
		`rules.cedar:4: unknown group "dba" (there are no groups)`,
		`rules.cedar:7: unknown group "privacy" (there are no groups)`}},
	{"people.yaml", "  alice:", "  al@ice:", []string{
		`people.yaml:3: people: name "al@ice" holds '@'; names are made of lower case letters, digits, '.', '_' and '-'`}},
	{"people.yaml", "  alice:", "  -alice:", []string{
		`people.yaml:3: people: name "-alice" must not begin with '-'`}},
	{"people.yaml", "  alice:", "  " + strings.Repeat("a", 65) + ":", []string{
		`people.yaml:3: people: name "` + strings.Repeat("a", 65) + `" is longer than 64 bytes`}},
	{"people.yaml", "  alice:", "  10:", []string{
		`people.yaml:3: a key of people must be text, but YAML reads 10 as a number; put it in quotes`}},
	{"people.yaml", "  bob:", "  alice:", []string{
		`people.yaml:7: "alice" stands twice in people, first on line 3`,
		`rules.cedar:2: @approve: 1 of privacy can never be had: group privacy has 0 people`}},
	{"people.yaml", "    groups: [dba]", "    groups: [dba]\n    email: a@b", []string{
		`people.yaml:5: unknown field "email" in alice (fields are: groups, keys)`}},
	{"people.yaml", "    groups: [dba]", "    groups: [dba]\n    groups: [dba]", []string{
		`people.yaml:5: "groups" stands twice in alice, first on line 4`}},
	{"people.yaml", "people:", "staff: {}\npeople:", []string{
		`people.yaml:2: unknown field "staff" in the file (fields are: groups, people)`}},
	{"people.yaml", "alice@laptop", "alice@laptop\n      - " + spareKey + "\n      - " + spareKey, []string{
		`people.yaml:8: key SHA256:42FnuCLG+iOGFhtz/Do0ZQeAbkFssuJvkVx92aWZYJs belongs to alice already (people.yaml:7); a key stands for one identity only`}},
	{"people.yaml", "    keys:", "    kes:", []string{
		`people.yaml:3: alice has no keys: nobody could log in as alice`,
		`people.yaml:5: unknown field "kes" in alice (fields are: groups, keys)`}},
	{"people.yaml", "groups: [dba]\n    keys:", "groups: [dba]\n    keys: []\n  eve:\n    keys:", []string{
		`people.yaml:3: alice has no keys: nobody could log in as alice`}},
	{"people.yaml", "groups: [dba, privacy]", "groups: &g [dba, privacy]", []string{
		`people.yaml:1: groups uses a YAML anchor or alias; write it out`,
		`people.yaml:4: unknown group "dba" (there are no groups)`,
		`people.yaml:8: unknown group "privacy" (there are no groups)`,
		`rules.cedar:2: @approve: unknown group "privacy" (there are no groups)`,
		`rules.cedar:4: unknown group "dba" (there are no groups)`,
		`rules.cedar:7: unknown group "privacy" (there are no groups)`}},
	{"people.yaml", "", "---\ngroups: []\n", []string{`people.yaml:11: a second YAML document begins here; only one is read`}},
	{"people.yaml", "people:", "\tpeople:", []string{`people.yaml:2: not YAML: found character that cannot start any token`}},
	{"people.yaml", "people:", "people: []\nother:", []string{
		`people.yaml:2: people must be a mapping (name: value), not a list`,
		`people.yaml:3: unknown field "other" in the file (fields are: groups, people)`,
		`rules.cedar:2: @approve: 1 of privacy can never be had: group privacy has 0 people`}},

	// keys
	{"people.yaml", "- ssh-ed25519", "- ssh-dss", []string{
		`people.yaml:6: a key of alice: ssh-dss keys are broken; make a new one with: ssh-keygen -t ed25519`}},
	{"people.yaml", "- ssh-ed25519", "- ssh-ed25519-cert-v01@openssh.com", []string{
		`people.yaml:6: a key of alice: ssh-ed25519-cert-v01@openssh.com is a certificate; give the plain public key it was made for`}},
	{"people.yaml", "- ssh-ed25519", "- no-pty ssh-ed25519", []string{
		`people.yaml:6: a key of alice: no SSH public key begins with "no-pty"; options are not allowed (types are: ecdsa-sha2-nistp256, ecdsa-sha2-nistp384, ecdsa-sha2-nistp521, sk-ecdsa-sha2-nistp256@openssh.com, sk-ssh-ed25519@openssh.com, ssh-ed25519, ssh-rsa)`}},
	{"people.yaml", "AAAAC3NzaC1lZDI1NTE5AAAAIE5a", "AAAAC3NzaC1lZDI1NTE5AAAAIE5", []string{
		`people.yaml:6: a key of alice: the ssh-ed25519 key is not base64: illegal base64 data at input byte 64`}},

	// hosts.yaml
	{"hosts.yaml", "    address: phi1.internal\n", "", []string{`hosts.yaml:2: host phi1 has no address`}},
	{"hosts.yaml", "phi1.internal", "phi1.internal:ssh", []string{`hosts.yaml:3: address of host phi1: "ssh" is not a port (1 to 65535)`}},
	{"hosts.yaml", "phi1.internal", "phi1.internal:0", []string{`hosts.yaml:3: address of host phi1: "0" is not a port (1 to 65535)`}},
	{"hosts.yaml", "phi1.internal", "ssh://phi1", []string{`hosts.yaml:3: address of host phi1: "ssh://phi1" is not host, host:port or [IPv6]:port`}},
	{"hosts.yaml", "phi1.internal", "root@phi1", []string{`hosts.yaml:3: address of host phi1: "root@phi1" is not a host name: it holds '@'`}},
	{"hosts.yaml", "phi1.internal", "0.0.0.0", []string{`hosts.yaml:3: address of host phi1: 0.0.0.0 is not the address of one machine`}},
	{"hosts.yaml", "phi1.internal", `"127.1"`, []string{`hosts.yaml:3: address of host phi1: "127.1" is neither an IP address nor a host name`}},
	{"hosts.yaml", "phi1.internal", "bastion.example.org:2022", []string{
		`hosts.yaml:9: address bastion.example.org:2022 is that of another machine already, on line 3; give one machine more names with aliases`}},
	{"hosts.yaml", "    accounts: [root]\n", "", []string{`hosts.yaml:2: host phi1 has no accounts: nobody could log in to it`}},
	{"hosts.yaml", "[root]", "[]", []string{`hosts.yaml:2: host phi1 has no accounts: nobody could log in to it`}},
	{"hosts.yaml", "[root]", "[root, Root]", []string{
		`hosts.yaml:4: accounts of host phi1: name "Root" holds 'R'; names are made of lower case letters, digits, '.', '_' and '-'`}},
	{"hosts.yaml", "    trust: host-ca\n", "", []string{
		`hosts.yaml:2: host phi1 has neither trust: host-ca nor host_key: a bastion could not tell it from an impostor`}},
	{"hosts.yaml", "trust: host-ca", "trust: anything", []string{
		`hosts.yaml:5: trust of host phi1 is "anything"; the only value is host-ca (to pin a key use host_key)`}},
	{"hosts.yaml", "trust: host-ca", "trust: host-ca\n    host_key: " + spareKey, []string{
		`hosts.yaml:6: host phi1 has both trust and host_key; keep one`}},
	{"hosts.yaml", "    trust: host-ca", "    trust: host-ca\n    aliases: [phi1]", []string{
		`hosts.yaml:6: the name "phi1" is taken already, on line 2`}},
	{"hosts.yaml", "  bastion-1:", "  phi1:", []string{`hosts.yaml:8: the name "phi1" is taken already, on line 2`}},
	{"hosts.yaml", "hosts:", "labels: [phi]\nhosts:\n  phi2:\n    address: phi2\n    accounts: [root]\n    trust: host-ca\n    labels: [ph1]", []string{
		`hosts.yaml:7: unknown label "ph1" (labels are: phi)`}},
	{"hosts.yaml", "    sources: [192.0.2.10]\n", "", []string{
		`hosts.yaml:8: bastion bastion-1 has no sources: list the addresses from which it reaches hosts`}},
	{"hosts.yaml", "192.0.2.10", "192.0.2.10/24", []string{
		`hosts.yaml:10: sources of bastion bastion-1: 192.0.2.10/24 has bits set outside its mask; write 192.0.2.0/24`}},
	{"hosts.yaml", "192.0.2.10", "0.0.0.0/0", []string{`hosts.yaml:10: sources of bastion bastion-1: 0.0.0.0/0 is every address there is`}},
	{"hosts.yaml", "192.0.2.10", "bastion.example.org", []string{
		`hosts.yaml:10: sources of bastion bastion-1: "bastion.example.org" is neither an IP address nor a range such as 10.1.2.0/24`}},
	{"hosts.yaml", "bastions:", "bastion:", []string{`hosts.yaml:7: unknown field "bastion" in the file (fields are: bastions, hosts, labels)`}},
	{"hosts.yaml", "hosts:\n", "hosts: {}\nold:\n", []string{
		`hosts.yaml:2: unknown field "old" in the file (fields are: bastions, hosts, labels)`,
		`rules.cedar:4: unknown host "phi1" (there are no hosts)`}},

	// rules: annotations
	{"rules.cedar", "@id(\"dba-phi\")\n", "", []string{`rules.cedar:1: the rule has no name; begin it with @id("some-name")`}},
	{"rules.cedar", "privacy-revokes", "dba-phi", []string{`rules.cedar:6: @id("dba-phi") is taken already, at rules.cedar:1`}},
	{"rules.cedar", `@id("dba-phi")`, `@id("dba phi")`, []string{
		`rules.cedar:1: @id: name "dba phi" holds ' '; names are made of lower case letters, digits, '.', '_' and '-'`}},
	{"rules.cedar", `@id("dba-phi")`, `@id`, []string{`rules.cedar:1: @id: a name is empty`}},
	{"rules.cedar", "@max", "@maximum", []string{
		`rules.cedar:3: unknown annotation @maximum (annotations are: @approve, @claim, @destinations, @emergency, @environment, @files, @forwards, @hold, @id, @idle, @keystrokes, @limits, @max, @pin, @retain, @sealed, @source, @streams, @touch)`}},
	{"rules.cedar", `"30m"`, `"half an hour"`, []string{`rules.cedar:3: @max: "half an hour" is not a duration such as 30m or 1h`}},
	{"rules.cedar", `"30m"`, `"61m"`, []string{`rules.cedar:3: @max: 61m is more than 1h, which nothing may exceed`}},
	{"rules.cedar", `"30m"`, `"0s"`, []string{`rules.cedar:3: @max: 0s is not a positive number of whole seconds`}},
	{"rules.cedar", `"30m"`, `"-5m"`, []string{`rules.cedar:3: @max: -5m is not a positive number of whole seconds`}},
	{"rules.cedar", `@max("30m")`, `@claim("100h")`, []string{`rules.cedar:3: @claim: 100h is more than 96h, which nothing may exceed`}},
	{"rules.cedar", `@max("30m")`, `@max("30m") @max("20m")`, []string{`rules.cedar:3: not Cedar: duplicate annotation: @max`}},
	{"rules.cedar", `@max("30m")`, `@source("any")`, []string{`rules.cedar:3: @source: "any" is unknown; the only value is "pin"`}},
	{"rules.cedar", `@max("30m")`, `@keystrokes("yes")`, []string{`rules.cedar:3: @keystrokes: "yes" is neither "true" nor "false"`}},
	{"rules.cedar", `@max("30m")`, `@environment("*")`, []string{`rules.cedar:3: @environment: "*" is not a list of variables such as "LANG, LC_*"`}},
	{"rules.cedar", `@max("30m")`, `@environment("LANG, LD_PRELOAD")`, []string{
		`rules.cedar:3: @environment: LD_PRELOAD changes what a program loads or runs; it never passes, whatever a policy says`}},
	{"rules.cedar", `@max("30m")`, `@environment("GIT_SSH_COMMAND")`, []string{
		`rules.cedar:3: @environment: GIT_SSH_COMMAND changes what a program loads or runs; it never passes, whatever a policy says`}},
	{"rules.cedar", `@max("30m")`, `@environment("L*")`, []string{
		`rules.cedar:3: @environment: "L*" would let LD_* pass, which changes what a program loads or runs and never may; name the variables one by one`}},
	{"rules.cedar", `@max("30m")`, `@environment("GIT_*")`, []string{
		`rules.cedar:3: @environment: "GIT_*" would let GIT_* pass, which changes what a program loads or runs and never may; name the variables one by one`}},
	{"rules.cedar", `@max("30m")`, `@files("all")`, []string{`rules.cedar:3: @files: "all" is none of "full", "head" and "hash"`}},
	{"rules.cedar", `@max("30m")`, `@streams("16")`, []string{
		`rules.cedar:3: @streams: "16" is not a size such as 64K, 16M or 2G, nor "full" nor "0", which keeps a checksum alone`}},
	{"rules.cedar", `@max("30m")`, `@forwards("64k")`, []string{
		`rules.cedar:3: @forwards: "64k" is not a size such as 64K, 16M or 2G, nor "full" nor "0", which keeps a checksum alone`}},
	{"rules.cedar", `@max("30m")`, `@destinations("")`, []string{`rules.cedar:3: @destinations: "" has no port`}},
	{"rules.cedar", `@max("30m")`, "@max(\"30m\")\n@destinations(\"10.0.0.0/8:443, db\")", []string{
		`rules.cedar:4: @destinations: "db" has no port; write db:443, or db:* for every port`}},
	{"rules.cedar", `@max("30m")`, `@destinations("10.0.0.1/8:443")`, []string{
		`rules.cedar:3: @destinations: 10.0.0.1/8 has bits set outside its mask; write 10.0.0.0/8`}},
	{"rules.cedar", `@max("30m")`, `@destinations("2130706433:80")`, []string{
		`rules.cedar:3: @destinations: "2130706433" is neither an IP address nor a host name`}},
	{"rules.cedar", `@max("30m")`, `@destinations("` + destinations(33) + `")`, []string{
		`rules.cedar:3: @destinations: 33 destinations, at most 32 fit; use a range, or another rule`}},
	{"rules.cedar", `@max("30m")
permit (principal in Group::"dba", action in Action::"connect"`, `@max("30m")
@destinations("db:443")
permit (principal in Group::"dba", action in [Action::"shell", Action::"forward-remote"]`, []string{
		`rules.cedar:4: @destinations has no meaning on a permit without forward-local`}},
	{"rules.cedar", "1 of privacy", "one of privacy", []string{
		`rules.cedar:2: @approve: "one of privacy" is not of the form "1 of privacy, 1 of ehr-owners"`}},
	{"rules.cedar", "1 of privacy", "0 of privacy", []string{
		`rules.cedar:2: @approve: "0 of privacy" is not of the form "1 of privacy, 1 of ehr-owners"`}},
	{"rules.cedar", "1 of privacy", "1 of privacy, 1 of privacy", []string{`rules.cedar:2: @approve: group "privacy" stands twice`}},
	{"rules.cedar", "1 of privacy", "1 of security", []string{
		`rules.cedar:2: @approve: unknown group "security" (groups are: dba, privacy)`}},
	{"rules.cedar", "1 of privacy", "2 of privacy", []string{
		`rules.cedar:2: @approve: 2 of privacy can never be had: group privacy has 1 person`}},
	{"rules.cedar", "1 of privacy", "1 of dba", []string{
		`rules.cedar:2: @approve: 1 of dba can never be had: nobody approves their own request or stands for two, and without those the rule is for there are not enough people`}},
	{"rules.cedar", `@max("30m")`, `@touch("true")`, []string{
		`rules.cedar:2: @approve: 1 of privacy can never be had: of 1 person in group privacy 0 have a FIDO (sk-) key`}},
	{"rules.cedar", `@approve("1 of privacy")`, `@pin("true")`, []string{
		`rules.cedar:1: @touch and @pin are about the keys of approvers, and the rule has no @approve`}},
	{"rules.cedar", `@id("privacy-revokes")`, `@id("privacy-revokes") @max("5m")`, []string{
		`rules.cedar:6: annotations other than @id have no meaning on a permit of administrative actions`}},
	{"rules.cedar", "", `@id("no") @max("5m") forbid (principal, action, resource);`, []string{
		`rules.cedar:8: @max has no meaning on a forbid, which takes @id alone`}},
	{"rules.cedar", `action in Action::"connect"`, "action", []string{
		`rules.cedar:1: a permit must say what it is for: action in Action::"connect", one of its capabilities, or administrative actions, not both`}},

	// rules: what they talk about
	{"rules.cedar", `Action::"connect"`, `Action::"conect"`, []string{
		`rules.cedar:4: unknown action "conect" (actions are: administer, agent, audit, connect, custody, exec, forward-local, forward-remote, operate, recording-key, revoke, scp-read, scp-write, sftp-read, sftp-write, shell, x11)`}},
	{"rules.cedar", `Group::"dba"`, `Group::"dbas"`, []string{`rules.cedar:4: unknown group "dbas" (groups are: dba, privacy)`}},
	{"rules.cedar", `in Group::"dba"`, `== Person::"eve"`, []string{`rules.cedar:4: unknown person "eve" (people are: alice, bob)`}},
	{"rules.cedar", `Host::"phi1"`, `Host::"phi9"`, []string{`rules.cedar:4: unknown host "phi9" (hosts are: phi1)`}},
	{"rules.cedar", `in Host::"phi1"`, `== Account::"admin@phi1"`, []string{
		`rules.cedar:4: unknown account "admin@phi1" (accounts of phi1 are: root)`}},
	{"rules.cedar", `in Host::"phi1"`, `== Account::"root@phi9"`, []string{
		`rules.cedar:4: unknown account "root@phi9": there is no host "phi9" (hosts are: phi1)`}},
	{"rules.cedar", `in Host::"phi1"`, `== Host::"phi1"`, []string{
		`rules.cedar:1: the rule can never apply: for connect the principal is a Person or in a Group and the resource an Account or in a Host, for administer the resource is System::"postern"`}},
	{"rules.cedar", `Group::"dba"`, `Team::"dba"`, []string{
		`rules.cedar:4: unknown entity type "Team" (types are: Account, Action, Group, Host, Person, System)`,
		`rules.cedar:1: the rule can never apply`}},
	{"rules.cedar", `Host::"phi1");`, "Host::\"phi1\")\nwhen { context.raeson like \"INC-*\" };", []string{
		`rules.cedar:5: unknown attribute context.raeson (attributes are: emergency, for_seconds, hour, now, reason, source, weekday)`}},
	{"rules.cedar", `Host::"phi1");`, "Host::\"phi1\")\nwhen {\n  resource.lables.contains(\"phi\") };", []string{
		`rules.cedar:6: unknown attribute "lables" of Account (attributes are: host, name)`}},
	{"rules.cedar", `Host::"phi1");`, "Host::\"phi1\")\nwhen {\n  resource.host.labels.contains(\"phi\") };", []string{
		`rules.cedar:6: unknown label "phi" (there are no labels)`}},
	{"rules.cedar", `Host::"phi1");`, "Host::\"phi1\")\nwhen {\n  [\"rot\"].contains(resource.name) || resource.host.name == \"phi9\" };", []string{
		`rules.cedar:6: unknown account "rot" (accounts are: root)`,
		`rules.cedar:6: unknown host "phi9" (hosts are: phi1)`}},
	{"rules.cedar", `Host::"phi1");`, "Host::\"phi1\")\nunless { // Person::\"eve\" is mentioned here first\n  principal == Person::\"eve\" };", []string{
		`rules.cedar:6: unknown person "eve" (people are: alice, bob)`}},
	{"rules.cedar", `Host::"phi1");`, "Host::\"phi1\")\nwhen { context.for_seconds == \"x\" };", []string{
		`rules.cedar:1: the types Long and String are not compatible`}},
	{"rules.cedar", `Host::"phi1");`, "Host::\"phi1\")\nwhen { context.hour };", []string{
		`rules.cedar:1: unexpected type: expected Bool but saw Long`}},
	{"rules.cedar", `== Action::"revoke", resource);`, `== Action::"revoke", resource) when { context.hour > 3 };`, []string{
		`rules.cedar:7: unknown attribute context.hour (there is no context for revoke)`}},

	// rules: grammar
	{"rules.cedar", `resource in`, `resource on`, []string{`rules.cedar:4: not Cedar: "on" stands where ")" is wanted`}},
	{"rules.cedar", `permit (`, `allow (`, []string{`rules.cedar:4: not Cedar: unexpected effect: allow`}},
	{"rules.cedar", `Host::"phi1");`, `Host::"phi1") when { ` + strings.Repeat("(", 70) + "true" + strings.Repeat(")", 70) + " };", []string{
		`rules.cedar:4: brackets nest deeper than 64`}},
}

func TestMistakes(t *testing.T) {
	minimal := directory(t, "testdata/minimal")
	mustLoad(t, minimal.fs())
	for _, m := range mistakes {
		set, err := Load(minimal.with(t, m.file, m.old, m.new).fs())
		if err == nil {
			t.Errorf("%s: %q for %q loads", m.file, m.new, m.old)
			continue
		}
		if set != nil {
			t.Errorf("%s: %q: a Set beside the error", m.file, m.new)
		}
		compareLines(t, m.file+": "+m.new, err, m.want)
	}
}

func TestNobodyStandsForTwo(t *testing.T) {
	f := directory(t, "testdata/minimal")
	f["people.yaml"] = strings.Replace(f["people.yaml"], "groups: [dba, privacy]", "groups: [dba, privacy, owners]", 1)
	f["people.yaml"] = strings.Replace(f["people.yaml"], "groups: [privacy]", "groups: [privacy, owners]", 1)
	f["rules.cedar"] = strings.Replace(f["rules.cedar"], "1 of privacy", "1 of privacy, 1 of owners", 1)
	_, err := Load(f.fs())
	if err == nil || !strings.HasPrefix(err.Error(), "rules.cedar:2: @approve: 1 of owners, 1 of privacy can never be had") {
		t.Fatalf("bob approves for both groups: %v", err)
	}
	f["people.yaml"] += "  eve:\n    groups: [privacy]\n    keys: [" + spareKey + "]\n"
	if d := mustLoad(t, f.fs()).Decide(ask("alice", "root@phi1")); len(d.Allowed) == 0 {
		t.Errorf("bob for owners, eve for privacy: %q", d.Why)
	}
	f["people.yaml"] += "  fay:\n    groups: [dba, owners]\n    keys: [" + anotherKey + "]\n"
	if d := mustLoad(t, f.fs()).Decide(ask("fay", "root@phi1")); len(d.Allowed) == 0 {
		t.Errorf("fay: %q", d.Why)
	}
}

// compareLines compares without regard to order; a wanted line may be the beginning of the one there is.
func compareLines(t *testing.T, what string, err error, want []string) {
	t.Helper()
	got := strings.Split(err.Error(), "\n")
	left := slices.Clone(got)
	for _, line := range want {
		i := slices.IndexFunc(left, func(l string) bool { return strings.HasPrefix(l, line) })
		if i < 0 {
			t.Errorf("%s\n got  %s\n want %s", what, strings.Join(got, "\n      "), line)
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	if len(left) > 0 {
		t.Errorf("%s: also reports:\n %s", what, strings.Join(left, "\n "))
	}
}

func TestMistakesInTheDirectory(t *testing.T) {
	minimal := directory(t, "testdata/minimal")
	for _, m := range []struct {
		change func(f files)
		want   []string
	}{
		{func(f files) { delete(f, "people.yaml") }, []string{"people.yaml is missing from the policy directory"}},
		{func(f files) { delete(f, "hosts.yaml") }, []string{"hosts.yaml is missing from the policy directory"}},
		{func(f files) { delete(f, "rules.cedar") }, []string{"the policy directory holds no rules (*.cedar)"}},
		{func(f files) { clear(f) }, []string{"people.yaml is missing", "hosts.yaml is missing", "the policy directory holds no rules"}},
		{func(f files) { f["people.yaml"] = "" }, []string{"people.yaml: the file is empty"}},
		{func(f files) { f["people.yaml"] = "# nobody\n" }, []string{"people.yaml: the file is empty"}},
		{func(f files) { f["people.yaml"] = "[]" }, []string{
			"people.yaml:1: the file must be a mapping (name: value), not a list",
			"people.yaml: the list of groups is missing", "people.yaml: people are missing"}},
		{func(f files) { f["rules.cedar"] = "// nothing\n" }, []string{"rules.cedar: holds no rule"}},
		{func(f files) { f["freeze.ceder"] = "" }, []string{"freeze.ceder: is no part of a policy"}},
		{func(f files) { f["people.yml"] = "" }, []string{"people.yml: is no part of a policy"}},
		{func(f files) { f["more/rules.cedar"] = "" }, []string{"more: is a directory"}},
		{func(f files) { f["My Rules.cedar"] = f["rules.cedar"]; delete(f, "rules.cedar") }, []string{
			`My Rules.cedar: a file name "My Rules.cedar" holds 'M'`}},
		{func(f files) { f["big.cedar"] = strings.Repeat("// text\n", maxRules/8+1) }, []string{"big.cedar: is larger than 128 KiB; split it"}},
		// Several at once, in order, each in its file.
		{func(f files) {
			f["people.yaml"] = strings.Replace(f["people.yaml"], "[privacy]", "[privcy]", 1)
			f["hosts.yaml"] = strings.Replace(f["hosts.yaml"], "[root]", "root", 1)
		}, []string{
			`hosts.yaml:4: accounts of host phi1 must be a list, not text`,
			`people.yaml:8: unknown group "privcy" (groups are: dba, privacy)`,
			`rules.cedar:2: @approve: 1 of privacy can never be had: group privacy has 0 people`}},
	} {
		f := maps.Clone(minimal)
		m.change(f)
		_, err := Load(f.fs())
		if err == nil {
			t.Errorf("loads, want %q", m.want)
			continue
		}
		compareLines(t, "directory", err, m.want)
	}
}

func TestWhatBelongsToNoPolicyIsLeftAlone(t *testing.T) {
	f := directory(t, "testdata/minimal")
	digest := mustLoad(t, f.fs()).Digest()
	f["README.md"], f[".git/config"], f["rules.cedar~"], f["tests/one.yaml"], f[".rules.cedar.swp"] = "x", "x", "x", "x", "x"
	if again := mustLoad(t, f.fs()).Digest(); again != digest {
		t.Errorf("digest %s became %s", digest, again)
	}
}

func TestErrorsAreJoinedOnePerLineAndBounded(t *testing.T) {
	f := directory(t, "testdata/minimal")
	f["rules.cedar"] = strings.Repeat("permit (principal, action == Action::\"shell\", resource);\n", 100)
	_, err := Load(f.fs())
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		t.Fatalf("%T is not a joined error", err)
	}
	if n := len(joined.Unwrap()); n != shown+1 {
		t.Errorf("%d errors, want %d", n, shown+1)
	}
	if !strings.HasSuffix(err.Error(), "and 60 more errors") {
		t.Errorf("no word about the rest: %s", err)
	}
}

func TestOneKeyOneIdentity(t *testing.T) {
	minimal := directory(t, "testdata/minimal")
	alice := mustLoad(t, minimal.fs()).people["alice"].Keys[0]
	for _, edit := range [][3]string{
		{"people.yaml", "bob@desk", "bob@desk\n      - " + alice.Line},
		{"hosts.yaml", "trust: host-ca", "host_key: " + alice.Line},
		{"hosts.yaml", "bastions:", "  phi2:\n    address: phi2\n    accounts: [root]\n    trust: host-ca\n    agent: " + alice.Line + "\nbastions:"},
		{"hosts.yaml", "bastions:", "bastions:\n  bastion-2:\n    address: b2\n    sources: [192.0.2.3]\n    key: " + alice.Line},
	} {
		_, err := Load(minimal.with(t, edit[0], edit[1], edit[2]).fs())
		if err == nil || !strings.Contains(err.Error(), alice.Fingerprint+" belongs to alice already (people.yaml:6)") {
			t.Errorf("%q: %v", edit[2], err)
		}
	}
}
