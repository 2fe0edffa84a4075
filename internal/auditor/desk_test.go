package auditor

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/sshsig"
)

const why = "INC-4412 why"

// atDesk is carol at her desk, with a CA and a bastion that may lie.
func atDesk(t *testing.T) (*Desk, *authority, *liar) {
	t.Helper()
	g := newGateway(t)
	a := &authority{t: t, carol: newSigner(t), log: newLog(t), leaves: [][]byte{[]byte("{}"), []byte("{}")}}
	a.bastion = g.liar(t, "bastion-1", func(command string, _ []byte) (string, error) { return "said " + command, nil })
	ca := g.liar(t, "postern-ca", a.answer)
	client, err := control.Dial(t.Context(), control.Config{Address: ca.address, Signers: []ssh.Signer{a.carol}, KnownHosts: g.file})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	sign := func(fingerprint string) (ssh.Signer, error) {
		if fingerprint != ssh.FingerprintSHA256(a.carol.PublicKey()) {
			return nil, errors.New("no such key")
		}
		return a.carol, nil
	}
	logKey := func() (string, error) { return a.log.VerifierKey(), nil }
	return &Desk{CA: client, Sign: sign, KnownHosts: g.file, LogKey: logKey}, a, a.bastion
}

func newLog(t *testing.T) *auditlog.Signer {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := auditlog.NewSigner("postern-ca", key)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func fetched(ctx context.Context, a *Access, id string) (string, error) {
	var b bytes.Buffer
	err := a.Fetch(ctx, id, &b)
	return b.String(), err
}

func TestAView(t *testing.T) {
	d, ca, bastion := atDesk(t)
	a, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: " " + why + "\n"}, "s-2", "S-1", "S-2")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if list := a.Sessions(); len(list) != 2 || list[0].ID != "S-2" || list[1].ID != "S-1" {
		t.Errorf("%+v", list)
	}
	for _, id := range []string{"S-1", "s-2"} {
		if got, err := fetched(t.Context(), a, id); err != nil || got != "said recording "+strings.ToUpper(id) {
			t.Errorf("%q: %v", got, err)
		}
	}
	if _, err := fetched(t.Context(), a, "S-3"); err == nil || !strings.Contains(err.Error(), "not part of this view") {
		t.Error(err)
	}
	if bastion.seen != 1 {
		t.Errorf("%d connections", bastion.seen)
	}
	if len(ca.views) != 1 || ca.views[0].Reason != why || !slices.Equal(ca.views[0].Sessions, []string{"S-1", "S-2"}) {
		t.Errorf("%+v", ca.views)
	}
	a.Close()
	if _, err := fetched(t.Context(), a, "S-1"); err == nil {
		t.Error("a view that is closed gives recordings")
	}
}

// What the CA would have signed is signed only if it is what was meant.
func TestStatementsThatAreNotSigned(t *testing.T) {
	for name, lie := range map[string]func(statement.View) string{
		"another session":  func(v statement.View) string { v.Sessions = []string{"S-2"}; return v.Text() },
		"one session more": func(v statement.View) string { v.Sessions = append(v.Sessions, "S-2"); return v.Text() },
		"another reason":   func(v statement.View) string { v.Reason = "routine"; return v.Text() },
		"another kind":     func(v statement.View) string { v.Kind = control.ViewExport; return v.Text() },
		"with keystrokes":  func(v statement.View) string { v.Keystrokes = true; return v.Text() },
		"another key":      func(v statement.View) string { v.Key = "SHA256:mine"; return v.Text() },
		"another person":   func(v statement.View) string { v.Person = "dana"; return v.Text() },
		"another CA":       func(v statement.View) string { v.CA = "elsewhere"; return v.Text() },
		"a line more":      func(v statement.View) string { return v.Text() + "\n" },
		"a decision":       func(statement.View) string { return statement.Statement{Decision: "approve"}.Text() },
		"nothing":          func(statement.View) string { return "" },
	} {
		d, ca, bastion := atDesk(t)
		ca.statement = lie
		a, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1")
		if err == nil || !strings.Contains(err.Error(), "nothing was signed") || a != nil {
			t.Errorf("%s: %v", name, err)
		}
		if ca.signed != 0 || bastion.seen != 0 {
			t.Errorf("%s: %d signatures, %d connections", name, ca.signed, bastion.seen)
		}
	}
}

