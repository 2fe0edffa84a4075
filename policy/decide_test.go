package policy

import (
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	monday   = time.Date(2026, 11, 23, 9, 30, 0, 0, time.UTC)
	saturday = time.Date(2026, 11, 28, 9, 30, 0, 0, time.UTC)
	vendor   = netip.MustParseAddr("198.51.100.7")
)

func clinic(t testing.TB) *Set { return mustLoad(t, os.DirFS("testdata/clinic")) }

// ask fills a query the way a request does: monday morning, from the vendor's network, with a reason.
func ask(person, account string) Query {
	name, host, _ := strings.Cut(account, "@")
	return Query{Person: person, Account: name, Host: host, For: 10 * time.Minute, Reason: "INC-4412", Source: vendor, At: monday}
}

func TestWhoMayDoWhat(t *testing.T) {
	set := clinic(t)
	for _, c := range []struct {
		person, account string
		change          func(*Query)
		may             string // capabilities
		needs           string
		max             time.Duration
		rules           string
	}{
		{"alice", "postgres@ehr-db-1", nil, "shell exec sftp-read", "1 of ehr-owners, 1 of privacy", 30 * time.Minute, "dba-ehr"},
		{"alice", "postgres@EHR", nil, "shell exec sftp-read", "1 of ehr-owners, 1 of privacy", 30 * time.Minute, "dba-ehr"},
		{"alice", "postgres@ehr", func(q *Query) { q.For = 31 * time.Minute }, "", "", 30 * time.Minute, ""},
		{"alice", "postgres@ehr", func(q *Query) { q.Capabilities = []string{"exec"} }, "exec", "1 of ehr-owners, 1 of privacy", 30 * time.Minute, "dba-ehr"},
		{"alice", "postgres@ehr", func(q *Query) { q.Capabilities = []string{"x11", "shell"} }, "shell", "1 of ehr-owners, 1 of privacy", 30 * time.Minute, "dba-ehr"},
		{"alice", "root@ehr-db-1", nil, "shell", "1 of ehr-owners, 2 of privacy", 15 * time.Minute, "dba-ehr-root"},
		{"alice", "viewer@monitor-1", nil, "shell exec sftp-read sftp-write scp-read scp-write forward-local forward-remote agent x11", "", DefaultMax, "monitoring"},
		{"alice", "root@monitor-1", nil, "", "", 0, ""},
		{"alice", "dicom@img-1", nil, "", "", 0, ""},

		// Two permits match: the strictest of both, unless one is named.
		{"adam", "postgres@ehr", nil, "shell exec sftp-read", "1 of ehr-owners, 1 of privacy", 10 * time.Minute, "break-glass dba-ehr"},
		{"adam", "postgres@ehr", func(q *Query) { q.Rule = "break-glass" }, "shell exec", "", 10 * time.Minute, "break-glass"},
		{"adam", "postgres@ehr", func(q *Query) { q.Rule = "dba-ehr"; q.For = 30 * time.Minute }, "shell exec sftp-read", "1 of ehr-owners, 1 of privacy", 30 * time.Minute, "dba-ehr"},
		{"adam", "postgres@ehr", func(q *Query) { q.Reason = "curious" }, "shell exec sftp-read", "1 of ehr-owners, 1 of privacy", 30 * time.Minute, "dba-ehr"},
		{"adam", "postgres@ehr", func(q *Query) { q.Reason = "curious"; q.Rule = "break-glass" }, "", "", 0, ""},
		{"adam", "postgres@ehr", func(q *Query) { q.Rule = "no-tunnels" }, "", "", 0, ""},
		{"adam", "postgres@ehr", func(q *Query) { q.Rule = "nonsense" }, "", "", 0, ""},
		// What is granted for less time than asked is left out, not what goes with it.
		{"adam", "postgres@ehr", func(q *Query) { q.For = 20 * time.Minute }, "sftp-read", "1 of ehr-owners, 1 of privacy", 30 * time.Minute, "dba-ehr"},

		// Forbids win, and what they read must be known.
		{"erin", "dicom@img-1", nil, "sftp-read sftp-write scp-read scp-write", "1 of privacy", time.Hour, "imaging"},
		{"erin", "dicom@img-1", func(q *Query) { q.At = saturday }, "", "", 0, ""},
		{"erin", "dicom@img-1", func(q *Query) { q.At = time.Time{} }, "", "", 0, ""},
		{"erin", "dicom@img-1", func(q *Query) { q.Source = netip.Addr{} }, "", "", 0, ""},
		{"erin", "dicom@img-1", func(q *Query) { q.Source = netip.MustParseAddr("203.0.113.1") }, "", "", 0, ""},
		{"erin", "dicom@img-1", func(q *Query) { q.Source = netip.MustParseAddr("::ffff:198.51.100.9") }, "sftp-read sftp-write scp-read scp-write", "1 of privacy", time.Hour, "imaging"},
		{"erin", "dicom@img-1", func(q *Query) { q.At = monday.In(time.FixedZone("", 11*3600)) }, "sftp-read sftp-write scp-read scp-write", "1 of privacy", time.Hour, "imaging"},

		// Nobody and nothing.
		{"", "root@phi1", nil, "", "", 0, ""},
		{"mallory", "postgres@ehr", nil, "", "", 0, ""},
		{"alice", "nobody@ehr", nil, "", "", 0, ""},
		{"alice", "postgres@nowhere", nil, "", "", 0, ""},
		{"alice", "postgres@ehr", func(q *Query) { q.For = -time.Minute }, "", "", 0, ""},
		{"alice", "postgres@ehr", func(q *Query) { q.Capabilities = []string{"everything"} }, "", "", 0, ""},
		{"bob", "postgres@ehr", nil, "", "", 0, ""},
	} {
		q := ask(c.person, c.account)
		if c.change != nil {
			c.change(&q)
		}
		d := set.Decide(q)
		var needs []string
		for _, n := range d.Needs {
			needs = append(needs, n.String())
		}
		if got := strings.Join(d.Allowed, " "); got != c.may {
			t.Errorf("%s on %s may %q, want %q: %q", c.person, c.account, got, c.may, d.Why)
		}
		if got := strings.Join(needs, ", "); got != c.needs {
			t.Errorf("%s on %s needs %q, want %q", c.person, c.account, got, c.needs)
		}
		if got := strings.Join(d.Rules, " "); got != c.rules {
			t.Errorf("%s on %s by rules %q, want %q", c.person, c.account, got, c.rules)
		}
		if d.Max != c.max {
			t.Errorf("%s on %s at most %s, want %s", c.person, c.account, d.Max, c.max)
		}
		if c.may == "" && len(d.Why) == 0 {
			t.Errorf("%s on %s denied without a word", c.person, c.account)
		}
	}
}

