package ca

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/envelope"
	"postern/internal/verify"
)

const paper = `@id("usual") @approve("1 of privacy") @max("30m")
permit (principal in Group::"dba", action in Action::"connect", resource in Host::"phi1");
@id("urgent") @emergency("20m review 24h by 1 of privacy")
permit (principal in Group::"dba", action in [Action::"shell", Action::"exec"], resource in Host::"phi1");
@id("paper") @approve("1 of privacy, 1 of ehr-owners") @sealed("15m valid 30d review 24h by 1 of privacy")
permit (principal in Group::"dba", action in [Action::"shell", Action::"exec"], resource in Host::"phi1");
`

// sheets is a CA whose bastion takes sheets.
func sheets(t *testing.T) (*world, envelope.Key) {
	t.Helper()
	w := newWorld(t)
	w.reload(paper)
	key, err := envelope.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.SheetKey(w.who("bastion-1"), w.sheetKey(key, "bastion-1")); err != nil {
		t.Fatal(err)
	}
	return w, key
}

func (w *world) sheetKey(key envelope.Key, signer string) control.SheetKey {
	w.t.Helper()
	k, err := control.SheetKey{CA: "postern-ca", Bastion: "bastion-1", Public: key.Public()}.Sign(w.signers[signer])
	if err != nil {
		w.t.Fatal(err)
	}
	return k
}

func (w *world) prepare(person string, change func(*Ask), holders ...string) (control.Request, error) {
	ask := Ask{Targets: []string{"root@phi1"}, For: 15 * time.Minute, Reason: "at night", Sheet: &SheetAsk{Bastion: "bastion-1", Names: holders}}
	if change != nil {
		change(&ask)
	}
	return w.Ask(w.who(person), ask)
}