// Nothing is looked at before the CA has shown that the view is in the log that this machine knows.
func TestViewsThatAreNotInTheLog(t *testing.T) {
	for name, lie := range map[string]func(*authority, *control.Logged){
		"nothing is shown":      func(_ *authority, l *control.Logged) { *l = control.Logged{} },
		"no proof":              func(_ *authority, l *control.Logged) { l.Proof = "" },
		"another place":         func(_ *authority, l *control.Logged) { l.Index-- },
		"another leaf":          func(_ *authority, l *control.Logged) { l.Leaf = []byte("{}") },
		"signed by another key": func(a *authority, l *control.Logged) { a.log = newLog(a.t); *l = a.proven(l.Leaf); a.log = newLog(a.t) },
		"a checkpoint of before": func(a *authority, l *control.Logged) {
			a.leaves = a.leaves[:2]
			l.Checkpoint = a.proven(nil).Checkpoint
		},
		"in a log without it":    func(a *authority, l *control.Logged) { a.leaves[2] = []byte("{}"); *l = a.proven(l.Leaf) },
		"it is of somebody else": func(a *authority, l *control.Logged) { relog(a, l, func(e *auditlog.Entry) { e.Actor = "olga" }) },
		"it is no view":          func(a *authority, l *control.Logged) { relog(a, l, func(e *auditlog.Entry) { e.View = nil }) },
		"it says something else": func(a *authority, l *control.Logged) {
			relog(a, l, func(e *auditlog.Entry) { e.View.Statement += "x" })
		},
		"with another signature": func(a *authority, l *control.Logged) { relog(a, l, func(e *auditlog.Entry) { e.View.Signature = "" }) },
		"with a type of its own": func(a *authority, l *control.Logged) { relog(a, l, func(e *auditlog.Entry) { e.Type = "look" }) },
	} {
		d, ca, bastion := atDesk(t)
		trusted := ca.log.VerifierKey()
		d.LogKey = func() (string, error) { return trusted, nil }
		ca.audit = func(a *control.Audit) { lie(ca, &a.Logged) }
		if _, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1"); err == nil || !strings.Contains(err.Error(), "not in the log") || bastion.seen != 0 {
			t.Errorf("%s: %v, %d connections", name, err, bastion.seen)
		}
	}
	d, ca, _ := atDesk(t)
	d.LogKey = func() (string, error) { return "", os.ErrNotExist }
	if _, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1"); !errors.Is(err, os.ErrNotExist) || ca.signed != 0 {
		t.Errorf("no key of the log: %v after %d signatures", err, ca.signed)
	}
	d, ca, bastion := atDesk(t)
	d.Seen = func(_ context.Context, checkpoint []byte) error {
		if tree, err := auditlog.OpenCheckpoint(checkpoint, ca.log.VerifierKey()); err != nil || tree.N != 3 {
			t.Errorf("%d leaves: %v", tree.N, err)
		}
		return auditlog.ErrForked
	}
	if _, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1"); !errors.Is(err, auditlog.ErrForked) || bastion.seen != 0 {
		t.Errorf("a forked log: %v", err)
	}
}

func relog(a *authority, l *control.Logged, change func(*auditlog.Entry)) {
	e, err := auditlog.Decode(l.Leaf)
	if err != nil {
		a.t.Error(err)
	}
	change(&e)
	leaf, _ := json.Marshal(e)
	a.leaves[len(a.leaves)-1] = leaf
	*l = a.proven(leaf)
}

