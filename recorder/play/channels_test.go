package play

import (
	"bytes"
	"strings"
	"testing"

	"postern/recorder"
)

// What programs say to each other is not text, however a channel came to carry it; and what is no protocol any more is text again.
func TestOnlyTextIsText(t *testing.T) {
	protocol := func(name string) recorder.Frame {
		return told(1, 0, recorder.EventProtocol, recorder.Protocol{Name: name})
	}
	session := opened(1, "session", nil)
	for _, test := range []struct {
		name   string
		frames []recorder.Frame
		want   string
	}{
		{"a command", []recorder.Frame{session, request(1, "exec", "scp -f x"), data(1, 1, "out")}, "out"},
		{"a subsystem", []recorder.Frame{session, request(1, "subsystem", "sftp"), data(1, 1, "out"), data(1, 2, "oops")}, "oops"},
		{"a parsed command", []recorder.Frame{session, request(1, "exec", "scp -f x"), protocol("scp"), data(1, 1, "C0644 1 x\n"), data(1, 2, "oops")}, "oops"},
		{"parsed until it was something else", []recorder.Frame{session, protocol("scp"), data(1, 1, "C0644 1 x\n"), protocol(""), data(1, 1, "# id\n")}, "# id\n"},
		{"until the bastion says something", []recorder.Frame{session, protocol("scp"), data(1, 1, "a"), {Type: recorder.TypeNote, Channel: 1}, data(1, 1, "# id\n")}, "# id\n"},
		{"nor does what is told of its files then", []recorder.Frame{session, protocol("scp"), {Type: recorder.TypeNote, Channel: 1}, told(1, 0, recorder.EventFile, recorder.File{Protocol: "scp", Status: "interrupted"}), data(1, 1, "# id\n")}, "# id\n"},
		{"a note on the connection says nothing", []recorder.Frame{session, protocol("scp"), {Type: recorder.TypeNote, Channel: recorder.Global}, data(1, 1, "a")}, ""},
		{"by an extent", []recorder.Frame{session, data(1, 1, "before "), extent(1, 1, recorder.Extent{File: 1, Length: 1}), data(1, 1, "after")}, "before "},
		{"by a file", []recorder.Frame{session, told(1, 0, recorder.EventFile, recorder.File{}), data(1, 1, "after")}, ""},
		{"by an operation", []recorder.Frame{session, told(1, 0, recorder.EventOperation, recorder.Operation{}), data(1, 1, "after")}, ""},
		{"a forward", []recorder.Frame{opened(1, "direct-tcpip", nil), data(1, 1, "x"), data(1, 0, "y")}, ""},
		{"an agent", []recorder.Frame{opened(1, "auth-agent@openssh.com", nil), data(1, 1, "x")}, ""},
		{"another channel", []recorder.Frame{session, protocol("scp"), data(2, 1, "x")}, "x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out, screen bytes.Buffer
			r := record(t, test.frames...)
			if err := Text(r.open(t, false), -1, &out, &out); err != nil || out.String() != test.want {
				t.Errorf("the text is %q, want %q, %v", out.String(), test.want, err)
			}
			if err := shownWith(nil).Write(r.open(t, false), &screen); err != nil || strings.TrimSpace(screen.String()) != strings.TrimSpace(test.want) {
				t.Errorf("the screen has %q, want %q, %v", screen.String(), test.want, err)
			}
			out.Reset()
			if err := Text(r.open(t, false), 1, &out, &out); err != nil || len(out.Bytes()) == 0 && test.name != "another channel" && test.name != "a forward" {
				t.Errorf("the channel by its number is %q, %v", out.String(), err)
			}
		})
	}
}