func TestDuties(t *testing.T) {
	set := clinic(t)
	root := set.Decide(ask("alice", "root@ehr"))
	if !root.Touch || root.PIN || !root.PinSource || !root.Keystrokes || root.Claim != time.Hour || root.Idle != 0 || root.Environment != nil {
		t.Errorf("root: %+v", root)
	}
	dba := set.Decide(ask("alice", "postgres@ehr"))
	if dba.Touch || dba.PinSource || dba.Keystrokes || dba.Claim != DefaultClaim || dba.Idle != 10*time.Minute ||
		!slices.Equal(dba.Environment, []string{"LANG", "LC_*"}) {
		t.Errorf("dba: %+v", dba)
	}
	// break-glass records keystrokes and lets no variable pass, dba-ehr the other way round.
	both := set.Decide(ask("adam", "postgres@ehr"))
	if !both.Keystrokes || both.Environment != nil || both.Idle != 10*time.Minute {
		t.Errorf("both: %+v", both)
	}
}

func TestWhy(t *testing.T) {
	set := clinic(t)
	for _, c := range []struct {
		person, account string
		change          func(*Query)
		want            []string
	}{
		{"bob", "root@ehr", nil, []string{
			`no rule allows bob to open ehr-db-1 as root: rules for ehr-db-1 are for group dba`}},
		{"bob", "root@ehr", func(q *Query) { q.Capabilities = []string{"shell"} }, []string{
			`no rule allows bob to open ehr-db-1 as root: rules for ehr-db-1 are for group dba`}},
		{"bob", "root@monitor-1", nil, []string{`no rule allows bob to open monitor-1 as root`}},
		{"bob", "viewer@monitor-1", nil, []string{`no rule allows bob to open monitor-1 as viewer: rules for monitor-1 are for group dba`}},
		{"alice", "postgres@phi9", nil, []string{`host "phi9" is unknown (hosts are: ehr-db-1, img-1, monitor-1)`}},
		{"alice", "oracle@ehr", nil, []string{`ehr-db-1 has no account "oracle" (accounts are: postgres, root)`}},
		{"mallory", "postgres@ehr", nil, []string{`"mallory" is not a known person`}},
		{"alice", "postgres@ehr", func(q *Query) { q.Capabilities = []string{"shell"}; q.For = 45 * time.Minute }, []string{
			`asked for 45m, at most 30m (rule dba-ehr (connect.cedar:2))`}},
		{"adam", "postgres@ehr", func(q *Query) { q.Capabilities = []string{"shell"}; q.Reason = "" }, []string{
			`rule break-glass (connect.cedar:28) cannot be judged: no reason was given`}},
		{"adam", "postgres@ehr", func(q *Query) { q.Rule = "break-glass"; q.Capabilities = []string{"sftp-read"} }, []string{
			`rule break-glass does not allow it (those that do: dba-ehr)`}},
		{"adam", "postgres@ehr", func(q *Query) { q.Rule = "dba"; q.Capabilities = []string{"sftp-read"} }, []string{
			`there is no rule "dba" that permits anything`}},
		{"alice", "postgres@ehr", func(q *Query) { q.Capabilities = []string{"shell", "root"} }, []string{
			`root: there is no such capability (capabilities are: agent, exec, forward-local, forward-remote, scp-read, scp-write, sftp-read, sftp-write, shell, x11)`}},
		{"alice", "root@ehr", func(q *Query) { q.Capabilities = []string{"shell"} }, []string{
			`needs 1 of ehr-owners (dana, frank), 2 of privacy (bob, frank), with a FIDO key and a touch`}},
		{"erin", "dicom@img-1", func(q *Query) { q.At = saturday }, []string{
			`rule contractors-office-hours (limits.cedar:10) forbids it`}},
		{"erin", "dicom@img-1", func(q *Query) { q.Source = netip.Addr{} }, []string{
			`rule contractors-office-hours (limits.cedar:10) cannot be judged: it is not known from which address`}},
		{"alice", "viewer@monitor-1", nil, nil},
	} {
		q := ask(c.person, c.account)
		if c.change != nil {
			c.change(&q)
		}
		if got := set.Decide(q).Why; !slices.Equal(got, c.want) {
			t.Errorf("%s on %s:\n got  %s\n want %s", c.person, c.account, strings.Join(got, "\n      "), strings.Join(c.want, "\n      "))
		}
	}
}

