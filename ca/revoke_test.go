package ca

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

func (w *world) revokeAs(person, target string) (control.Revocation, error) {
	w.t.Helper()
	return w.Revoke(w.who(person), Cut{Target: target, Because: "because"}, w.sign(person, person, control.Revoke, target, "because"))
}

func TestRevokeTargets(t *testing.T) {
	for name, target := range map[string]func(w *world, r control.Request) string{
		"request":  func(_ *world, r control.Request) string { return r.ID },
		"person":   func(*world, control.Request) string { return "person:alice" },
		"host":     func(*world, control.Request) string { return "host:phi1.example" },
		"account":  func(*world, control.Request) string { return "account:root@phi1.example" },
		"scoped":   func(*world, control.Request) string { return "host:phi1 person:alice approver:bob" },
		"approver": func(*world, control.Request) string { return "approver:bob" },
		"serial":   func(*world, control.Request) string { return "serial:1" },
		"all":      func(*world, control.Request) string { return "all:" },
		"key": func(w *world, r control.Request) string {
			return "key:" + ssh.FingerprintSHA256(w.signers["alice"].PublicKey())
		},
		"approver's key": func(w *world, r control.Request) string {
			return "key:" + ssh.FingerprintSHA256(w.signers["bob"].PublicKey())
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			r, made := w.granted("alice", "root@phi1", "bob")
			_, spared := w.granted("adam", "root@open")
			if _, err := w.open(made.Certificate, "root@phi1"); err != nil {
				t.Fatal(err)
			}
			rev, err := w.revokeAs("olga", target(w, r))
			if err != nil {
				t.Fatal(err)
			}
			if len(rev.Requests) == 0 || rev.Requests[0] != r.ID && name != "all" {
				t.Fatalf("hit %v", rev.Requests)
			}
			if _, err = w.open(made.Certificate, "root@phi1"); err == nil {
				t.Error("still opens")
			}
			if _, err := w.open(spared.Certificate, "root@open"); (err == nil) == (name == "all") {
				t.Errorf("adam, who was not meant: %v", err)
			}
			w.judge(t, made.Certificate, spared.Certificate, name)
			w.verified()
		})
	}
}

// judge asks ssh-keygen -Q, which says what sshd would.
func (w *world) judge(t *testing.T, hit, spared, kind string) {
	t.Helper()
	dir := t.TempDir()
	b, err := w.KRL()
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "krl"), b, 0o600)
	for file, text := range map[string]string{"hit.pub": hit, "spared.pub": spared} {
		os.WriteFile(filepath.Join(dir, file), []byte(text+"\n"), 0o600)
		err := exec.Command("ssh-keygen", "-Q", "-f", filepath.Join(dir, "krl"), filepath.Join(dir, file)).Run()
		if revoked := err != nil; revoked != (file == "hit.pub" || kind == "all") {
			t.Errorf("ssh-keygen -Q of %s: revoked is %v", file, revoked)
		}
	}
}

func TestRevokeRefusals(t *testing.T) {
	w := newWorld(t)
	r, _ := w.granted("alice", "root@phi1", "bob")
	_, err := w.Revoke(w.who("bob"), Cut{Target: r.ID, Because: "x"}, w.sign("olga", "bob", control.Revoke, r.ID, "x"))
	refused(t, "without the right", err, "may not revoke")
	_, err = w.Revoke(w.who("olga"), Cut{Target: r.ID, Because: "x"}, w.sign("olga", "olga", control.Revoke, r.ID, "y"))
	refused(t, "signed with another reason", err, "does not fit")
	_, err = w.Revoke(w.who("olga"), Cut{Target: r.ID, Because: ""}, nil)
	refused(t, "no reason", err, "reason is missing")
	for _, target := range []string{"person:", "alice", "key:MD5:00", "key:SHA256:short", "serial:0", "serial:01", "all:x", "host:a b", "R-NOSUCH"} {
		_, err = w.Revoke(w.who("olga"), Cut{Target: target, Because: "x"}, nil)
		refused(t, target, err, "")
	}
	sig := w.sign("olga", "olga", control.Revoke, "person:alice", "x")
	if _, err = w.Revoke(w.who("olga"), Cut{Target: "person:alice", Because: "x"}, sig); err != nil {
		t.Fatal(err)
	}
	_, err = w.Revoke(w.who("olga"), Cut{Target: "person:alice", Because: "x"}, sig)
	refused(t, "the same signature again", err, "does not fit")
}

