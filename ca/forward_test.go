package ca

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"postern/internal/control"
)

// onPhi is a rule that lets alice onto phi1 and phi2 without anybody's approval.
func onPhi(annotations, actions string) string {
	return `@id("phi") @max("30m") ` + annotations + ` permit (principal in Group::"dba", action in ` + actions + `, resource in Host::"phi1");
@id("phi-2") @max("30m") @destinations("10.0.0.1:443, db:443") permit (principal in Group::"dba", action in Action::"connect", resource in Host::"phi2");
`
}

func (w *world) askFor(targets string, only ...string) (control.Request, error) {
	w.t.Helper()
	return w.Ask(w.who("alice"), Ask{Targets: strings.Fields(targets), Reason: "INC-4412", Only: only})
}

func TestDestinationsAreOfTheRequest(t *testing.T) {
	w := newWorld(t)
	w.reload(onPhi(`@destinations("127.0.0.1:5432, db:443")`, `Action::"connect"`))
	r, made := w.granted("alice", "root@phi1")
	if want := []string{"127.0.0.1:5432", "db:443"}; !slices.Equal(r.Destinations, want) {
		t.Fatalf("asked for %v, want %v", r.Destinations, want)
	}
	text, err := w.Statement(w.who("alice"), control.Withdraw, r.ID, "")
	if err != nil || !strings.Contains(text, "\ndestinations: 127.0.0.1:5432 db:443\nfor: ") {
		t.Errorf("%v: %s", err, text)
	}
	for _, c := range []struct{ now, leads string }{
		{`@destinations("127.0.0.1:5432, db:443")`, "127.0.0.1:5432 db:443"},
		{`@destinations("127.0.0.1:5432, db:443, *:*")`, "127.0.0.1:5432 db:443"}, // more than was asked for
		{`@destinations("db:443, db:80")`, "db:443"},
		{`@destinations("db:80")`, ""},
		{``, ""},
	} {
		w.reload(onPhi(c.now, `Action::"connect"`))
		reply, err := w.open(made.Certificate, "root@phi1")
		if c.leads == "" {
			refused(t, c.now, err, "") // the whole request is refused: it names the capability
			continue
		}
		if err != nil || strings.Join(reply.Destinations, " ") != c.leads {
			t.Errorf("%s: leads to %v: %v", c.now, reply.Destinations, err)
		}
	}
	w.reload(onPhi(`@destinations("db:80")`, `Action::"connect"`))
	_, err = w.open(made.Certificate, "root@phi1")
	refused(t, "other destinations", err, "lets no forward lead where "+r.ID+" asked for (127.0.0.1:5432, db:443); ask again")
	w.reload(onPhi("", `Action::"connect"`))
	_, err = w.open(made.Certificate, "root@phi1")
	refused(t, "no destinations", err, "rule phi (rules.cedar:1) lacks @destinations")
	w.verified()
}

func TestDestinationsOfSeveralTargets(t *testing.T) {
	w := newWorld(t)
	w.reload(onPhi(`@destinations("127.0.0.1:5432, db:443")`, `Action::"connect"`))
	r, err := w.askFor("root@phi1 root@phi2")
	if err != nil || !slices.Equal(r.Destinations, []string{"db:443"}) || !slices.Contains(r.Capabilities, "forward-local") {
		t.Errorf("%v, %v: %v", r.Destinations, r.Capabilities, err)
	}
	w.reload(onPhi(`@destinations("127.0.0.1:5432")`, `Action::"connect"`))
	r, err = w.askFor("root@phi1 root@phi2")
	if err != nil || len(r.Destinations) > 0 || slices.Contains(r.Capabilities, "forward-local") ||
		!slices.Contains(r.Notes, "forward-local: these targets have no destination in common") {
		t.Errorf("%v, %v, %q: %v", r.Destinations, r.Capabilities, r.Notes, err)
	}
	_, err = w.askFor("root@phi1 root@phi2", "shell", "forward-local")
	refused(t, "by name", err, "no destination in common where forward-local could lead; ask for them one by one")
	_, err = w.askFor("root@phi1 root@phi2", "shell")
	if err != nil {
		t.Error(err)
	}
}

// sshd grants what the certificate permits and nothing else, so what was granted must be in both.
func TestPermitsOfCertificates(t *testing.T) {
	for _, c := range []struct{ actions, permits string }{
		{"shell", "permit-pty"},
		{"exec", "permit-pty"},
		{"sftp-read", ""},
		{"scp-write", ""},
		{"forward-local", "permit-port-forwarding"},
		{"forward-remote", "permit-port-forwarding"},
		{"agent", "permit-agent-forwarding"},
		{"x11", "permit-X11-forwarding"},
		{"exec agent x11 forward-remote", "permit-X11-forwarding permit-agent-forwarding permit-port-forwarding permit-pty"},
	} {
		w := newWorld(t)
		var actions []string
		for action := range strings.FieldsSeq(c.actions) {
			actions = append(actions, `Action::"`+action+`"`)
		}
		leads := ""
		if strings.Contains(c.actions, "forward-local") {
			leads = `@destinations("db:443")`
		}
		w.reload(onPhi(leads, "["+strings.Join(actions, ", ")+"]"))
		_, made := w.granted("alice", "root@phi1")
		reply, err := w.open(made.Certificate, "root@phi1")
		if err != nil {
			t.Fatal(err)
		}
		for kind, text := range map[string]string{"user": made.Certificate, "session": reply.Certificate} {
			names := slices.DeleteFunc(slices.Sorted(maps.Keys(parse(t, text).Extensions)), func(name string) bool { return strings.HasSuffix(name, "@postern") })
			if got := strings.Join(names, " "); got != c.permits {
				t.Errorf("%s certificate for %s: %q, want %q", kind, c.actions, got, c.permits)
			}
		}
	}
}
