package policy

import (
	"slices"
	"strings"
	"testing"
)

// ruled loads the people and hosts of testdata/clinic with other rules.
func ruled(t *testing.T, rules string) *Set {
	t.Helper()
	f := directory(t, "testdata/clinic")
	return mustLoad(t, files{"people.yaml": f["people.yaml"], "hosts.yaml": f["hosts.yaml"], "rules.cedar": rules}.fs())
}

// permits writes one permit for each pair of annotations and capabilities.
func permits(rules ...[2]string) string {
	var b strings.Builder
	for i, r := range rules {
		var actions []string
		for capability := range strings.FieldsSeq(r[1]) {
			actions = append(actions, `Action::"`+capability+`"`)
		}
		b.WriteString(`@id("r` + string(rune('1'+i)) + `") ` + r[0] + ` permit (principal, action in [` + strings.Join(actions, ", ") + "], resource);\n")
	}
	return b.String()
}

func TestWhatIsKept(t *testing.T) {
	const M, K = 1 << 20, 1 << 10
	for _, c := range []struct {
		rules             [][2]string
		only              string
		files             string
		streams, forwards int64
	}{
		{[][2]string{{"", "shell exec sftp-read"}}, "", FilesHead, 16 * M, 64 * K},
		{[][2]string{{`@files("full") @streams("1M") @forwards("full")`, "connect"}}, "", FilesFull, M, Full},
		{[][2]string{{`@files("hash") @streams("0") @forwards("0")`, "connect"}}, "", FilesHash, 0, 0},
		{[][2]string{{`@streams("2G") @forwards("3K")`, "connect"}}, "", FilesHead, 2 << 30, 3 * K},

		// The most of what several want; who says nothing wants the default.
		{[][2]string{{`@files("hash")`, "sftp-read"}, {`@files("full")`, "sftp-read"}}, "", FilesFull, 16 * M, 64 * K},
		{[][2]string{{`@files("hash")`, "sftp-read"}, {``, "sftp-read"}}, "", FilesHead, 16 * M, 64 * K},
		{[][2]string{{`@streams("0")`, "exec"}, {`@streams("1M")`, "exec"}}, "", FilesHead, M, 64 * K},
		{[][2]string{{`@streams("0")`, "exec"}, {``, "exec"}}, "", FilesHead, 16 * M, 64 * K},
		{[][2]string{{`@streams("full")`, "exec"}, {`@streams("2G")`, "exec"}}, "", FilesHead, Full, 64 * K},
		{[][2]string{{`@forwards("0")`, "forward-remote"}, {`@forwards("1M")`, "x11"}}, "", FilesHead, 16 * M, M},

		// Only rules by which something of the kind passes have a say.
		{[][2]string{{`@files("hash")`, "sftp-read"}, {`@streams("1M")`, "shell exec"}}, "", FilesHash, M, 64 * K},
		{[][2]string{{`@files("hash")`, "sftp-read"}, {`@files("full")`, "exec"}}, "", FilesFull, 16 * M, 64 * K},
		{[][2]string{{`@files("full") @streams("full") @forwards("full")`, "shell"}}, "", FilesHead, 16 * M, 64 * K},
		{[][2]string{{`@files("full")`, "exec"}}, "", FilesFull, 16 * M, 64 * K},
		{[][2]string{{`@files("hash")`, "exec"}, {``, "exec"}}, "", FilesHead, 16 * M, 64 * K},
		{[][2]string{{`@files("hash")`, "sftp-read"}, {`@files("full")`, "sftp-write"}}, "", FilesFull, 16 * M, 64 * K},
		{[][2]string{{`@files("hash")`, "sftp-read"}, {`@files("full")`, "sftp-write"}}, "sftp-read", FilesHash, 16 * M, 64 * K},
	} {
		rules := permits(c.rules...)
		q := ask("alice", "postgres@ehr")
		q.Capabilities = strings.Fields(c.only)
		d := ruled(t, rules).Decide(q)
		if len(d.Allowed) == 0 || d.Files != c.files || d.Streams != c.streams || d.Forwards != c.forwards {
			t.Errorf("%sonly %q: files %s, streams %s, forwards %s", rules, c.only, d.Files, Size(d.Streams), Size(d.Forwards))
		}
	}
	if d := ruled(t, permits([2]string{`@files("full")`, "sftp-read"})).Decide(ask("alice", "nobody@ehr")); d.Files != "" || d.Streams != 0 {
		t.Errorf("denied, and something is kept: %+v", d)
	}
}

