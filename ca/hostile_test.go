package ca

import (
	"crypto/ed25519"
	"crypto/sha256"
	"io"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

// keep is a rule by which alice may open phi1, with annotations of the test's.
func keep(annotations string) string {
	return `@id("dba-phi1") @max("30m") ` + annotations + `
permit (principal in Group::"dba", action in Action::"connect", resource in Host::"phi1");
`
}

// token is a FIDO key in software; OpenSSH's PROTOCOL.u2f says what it signs.
type token struct {
	flags   byte // 1: it was touched, 4: and got its PIN
	public  ssh.PublicKey
	private ed25519.PrivateKey
}

func newToken(t *testing.T, flags byte) *token {
	t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Type        string
		Key         []byte
		Application string
	}{ssh.KeyAlgoSKED25519, public, "ssh:"}))
	if err != nil {
		t.Fatal(err)
	}
	return &token{flags, key, private}
}

func (k *token) PublicKey() ssh.PublicKey { return k.public }

func (k *token) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	rest := ssh.Marshal(struct {
		Flags   byte
		Counter uint32
	}{k.flags, 1})
	app, message := sha256.Sum256([]byte("ssh:")), sha256.Sum256(data)
	signed := append(append(app[:], rest...), message[:]...)
	return &ssh.Signature{Format: k.public.Type(), Blob: ed25519.Sign(k.private, signed), Rest: rest}, nil
}

// A key that is kept away is not good for anything while its person logs in with another.
func TestAHeldKeyBehindAnother(t *testing.T) {
	w := newWorld(t)
	w.reload(keep(`@approve("1 of dba")`))
	adams, alices := w.ask("adam", "root@phi1"), w.ask("alice", "root@phi1")
	if err := w.approve("adam", alices.ID); err != nil {
		t.Fatal(err)
	}
	held := w.signers["alice2"].PublicKey()
	w.holdAs("olga", "key:"+ssh.FingerprintSHA256(held), time.Hour)

	_, err := w.Vote(w.who("alice"), adams.ID, control.Approve, "", w.sign("alice", "alice2", control.Approve, adams.ID, ""))
	refused(t, "an approval by it", err, "is revoked by olga until")
	_, err = w.Certificate(w.who("alice"), alices.ID, held)
	refused(t, "a certificate over it", err, "is revoked by olga until")
	made, err := w.Certificate(w.who("alice"), alices.ID, w.signers["alice"].PublicKey())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.open(made.Certificate, "root@phi1"); err != nil {
		t.Error("the key that nobody held", err)
	}
	_, err = w.Extend(w.who("alice2"), alices.ID, time.Minute, "more")
	refused(t, "more time, asked for with it", err, "is revoked by olga until")
	if _, err := w.Vote(w.who("alice"), alices.ID, control.Withdraw, "", w.sign("alice", "alice2", control.Withdraw, alices.ID, "")); err != nil {
		t.Error("to give back with it", err)
	}
	w.pass(time.Hour + time.Second)
	if _, err := w.Vote(w.who("alice"), adams.ID, control.Approve, "", w.sign("alice", "alice2", control.Approve, adams.ID, "")); err != nil {
		t.Error("afterwards", err)
	}
	w.proven()
}

// An auditor who is kept away sees, holds, destroys and seals nothing, with what they signed before neither.
func TestAHeldAuditor(t *testing.T) {
	w := newWorld(t)
	s := w.recorded()
	view := w.look(s.ID)
	text, err := w.AuditStatement(w.who("carol"), view)
	if err != nil {
		t.Fatal(err)
	}
	signed := w.seal("carol", control.ViewNamespace, text)
	w.holdAs("olga", "person:carol", 10*time.Minute)
	const no = "person:carol is revoked by olga until"
	_, err = w.Audit(w.who("carol"), view, signed)
	refused(t, "a view", err, no)
	_, err = w.decide("carol", w.decision(control.Shred, "session:"+s.ID))
	refused(t, "to shred", err, no)
	another := w.recordingKey("")
	another.Public = []byte("a key of those who hold carol's")
	another.ID = control.RecordingKeyID(another.Public)
	another.Signature = string(w.seal("carol", control.RecordingKeyNamespace, another.Statement()))
	refused(t, "another recording key", w.add(another), no)
	_, err = w.Rewrap(w.who("carol"), w.rewrapped(s.RecordingKey), false)
	refused(t, "to seal one anew", err, no)
	w.pass(11 * time.Minute)
	if _, err := w.Audit(w.who("carol"), view, signed); err != nil {
		t.Error("afterwards", err)
	}
	w.proven()
}

