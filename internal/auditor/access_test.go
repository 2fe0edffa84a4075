package auditor

import (
	"strings"
	"testing"

	"filippo.io/age"

	"postern/internal/control"
)

// accessOf is an access to S-1 whose answer of the CA had the keys.
func accessOf(identity age.Identity, view View, s control.Session, keys ...control.RecordingKey) *Access {
	d := &Desk{}
	d.identity.is, d.identity.done = identity, true
	a := newAccess(d, view, nil)
	if err := a.take(control.Audit{Sessions: []control.Session{s}, Keys: keys}, []string{s.ID}); err != nil {
		panic(err)
	}
	return a
}

func madeKey(t *testing.T, purpose, recipient string) control.RecordingKey {
	t.Helper()
	to, err := Recipients([]string{recipient})
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewRecordingKey(control.RecordingKey{Month: "2026-11", Auditor: "carol", Purpose: purpose}, newSigner(t), to)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// Which key opens what is the log's to say, and not the CA's to swap.
func TestKeysOfAView(t *testing.T) {
	dana, danaIdentity := newAuditor(t)
	carol, carolIdentity := newAuditor(t)
	sessions, keystrokes := madeKey(t, "", carol), madeKey(t, control.Keystrokes, dana)
	s := control.Session{ID: "S-1", RecordingKey: sessions.ID, KeystrokeKey: keystrokes.ID}
	typed := View{Kind: control.ViewReplay, Keystrokes: true}

	if private, err := accessOf(carolIdentity, typed, s, sessions, keystrokes).Key("s-1"); err != nil || private.ID() != sessions.ID {
		t.Error(err)
	}
	if private, err := accessOf(danaIdentity, typed, s, sessions, keystrokes).KeystrokeKey("S-1"); err != nil || private.ID() != keystrokes.ID {
		t.Error(err)
	}
	renamed := sessions
	renamed.Purpose = control.Keystrokes
	for name, try := range map[string]struct {
		says    string
		view    View
		session control.Session
		keys    []control.RecordingKey
	}{
		"the auditor who made it":       {"not to you", typed, s, []control.RecordingKey{keystrokes}},
		"the view does not say so":      {"does not say that it is with keystrokes", View{}, s, []control.RecordingKey{keystrokes}},
		"nothing was recorded":          {"was not recorded", typed, control.Session{ID: "S-1", RecordingKey: sessions.ID}, []control.RecordingKey{sessions}},
		"the CA keeps it back":          {"has no key", typed, s, []control.RecordingKey{sessions}},
		"the session's key":             {"not for that", typed, control.Session{ID: "S-1", KeystrokeKey: sessions.ID}, []control.RecordingKey{sessions}},
		"the session's key, relabelled": {"signature", typed, control.Session{ID: "S-1", KeystrokeKey: sessions.ID}, []control.RecordingKey{renamed}},
	} {
		if _, err := accessOf(carolIdentity, try.view, try.session, try.keys...).KeystrokeKey("S-1"); err == nil || !strings.Contains(err.Error(), try.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := accessOf(danaIdentity, typed, control.Session{ID: "S-1", RecordingKey: keystrokes.ID}, keystrokes).Key("S-1"); err == nil || !strings.Contains(err.Error(), "not for that") {
		t.Errorf("the key of keystrokes opened a session: %v", err)
	}
	if _, err := accessOf(carolIdentity, typed, s, sessions).Key("S-2"); err == nil {
		t.Error("a session that is not of the view was opened")
	}
}