func TestNobodyIsNeededForTheirOwnRequest(t *testing.T) {
	f := directory(t, "testdata/minimal")
	f["rules.cedar"] = `@id("own") @approve("1 of privacy")
permit (principal, action == Action::"shell", resource);`
	set := mustLoad(t, f.fs()) // alice could gather it
	if d := set.Decide(ask("alice", "root@phi1")); len(d.Allowed) != 1 {
		t.Errorf("alice: %q", d.Why)
	}
	q := ask("bob", "root@phi1")
	q.Capabilities = []string{"shell"}
	d := set.Decide(q)
	want := "it needs 1 of privacy, and besides bob there are not as many who could approve (rule own (rules.cedar:1))"
	if len(d.Allowed) != 0 || !slices.Equal(d.Why, []string{want}) {
		t.Errorf("bob: %q, %q", d.Allowed, d.Why)
	}
}

func TestAskedAndRefused(t *testing.T) {
	set := clinic(t)
	q := ask("alice", "postgres@ehr")
	for _, c := range []struct{ asked, refused []string }{
		{nil, nil},
		{[]string{"shell"}, nil},
		{[]string{"x11", "shell", "agent", "shell"}, []string{"agent", "x11"}},
		{[]string{"telnet", "shell"}, []string{"telnet"}},
	} {
		q.Capabilities = c.asked
		if got := set.Decide(q).Refused; !slices.Equal(got, c.refused) {
			t.Errorf("asked for %v, refused %v, want %v", c.asked, got, c.refused)
		}
	}
	q.Capabilities, q.Person = []string{"exec", "shell"}, "mallory"
	if got := set.Decide(q).Refused; !slices.Equal(got, []string{"shell", "exec"}) {
		t.Errorf("mallory is refused %v", got)
	}
}

func TestAdministrativeActions(t *testing.T) {
	set := clinic(t)
	may := map[string]string{"carol": "audit recording-key", "bob": "revoke", "frank": "revoke", "olga": "revoke operate"}
	for _, p := range set.People() {
		for _, action := range append(AdministrativeActions(), "connect", "administer", "shell", "") {
			want := action != "" && slices.Contains(strings.Fields(may[p.Name]), action)
			if got := set.May(p.Name, action); got != want {
				t.Errorf("%s may %s: %v, want %v", p.Name, action, got, want)
			}
		}
	}
	if set.May("mallory", "revoke") {
		t.Error("a stranger may revoke")
	}
}

