package index

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

const ms = time.Millisecond

func open(channel uint32, kind string) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeOpen, Channel: channel, Data: recorder.OpenChannel{Kind: kind}.Marshal()}
}

func request(channel uint32, name string, payload any) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeRequest, Channel: channel, Data: recorder.Request{Name: name, Payload: ssh.Marshal(payload)}.Marshal()}
}

type ptyRequest struct {
	Term                         string
	Columns, Rows, Width, Height uint32
	Modes                        string
}

func pty(channel uint32) recorder.Frame {
	return request(channel, "pty-req", ptyRequest{Term: "xterm", Columns: 80, Rows: 24})
}

func exec(channel uint32, command string) recorder.Frame {
	return request(channel, "exec", struct{ Text string }{command})
}

func out(channel uint32, at time.Duration, text string) recorder.Frame {
	return recorder.Frame{Type: recorder.TypeData, Channel: channel, Stream: recorder.Stdout, At: at, Data: []byte(text)}
}

func event(channel uint32, name string, v any) recorder.Frame {
	f := recorder.EventFrame(name, v)
	f.Channel = channel
	return f
}

// parsed goes through bytes, as an entry does.
func parsed(t testing.TB, x *Indexer, first uint64, frames ...recorder.Frame) Entry {
	t.Helper()
	b := x.Segment(first, frames)
	if len(b) > MostEntry {
		t.Fatalf("entry of %d bytes", len(b))
	}
	e, err := Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestWordsAcrossSegments(t *testing.T) {
	x := new(Indexer)
	a := parsed(t, x, 0, open(0, "session"), exec(0, "cat log"), out(0, 1, "one two\nthe patient's na"))
	b := parsed(t, x, 3, out(0, 2, "me is \x1b[3"))
	c := parsed(t, x, 4, out(0, 3, "1mUnknown\nnext"))
	for _, test := range []struct {
		entry Entry
		word  string
		want  bool
	}{
		{a, "ONE TWO", true}, {a, "patient", true}, {a, "name", false}, {b, "patient's name is", true}, {b, "unknown", false},
		{c, "name is Unknown", true}, {c, "[31munknown", false}, {c, "nextt", false}, {c, "ne", true},
	} {
		if got := test.entry.Words.May(test.word); got != test.want {
			t.Errorf("%q: %v, want %v", test.word, got, test.want)
		}
	}
	if a.Drawn || b.Drawn || c.Drawn {
		t.Error("nothing was drawn")
	}
	if len(a.Commands) != 1 || a.Commands[0].Text != "cat log" || a.Commands[0].Seen {
		t.Errorf("commands %+v", a.Commands)
	}
}

func TestDrawn(t *testing.T) {
	for _, test := range []struct {
		text  string
		drawn bool
	}{
		{"plain\r\ntext\r\n", false},
		{"\x1b[1;31mred\x1b[0m and \x1b[Knot\r\n", false},
		{"\x1b[?2004hroot@phi1:~# ls\r\n\x1b[?2004l\rfile\r\n", false},
		{"\x1b]0;title\x07root# ", false},
		{"10 %\r\x1b[K20 %", false},
		{"10 %\r20 %", true},
		{"ab\b \b", true},
		{"a\x1b[5Cb", true},
		{"\x1b[5;5Hx", false},
		{"x\x1b[5;5Hx", true},
		{"\x1b[2J\x1b[Htop of the screen", false},
		{"old\r\n\x1b[H\x1b[2Jtop of the screen", true}, // which may be what stood there
		{"old\r\n\x1b[Htop", true},
		{"\x1b[5;5Hx\x1b[5;1Hy", true},
		{"pa\x1b]0;t\x07ss", true},
		{"\x1bMx", true},
		{"x\x1b[?1049hx", false},
		{"x\x1b[?1049hx\x1b[1;1Hx", true},
		{"\x1b[1;1Hx\x1b[2;2H\x1b[?1049hx\x1b[?1049l", false},
		{"\x1b[1;1Hx\x1b[2;2H\x1b[?1049hx\x1b[?1049lx", true},
		{"a\xc2\x9b5Cb", true},
		{"grün ☃", false},
	} {
		e := parsed(t, new(Indexer), 0, open(0, "session"), pty(0), out(0, 1, test.text))
		if e.Drawn != test.drawn {
			t.Errorf("%q: drawn is %v", test.text, e.Drawn)
		}
		if e = parsed(t, new(Indexer), 0, open(0, "session"), exec(0, "x"), out(0, 1, test.text)); e.Drawn {
			t.Errorf("%q: drawn without a terminal", test.text)
		}
	}
}

// A screen that was cleared is as good as a new one.
func TestClearedIsNotDrawn(t *testing.T) {
	x := new(Indexer)
	parsed(t, x, 0, open(0, "session"), pty(0), out(0, 1, "x\x1b[5;5Hx\x1b[H\x1b[J"))
	if e := parsed(t, x, 3, out(0, 2, "plain\r\n")); e.Drawn || e.Words.May("drawn") {
		t.Error("drawn after it was cleared")
	}
}

// What was drawn on a screen stays until it has scrolled off.
func TestDrawnUntilScrolledOff(t *testing.T) {
	x := new(Indexer)
	parsed(t, x, 0, open(0, "session"), pty(0), out(0, 1, "\x1b[1;1Hsecret: \x1b[2;1H"))
	if e := parsed(t, x, 3, out(0, 2, "word")); !e.Drawn {
		t.Error("text beside what was drawn before")
	}
	if e := parsed(t, x, 4, out(0, 3, strings.Repeat("line\r\n", 30))); !e.Drawn {
		t.Error("lines that may have gone over what was there")
	}
	if e := parsed(t, x, 5, out(0, 4, "fresh lines\r\n")); e.Drawn || !e.Words.May("fresh") || e.Words.May("stale") {
		t.Error("all of it has scrolled off")
	}
}

func TestSeenCommands(t *testing.T) {
	type piece struct {
		at   time.Duration
		text string
	}
	for name, test := range map[string]struct {
		pieces []piece
		want   []string
	}{
		"bash": {[]piece{{0, "\x1b[?2004halice@phi1:~$ "}, {500 * ms, "l"}, {600 * ms, "s"}, {700 * ms, "\r\n\x1b[?2004l\r"}, {710 * ms, "a\r\nb\r\n\x1b[?2004halice@phi1:~$ "},
			{900 * ms, "cat $ x"}, {950 * ms, "\r\n\x1b[?2004l\r"}}, []string{"ls", "cat $ x"}},
		"corrected": {[]piece{{0, "\x1b[?2004h# "}, {500 * ms, "sl"}, {600 * ms, "\b\x1b[K\b\x1b[Kls"}, {700 * ms, "\r\n\x1b[?2004l\r"}}, []string{"ls"}},
		"zsh":       {[]piece{{0, "host% \x1b[?1h\x1b=\x1b[?2004h"}, {500 * ms, "l\bls -l"}, {700 * ms, "\x1b[?1l\x1b>\x1b[?2004l\r\r\n"}}, []string{"ls -l"}},
		"coloured":  {[]piece{{0, "\x1b[?2004h\x1b]0;t\x07\x1b[32malice\x1b[0m$ "}, {500 * ms, "id"}, {700 * ms, "\r\n\x1b[?2004l\r"}}, []string{"id"}},
		"at once":   {[]piece{{0, "\x1b[?2004hroot@phi1:~# id\r\n\x1b[?2004l\r"}}, []string{"id"}},
		"history":   {[]piece{{0, "\x1b[?2004h# "}, {500 * ms, "cat long"}, {600 * ms, "\r\x1b[2Cls\x1b[K"}, {700 * ms, "\r\n\x1b[?2004l\r"}}, []string{"ls"}},
		"in vim":    {[]piece{{0, "\x1b[?1049h\x1b[?2004h"}, {500 * ms, "text"}, {600 * ms, "\x1b[?2004l\x1b[?1049l"}}, nil},
		"nothing":   {[]piece{{0, "\x1b[?2004h# "}, {600 * ms, "\r\n\x1b[?2004l\r"}}, nil},
		"wide": {[]piece{{0, "\x1b[?2004h$ "}, {500 * ms, strings.Repeat("x", 78)}, {501 * ms, " \r"}, {502 * ms, "yz"}, {700 * ms, "\r\n\x1b[?2004l\r"}},
			[]string{strings.Repeat("x", 78) + "yz"}},
	} {
		frames := []recorder.Frame{open(0, "session"), pty(0)}
		for _, p := range test.pieces {
			frames = append(frames, out(0, time.Second+p.at, p.text))
		}
		var got []string
		for _, c := range parsed(t, new(Indexer), 0, frames...).Commands {
			if !c.Seen {
				t.Errorf("%s: %q is not marked as seen", name, c.Text)
			}
			got = append(got, c.Text)
		}
		if fmt.Sprint(got) != fmt.Sprint(test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestAnchors(t *testing.T) {
	x := new(Indexer)
	e := parsed(t, x, 10, open(0, "session"), pty(0), out(0, 1*ms, "$ "), out(0, 2*ms, "ab\x1b[H\x1b[2Jcd"), out(0, 3*ms, "\x1b[?1049h"), out(0, 4*ms, "\x1b[H\x1b[Jvim"),
		out(0, 5*ms, "\x1b[?1049l"), out(0, 6*ms, "$ "))
	for at, want := range map[time.Duration]Anchor{
		1 * ms: {At: 1 * ms, Frame: 12},
		2 * ms: {At: 2 * ms, Frame: 13, Offset: 9},
		3 * ms: {At: 3 * ms, Frame: 14, Offset: 8, Alternate: true},
		4 * ms: {At: 4 * ms, Frame: 15, Offset: 6, Alternate: true},
		6 * ms: {At: 2 * ms, Frame: 13, Offset: 9},
	} {
		if got, ok := Begin([]Entry{e}, 0, at); !ok || got != want {
			t.Errorf("at %v: %+v, want %+v", at, got, want)
		}
	}
	if _, ok := Begin([]Entry{e}, 1, time.Hour); ok {
		t.Error("an anchor for another channel")
	}
}

func TestEvents(t *testing.T) {
	e := parsed(t, new(Indexer), 0, open(0, "session"), request(0, "subsystem", struct{ Text string }{"sftp"}),
		event(0, recorder.EventProtocol, recorder.Protocol{Name: "sftp"}), out(0, 1, "binary words"),
		event(0, recorder.EventFile, recorder.File{Number: 1, Protocol: "sftp", Path: "/srv/a", Access: "read", Read: &recorder.Transfer{Bytes: 7, SHA256: "ab"}, Status: "ok"}),
		event(0, recorder.EventOperation, recorder.Operation{Number: 1, Name: "stat", Path: "/srv"}),
		event(0, recorder.EventOperation, recorder.Operation{Number: 2, Name: "rename", Path: "/srv/a", To: "/srv/b"}),
		event(0, recorder.EventOperation, recorder.Operation{Number: 2, Name: "rename", Path: "/srv/a", To: "/srv/b", Status: "ok"}),
		event(0, recorder.EventForward, recorder.Forward{Kind: "direct-tcpip", To: "db:5432", Denied: true}),
		recorder.Frame{Type: recorder.TypeExit, Data: recorder.Exit{Status: 3}.Marshal()},
		recorder.Frame{Type: recorder.TypeEnd, Channel: recorder.Global, Data: []byte("closed")})
	if len(e.Files) != 2 || e.Files[0].Operation != "read" || e.Files[0].Bytes != 7 || e.Files[1].Status != "ok" || e.Files[1].To != "/srv/b" {
		t.Errorf("files %+v", e.Files)
	}
	if len(e.Forwards) != 1 || len(e.Marks) != 3 || e.Marks[0].Kind != "denied" || e.Marks[1].Text != "status 3" || e.Marks[2].Text != "closed" {
		t.Errorf("forwards %+v, marks %+v", e.Forwards, e.Marks)
	}
	if len(e.Commands) != 1 || *e.Commands[0].Exit != 3 || e.Words.May("binary") || len(e.Lanes) != 0 || e.Output != 0 {
		t.Errorf("%+v", e)
	}
}

// Whatever is recorded, an entry stays small, is read back, and says what it left out.
func TestEntryStaysSmall(t *testing.T) {
	var frames []recorder.Frame
	for i := range 1024 {
		frames = append(frames, event(uint32(i), recorder.EventFile, recorder.File{Path: strings.Repeat("\x01é", 500), Status: fmt.Sprint(i), Denied: true}),
			out(uint32(i+10000), time.Hour*time.Duration(i), "\x1b[H\x1b[2J"+strings.Repeat("x", 2000)), exec(uint32(i), strings.Repeat("\x02", 4096)))
	}
	x := new(Indexer)
	e := parsed(t, x, 0, frames...)
	if !e.Cut || !e.Drawn {
		t.Errorf("cut %v drawn %v", e.Cut, e.Drawn)
	}
	if n := len(x.Segment(0, frames)); n > 64<<10 {
		t.Errorf("entry of %d bytes", n)
	}
}
