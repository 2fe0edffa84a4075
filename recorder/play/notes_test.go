package play

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"postern/recorder"
)

// shownWith shows all channels.
func shownWith(notes io.Writer) Screens { return Screens{Channel: -1, Notes: notes} }

func notes(t *testing.T, frames ...recorder.Frame) string {
	t.Helper()
	var out bytes.Buffer
	if err := shownWith(&out).Write(record(t, frames...).open(t, false), io.Discard); err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(out.String(), "[1:00:00: ", "[")
}

func TestNotes(t *testing.T) {
	const sum = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"
	file := func(f recorder.File) recorder.Frame { return told(1, 0, recorder.EventFile, f) }
	operation := func(o recorder.Operation) recorder.Frame { return told(1, 0, recorder.EventOperation, o) }
	forward := func(f recorder.Forward) recorder.Frame { return told(1, 0, recorder.EventForward, f) }
	for _, test := range []struct {
		name   string
		frames []recorder.Frame
		want   string
	}{
		{"download", []recorder.Frame{file(recorder.File{Protocol: "sftp", Path: "/etc/passwd", Access: "read", Keep: "head", Status: "ok",
			Read: &recorder.Transfer{Bytes: 1432, SHA256: sum, End: true}})},
			"[sftp read /etc/passwd, received 1.4 kB, sha256 5891b5b522d5df08, kept, ok]"},
		{"large", []recorder.Frame{file(recorder.File{Protocol: "scp", Path: "dump", Access: "write", Keep: "head", Status: "interrupted",
			Written: &recorder.Transfer{Bytes: 1 << 30, SHA256: sum}})},
			"[scp write dump, sent 1.1 GB, sha256 5891b5b522d5df08, its first 64 KiB are kept, interrupted]"},
		{"by ranges", []recorder.Frame{file(recorder.File{Protocol: "sftp", Path: "disk", Access: "read write", Keep: "hash", Status: "ok",
			Read: &recorder.Transfer{Bytes: 1, Ranges: []recorder.Range{{From: 5, To: 6}}}, Written: &recorder.Transfer{Bytes: 20}})},
			"[sftp read write disk, received 1 byte in bytes 5-6, sent 20 bytes with repeats, not kept, ok]"},
		{"denied file", []recorder.Frame{file(recorder.File{Protocol: "sftp", Path: "/etc/shadow", Access: "write", Denied: true, Status: "permission denied"})},
			"[denied: sftp write /etc/shadow]"},
		{"not there", []recorder.Frame{file(recorder.File{Protocol: "sftp", Path: "/x", Access: "read", Keep: "full", Status: "no such file"})},
			"[sftp read /x, no such file]"},
		{"looking around", []recorder.Frame{operation(recorder.Operation{Number: 1, Name: "opendir", Path: "/", Status: "ok"}), operation(recorder.Operation{Number: 2, Name: "stat", Path: "/", Status: "ok"})}, ""},
		{"looking failed", []recorder.Frame{operation(recorder.Operation{Number: 1, Name: "lstat", Path: "/root/x", Status: "permission denied"})},
			"[lstat /root/x, permission denied]"},
		{"a change", []recorder.Frame{operation(recorder.Operation{Number: 1, Name: "rename", Path: "/a", To: "/b"}), operation(recorder.Operation{Number: 1, Name: "rename", Path: "/a", To: "/b", Status: "ok"})},
			"[rename /a to /b, ok]"},
		{"a change in the dark", []recorder.Frame{operation(recorder.Operation{Number: 1, Name: "remove", Path: "/a"}), operation(recorder.Operation{Number: 2, Name: "setstat", Path: "/b", Detail: "mode 0600"})},
			"[remove /a, never answered]\n[setstat /b, mode 0600, never answered]"},
		{"one of the future", []recorder.Frame{operation(recorder.Operation{Number: 1, Name: "erase@example.org", Path: "/a"}), operation(recorder.Operation{Number: 1, Name: "erase@example.org", Path: "/a", Status: "ok"})},
			"[erase@example.org /a, ok]"},
		{"denied change", []recorder.Frame{operation(recorder.Operation{Number: 1, Name: "mkdir", Path: "/a", Denied: true, Status: "permission denied"})},
			"[denied: mkdir /a, permission denied]"},
		{"forward", []recorder.Frame{forward(recorder.Forward{Kind: "direct-tcpip", To: "db:5432", From: "127.0.0.1:9"}), forward(recorder.Forward{Kind: "direct-tcpip", To: "db:5432", Ended: true, Sent: 12, Received: 3456, Seconds: 1.26})},
			"[direct-tcpip to db:5432 from 127.0.0.1:9 opened]\n[direct-tcpip to db:5432 ended, 12 bytes sent, 3.5 kB received, 1.3 s]"},
		{"denied forward", []recorder.Frame{forward(recorder.Forward{Kind: "direct-tcpip", To: "169.254.169.254:80", Why: "your grant does not include it", Denied: true})},
			"[denied: direct-tcpip to 169.254.169.254:80: your grant does not include it]"},
		{"dead forward", []recorder.Frame{forward(recorder.Forward{Kind: "direct-tcpip", To: "db:1", Ended: true, Why: "connection refused"})},
			"[direct-tcpip to db:1 did not open: connection refused]"},
		{"listening", []recorder.Frame{told(recorder.Global, 0, recorder.EventListen, recorder.Listen{Address: "localhost:80", OK: true}), told(recorder.Global, 0, recorder.EventListen, recorder.Listen{Address: "localhost:80", Cancel: true, OK: true}), told(recorder.Global, 0, recorder.EventListen, recorder.Listen{Address: ":80", Denied: true})},
			"[the host listens on localhost:80]\n[the host listens no more on localhost:80]\n[denied: the host listens on :80]"},
		{"agent", []recorder.Frame{told(3, 0, recorder.EventAgent, recorder.AgentUse{Request: "sign", Key: "SHA256:abc", OK: true}), told(3, 0, recorder.EventAgent, recorder.AgentUse{Request: "add", Denied: true}),
			told(3, 0, recorder.EventAgent, recorder.AgentUse{Number: 1, Request: "sign", Key: "SHA256:abc", For: "login as bob", Pending: true})},
			"[agent: sign SHA256:abc]\n[denied: agent: add]\n[agent: sign SHA256:abc, login as bob, asked]"},
		{"stream", []recorder.Frame{told(1, 1, recorder.EventStream, recorder.Stream{Bytes: 1200000000, Kept: 16777216, SHA256: sum}), told(1, 2, recorder.EventStream, recorder.Stream{Bytes: 5, Kept: 5})},
			"[stdout: 1.2 GB; after the first 16.8 MB 1.2 GB more were not kept; sha256 " + sum + "]"},
		{"sums", []recorder.Frame{request(1, "subsystem", "sftp"), data(1, 0, "12345"), extent(1, 1, recorder.Extent{File: 1, Length: 100000, Kept: []byte("x")}), frame(recorder.TypeClose, 1)},
			"[subsystem sftp]\n[sftp carried 5 bytes to the host and 100.0 kB back]"},
		{"typing", []recorder.Frame{keyed(data(1, 0, "x")), keyed(data(1, 0, "y"))}, "[what is typed from here on is sealed to KEY; --keystrokes shows it to who holds that key]"},
		{"unknown", []recorder.Frame{told(1, 0, "future", map[string]string{"a": "b"})}, `[future {"a":"b"}]`},
		{"not what it says", []recorder.Frame{told(1, 0, recorder.EventFile, []int{1})}, `[file [1]]`},
		{"hostile", []recorder.Frame{file(recorder.File{Protocol: "sftp", Path: "a\x1b]52;c;x\a\u202egpj.exe\nb", Access: "read", Status: "ok\x1b[2J"})},
			"[sftp read a?]52;c;x??gpj.exe?b, ok?[2J]"},
		{"endless", []recorder.Frame{file(recorder.File{Protocol: "sftp", Path: strings.Repeat("é", 9000), Access: "read", Status: "ok"})},
			"[sftp read " + strings.Repeat("é", 256) + "…, ok]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := notes(t, test.frames...)
			if i := strings.Index(got, "K-"); i >= 0 {
				got = got[:i] + "KEY" + got[i+18:]
			}
			want := strings.TrimPrefix(test.want+"\n[the session ended: closed]\n", "\n")
			if got != want {
				t.Errorf("%s\nwant\n%s", got, want)
			}
		})
	}
}

