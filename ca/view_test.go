package ca

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/store"
	"postern/internal/verify"
)

// look is what carol would look at, with a key made for it.
func (w *world) look(sessions ...string) View {
	w.t.Helper()
	return View{Kind: control.ViewReplay, Sessions: sessions, Reason: "quarterly review", Key: newSigner(w.t).PublicKey()}
}

// audit signs what the CA shows to person, with the key of signer.
func (w *world) audit(person, signer string, v View) (control.Audit, error) {
	w.t.Helper()
	text, err := w.AuditStatement(w.who(person), v)
	if err != nil {
		return control.Audit{}, err
	}
	return w.Audit(w.who(person), v, w.seal(signer, control.ViewNamespace, text))
}

// session opens one of alice's on phi1.
func (w *world) session() control.Session {
	w.t.Helper()
	_, made := w.granted("alice", "root@phi1", "bob")
	reply, err := w.open(made.Certificate, "root@phi1")
	if err != nil {
		w.t.Fatal(err)
	}
	return reply.Session
}

func (w *world) views() (list []auditlog.View) {
	w.t.Helper()
	for _, e := range w.verified() {
		if e.View != nil {
			list = append(list, *e.View)
		}
	}
	return list
}

// inLog checks what the CA shows of a view.
func (w *world) inLog(l control.Logged) {
	w.t.Helper()
	tree, err := auditlog.OpenCheckpoint([]byte(l.Checkpoint), w.signer.VerifierKey())
	if err != nil {
		w.t.Fatal(err)
	}
	proof, err := auditlog.ParseProof(l.Proof)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := auditlog.CheckInclusion(proof, tree, l.Index, l.Leaf); err != nil {
		w.t.Error(err)
	}
	if e := w.verified()[l.Index]; e.View == nil || !strings.Contains(string(l.Leaf), e.View.Key) {
		w.t.Errorf("%+v", e)
	}
}

func TestAView(t *testing.T) {
	w := newWorld(t)
	a, b := w.session(), w.session()
	ids := []string{a.ID, b.ID}
	slices.Sort(ids)
	v := w.look(strings.ToLower(b.ID), a.ID, b.ID) // in any order, twice, in lower case
	got, err := w.audit("carol", "carol", v)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Sessions) != 2 || got.Sessions[0].ID != ids[0] || len(got.Keys) != 1 || got.Keys[0].ID != a.RecordingKey || len(got.Passes) != 1 {
		t.Fatalf("%+v", got)
	}
	pass, cert := got.Passes[0], parse(t, got.Passes[0].Certificate)
	viewer := ssh.FingerprintSHA256(w.signers["carol"].PublicKey()) + " 0"
	if cert.KeyId != "carol audit 0" || !slices.Equal(cert.ValidPrincipals, []string{"recordings@bastion-1"}) || len(cert.Extensions) != 2 ||
		cert.Extensions[AuditExtension] != strings.Join(ids, ",") || cert.Extensions[ViewerExtension] != viewer || line(cert.Key) != line(v.Key) {
		t.Errorf("%+v", cert)
	}
	if until := time.Unix(int64(cert.ValidBefore), 0); until.Sub(w.time()) > 5*time.Minute || !pass.NotAfter.Equal(until) {
		t.Errorf("good until %s", until)
	}
	if pass.Bastion.Name != "bastion-1" || pass.Bastion.Key == "" || !slices.Equal(pass.Sessions, ids) {
		t.Errorf("%+v", pass)
	}
	w.inLog(got.Logged)
	if got, err = w.audit("carol", "carol", w.look(a.ID)); err != nil {
		t.Fatal(err)
	}
	w.inLog(got.Logged)
	views := w.views()
	if len(views) != 2 || views[0].Sequence != 0 || views[1].Sequence != 1 || views[0].Reason != "quarterly review" || views[0].Kind != "replay" {
		t.Fatalf("%+v", views)
	}
	if s, err := statement.ParseView(views[0].Statement); err != nil || s.Person != "carol" || !slices.Equal(s.Sessions, ids) || s.Key != ssh.FingerprintSHA256(v.Key) {
		t.Errorf("%+v: %v", s, err)
	}
}

