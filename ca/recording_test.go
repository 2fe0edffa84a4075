package ca

import (
	"strings"
	"testing"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/sshsig"
)

func TestKeystrokesNeedTheirKey(t *testing.T) {
	w := newWorld(t)
	w.reload(onPhi(`@keystrokes("true")`, `Action::"connect"`))
	r, made := w.granted("alice", "root@phi1")
	if r.Record == nil || !r.Record.Keystrokes {
		t.Fatalf("%+v", r.Record)
	}
	_, err := w.open(made.Certificate, "root@phi1")
	refused(t, "no key", err, "postern recording-key new --keystrokes --month 2026-11 --recipient RECIPIENT")
	for _, e := range w.verified() {
		if e.Type == auditlog.TypeSession {
			t.Error("a session is in the log that never opened")
		}
	}

	keystrokes := w.recordingKey(control.Keystrokes)
	if err := w.add(keystrokes); err != nil {
		t.Fatal(err)
	}
	reply, err := w.open(made.Certificate, "root@phi1")
	if err != nil {
		t.Fatal(err)
	}
	if !reply.Record.Keystrokes || reply.KeystrokeKey == nil || reply.KeystrokeKey.ID != keystrokes.ID || reply.KeystrokeKey.Purpose != control.Keystrokes ||
		reply.RecordingKey.Purpose != "" || reply.RecordingKey.ID == keystrokes.ID || reply.Session.KeystrokeKey != keystrokes.ID {
		t.Errorf("%+v", reply)
	}
	if _, err := reply.KeystrokeKey.Verify(); err != nil {
		t.Error(err)
	}
	look := w.look(reply.Session.ID)
	a, err := w.audit("carol", "carol", look)
	if err != nil || len(a.Keys) != 1 || a.Keys[0].Purpose != "" {
		t.Errorf("a view without keystrokes: %+v: %v", a, err)
	}
	look.Keystrokes = true
	if a, err = w.audit("carol", "carol", look); err != nil || len(a.Keys) != 2 || a.Keys[1].ID != keystrokes.ID {
		t.Errorf("a view with keystrokes: %+v: %v", a, err)
	}
	logged := false
	for _, e := range w.verified() {
		logged = logged || e.Session != nil && e.Session.KeystrokeKey == keystrokes.ID
	}
	if !logged {
		t.Error("the log does not say which key the keystrokes are sealed to")
	}
}

func TestSessionsWithoutKeystrokesTakeNoKey(t *testing.T) {
	w := newWorld(t)
	if err := w.add(w.recordingKey(control.Keystrokes)); err != nil {
		t.Fatal(err)
	}
	_, made := w.granted("alice", "root@phi1", "bob")
	reply, err := w.open(made.Certificate, "root@phi1")
	if err != nil || reply.KeystrokeKey != nil || reply.Session.KeystrokeKey != "" || reply.Record.Keystrokes || reply.RecordingKey.Purpose != "" {
		t.Errorf("%+v: %v", reply, err)
	}
	if list, err := w.RecordingKeys(); err != nil || len(list) != 2 {
		t.Errorf("%d keys: %v", len(list), err)
	}
}

// The attacks on purposes: one key taken for the other would let those who hold it read what they should not.
func TestPurposesAreNotSwapped(t *testing.T) {
	w := newWorld(t)
	keystrokes := w.recordingKey(control.Keystrokes)
	swapped := keystrokes
	swapped.Purpose = ""
	refused(t, "a key for keystrokes brought as a session's", w.add(swapped), "")
	swapped = w.recordingKey("") // there already, as a session's
	swapped.Purpose = control.Keystrokes
	refused(t, "a session's key brought for keystrokes", w.add(swapped), "")
	again := w.recordingKey("")
	again.Purpose = control.Keystrokes
	again.Signature = string(w.seal("carol", control.RecordingKeyNamespace, again.Statement()))
	refused(t, "the same key signed for both", w.add(again), "is there already")
	other := w.recordingKey("passwords")
	refused(t, "an unknown purpose", w.add(other), "there is no such purpose")

	w.reload(onPhi(`@keystrokes("true")`, `Action::"connect"`))
	_, made := w.granted("alice", "root@phi1")
	_, err := w.open(made.Certificate, "root@phi1")
	refused(t, "after the attacks", err, "--keystrokes")
	if _, err := sshsig.Verify([]byte(keystrokes.Signature), control.RecordingKeyNamespace, []byte(swapped.Statement())); err == nil {
		t.Error("one signature is good for both purposes")
	}
}

func TestWhatIsKept(t *testing.T) {
	w := newWorld(t)
	if err := w.add(w.recordingKey(control.Keystrokes)); err != nil {
		t.Fatal(err)
	}
	const ordinary, M = 64 << 10, 1 << 20
	for _, c := range []struct {
		asked, now string // annotations
		records    string // what the statement says
		want       control.Record
	}{
		{``, ``, "", control.Record{Files: "head", Streams: 16 * M, Forwards: ordinary}},
		{`@files("hash") @streams("0") @forwards("0")`, `@files("hash") @streams("0") @forwards("0")`, "", control.Record{Files: "hash"}},
		{`@files("full") @streams("full") @forwards("full") @keystrokes("true")`, ``, "keystrokes full-files full-streams full-forwards",
			control.Record{Keystrokes: true, Files: "full", Streams: -1, Forwards: -1}},
		{``, `@files("full") @streams("full") @forwards("full") @keystrokes("true")`, "",
			control.Record{Keystrokes: true, Files: "full", Streams: -1, Forwards: -1}},
		{`@files("hash") @streams("1M")`, `@files("head") @streams("0") @forwards("1M")`, "", control.Record{Files: "head", Streams: M, Forwards: M}},
	} {
		w.reload(onPhi(c.asked, `Action::"connect"`))
		r, made := w.granted("alice", "root@phi1")
		text, err := w.Statement(w.who("alice"), control.Withdraw, r.ID, "")
		_, after, _ := strings.Cut(text, "\nrecords: ")
		if got, _, _ := strings.Cut(after, "\n"); err != nil || got != c.records {
			t.Errorf("%s: the statement says %q: %v", c.asked, got, err)
		}
		w.reload(onPhi(c.now, `Action::"connect"`))
		reply, err := w.open(made.Certificate, "root@phi1")
		if err != nil || reply.Record != c.want {
			t.Errorf("asked under %q, opened under %q: %+v: %v", c.asked, c.now, reply.Record, err)
		}
	}
}
