package index

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"
	"time"

	"postern/recorder"
)

var update = flag.Bool("update", false, "write testdata anew")

// goldenFrames is a session with something of everything.
func goldenFrames() []recorder.Frame {
	exit := recorder.Frame{Type: recorder.TypeExit, Channel: 1, At: 5 * time.Second, Data: recorder.Exit{Status: 2}.Marshal()}
	return []recorder.Frame{
		open(0, "session"), pty(0),
		out(0, time.Second, "\x1b[?2004h\x1b]0;phi1\x07root@phi1:~# "), out(0, 2*time.Second, "grep Übermut notes"), out(0, 3*time.Second, "\r\n\x1b[?2004l\r\x1b[1mÜbermut\x1b[0m\r\nhalf a li"),
		open(1, "session"), exec(1, "cat /srv/patients"), out(1, 4*time.Second, "name,born\nK\u212a,1970\n"), exit,
		event(1, recorder.EventFile, recorder.File{Number: 1, Protocol: "scp", Path: "/srv/a b", Access: "read", Status: "ok", Read: &recorder.Transfer{Bytes: 12, SHA256: "00ff"}}),
		event(recorder.Global, recorder.EventForward, recorder.Forward{Kind: "direct-tcpip", To: "db:5432", From: "127.0.0.1:4", Denied: true, Why: "no"}),
		out(0, 6*time.Second, "ne \x1b[3"),
	}
}

// An entry of version 1 is what it was, and is read for ever.
func TestGolden(t *testing.T) {
	x := new(Indexer)
	first := x.Segment(0, goldenFrames())
	second := x.Segment(12, []recorder.Frame{out(0, 7*time.Second, "1mred\x1b[m\x1b[H\x1b[2Jclean"), {Type: recorder.TypeEnd, Channel: recorder.Global, At: 8 * time.Second, Data: []byte("closed")}})
	for name, entry := range map[string][]byte{"testdata/v1-first": first, "testdata/v1-second": second} {
		e, err := Parse(entry)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.MarshalIndent(struct {
			Entry
			Words string
		}{e, hex.EncodeToString(e.Words)}, "", "\t")
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(name+".entry", entry, 0o644); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(name+".json", append(text, '\n'), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		kept, err := os.ReadFile(name + ".entry")
		if err != nil {
			t.Fatal(err)
		}
		want, err := os.ReadFile(name + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(append(text, '\n'), want) {
			t.Errorf("%s: the indexer says something else now:\n%s", name, text)
		}
		if old, err := Parse(kept); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if again, _ := json.MarshalIndent(struct {
			Entry
			Words string
		}{old, hex.EncodeToString(old.Words)}, "", "\t"); !bytes.Equal(append(again, '\n'), want) {
			t.Errorf("%s is read as\n%s", name, again)
		}
	}
}