func TestViewsThatAreRefused(t *testing.T) {
	w := newWorld(t)
	s := w.session()
	many := make([]string, control.MaxView+1)
	for i := range many {
		many[i] = fmt.Sprintf("S-%010d", i)
	}
	for what, try := range map[string]struct {
		words  string
		person string
		change func(*View)
	}{
		"no auditor":        {"no rule permits it", "olga", func(*View) {}},
		"a machine":         {"no rule permits it", "bastion-1", func(*View) {}},
		"no reason":         {"a reason is missing", "carol", func(v *View) { v.Reason = " " }},
		"another kind":      {"kinds are: replay, web", "carol", func(v *View) { v.Kind = "peek" }},
		"an unknown one":    {"no session S-NOSUCH", "carol", func(v *View) { v.Sessions = append(v.Sessions, "S-NOSUCH") }},
		"none":              {"0 sessions", "carol", func(v *View) { v.Sessions = nil }},
		"1001":              {"1001 sessions", "carol", func(v *View) { v.Sessions = many }},
		"no key":            {"no Ed25519 key", "carol", func(v *View) { v.Key = nil }},
		"carol's own key":   {"one that the policy knows", "carol", func(v *View) { v.Key = w.signers["carol"].PublicKey() }},
		"alice's key":       {"one that the policy knows", "carol", func(v *View) { v.Key = w.signers["alice"].PublicKey() }},
		"a bastion's key":   {"one that the policy knows", "carol", func(v *View) { v.Key = w.signers["bastion-1"].PublicKey() }},
		"a host's agent":    {"one that the policy knows", "carol", func(v *View) { v.Key = w.signers["phi1-agent"].PublicKey() }},
		"a moving reason":   {"invisible", "carol", func(v *View) { v.Reason = "a\u202eb" }},
		"a reason of lines": {"control", "carol", func(v *View) { v.Reason = "a\nb" }},
	} {
		v := w.look(s.ID)
		try.change(&v)
		_, err := w.AuditStatement(w.who(try.person), v)
		refused(t, what, err, try.words)
		_, err = w.Audit(w.who(try.person), v, []byte("x"))
		refused(t, what, err, try.words)
	}
	if views := w.views(); len(views) != 0 {
		t.Errorf("logged: %+v", views)
	}
}

// A signature is good for what it says, once, by the auditor.
func TestViewSignatures(t *testing.T) {
	w := newWorld(t)
	s, other := w.session(), w.session()
	v := w.look(s.ID)
	text, err := w.AuditStatement(w.who("carol"), v)
	if err != nil {
		t.Fatal(err)
	}
	good := w.seal("carol", control.ViewNamespace, text)
	for what, change := range map[string]func(*View){
		"other sessions":  func(v *View) { v.Sessions = []string{other.ID} },
		"one more":        func(v *View) { v.Sessions = append(v.Sessions, other.ID) },
		"another reason":  func(v *View) { v.Reason = "another" },
		"another kind":    func(v *View) { v.Kind = control.ViewExport },
		"with keystrokes": func(v *View) { v.Keystrokes = true },
		"another key":     func(v *View) { v.Key = newSigner(t).PublicKey() },
	} {
		changed := v
		change(&changed)
		_, err := w.Audit(w.who("carol"), changed, good)
		refused(t, what, err, "does not fit view 0 of carol")
	}
	for what, try := range map[string]struct {
		signature []byte
		words     string
	}{
		"by another person": {w.seal("olga", control.ViewNamespace, text), "not one of carol's"},
		"by a stranger":     {w.seal("stranger", control.ViewNamespace, text), "not one of carol's"},
		"as a decision":     {w.seal("carol", control.Namespace, text), "namespace"},
		"nothing":           {nil, "does not fit"},
		"cut":               {good[:len(good)-10], "does not fit"},
	} {
		_, err := w.Audit(w.who("carol"), v, try.signature)
		refused(t, what, err, try.words)
	}
	if _, err := w.Audit(w.who("carol"), v, good); err != nil {
		t.Fatal(err)
	}
	_, err = w.Audit(w.who("carol"), v, good)
	refused(t, "a second time", err, "does not fit view 1 of carol")
	if views := w.views(); len(views) != 1 {
		t.Errorf("%d views are logged", len(views))
	}
}

// What took an auditor's right away between the statement and the signature, wins.
func TestAViewComesTooLate(t *testing.T) {
	for what, try := range map[string]struct {
		words  string
		happen func(*world)
	}{
		"their key is revoked": {"was revoked", func(w *world) {
			target := "key:" + ssh.FingerprintSHA256(w.signers["carol"].PublicKey())
			if _, err := w.Revoke(w.who("olga"), Cut{Target: target, Because: "stolen"}, w.sign("olga", "olga", control.Revoke, target, "stolen")); err != nil {
				w.t.Fatal(err)
			}
		}},
		"they leave the policy": {"", func(w *world) {
			w.signers["carol"] = newSigner(w.t)
			if err := w.SetPolicy(w.policy(rules)); err != nil {
				w.t.Fatal(err)
			}
		}},
		"they are no auditor any more": {"no rule permits it", func(w *world) {
			if err := w.SetPolicy(w.policy(strings.Replace(rules, `Action::"audit", `, "", 1))); err != nil {
				w.t.Fatal(err)
			}
		}},
	} {
		w := newWorld(t)
		carol, v := w.who("carol"), w.look(w.session().ID)
		text, err := w.AuditStatement(carol, v)
		if err != nil {
			t.Fatal(err)
		}
		signature := w.seal("carol", control.ViewNamespace, text)
		try.happen(w)
		_, err = w.Audit(carol, v, signature)
		refused(t, what, err, try.words)
		if views := w.views(); len(views) != 0 {
			t.Errorf("%s: logged", what)
		}
	}
}