// Whatever a client calls its files, a line of ours is one line, has no control in it, and ends.
func FuzzNotes(f *testing.F) {
	names := []string{
		recorder.EventFile, recorder.EventOperation, recorder.EventProtocol, recorder.EventStream, recorder.EventForward, recorder.EventListen, recorder.EventAgent, "else\x1b[m",
	}
	for i, text := range []string{
		`{"path":"\u001b]0;x\u0007","status":"ok","read":{"bytes":1,"ranges":[{"from":5,"to":6}]}}`, `{"number":1,"name":"rename"}`, `{"name":"scp"}`, `{"bytes":9,"kept":1}`,
		`{"kind":"x11","to":"a\u202eb"}`, `{"address":"::1","ok":true}`, `{"request":"sign"}`, `[]`,
	} {
		f.Add(i, []byte(text))
	}
	f.Fuzz(func(t *testing.T, which int, b []byte) {
		if which < 0 {
			return
		}
		tell := newTeller()
		e := recorder.Event{Name: names[which%len(names)], JSON: b}
		for _, frame := range []recorder.Frame{{Type: recorder.TypeEvent, Data: e.Marshal()}, {Type: recorder.TypeClose}, {Type: recorder.TypeEnd, Data: b}} {
			tell.channels.see(frame)
			for _, line := range tell.lines(frame) {
				if len(line) > mostLine+100 || printable(line) != line {
					t.Errorf("a line of %d bytes: %q", len(line), line)
				}
			}
		}
	})
}

