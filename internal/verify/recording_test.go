package verify

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"testing"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// recordings are two of a real store, with what the CA would have logged of them.
type recordings struct {
	private recorder.PrivateKey
	typed   recorder.PublicKey // what keystrokes are sealed to
	files   map[string][]byte
	logged  map[string]Session
}

func record(t *testing.T, sessions ...string) recordings {
	t.Helper()
	public, signer, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	bastion, err := ssh.NewPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	private, key := recorder.NewKey()
	ends := make(chan recorder.Progress, 100)
	store, err := recorder.OpenStore(recorder.Config{Dir: t.TempDir(), Signer: signer, FileSize: 1 << 20, LowSpace: -1, Sealed: func(p recorder.Progress) {
		if p.Sealed {
			ends <- p
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	_, typed := recorder.NewKey()
	made := recordings{private, typed, map[string][]byte{}, map[string]Session{}}
	for _, id := range sessions {
		w, err := store.Create(recorder.Header{Session: id, Bastion: "bastion-1"}, key)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Append(recorder.Frame{Type: recorder.TypeData, Stream: recorder.Stdout, Data: []byte("output of " + id)}); err != nil {
			t.Fatal(err)
		}
		compartment, err := w.Compartment(typed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := compartment.Append(recorder.Frame{Type: recorder.TypeData, Stream: recorder.Stdin, Data: []byte("secret")}); err != nil {
			t.Fatal(err)
		}
		if err := w.Close("closed"); err != nil {
			t.Fatal(err)
		}
		p := <-ends
		var file bytes.Buffer
		if err := store.Export(id, &file); err != nil {
			t.Fatal(err)
		}
		made.files[id] = file.Bytes()
		made.logged[id] = Session{BastionKey: bastion, Session: control.Session{ID: id, Bastion: "bastion-1", RecordingKey: key.ID(), KeystrokeKey: typed.ID(), Sealed: true,
			Frames: p.Frames, Head: hex.EncodeToString(p.Head[:]), Segments: p.Segments, SealedHead: hex.EncodeToString(p.SealedHead[:])}}
	}
	return made
}

func TestRecording(t *testing.T) {
	made := record(t, "S-1", "S-2")
	one, two := made.files["S-1"], made.files["S-2"]
	flipped := bytes.Clone(one)
	flipped[len(flipped)/2] ^= 1
	strange, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	stranger, _ := ssh.NewPublicKey(strange)
	for _, test := range []struct {
		name  string
		file  []byte
		spoil func(*Session)
		good  bool
	}{
		{"as it was", one, func(*Session) {}, true},
		{"swapped", two, func(*Session) {}, false},
		{"a flipped bit", flipped, func(*Session) {}, false},
		{"cut", one[:len(one)-1], func(*Session) {}, false},
		{"empty", nil, func(*Session) {}, false},
		{"more was logged", one, func(s *Session) { s.Frames++ }, false},
		{"less was logged", one, func(s *Session) { s.Frames-- }, false},
		{"a segment more was logged", one, func(s *Session) { s.Segments++ }, false},
		{"another head was logged", one, func(s *Session) { s.Head = made.logged["S-2"].Head }, false},
		{"another sealed head was logged", one, func(s *Session) { s.SealedHead = made.logged["S-2"].SealedHead }, false},
		{"no head was logged", one, func(s *Session) { s.Head, s.SealedHead = "", "" }, false},
		{"junk was logged", one, func(s *Session) { s.Head, s.SealedHead = "xy", "xy" }, false},
		{"interrupted was logged", one, func(s *Session) { s.Interrupted = true }, false},
		{"by another bastion", one, func(s *Session) { s.BastionKey = stranger }, false},
		{"by another bastion's name", one, func(s *Session) { s.Bastion = "bastion-2" }, false},
		{"by nobody", one, func(s *Session) { s.BastionKey = nil }, false},
		{"to another key", one, func(s *Session) { s.RecordingKey = "K-00" }, false},
	} {
		for _, key := range []*recorder.PrivateKey{nil, &made.private} {
			s := made.logged["S-1"]
			test.spoil(&s)
			if _, err := Recording(bytes.NewReader(test.file), s, key); (err == nil) != test.good {
				t.Errorf("%s, opened %v: %v", test.name, key != nil, err)
			}
		}
	}
	for _, logged := range []string{"", "K-00", made.private.ID()} {
		s := made.logged["S-1"]
		s.KeystrokeKey = logged
		if _, err := Recording(bytes.NewReader(one), s, &made.private); err == nil {
			t.Errorf("keystrokes sealed to %s, logged is %q", made.typed.ID(), logged)
		}
	}
	other, _ := recorder.NewKey()
	if _, err := Recording(bytes.NewReader(one), made.logged["S-1"], &other); !errors.Is(err, recorder.ErrWrongKey) {
		t.Errorf("opened with another key: %v", err)
	}
}
