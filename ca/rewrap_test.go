package ca

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"postern/internal/control"
	"postern/internal/store"
)

// rewrap is one by carol of the box that a key has now.
func (w *world) rewrap(k control.RecordingKey, to ...control.Recipient) control.Rewrap {
	w.t.Helper()
	box := []byte("another box " + to[0].ID)
	r, err := control.Rewrap{Key: k.ID, Before: k.CurrentSum(), After: control.BoxSum(box), Recipients: to, Reason: "INC-4412", Box: box}.Sign("carol", w.signers["carol"])
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func TestRewrap(t *testing.T) {
	w := newWorld(t)
	recipient := func(name string, recovery bool) control.Recipient {
		return control.Recipient{Name: name, ID: control.RecipientID(name), Public: name, Recovery: recovery}
	}
	enrol := func(act string, r control.Recipient) control.Custody {
		d := w.decision(act, "recipient:"+r.ID)
		d.Recipient = &r
		return d
	}
	dana, safe := recipient("dana", false), recipient("safe", true)
	keys, err := w.RecordingKeys()
	if err != nil || len(keys) != 1 || string(keys[0].Box) != "box" {
		t.Fatalf("%+v, %v", keys, err)
	}
	before := w.size()
	if k, err := w.Rewrap(w.who("carol"), w.rewrap(keys[0], dana), true); err != nil || len(k.Openers()) != 1 || w.size() != before {
		t.Errorf("a dry run: %+v, %v", k, err)
	}
	if _, err := w.Rewrap(w.who("carol"), w.rewrap(keys[0], dana), false); err != nil {
		t.Fatal(err)
	}
	// Whoever made theirs from the box of before is told.
	_, err = w.Rewrap(w.who("carol"), w.rewrap(keys[0], safe), false)
	refused(t, "the second of two", err, "somebody else has sealed")
	if keys, err = w.RecordingKeys(); err != nil || !strings.HasPrefix(string(keys[0].Box), "another box") || keys[0].Openers()[0].Public != "dana" {
		t.Errorf("%+v, %v", keys, err)
	}
	if _, err := keys[0].Verify(); err != nil {
		t.Error(err)
	}
	// Once a recovery recipient is enrolled nothing goes without it, and nothing but its signed retirement changes that.
	w.decided("carol", enrol(control.Enrol, safe))
	_, err = w.Rewrap(w.who("carol"), w.rewrap(keys[0], dana), false)
	refused(t, "without recovery", err, "recovery recipient safe")
	refused(t, "a key without recovery", w.add(w.recordingKey(control.Keystrokes)), "recovery recipient safe")
	if _, err := w.Rewrap(w.who("carol"), w.rewrap(keys[0], safe, dana), false); err != nil {
		t.Error(err)
	}
	for what, d := range map[string]control.Custody{
		"is enrolled as safe":           enrol(control.Enrol, safe),
		"is the name of another":        enrol(control.Enrol, control.Recipient{Name: "safe", ID: control.RecipientID("mallory"), Public: "mallory"}),
		"no recipient dana is enrolled": enrol(control.Retire, dana),
	} {
		_, err := w.decide("carol", d)
		refused(t, what, err, what)
	}
	w.decided("carol", enrol(control.Retire, safe))
	if book, err := w.Book(); err != nil || len(book) > 0 {
		t.Errorf("%+v, %v", book, err)
	}
	for _, e := range w.verified() {
		if e.RecordingKey != nil && len(e.RecordingKey.Box) > 0 || e.Rewrap != nil && (len(e.Rewrap.Box) > 0 || e.Rewrap.Recipients[0].Public != "") {
			t.Error("the log holds what can never be destroyed there")
		}
	}
	w.proven()
	// Boxes that are not the key's any more are gone.
	n := 0
	err = w.db.View(func(tx *store.Tx) error { return tx.Scan([]byte(boxRows), func(k, _ []byte) error { n++; return nil }) })
	if err != nil || n != 1 {
		t.Errorf("%d boxes of one key, %v", n, err)
	}
}

func TestTheNextKeyIsMissed(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	w.log = slog.New(slog.NewTextHandler(&log, nil))
	w.pass(3 * 24 * time.Hour) // 25 November
	w.remind()
	if log.Len() > 0 {
		t.Errorf("too early: %s", &log)
	}
	w.pass(24 * time.Hour)
	w.remind()
	if !strings.Contains(log.String(), "postern recording-key new --month 2026-12") {
		t.Errorf("in the last days: %q", &log)
	}
	december := w.recordingKey("")
	december.Month, december.Public = "2026-12", []byte("another public half")
	december.ID = control.RecordingKeyID(december.Public)
	december.Signature = string(w.seal("carol", control.RecordingKeyNamespace, december.Statement()))
	if err := w.add(december); err != nil {
		t.Fatal(err)
	}
	log.Reset()
	w.remind()
	if log.Len() > 0 {
		t.Errorf("with a key: %s", &log)
	}
}

// State in which private halves are part of the log is not taken over.
func TestStateOfBeforeThereWereBoxes(t *testing.T) {
	w := newWorld(t)
	k := w.recordingKey(control.Keystrokes)
	k.BoxSum = ""
	if err := w.db.Update(func(tx *store.Tx) error { return write(tx, key(recordingRows, k.ID), k) }); err != nil {
		t.Fatal(err)
	}
	_, err := New(Config{Keys: w.keys, DB: w.db, Policy: w.policy(rules), Now: w.time})
	if err == nil || !strings.Contains(err.Error(), "its private half is in the log for ever") {
		t.Error(err)
	}
}