func TestTextMarksGaps(t *testing.T) {
	r := record(t,
		data(1, 1, "begin"),
		extent(1, 1, recorder.Extent{Offset: 5, Length: 10, Kept: []byte("sample")}),
		extent(1, 1, recorder.Extent{Offset: 15, Length: 100}),
		extent(1, 1, recorder.Extent{Offset: 115, Length: 7, Kept: []byte("line\n")}),
		extent(2, 1, recorder.Extent{Offset: 0, Length: 3}),
		told(1, 1, recorder.EventStream, recorder.Stream{Bytes: 122, Kept: 5, SHA256: "abc"}),
		frame(recorder.TypeClose, 1),
	)
	var out bytes.Buffer
	if err := Text(r.open(t, false), -1, &out, &out); err != nil {
		t.Fatal(err)
	}
	want := "beginsample\n[postern: 104 bytes were not kept here]\nline\n[postern: 2 bytes were not kept here]\n" +
		"[postern: after the first 5 bytes of 122 only samples were kept; sha256 of all abc]\n[postern: 3 bytes were not kept here]\n"
	if out.String() != want {
		t.Errorf("%q\nwant\n%q", out.String(), want)
	}
}

func TestKeystrokes(t *testing.T) {
	r := record(t, opened(1, "session", nil), pty(1),
		keyed(data(1, 0, "l")), keyed(data(1, 0, "s\r")), data(1, 1, "ls\r\n"),
		keyed(after(time.Second, data(1, 0, "gr\xc3"))), keyed(after(2*time.Second, data(1, 0, "\xbc\x03"))),
		after(10*time.Second, data(1, 1, "^C")), keyed(after(11*time.Second, data(1, 0, "\x1b[A\x7f\t<\x00\u202e"))),
		data(2, 0, "no terminal"),
	)
	show := func(keystrokes bool) string {
		var out bytes.Buffer
		if err := Keystrokes(r.open(t, keystrokes), &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	want := "[1:00:00: typed on channel 1: ls<Enter>]\n[1:00:01: typed on channel 1: grü<C-c>]\n" +
		"[1:00:11: typed on channel 1: <Esc>[A<Backspace><Tab><lt><C-@>?]\n"
	if got := show(true); got != want {
		t.Errorf("with the key\n%s\nwant\n%s", got, want)
	}
	if got := show(false); got != "[1:00:11: 5 pieces of what was typed are sealed to a key that was not given]\n" {
		t.Errorf("without the key\n%s", got)
	}
	if keys, err := Compartments(r.open(t, false)); err != nil || len(keys) != 1 || keys[0] != r.typed.ID() {
		t.Errorf("keys %v, %v", keys, err)
	}
	for _, shown := range []bool{false, true} {
		var out bytes.Buffer
		p := shownWith(&out)
		p.Keystrokes = shown
		if err := p.Write(r.open(t, true), io.Discard); err != nil || strings.Contains(out.String(), "grü<C-c>") != shown {
			t.Errorf("the notes of a player that shows keystrokes: %v, %v\n%s", shown, err, out.String())
		}
	}
}

// Whoever has the recording key and no other finds nothing of what was typed in anything that is made of a recording.
func TestKeystrokesAreInNoExport(t *testing.T) {
	const secret = "correct horse battery"
	r := record(t, opened(1, "session", nil), pty(1), keyed(data(1, 0, secret)), data(1, 1, "*****"))
	for name, export := range map[string]func(*recorder.Reader, io.Writer) error{
		"jsonl":      Events,
		"text":       func(r *recorder.Reader, w io.Writer) error { return Text(r, -1, w, w) },
		"one":        func(r *recorder.Reader, w io.Writer) error { return Text(r, 1, w, w) },
		"asciicast":  func(r *recorder.Reader, w io.Writer) error { return Asciicast(r, -1, w) },
		"keystrokes": Keystrokes,
		"replay": func(r *recorder.Reader, w io.Writer) error {
			p := shownWith(w)
			p.Keystrokes = true
			return p.Write(r, w)
		},
	} {
		var out bytes.Buffer
		if err := export(r.open(t, false), &out); err != nil || out.Len() == 0 || bytes.Contains(out.Bytes(), []byte("horse")) {
			t.Errorf("%s: %d bytes, %v\n%s", name, out.Len(), err, out.String())
		}
	}
	var out bytes.Buffer
	if err := Events(r.open(t, true), &out); err != nil || !strings.Contains(out.String(), secret) {
		t.Errorf("the holder of the key gets %s, %v", out.String(), err)
	}
	if bytes.Contains(r.file, []byte("horse")) {
		t.Error("the sealed file has it")
	}
}