func TestAnswersThatAreNotTaken(t *testing.T) {
	for name, try := range map[string]struct {
		says string
		lie  func(*control.Audit)
	}{
		"a session is left out": {"left out S-2", func(a *control.Audit) { a.Sessions = a.Sessions[:1] }},
		"another bastion":       {"which bastion-1 keeps", func(a *control.Audit) { a.Passes[0].Bastion.Name = "bastion-9" }},
		"no key of the bastion": {"key of bastion", func(a *control.Audit) { a.Passes[0].Bastion.Key = "x" }},
	} {
		d, ca, _ := atDesk(t)
		ca.audit = try.lie
		if _, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1", "S-2"); err == nil || !strings.Contains(err.Error(), try.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	d, ca, _ := atDesk(t)
	ca.audit = func(a *control.Audit) {
		a.Sessions = append(a.Sessions, control.Session{ID: "S-9", Bastion: "bastion-1"})
		a.Passes[0].Sessions = append(a.Passes[0].Sessions, "S-9")
	}
	a, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := fetched(t.Context(), a, "S-9"); err == nil || len(a.Sessions()) != 1 {
		t.Error("a session that was not asked for is part of the view")
	}
	ca.audit = func(a *control.Audit) { a.Passes = nil }
	left, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fetched(t.Context(), left, "S-1"); err == nil || !strings.Contains(err.Error(), "bastion-1, which keeps S-1, is not in the policy any more") {
		t.Error(err)
	}
}

func TestWhyIsAsked(t *testing.T) {
	d, ca, _ := atDesk(t)
	if _, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: "  "}, "S-1"); !errors.Is(err, ErrNoReason) {
		t.Error(err)
	}
	d.Reason = func() (string, error) { return " ", nil }
	if _, err := d.View(t.Context(), View{Kind: control.ViewReplay}, "S-1"); !errors.Is(err, ErrNoReason) {
		t.Error(err)
	}
	d.Reason = func() (string, error) { return why, nil }
	if a, err := d.View(t.Context(), View{Kind: control.ViewReplay}, "S-1"); err != nil {
		t.Error(err)
	} else {
		a.Close()
	}
	for _, id := range []string{"", "--json", "S-1 S-2", "R-1", "S-1\n"} {
		if _, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, id); err == nil || !strings.Contains(err.Error(), "not the ID") {
			t.Errorf("%q: %v", id, err)
		}
	}
	if _, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}); err == nil {
		t.Error("a view of nothing")
	}
	if len(ca.views) != 1 {
		t.Errorf("%+v", ca.views)
	}
}

// Somebody else with the same key looks at the same time: the number that was signed is taken.
func TestTheNumberIsTaken(t *testing.T) {
	d, ca, _ := atDesk(t)
	tries := 0
	ca.vote = func(signature []byte, want string) error {
		if tries++; tries < 3 {
			ca.sequence++
			return errors.New("taken")
		}
		_, err := sshsig.Verify(signature, control.ViewNamespace, []byte(want))
		return err
	}
	a, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1")
	if err != nil || ca.signed != 3 || ca.views[0].Sequence != 2 {
		t.Fatalf("%v: %d signatures, %+v", err, ca.signed, ca.views)
	}
	a.Close()
	ca.signed, tries = 0, -1000
	if _, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1"); err == nil || !strings.Contains(err.Error(), "try again") || ca.signed != attempts {
		t.Errorf("%v after %d signatures", err, ca.signed)
	}
	ca.signed, ca.vote = 0, func([]byte, string) error { return errors.New("your key was revoked") }
	if _, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1"); err == nil || err.Error() != "your key was revoked" || ca.signed != 1 {
		t.Errorf("%v after %d signatures", err, ca.signed)
	}
}