func (w *world) rewrapped(id string) control.Rewrap {
	w.t.Helper()
	box := []byte("another box")
	r, err := control.Rewrap{
		Key: id, Before: control.BoxSum([]byte("box")), After: control.BoxSum(box), Box: box, Reason: "a new auditor",
		Recipients: []control.Recipient{{ID: control.RecipientID("age1x")}},
	}.Sign("carol", w.signers["carol"])
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// What opens a host for weeks is sealed to no bastion whose key is somebody else's.
func TestNoSheetForAStolenBastion(t *testing.T) {
	w, _ := sheets(t)
	r, err := w.prepare("alice", nil, "adam")
	if err != nil {
		t.Fatal(err)
	}
	for _, approver := range []string{"bob", "dana"} {
		if err := w.approve(approver, r.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.revokeAs("olga", "key:"+ssh.FingerprintSHA256(w.signers["bastion-1"].PublicKey())); err != nil {
		t.Fatal(err)
	}
	_, err = w.MakeSheet(w.who("alice"), r.ID)
	refused(t, "the sheet of before", err, "bastion bastion-1 takes no sheets")
	_, err = w.prepare("alice", nil, "adam")
	refused(t, "another", err, "bastion bastion-1 takes no sheets")
}

// A sheet was used once, whatever the bastion's clock says, and its certificate for the host does not stay good for it.
func TestAUseByAWrongClock(t *testing.T) {
	w, _ := sheets(t)
	r, made := w.made()
	u := w.used(r, made, func(u *control.SheetUse) { u.Started, u.Deadline = time.Time{}, time.Time{}.Add(time.Minute) })
	refused(t, "at no time", w.UseSheet(w.who("bastion-1"), u), "times that no bastion writes")
	u = w.used(r, made, func(u *control.SheetUse) {
		u.Started, u.Deadline = u.Started.AddDate(20, 0, 0), u.Deadline.AddDate(20, 0, 0)
	})
	if err := w.UseSheet(w.who("bastion-1"), u); err != nil {
		t.Fatal(err)
	}
	w.pass(15*time.Minute + lostAfter + time.Second)
	if err := w.sweep(); err != nil {
		t.Fatal(err)
	}
	if now := w.show(r.ID); now.State != control.Revoked {
		t.Errorf("it is %s", now.State)
	}
}

// A policy that asks for more of a token than approvers were told asks it of what they have signed, and of what they will.
func TestATokenThatIsWantedLater(t *testing.T) {
	w := newWorld(t)
	w.signers["bob"] = newToken(t, 1)
	w.reload(keep(`@approve("1 of privacy")`))
	approved, pending := w.ask("alice", "root@phi1"), w.ask("alice", "root@phi1")
	if err := w.approve("beth", approved.ID); err != nil {
		t.Fatal(err)
	}
	w.reload(keep(`@approve("1 of privacy") @touch("true")`))
	_, err := w.Certificate(w.who("alice"), approved.ID, w.signers["alice"].PublicKey())
	refused(t, "an approval of before", err, "beth's is not enough any more")
	refused(t, "a plain key", w.approve("beth", pending.ID), "wants a FIDO key that was touched")
	if err := w.approve("bob", pending.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Certificate(w.who("alice"), pending.ID, w.signers["alice"].PublicKey()); err != nil {
		t.Fatal(err)
	}
	w.reload(keep(`@approve("1 of privacy") @pin("true")`))
	_, err = w.Certificate(w.who("alice"), pending.ID, w.signers["alice"].PublicKey())
	refused(t, "an approval without PIN", err, "bob's is not enough any more")
	asked := w.ask("alice", "root@phi1")
	refused(t, "a touch alone", w.approve("bob", asked.ID), "wants the PIN")
	w.signers["bob"].(*token).flags = 1 | 4
	if err := w.approve("bob", asked.ID); err != nil {
		t.Fatal(err)
	}
	// Her own access she gives back with the key she has.
	if _, err := w.Vote(w.who("alice"), asked.ID, control.Withdraw, "", w.sign("alice", "alice", control.Withdraw, asked.ID, "")); err != nil {
		t.Error("giving back", err)
	}
	w.proven()
}

// What machines say of themselves is shown on terminals of people.
func TestMachinesDrawNothing(t *testing.T) {
	w := newWorld(t)
	_, made := w.granted("alice", "root@phi1", "bob")
	for _, client := range []string{"127.0.0.1:5\x1b[2J", "127.0.0.1:5\nS-FORGED", "127.0.0.1:5\u202e", strings.Repeat("1", 201)} {
		_, err := w.openFrom(made, client)
		refused(t, "a client that draws", err, "is no address")
	}
	s, err := w.openFrom(made, "[fe80::1%eth0]:22")
	if err != nil {
		t.Fatal(err)
	}
	end := control.Progress{Session: s.Session.ID, End: "closed\x1b[2J\nS-FORGED alice"}
	if err := w.Progress(w.who("bastion-1"), end); err != nil {
		t.Fatal(err)
	}
	list, err := w.Sessions(w.who("olga"), false)
	if err != nil || len(list) != 1 || list[0].End != "closed\ufffd[2J\ufffdS-FORGED alice" {
		t.Errorf("%+v, %v", list, err)
	}
	if _, err := w.HostState(w.who("phi1-agent"), control.HostState{Ends: true, CannotEnd: "\x1b]0;x\a", KRLVersion: 0, CertificateEnds: w.time().AddDate(0, 0, 7)}); err != nil {
		t.Fatal(err)
	}
	hosts, err := w.Hosts(w.who("olga"))
	if err != nil || strings.ContainsAny(hosts[1].Why, "\x1b\a") || !strings.Contains(hosts[1].Why, "is not ended") {
		t.Errorf("%+v, %v", hosts, err)
	}
}