func TestARevokedKeyStaysOut(t *testing.T) {
	w := newWorld(t)
	if _, err := w.revokeAs("olga", "key:"+ssh.FingerprintSHA256(w.signers["alice"].PublicKey())); err != nil {
		t.Fatal(err)
	}
	_, err := w.Identify(w.signers["alice"].PublicKey())
	refused(t, "login", err, "was revoked")
	r := w.ask2(t, "alice2")
	if err := w.approve("bob", r.ID); err != nil {
		t.Fatal(err)
	}
	_, err = w.Certificate(w.who("alice2"), r.ID, w.signers["alice"].PublicKey())
	refused(t, "certificate over it", err, "was revoked")
}

func (w *world) ask2(t *testing.T, signer string) control.Request {
	t.Helper()
	r, err := w.Ask(w.who(signer), Ask{Targets: []string{"root@phi1"}, Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheSetStaysSmallAndTheStreamExact(t *testing.T) {
	w := newWorld(t)
	changed := w.Changed()
	r, _ := w.granted("alice", "root@phi1", "bob")
	if _, err := w.revokeAs("olga", r.ID); err != nil {
		t.Fatal(err)
	}
	select {
	case <-changed:
	default:
		t.Fatal("nobody was told")
	}
	r2, _ := w.granted("alice", "root@phi1", "bob")
	if _, err := w.revokeAs("olga", r2.ID); err != nil {
		t.Fatal(err)
	}
	list, seq, err := w.Revocations(2)
	if err != nil || seq != 2 || len(list) != 1 || list[0].Seq != 2 {
		t.Fatalf("from 2: %v %d %v", list, seq, err)
	}
	w.pass(24 * time.Hour)
	if err := w.sweep(); err != nil {
		t.Fatal(err)
	}
	if list, seq, _ = w.Revocations(0); len(list) != 0 || seq != 2 {
		t.Fatalf("a day later the set holds %v, number %d", list, seq)
	}
	if list, _, _ = w.Revocations(1); len(list) != 2 {
		t.Fatalf("history was lost: %v", list)
	}
}

func TestProgress(t *testing.T) {
	w := newWorld(t)
	_, made := w.granted("alice", "root@phi1", "bob")
	reply, err := w.open(made.Certificate, "root@phi1")
	if err != nil {
		t.Fatal(err)
	}
	head := "aa00000000000000000000000000000000000000000000000000000000000000"
	tell := func(p control.Progress) error {
		p.Session = reply.Session.ID
		return w.Progress(w.who("bastion-1"), p)
	}
	if err := tell(control.Progress{Frames: 5, Head: head, Segments: 1}); err != nil {
		t.Fatal(err)
	}
	refused(t, "fewer frames", tell(control.Progress{Frames: 4, Head: head, Segments: 1}), "shrank")
	refused(t, "no hash", tell(control.Progress{Frames: 6, Head: "xyz"}), "hex")
	refused(t, "a person", w.Progress(w.who("alice"), control.Progress{Session: reply.Session.ID}), "only bastions")
	if live, _ := w.Sessions(w.who("olga"), true); len(live) != 1 {
		t.Fatalf("live: %v", live)
	}
	if mine, _ := w.Sessions(w.who("adam"), false); len(mine) != 0 {
		t.Fatalf("adam sees %v", mine)
	}
	if err := tell(control.Progress{Frames: 9, Head: head, Segments: 2, End: "closed", Sealed: true}); err != nil {
		t.Fatal(err)
	}
	if err := tell(control.Progress{Frames: 99, Head: head, Segments: 9, End: "later"}); err != nil {
		t.Fatal(err)
	}
	all, _ := w.Sessions(w.who("carol"), false)
	if len(all) != 1 || all[0].Frames != 9 || all[0].End != "closed" {
		t.Fatalf("%+v", all)
	}
	w.verified()
}

func TestASessionNobodyEndsIsLost(t *testing.T) {
	w := newWorld(t)
	_, made := w.granted("alice", "root@phi1", "bob")
	if _, err := w.open(made.Certificate, "root@phi1"); err != nil {
		t.Fatal(err)
	}
	w.pass(time.Hour)
	if err := w.sweep(); err != nil {
		t.Fatal(err)
	}
	all, _ := w.Sessions(w.who("carol"), false)
	if len(all) != 1 || all[0].End != "lost" {
		t.Fatalf("%+v", all)
	}
}