// made is an approved sheet of adam's and pat's, prepared by alice.
func (w *world) made() (control.Request, control.Made) {
	w.t.Helper()
	r, err := w.prepare("alice", nil, "pat", "adam")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, approver := range []string{"bob", "dana"} {
		if err := w.approve(approver, r.ID); err != nil {
			w.t.Fatal(err)
		}
	}
	made, err := w.MakeSheet(w.who("alice"), r.ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.show(r.ID), made
}

// used is what the bastion tells of adam's use.
func (w *world) used(r control.Request, made control.Made, change func(*control.SheetUse)) control.SheetUse {
	w.t.Helper()
	public, err := ssh.ParsePublicKey(made.Certificates[0])
	if err != nil {
		w.t.Fatal(err)
	}
	now := w.time().UTC().Truncate(time.Second)
	keys, _ := w.RecordingKeys()
	u := control.SheetUse{
		CA: "postern-ca", Request: r.ID, Session: r.Sheet.Session, Bastion: "bastion-1", Target: "root@phi1", Person: "adam", Key: ssh.FingerprintSHA256(w.signers["adam"].PublicKey()),
		Serial: public.(*ssh.Certificate).Serial, Client: "127.0.0.1:9", Started: now, Deadline: now.Add(15 * time.Minute), RecordingKey: keys[0].ID, Nonce: strings.Repeat("1f", 16),
	}
	if change != nil {
		change(&u)
	}
	if u, err = u.Sign(w.signers["bastion-1"]); err != nil {
		w.t.Fatal(err)
	}
	return u
}

func TestSheetIsMadeOnce(t *testing.T) {
	w, key := sheets(t)
	r, made := w.made()
	if r.State != control.Granted || !r.Began.IsZero() || !r.Ends.Equal(r.Sheet.Until) || r.Sheet.Until.Sub(r.Created) != 30*24*time.Hour || r.Emergency {
		t.Errorf("%+v", r)
	}
	terms, err := control.ParseTerms(made.Terms)
	if err != nil {
		t.Fatal(err)
	}
	private, err := key.Open(made.Envelope, made.Terms)
	if err != nil {
		t.Fatal(err)
	}
	host := parse(t, terms.Certificate)
	signer, _ := ssh.NewSignerFromKey(private)
	if !bytes.Equal(host.Key.Marshal(), signer.PublicKey().Marshal()) || host.KeyId != "adam+pat "+r.ID+" "+terms.Session || host.CriticalOptions["source-address"] != "127.0.0.1" ||
		int64(host.ValidBefore) != r.Sheet.Until.Unix() || len(made.Certificates) != 2 || terms.Record.Files != "full" || terms.Seconds != 900 {
		t.Errorf("%+v %+v", host, terms)
	}
	_, err = w.MakeSheet(w.who("alice"), r.ID)
	refused(t, "a second time", err, "there is no other")
	_, err = w.Certificate(w.who("alice"), r.ID, w.signers["alice"].PublicKey())
	refused(t, "an ordinary certificate", err, "sealed grant")
	_, err = w.Extend(w.who("alice"), r.ID, time.Minute, "more")
	refused(t, "more time", err, "not extended")
	public, _ := ssh.ParsePublicKey(made.Certificates[0])
	_, err = w.open(line(public), "root@phi1")
	refused(t, "a session through the CA", err, "for when there is no CA")
	for _, e := range w.verified() {
		if e.Sheet != nil && (strings.Contains(e.Sheet.Terms, "envelope") || e.Sheet.Envelope != control.EnvelopeSum(made.Envelope)) {
			t.Error("the envelope is in the log")
		}
	}
	w.proven()
}

func TestSheetRefused(t *testing.T) {
	w, key := sheets(t)
	for name, c := range map[string]struct {
		change  func(*Ask)
		holders []string
		says    string
	}{
		"nobody":             {nil, nil, "not for 0"},
		"four":               {nil, []string{"adam", "pat", "SHA256:x", "alice"}, "neither a person"},
		"several keys":       {nil, []string{"alice"}, "has 2 keys"},
		"not in the rule":    {nil, []string{"adam", "bob"}, "no rule for sealed grants allows bob"},
		"two accounts":       {func(a *Ask) { a.Targets = append(a.Targets, "postgres@phi1") }, []string{"adam"}, "one account"},
		"another host":       {func(a *Ask) { a.Targets = []string{"root@phi2"} }, []string{"adam"}, "no rule"},
		"too long":           {func(a *Ask) { a.For = 16 * time.Minute }, []string{"adam"}, "at most 15m"},
		"good for too long":  {func(a *Ask) { a.Sheet.Valid = 31 * 24 * time.Hour }, []string{"adam"}, "at most 30 days"},
		"a year":             {func(a *Ask) { a.Sheet.Valid = 365 * 24 * time.Hour }, []string{"adam"}, "up to 90 days"},
		"an unknown bastion": {func(a *Ask) { a.Sheet.Bastion = "bastion-9" }, []string{"adam"}, "no bastion"},
	} {
		_, err := w.prepare("alice", c.change, c.holders...)
		refused(t, name, err, c.says)
	}
	_, err := w.SheetKey(w.who("bastion-1"), w.sheetKey(key, "stranger"))
	refused(t, "a key that somebody else signed", err, "another key")
	_, err = w.SheetKey(w.who("alice"), w.sheetKey(key, "bastion-1"))
	refused(t, "a person", err, "its own key")
	r, err := w.prepare("alice", nil, "adam", "pat")
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.MakeSheet(w.who("alice"), r.ID)
	refused(t, "unapproved", err, "waiting for")
	refused(t, "a holder who may approve others", func() error {
		_, err := w.Vote(w.who("pat"), r.ID, control.Approve, "", w.sign("pat", "pat", control.Approve, r.ID, ""))
		return err
	}(), "nobody decides about their own access")
	_, err = w.MakeSheet(w.who("adam"), r.ID)
	refused(t, "another's", err, "belongs to alice")
}

func TestSheetUse(t *testing.T) {
	w, _ := sheets(t)
	r, made := w.made()
	w.pass(3 * 24 * time.Hour)
	tell := func(change func(*control.SheetUse)) error {
		return w.UseSheet(w.who("bastion-1"), w.used(r, made, change))
	}
	for name, change := range map[string]func(*control.SheetUse){
		"another session":  func(u *control.SheetUse) { u.Session = "S-9" },
		"another person":   func(u *control.SheetUse) { u.Person = "pat" },
		"another key":      func(u *control.SheetUse) { u.Key = "SHA256:x" },
		"another serial":   func(u *control.SheetUse) { u.Serial++ },
		"another target":   func(u *control.SheetUse) { u.Target = "root@phi2" },
		"another request":  func(u *control.SheetUse) { u.Request = "R-000000" },
		"without a nonce":  func(u *control.SheetUse) { u.Nonce = "" },
		"another bastion":  func(u *control.SheetUse) { u.Bastion = "bastion-2" },
		"of another CA":    func(u *control.SheetUse) { u.CA = "x" },
		"a flood of bytes": func(u *control.SheetUse) { u.Client = strings.Repeat("x", 1000) },
	} {
		if err := tell(change); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	honest := w.used(r, made, nil)
	refused(t, "told by a person", w.UseSheet(w.who("adam"), honest), "tells of its own")
	altered := honest
	altered.Deadline = altered.Deadline.Add(time.Second)
	refused(t, "altered after it was signed", w.UseSheet(w.who("bastion-1"), altered), "does not fit")
	for range 2 { // told again, because the answer was lost
		if err := w.UseSheet(w.who("bastion-1"), honest); err != nil {
			t.Fatal(err)
		}
	}
	r = w.show(r.ID)
	if r.Sheet.UsedBy != "adam" || r.Owes == nil || r.State != control.Granted {
		t.Fatalf("%+v", r)
	}
	list, err := w.Sessions(w.who("carol"), true)
	if err != nil || len(list) != 1 || list[0].ID != r.Sheet.Session || list[0].Person != "adam" || list[0].Request != r.ID {
		t.Fatalf("%+v %v", list, err)
	}
	// While it lasts the host is left alone; when it is over its key is revoked there.
	if revs, _, _ := w.Revocations(0); len(revs) != 0 {
		t.Errorf("%+v", revs)
	}
	refused(t, "a review of what runs", w.review("bob", "bob", r.ID), "when it is over")
	w.pass(10 * time.Minute)
	if err := w.Progress(w.who("bastion-1"), control.Progress{Session: r.Sheet.Session, Frames: 3, Head: strings.Repeat("ab", 32), End: "closed"}); err != nil {
		t.Fatal(err)
	}
	revs, _, _ := w.Revocations(0)
	if len(revs) != 1 || revs[0].By != control.ByPolicy || !slices.Equal(revs[0].Requests, []string{r.ID}) || w.show(r.ID).State != control.Revoked {
		t.Errorf("%+v", revs)
	}
	w.judgeSheet(t, made)

	// It owes its review, by somebody else than who used it; adam has no other emergency when it is overdue, and alice has.
	w.pass(25 * time.Hour)
	if err := w.sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Ask(w.who("adam"), Ask{Targets: []string{"root@phi1"}, Reason: "again", Emergency: true}); err == nil {
		t.Error("another emergency in spite of an overdue review")
	}
	w.emergency("alice")
	if err := w.review("bob", "bob", r.ID); err != nil { // who approved it may review it
		t.Fatal(err)
	}

	// A bastion that forgot tells of another use: that is written, and found.
	w.proven()
	if err := tell(func(u *control.SheetUse) { u.Nonce = strings.Repeat("2e", 16) }); err != nil {
		t.Fatal(err)
	}
	var leaves [][]byte
	w.Leaves(0, 0, func(l control.Leaf) error { leaves = append(leaves, l.Data); return nil })
	report := verify.Leaves(leaves, verify.Keys{User: w.keys.User.PublicKey(), Session: w.keys.Session.PublicKey(), Host: w.keys.Host.PublicKey(), Gateway: w.keys.Gateway.PublicKey()})
	if !slices.ContainsFunc(report.Failures, func(f verify.Failure) bool { return strings.Contains(f.Text, "was used twice") }) {
		t.Error(report.Failures)
	}
	if list, _ := w.Sessions(w.who("carol"), false); len(list) != 2 { // with alice's emergency
		t.Errorf("%+v", list)
	}
}

func TestSheetDropped(t *testing.T) {
	for name, drop := range map[string]func(*world){
		"the rule is gone":         func(w *world) { w.reload(strings.Split(paper, `@id("paper")`)[0]) },
		"it is good for less long": func(w *world) { w.reload(strings.Replace(paper, "30d", "29d", 1)) },
		"it needs more approvals": func(w *world) {
			w.reload(strings.Replace(paper, "1 of privacy, 1 of ehr-owners", "2 of privacy, 1 of ehr-owners", 1))
		},
		"a holder has another key": func(w *world) { w.signers["pat"] = newSigner(w.t); w.reload(paper) },
	} {
		w, _ := sheets(t)
		r, _ := w.made()
		if err := w.sweep(); err != nil || w.show(r.ID).State != control.Granted {
			t.Fatal(err)
		}
		drop(w)
		if err := w.sweep(); err != nil {
			t.Fatal(err)
		}
		if now := w.show(r.ID); now.State != control.Revoked {
			t.Errorf("%s: %s", name, now.State)
		}
		w.proven()
	}
}

// Whatever names a sheet revokes it: its holders, their keys, its approvers, its host, its bastion.
func TestSheetRevoked(t *testing.T) {
	w, _ := sheets(t)
	for _, target := range []string{"person:pat", "person:alice", "approver:bob", "host:phi1", "request"} {
		r, made := w.made()
		if target == "request" {
			target = "request:" + r.ID
		}
		if _, err := w.revokeAs("olga", target); err != nil {
			t.Fatal(err)
		}
		if now := w.show(r.ID); now.State != control.Revoked {
			t.Errorf("%s: %s", target, now.State)
		}
		w.judgeSheet(t, made)
	}
	r, _ := w.made()
	if _, err := w.revokeAs("olga", "bastion:bastion-1"); err != nil || w.show(r.ID).State != control.Revoked {
		t.Errorf("of its bastion: %v", err)
	}
	w.proven()
}

// judgeSheet asks the hosts' list for the certificate that opens the host.
func (w *world) judgeSheet(t *testing.T, made control.Made) {
	t.Helper()
	terms, err := control.ParseTerms(made.Terms)
	if err != nil {
		t.Fatal(err)
	}
	w.judge(t, terms.Certificate, line(w.signers["stranger"].PublicKey()), "a sheet's")
}

func TestSheetEntriesSayNothingSecret(t *testing.T) {
	w, _ := sheets(t)
	_, made := w.made()
	var all bytes.Buffer
	w.Leaves(0, 0, func(l control.Leaf) error { all.Write(l.Data); return nil })
	for i := range len(made.Envelope) - 16 {
		if bytes.Contains(all.Bytes(), made.Envelope[i:i+16]) {
			t.Fatal("a piece of the envelope is in the log")
		}
	}
	if !slices.ContainsFunc(w.verified(), func(e auditlog.Entry) bool { return e.Type == auditlog.TypeSheet }) {
		t.Error("no sheet in the log")
	}
}
