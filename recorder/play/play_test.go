package play

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"

	"postern/recorder"
)

// golden opens a golden recording of the recorder.
func golden(t *testing.T, name string) *recorder.Reader {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile("../testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	unhex := func(b []byte) []byte {
		b, err := hex.DecodeString(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	set := "v1"
	if name == "v1-content.recording" {
		set = "v1-content"
	}
	key, err := recorder.ParsePrivateKey(unhex(read(set + ".private")))
	if err != nil {
		t.Fatal(err)
	}
	r, err := recorder.Open(bytes.NewReader(read(name)), key, ed25519.PublicKey(unhex(read(set+".bastion"))))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestScreensAndNotes(t *testing.T) {
	var out, notes bytes.Buffer
	if err := (Screens{Channel: -1, Notes: &notes}).Write(golden(t, "v1-complete.recording"), &out); err != nil {
		t.Fatal(err)
	}
	if want := "root@phi1:~# grüße\n"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("shown %q", out.String())
	}
	for _, line := range []string{"shell", "five minutes left", "killed by signal TERM", "the session ended: closed by the client"} {
		if !strings.Contains(notes.String(), line) {
			t.Errorf("no line says %q:\n%s", line, notes.String())
		}
	}
}

func TestAsciicast(t *testing.T) {
	var out bytes.Buffer
	if err := Asciicast(golden(t, "v1-complete.recording"), -1, &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	want := `{"version":2,"width":80,"height":24,"timestamp":1767225600,"title":"S-COMPLETE: alice as root@phi1","env":{"TERM":"xterm"}}`
	if lines[0] != want {
		t.Errorf("header %s", lines[0])
	}
	kinds := ""
	for _, line := range lines[1:] {
		var e []any
		if err := json.Unmarshal([]byte(line), &e); err != nil || len(e) != 3 {
			t.Fatalf("%s: %v", line, err)
		}
		kinds += e[1].(string)
		if e[1] == "r" && e[2] != "100x40" {
			t.Errorf("resized to %v", e[2])
		}
	}
	if kinds != "oioro" {
		t.Errorf("events %q", kinds)
	}
	if err := Asciicast(golden(t, "v1-complete.recording"), 3, &out); !errors.Is(err, ErrNoTerminal) {
		t.Errorf("a channel without terminal: %v", err)
	}
}

func TestText(t *testing.T) {
	var out, errs bytes.Buffer
	if err := Text(golden(t, "v1-interrupted.recording"), -1, &out, &errs); err != nil {
		t.Fatal(err)
	}
	if out.String() != "root@phi1:~# \x1b[01;34mgr\u00fc\u00dfe\x1b[0m\r\n" || errs.String() != strings.Repeat("warning\n", 100) {
		t.Errorf("%q %q", out.String(), errs.String())
	}
}

func TestEvents(t *testing.T) {
	var out bytes.Buffer
	if err := Events(golden(t, "v1-complete.recording"), &out); err != nil {
		t.Fatal(err)
	}
	var types []string
	for line := range strings.Lines(out.String()) {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		types = append(types, e.Type)
		switch {
		case e.Type == "header" && e.Header.Person != "alice",
			e.Type == "event" && string(e.Event) != `{"path":"/etc/passwd","size":1432}`,
			e.Type == "exit" && e.Exit.Signal != "TERM",
			e.Request != nil && e.Request.Name == "env" && (e.Request.Variable != "LANG" || !e.Request.Refused):
			t.Errorf("line %s", line)
		}
	}
	if got := strings.Join(types, " "); got != "header open request request request data data data request data event note eof exit close end" {
		t.Errorf("types %s", got)
	}
}

func TestEventsOfContent(t *testing.T) {
	var out bytes.Buffer
	if err := Events(golden(t, "v1-content.recording"), &out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, line := range []string{
		`"type":"extent","channel":0,"stream":"stdout","text":"y\ny\n","extent":{"offset":4,"length":32768,"sha256":"5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03","kept":4}}`,
		`"type":"extent","channel":1,"stream":"stdin","text":"hello\n","extent":{"file":1,"offset":0,"length":6,`,
		`"stream":"stdout","name":"stream","event":{"bytes":65540,`,
		`"name":"file","event":{"number":1,"protocol":"sftp","path":"gr?n","path_bytes":"Z3L8bg=="`,
		`"type":"compartment","compartment":{"number":1,"key":"K-193d76841f7a00c6"}}`,
		`"type":"sealed","channel":0,"sealed":{"compartment":0,"bytes":26}}`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("there is no %s in\n%s", line, text)
		}
	}
	if strings.Contains(text, "typed 4") {
		t.Error("what was typed is there without its key")
	}
}
