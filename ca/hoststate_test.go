package ca

import (
	"strings"
	"testing"
	"time"

	"postern/internal/control"
)

func TestHowHostsStand(t *testing.T) {
	w := newWorld(t)
	agent := w.who("phi1-agent")
	// standing is what is shown of phi1.
	standing := func() control.HostStatus {
		t.Helper()
		list, err := w.Hosts(w.who("olga"))
		if err != nil || len(list) != 3 || list[1].Host != "phi1" || list[2].State != control.HostUnmanaged {
			t.Fatalf("%+v, %v", list, err)
		}
		return list[1]
	}
	is := func(what, state, why string) {
		t.Helper()
		if s := standing(); s.State != state || !strings.Contains(s.Why, why) || (why == "") != (s.Why == "") {
			t.Errorf("%s: %s, %q", what, s.State, s.Why)
		}
	}
	tell := func(s control.HostState) {
		t.Helper()
		if s.CertificateEnds.IsZero() {
			s.CertificateEnds = w.time().Add(7 * 24 * time.Hour)
		}
		if _, err := w.HostState(agent, s); err != nil {
			t.Fatal(err)
		}
	}
	is("at first", control.HostSilent, "never")
	tell(control.HostState{})
	is("without revocations", control.HostOK, "")
	r, _ := w.granted("alice", "root@phi1", "bob")
	if _, err := w.revokeAs("olga", r.ID); err != nil {
		t.Fatal(err)
	}
	is("the moment of a revocation", control.HostOK, "")
	w.pass(oldAfter + time.Second)
	tell(control.HostState{})
	is("who did not take it", control.HostOld, "11s ago")
	// A second revocation does not make the first one younger.
	r, _ = w.granted("adam", "root@phi1", "bob")
	if _, err := w.revokeAs("olga", r.ID); err != nil {
		t.Fatal(err)
	}
	is("who took neither", control.HostOld, "11s ago")
	tell(control.HostState{KRLVersion: 2})
	is("who took both", control.HostOK, "")
	tell(control.HostState{KRLVersion: 3})
	is("who has more than there is", control.HostOld, "never made")
	tell(control.HostState{KRLMissing: true})
	is("who has none", control.HostOld, "refuses every key")
	tell(control.HostState{KRLVersion: 2, CertificateEnds: w.time().Add(time.Hour)})
	is("whose certificate ends", control.HostCertificate, "within a day")
	tell(control.HostState{KRLVersion: 2})
	w.pass(silentAfter + time.Second)
	is("who says no more", control.HostSilent, "no word for 46s")
}

// A host tells of itself, and when it did is not for it to say.
func TestAHostTellsOfItselfAlone(t *testing.T) {
	w := newWorld(t)
	year := w.time().Add(365 * 24 * time.Hour)
	if _, err := w.HostState(w.who("phi1-agent"), control.HostState{Host: "phi2", At: year, CertificateEnds: year}); err != nil {
		t.Fatal(err)
	}
	list, err := w.Hosts(w.who("carol"))
	if err != nil || list[1].Host != "phi1" || !list[1].At.Equal(w.time()) || list[2].State != control.HostUnmanaged {
		t.Errorf("%+v, %v", list, err)
	}
	for _, who := range []string{"alice", "bastion-1"} {
		_, err := w.HostState(w.who(who), control.HostState{})
		refused(t, who+" tells", err, "only hosts")
		_, err = w.Hosts(w.who(who))
		refused(t, who+" looks", err, "may not see")
	}
}
