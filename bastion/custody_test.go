package bastion

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// vault is a bastion's custody of some recordings, with a clock that the test moves and a CA that tells it what the test wants.
type vault struct {
	*Custody
	t           *testing.T
	carol, cara ssh.Signer
	auditors    []ssh.PublicKey
	clock       atomic.Int64
	store       *recorder.Store
	private     recorder.PrivateKey
	public      recorder.PublicKey
	bastion     ssh.Signer
	sealed      chan recorder.Progress
}

var recordedAt = time.Date(2020, 11, 22, 4, 0, 0, 0, time.UTC)

func newVault(t *testing.T) *vault {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	v := &vault{t: t, carol: newSigner(), cara: newSigner(), bastion: must(ssh.NewSignerFromKey(key)), sealed: make(chan recorder.Progress, 64)}
	v.private, v.public = recorder.NewKey()
	v.auditors = []ssh.PublicKey{v.carol.PublicKey(), v.cara.PublicKey()}
	v.clock.Store(recordedAt.Unix())
	dir := t.TempDir()
	v.store = must(recorder.OpenStore(recorder.Config{
		Dir: dir, Signer: key, FileSize: 1 << 20, LowSpace: -1, Now: v.time,
		Sealed: func(p recorder.Progress) {
			if p.Sealed {
				v.sealed <- p
			}
		},
	}))
	t.Cleanup(func() { v.store.Close() })
	v.Custody = v.open(filepath.Join(dir, "holds"))
	return v
}

func (v *vault) time() time.Time { return time.Unix(v.clock.Load(), 0).UTC() }