func TestDestinations(t *testing.T) {
	for _, c := range []struct {
		rules [][2]string
		rule  string
		leads string
		by    string // the rules that bind
		why   string
	}{
		{[][2]string{{`@destinations("DB.:443, 127.0.0.1/32:5432 ,db:443")`, "forward-local"}}, "", "127.0.0.1:5432 db:443", "r1", ""},
		{[][2]string{{``, "connect"}}, "", "", "", "rule r1 (rules.cedar:1) lacks @destinations, so no forward may lead anywhere"},
		{[][2]string{{``, "connect"}, {``, "forward-local"}}, "", "", "", "rules r1, r2 lack @destinations, so no forward may lead anywhere"},

		// A rule that does not say where neither grants nor narrows, and its duties are not for forwards.
		{[][2]string{{`@approve("2 of privacy")`, "forward-local"}, {`@destinations("db:443")`, "forward-local"}}, "", "db:443", "r2", ""},
		{[][2]string{{``, "forward-local"}, {`@destinations("db:443")`, "forward-local"}}, "r1", "", "", "rule r1 (rules.cedar:1) lacks @destinations, so no forward may lead anywhere"},

		{[][2]string{{`@destinations("db:443, db:80")`, "forward-local"}, {`@destinations("db:80, *:443")`, "connect"}}, "", "db:80", "r1 r2", ""},
		{[][2]string{{`@destinations("db:443, db:80")`, "forward-local"}, {`@destinations("db:80, *:443")`, "connect"}}, "r2", "*:443 db:80", "r2", ""},
		{[][2]string{{`@destinations("db:443")`, "forward-local"}, {`@destinations("*:443")`, "forward-local"}}, "", "", "", "rules r1, r2 have no destination in common"},
	} {
		rules := permits(c.rules...)
		q := ask("alice", "postgres@ehr")
		q.Capabilities, q.Rule = []string{ForwardLocal}, c.rule
		d := ruled(t, rules).Decide(q)
		if got := strings.Join(d.Destinations, " "); got != c.leads || (len(d.Allowed) > 0) != (c.leads != "") {
			t.Errorf("%srule %q: %v leads to %q: %q", rules, c.rule, d.Allowed, got, d.Why)
		}
		if got := strings.Join(d.Rules, " "); got != c.by {
			t.Errorf("%srule %q: by %q", rules, c.rule, got)
		}
		if c.why != "" && !slices.Equal(d.Why, []string{c.why}) {
			t.Errorf("%srule %q: %q", rules, c.rule, d.Why)
		}
	}
}

// A rule that is for all of connect keeps its other capabilities.
func TestNoDestinationIsNoObstacle(t *testing.T) {
	set := ruled(t, permits([2]string{"", "connect"}))
	d := set.Decide(ask("alice", "postgres@ehr"))
	if slices.Contains(d.Allowed, ForwardLocal) || len(d.Allowed) != len(Capabilities())-1 || d.Destinations != nil {
		t.Errorf("%+v", d)
	}
	q := ask("alice", "postgres@ehr")
	q.For = HardMax
	if d := set.Decide(q); !slices.Equal(d.Why, []string{"asked for 1h, at most 15m (rule r1 (rules.cedar:1))"}) {
		t.Errorf("too long, and: %q", d.Why)
	}
}

func TestExplainWhatIsKept(t *testing.T) {
	set := ruled(t, permits([2]string{`@files("full") @streams("0") @forwards("full") @destinations("db:443, /run/x") @keystrokes("true")`, "connect"}))
	want := `alice may open ehr-db-1 as postgres for at most 15m
  may        shell, exec, sftp-read, sftp-write, scp-read, scp-write, forward-local, forward-remote, agent, x11
  by rule    r1 (rules.cedar:1)
  approvals  none needed
  on terms   first used within 8h
             keystrokes are recorded
             files that pass are kept in full
             of each stream of a command a checksum is kept
             each direction of a forward is kept in full
             forward-local leads to /run/x, db:443
`
	e := set.Explain(ask("alice", "postgres@ehr"))
	if e.String() != want || *e.Kept != (Kept{"full", "0", "full"}) || !slices.Equal(e.Leads, []string{"/run/x", "db:443"}) {
		t.Errorf("%+v\n%s", e, e)
	}
	e = ruled(t, permits([2]string{`@streams("1M") @forwards("2K")`, "connect"})).Explain(ask("alice", "postgres@ehr"))
	for _, line := range []string{"of each stream of a command 1M is kept\n", "of each direction of a forward 2K is kept\n"} {
		if !strings.Contains(e.String(), line) {
			t.Errorf("%s", e)
		}
	}
}