func TestLookups(t *testing.T) {
	set := clinic(t)
	alice, ok := set.Person("alice")
	if !ok || !set.InGroup("alice", "dba") || set.InGroup("alice", "oncall") || set.InGroup("mallory", "dba") {
		t.Error("alice's groups")
	}
	if p, ok := set.PersonByKey(alice.Keys[0].Fingerprint); !ok || p.Name != "alice" {
		t.Error("alice's key")
	}
	ehr, _ := set.Host("EHR-DB-1.clinic.example")
	if ehr == nil || ehr.Name != "ehr-db-1" || ehr.Address != "10.20.0.11:22" || !ehr.HostCA || ehr.HostKey != "" {
		t.Errorf("ehr: %+v", ehr)
	}
	if h, ok := set.HostByAgent(ehr.Agent.Fingerprint); !ok || h.Name != "ehr-db-1" {
		t.Error("ehr's agent")
	}
	img, _ := set.Host("img-1")
	pinned, err := parseKey(img.HostKey)
	if err != nil || img.HostCA || img.Agent != nil {
		t.Errorf("img: %+v", img)
	}
	if _, ok := set.HostByAgent(pinned.Fingerprint); ok {
		t.Error("a pinned host key logs in as an agent")
	}
	if h, _ := set.Host("monitor-1"); h.Address != "[2001:db8::20]:22" {
		t.Errorf("monitor: %s", h.Address)
	}
	bastion, ok := set.Bastion("bastion-1")
	if !ok || !slices.Equal(bastion.Sources, []string{"10.20.0.2", "2001:db8::2"}) {
		t.Errorf("bastion: %+v", bastion)
	}
	if b, ok := set.BastionByKey(bastion.Key.Fingerprint); !ok || b.Name != "bastion-1" {
		t.Error("bastion's key")
	}
	for _, fingerprint := range []string{"", "SHA256:", bastion.Key.Fingerprint} {
		if _, ok := set.PersonByKey(fingerprint); ok {
			t.Errorf("%q is a person", fingerprint)
		}
	}
	if _, ok := set.BastionByKey(alice.Keys[0].Fingerprint); ok {
		t.Error("alice is a bastion")
	}
}

func TestNobodyCanChangeASet(t *testing.T) {
	set := clinic(t)
	p, _ := set.Person("bob")
	p.Groups[0], p.Keys[0].Type, p.Name = "dba", "x", "mallory"
	h, _ := set.Host("ehr")
	h.Accounts[0], h.Agent.Line = "x", "x"
	b, _ := set.Bastion("bastion-1")
	b.Sources[0] = "0.0.0.0/0"
	set.Groups()[0] = "x"
	d := set.Decide(ask("alice", "postgres@ehr"))
	d.Needs[0].Count, d.Environment[0] = 0, "*"
	fresh := clinic(t)
	if !reflect.DeepEqual(set.People(), fresh.People()) || !reflect.DeepEqual(set.Hosts(), fresh.Hosts()) ||
		!reflect.DeepEqual(set.Bastions(), fresh.Bastions()) || !reflect.DeepEqual(set.Groups(), fresh.Groups()) ||
		!reflect.DeepEqual(set.Decide(ask("alice", "postgres@ehr")), fresh.Decide(ask("alice", "postgres@ehr"))) {
		t.Error("a caller changed the policy")
	}
}

func TestManyAskAtOnce(t *testing.T) {
	set := clinic(t)
	want := set.Decide(ask("adam", "postgres@ehr"))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if got := set.Decide(ask("adam", "postgres@ehr")); !reflect.DeepEqual(got, want) {
					t.Errorf("%+v", got)
				}
			}
		})
	}
	wg.Wait()
}

func BenchmarkDecide(b *testing.B) {
	set := clinic(b)
	for _, c := range []struct {
		name string
		only []string
	}{{"everything", nil}, {"shell", []string{"shell"}}} {
		q := ask("alice", "postgres@ehr")
		q.Capabilities = c.only
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if len(set.Decide(q).Allowed) == 0 {
					b.Fatal("denied")
				}
			}
		})
	}
}

// A refusal says what is in the way of what was asked for. Who names no capability did not ask for those that no rule gives.
func TestARefusalNamesNothingBesideThePoint(t *testing.T) {
	set, err := emergencySet(`@id("dba") @approve("1 of privacy") @max("30m") ` + scope + `@id("no-agent") forbid (principal, action == Action::"agent", resource);`)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		length time.Duration
		only   []string
		want   string
	}{
		{3 * time.Hour, nil, `asked for 3h, at most 30m (rule dba (rules.cedar:1))`},
		{time.Minute, []string{"x11"}, "no rule allows alice x11 on root@phi1 (what may be asked for: shell)"},
		{time.Minute, []string{"shell", "x11"}, "x11: no rule allows alice this on root@phi1"},
		{3 * time.Hour, []string{"shell", "x11"}, "shell: asked for 3h, at most 30m (rule dba (rules.cedar:1))\nx11: no rule allows alice this on root@phi1"},
	} {
		d := set.Decide(Query{Person: "alice", Account: "root", Host: "phi1", For: c.length, Reason: "x", Capabilities: c.only})
		if got := strings.Join(d.Why, "\n"); got != c.want {
			t.Errorf("%s of %v:\n got  %s\n want %s", c.length, c.only, got, c.want)
		}
	}
}