func (v *vault) open(file string) *Custody {
	v.t.Helper()
	k := &Custody{
		File: file, Name: "bastion-1", CA: "postern-ca", Signer: v.bastion, Auditors: func() []ssh.PublicKey { return v.auditors },
		Recorder: v.store, AtLeast: 2192 * 24 * time.Hour, Now: v.time, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if err := k.Open(); err != nil {
		v.t.Fatal(err)
	}
	return k
}

// record makes a finished recording, with the facts that the bastion notes.
func (v *vault) record(id string, facts *Facts) {
	v.t.Helper()
	w := must(v.store.Create(recorder.Header{Session: id, Bastion: "bastion-1"}, v.public))
	if err := w.Close("closed"); err != nil {
		v.t.Fatal(err)
	}
	<-v.sealed
	if facts != nil {
		facts.Session = id
		if err := v.store.Note(id, must(json.Marshal(facts))); err != nil {
			v.t.Fatal(err)
		}
	}
}

func (v *vault) decision(act, scope string, by ssh.Signer, name string) control.Custody {
	v.t.Helper()
	return must(control.NewCustody("postern-ca", act, scope, "INC-4412").Sign(name, by))
}

func (v *vault) release(h control.Custody, by ssh.Signer) control.Custody {
	v.t.Helper()
	c := control.NewCustody("postern-ca", control.Release, h.Scope, "over")
	c.Hold = h.ID
	return must(c.Sign("carol", by))
}

func (v *vault) carry(session string, change func(*control.Deletion), orders ...control.Custody) control.Receipt {
	v.t.Helper()
	d := control.Deletion{ID: "D-1", Session: session, Bastion: "bastion-1", Orders: orders}
	if change != nil {
		change(&d)
	}
	r, err := v.Carry(d)
	if err != nil {
		v.t.Fatal(err)
	}
	if err := r.Verify(v.bastion.PublicKey()); err != nil {
		v.t.Error(err)
	}
	return r
}

func (v *vault) readable(session string) bool {
	v.t.Helper()
	var out bytes.Buffer
	if err := v.store.Export(session, &out); err != nil {
		return false
	}
	_, err := recorder.Open(&out, v.private, nil)
	if err != nil && !errors.Is(err, recorder.ErrShredded) {
		v.t.Error(err)
	}
	return err == nil
}

func retained(d *control.Deletion) { d.Everything, d.RetainDays = true, 30 }

// A CA in the wrong hands orders evidence destroyed. Each order is declined, and the recording can still be read.
func TestOrdersThatAreDeclined(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	facts := Facts{Subject: control.Subject{Request: "R-1", Person: "alice", Host: "phi1", Month: "2020-11"}, RetainDays: 30}
	v.record("S-1", &facts)
	v.clock.Add(31 * 24 * 3600)
	shred := func(scope string, by ssh.Signer, name string) control.Custody {
		return v.decision(control.Shred, scope, by, name)
	}
	otherCA := control.NewCustody("other-ca", control.Shred, "session:S-1", "x")
	forged := shred("session:S-1", v.carol, "carol")
	forged.Scope = "session:S-2"
	stranger := newSigner()
	for name, c := range map[string]struct {
		change func(*control.Deletion)
		orders []control.Custody
		says   string
	}{
		"by the policy, too young":      {retained, nil, "keeps everything at least 2192 days"},
		"by the policy, in other words": {nil, nil, "keeps everything at least 2192 days"},
		"signed by nobody we know":      {nil, []control.Custody{shred("session:S-1", stranger, "carol")}, "nobody whom bastion-1 knows"},
		"signed for another session":    {nil, []control.Custody{shred("session:S-2", v.carol, "carol")}, "wants something else"},
		"signed for another month":      {nil, []control.Custody{shred("month:2020-12", v.carol, "carol")}, "wants something else"},
		"signed for another CA":         {nil, []control.Custody{must(otherCA.Sign("carol", v.carol))}, "wants something else"},
		"a hold":                        {nil, []control.Custody{v.decision(control.Hold, "session:S-1", v.carol, "carol")}, "wants something else"},
		"altered":                       {nil, []control.Custody{forged}, "is not good"},
		"for another bastion":           {func(d *control.Deletion) { d.Bastion = "bastion-2" }, []control.Custody{shred("session:S-1", v.carol, "carol")}, "for bastion bastion-2"},
		"of no recording":               {func(d *control.Deletion) { d.Session = "S-9" }, nil, "no such recording"},
	} {
		r := v.carry("S-1", c.change, c.orders...)
		if !strings.Contains(r.Declined, c.says) || r.Box != "" {
			t.Errorf("%s: %+v, want %q", name, r, c.says)
		}
	}
	if !v.readable("S-1") {
		t.Error("and yet it is gone")
	}
}

func TestRetentionOnTheBastion(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	v.record("S-1", &Facts{RetainDays: 30})
	v.record("S-2", &Facts{RetainDays: 3000})
	v.record("S-3", &Facts{})
	v.record("S-4", nil) // of before there were facts
	v.clock.Add(int64(2192*24*time.Hour/time.Second) - 60)
	if r := v.carry("S-1", retained); !strings.Contains(r.Declined, "2192 days") {
		t.Errorf("a minute too early: %+v", r)
	}
	v.clock.Add(120)
	for session, says := range map[string]string{"S-2": "to be kept 3000 days", "S-3": "auditors must order it"} {
		if r := v.carry(session, retained); !strings.Contains(r.Declined, says) || !v.readable(session) {
			t.Errorf("%s: %+v", session, r)
		}
	}
	for _, session := range []string{"S-1", "S-4"} {
		if r := v.carry(session, retained); r.Declined != "" || !r.Everything || v.readable(session) {
			t.Errorf("%s: %+v", session, r)
		}
	}
	first := v.carry("S-1", retained)
	v.clock.Add(1000)
	if again := v.carry("S-1", retained); again.Statement() != first.Statement() {
		t.Errorf("%s\nand again\n%s", first.Statement(), again.Statement())
	}
}

// A hold outlives the CA's memory of it, a restart, and everything but the signature of an auditor whom the bastion knows.
func TestHoldsAreKept(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	v.record("S-1", &Facts{Subject: control.Subject{Request: "R-1", Person: "alice", Host: "phi1", Month: "2020-11"}})
	v.record("S-2", &Facts{Subject: control.Subject{Request: "R-2", Person: "adam", Host: "phi1", Month: "2020-11"}})
	v.record("S-3", nil)
	shred := func(id string) string {
		return v.carry(id, nil, v.decision(control.Shred, "session:"+id, v.carol, "carol")).Declined
	}
	hold := v.decision(control.Hold, "person:alice", v.carol, "carol")
	if err := v.Heed([]control.Custody{hold}, 2); err != nil || v.Next() != 2 {
		t.Fatal(v.Next(), err)
	}
	other := v.decision(control.Hold, "person:alice", v.carol, "carol")
	wrongScope := v.release(hold, v.carol)
	wrongScope.Scope = "all"
	otherCA := control.NewCustody("other-ca", control.Release, "person:alice", "x")
	otherCA.Hold = hold.ID
	for name, c := range map[string]control.Custody{
		"a release by a stranger":   v.release(hold, newSigner()),
		"a release of another hold": v.release(other, v.carol),
		"an altered release":        wrongScope,
		"a release for another CA":  must(otherCA.Sign("carol", v.carol)),
		"an order in their place":   v.decision(control.Shred, "session:S-1", v.carol, "carol"),
	} {
		if err := v.Heed([]control.Custody{c}, 3); err != nil {
			t.Fatal(err)
		}
		if says := shred("S-1"); !strings.Contains(says, "hold "+hold.ID+" on person:alice by carol keeps it") {
			t.Errorf("%s: %q", name, says)
		}
	}
	// Of what the bastion noted nothing about it is taken that every hold covers it.
	if says := shred("S-3"); !strings.Contains(says, hold.ID) {
		t.Errorf("without facts: %q", says)
	}
	if says := shred("S-2"); says != "" {
		t.Errorf("adam's: %q", says)
	}
	v.Custody = v.open(v.File)
	if says := shred("S-1"); !strings.Contains(says, hold.ID) || v.Next() != 3 {
		t.Errorf("after a restart: %q, next %d", says, v.Next())
	}
	// A line that a crash tore is asked for again; one that is damaged is no reason to forget.
	whole := must(os.ReadFile(v.File))
	if err := os.WriteFile(v.File, append(bytes.Clone(whole), `{"custody":{"id":"C-`...), 0o600); err != nil {
		t.Fatal(err)
	}
	v.Custody = v.open(v.File)
	if says := shred("S-1"); !strings.Contains(says, hold.ID) {
		t.Errorf("after a torn line: %q", says)
	}
	if err := os.WriteFile(v.File, bytes.Replace(whole, []byte(`{"custody"`), []byte(`{"custody`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&Custody{File: v.File}).Open(); err == nil || !strings.Contains(err.Error(), "holds:1") {
		t.Errorf("a damaged file: %v", err)
	}
	if err := os.WriteFile(v.File, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := v.Heed([]control.Custody{v.release(hold, v.cara)}, 4); err != nil {
		t.Fatal(err)
	}
	if err := v.Heed([]control.Custody{hold}, 5); err != nil { // replayed by the CA
		t.Fatal(err)
	}
	v.Custody = v.open(v.File)
	if says := shred("S-1"); says != "" || v.readable("S-1") {
		t.Errorf("after the release: %q", says)
	}
}

func TestVoices(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	v.Voices = 2
	v.record("S-1", &Facts{Subject: control.Subject{Month: "2020-11"}})
	one, two := v.decision(control.Shred, "session:S-1", v.carol, "carol"), v.decision(control.Shred, "month:2020-11", v.cara, "cara")
	for name, orders := range map[string][]control.Custody{
		"one":                       {one},
		"the same twice":            {one, one},
		"one person with two names": {one, v.decision(control.Shred, "session:S-1", v.carol, "cara")},
		"one name with two keys":    {one, v.decision(control.Shred, "session:S-1", v.cara, "carol")},
		"one and a stranger":        {one, v.decision(control.Shred, "session:S-1", newSigner(), "dana")},
	} {
		if r := v.carry("S-1", nil, orders...); !strings.Contains(r.Declined, "2 auditors must order it, here are 1") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := v.carry("S-1", nil, one, two); r.Declined != "" || r.Everything || v.readable("S-1") {
		t.Errorf("two: %+v", r)
	}
}