func TestManySessionsAreSeveralViews(t *testing.T) {
	d, ca, _ := atDesk(t)
	var ids []string
	for i := range 2*control.MaxView + 1 {
		ids = append(ids, fmt.Sprintf("S-%04d", i))
	}
	slices.Reverse(ids)
	a, err := d.View(t.Context(), View{Kind: control.ViewSearch, Reason: why}, ids...)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if n := len(ca.views); n != 3 || len(ca.views[2].Sessions) != 1 || ca.views[1].Sequence != 1 {
		t.Errorf("%d views", n)
	}
	if list := a.Sessions(); len(list) != len(ids) || list[0].ID != ids[0] {
		t.Errorf("%d sessions", len(list))
	}
	for _, id := range []string{ids[0], ids[1000], ids[2000]} {
		if got, err := fetched(t.Context(), a, id); err != nil || got != "said recording "+id {
			t.Errorf("%q: %v", got, err)
		}
	}
}

// A connection that is lost is made anew while the certificate is good, and not after: that needs another view.
func TestLostConnections(t *testing.T) {
	d, ca, bastion := atDesk(t)
	a, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := fetched(t.Context(), a, "S-1"); err != nil {
		t.Fatal(err)
	}
	gone := a.passes["S-1"].gone
	bastion.hangUp()
	<-gone
	if got, err := fetched(t.Context(), a, "S-1"); err != nil || got == "" || bastion.seen != 2 {
		t.Errorf("%q after %d connections: %v", got, bastion.seen, err)
	}
	gone = a.passes["S-1"].gone
	a.passes["S-1"].until = time.Now()
	if _, err := fetched(t.Context(), a, "S-1"); err != nil {
		t.Errorf("the connection there is: %v", err)
	}
	bastion.hangUp()
	<-gone
	if _, err := fetched(t.Context(), a, "S-1"); err == nil || !strings.Contains(err.Error(), "look again") || bastion.seen != 2 {
		t.Errorf("%v after %d connections", err, bastion.seen)
	}

	ca.audit = func(a *control.Audit) { a.Passes[0].Bastion.Address = "127.0.0.1:1" }
	down, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1")
	if err != nil {
		t.Fatal(err)
	}
	defer down.Close()
	if _, err := fetched(t.Context(), down, "S-1"); err == nil || !strings.Contains(err.Error(), "bastion bastion-1 at 127.0.0.1:1") {
		t.Error(err)
	}
}

// A bastion that takes connections and says nothing holds up neither who waits for another nor who leaves.
func TestASilentBastion(t *testing.T) {
	d, ca, _ := atDesk(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // nobody accepts
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	ca.audit = func(a *control.Audit) {
		other := a.Passes[0]
		other.Bastion.Name, other.Bastion.Address = "bastion-2", silent.Addr().String()
		a.Passes[0].Sessions, other.Sessions = []string{"S-1"}, []string{"S-2"}
		a.Sessions[1].Bastion = "bastion-2"
		a.Passes = append(a.Passes, other)
	}
	a, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1", "S-2")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := fetched(t.Context(), a, "S-1"); err != nil || got == "" {
		t.Errorf("%q: %v", got, err)
	}
	began, waits := time.Now(), make(chan error)
	go func() {
		_, err := fetched(t.Context(), a, "S-2")
		waits <- err
	}()
	a.Close()
	if err := <-waits; err == nil {
		t.Error("the silent bastion gave something")
	}
	if took := time.Since(began); took > dialTime/2 {
		t.Errorf("closing took %s", took)
	}
}

// Who only has the address of a bastion, and not its name's certificate, is not it.
func TestAnotherBastion(t *testing.T) {
	d, ca, _ := atDesk(t)
	g := newGateway(t)
	other := g.liar(t, "bastion-1", func(string, []byte) (string, error) { return "mine", nil })
	ca.audit = func(a *control.Audit) { a.Passes[0].Bastion.Address = other.address }
	a, err := d.View(t.Context(), View{Kind: control.ViewReplay, Reason: why}, "S-1")
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if got, err := fetched(t.Context(), a, "S-1"); err == nil {
		t.Errorf("it said %q", got)
	}
}