// Of many at once that were shown the same number, one is logged; the log stays dense.
func TestViewsRace(t *testing.T) {
	w := newWorld(t)
	s, carol := w.session(), w.who("carol")
	const n = 8
	var group sync.WaitGroup
	errs := make([]error, n)
	views, signatures := make([]View, n), make([][]byte, n)
	for i := range n {
		views[i] = w.look(s.ID)
		text, err := w.AuditStatement(carol, views[i])
		if err != nil {
			t.Fatal(err)
		}
		signatures[i] = w.seal("carol", control.ViewNamespace, text)
	}
	for i := range n {
		group.Go(func() { _, errs[i] = w.Audit(carol, views[i], signatures[i]) })
	}
	group.Wait()
	done := 0
	for _, err := range errs {
		var no *Refused
		if err == nil {
			done++
		} else if !errors.As(err, &no) {
			t.Error(err)
		}
	}
	if views := w.views(); done != 1 || len(views) != 1 || views[0].Sequence != 0 {
		t.Errorf("%d were let in, logged are %+v", done, views)
	}
}

func TestAThousandSessions(t *testing.T) {
	w := newWorld(t)
	s := w.session()
	ids := []string{s.ID}
	err := w.db.Update(func(tx *store.Tx) error {
		for i := len(ids); i < control.MaxView; i++ {
			s.ID = fmt.Sprintf("S-%010d", i)
			ids = append(ids, s.ID)
			if err := saveSession(tx, s); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.audit("carol", "carol", w.look(ids...))
	if err != nil || len(got.Sessions) != control.MaxView || len(got.Keys) != 1 || len(got.Passes) != 1 {
		t.Fatalf("%d sessions, %d keys, %d passes: %v", len(got.Sessions), len(got.Keys), len(got.Passes), err)
	}
	if n := len(parse(t, got.Passes[0].Certificate).Marshal()); n > 16<<10 {
		t.Errorf("the certificate has %d bytes", n)
	}
}

// What the CA writes of views is what a verifier wants to see, whatever else happens between them.
func TestViewsVerify(t *testing.T) {
	w := newWorld(t)
	a, b := w.session(), w.session()
	look := func(person string, keystrokes bool, sessions ...string) {
		t.Helper()
		v := w.look(sessions...)
		v.Keystrokes = keystrokes
		if _, err := w.audit(person, person, v); err != nil {
			t.Fatal(err)
		}
	}
	look("carol", false, a.ID, b.ID)
	look("carol", true, a.ID)
	if _, err := w.Revoke(w.who("olga"), Cut{Target: "person:adam", Because: "gone"}, w.sign("olga", "olga", control.Revoke, "person:adam", "gone")); err != nil {
		t.Fatal(err)
	}
	look("carol", false, b.ID)
	var leaves [][]byte
	w.Leaves(0, 0, func(l control.Leaf) error { leaves = append(leaves, l.Data); return nil })
	report := verify.Leaves(leaves, verify.Keys{User: w.keys.User.PublicKey(), Session: w.keys.Session.PublicKey(), Host: w.keys.Host.PublicKey(), Gateway: w.keys.Gateway.PublicKey()})
	for _, f := range report.Failures {
		if !strings.Contains(f.Text, "clock went back") { // the genesis has the real one
			t.Error(f)
		}
	}
	if len(report.Views) != 3 || report.Views[2].Sequence != 2 || !report.Views[1].Keystrokes {
		t.Errorf("%+v", report.Views)
	}
}

// However a revocation of the auditor's key and her views meet, none is logged after it.
func TestViewsMeetARevocation(t *testing.T) {
	w := newWorld(t)
	s, carol := w.session(), w.who("carol")
	target := "key:" + ssh.FingerprintSHA256(w.signers["carol"].PublicKey())
	signature := w.sign("olga", "olga", control.Revoke, target, "stolen")
	olga, views := w.who("olga"), make([]View, 16)
	for i := range views {
		views[i] = w.look(s.ID)
	}
	var group sync.WaitGroup
	for i, v := range views {
		group.Go(func() {
			for range 4 {
				text, err := w.AuditStatement(carol, v)
				if err == nil {
					_, err = w.Audit(carol, v, w.seal("carol", control.ViewNamespace, text))
				}
				if err == nil || strings.Contains(err.Error(), "was revoked") {
					return
				}
			}
		})
		if i == len(views)/2 {
			group.Go(func() {
				if _, err := w.Revoke(olga, Cut{Target: target, Because: "stolen"}, signature); err != nil {
					t.Error(err)
				}
			})
		}
	}
	group.Wait()
	revoked := false
	for i, e := range w.verified() {
		revoked = revoked || e.Revocation != nil
		if revoked && e.View != nil {
			t.Errorf("leaf %d is a view by a key that was revoked before", i)
		}
	}
	if !revoked {
		t.Error("the key was not revoked")
	}
	after := w.look(s.ID)
	text, err := w.AuditStatement(carol, after)
	if err == nil {
		_, err = w.Audit(carol, after, w.seal("carol", control.ViewNamespace, text))
	}
	refused(t, "a view after the revocation", err, "was revoked")
}
