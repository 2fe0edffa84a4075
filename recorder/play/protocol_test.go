package play

import (
	"testing"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

func TestAProtocolIsCountedNotShown(t *testing.T) {
	p := protocols{}
	request := func(channel uint32, name, text string, refused bool) recorder.Frame {
		r := recorder.Request{Name: name, Refused: refused, Payload: ssh.Marshal(struct{ Text string }{text})}
		return recorder.Frame{Type: recorder.TypeRequest, Channel: channel, Data: r.Marshal()}
	}
	data := func(channel uint32, stream byte) recorder.Frame {
		return recorder.Frame{Type: recorder.TypeData, Channel: channel, Stream: stream, Data: []byte("12345")}
	}
	for i, c := range []struct {
		frame recorder.Frame
		hides bool
		line  string
	}{
		{request(1, "subsystem", "sftp", false), false, ""},
		{request(2, "exec", "cat", false), false, ""},
		{request(3, "subsystem", "sftp", true), false, ""},
		{data(1, recorder.Stdin), true, ""},
		{data(1, recorder.Stdout), true, ""},
		{data(1, recorder.Stdout), true, ""},
		{data(1, recorder.Stderr), false, ""}, // a server's complaint is for people
		{data(2, recorder.Stdout), false, ""},
		{data(3, recorder.Stdout), false, ""},
		{recorder.Frame{Type: recorder.TypeClose, Channel: 2}, false, ""},
		{recorder.Frame{Type: recorder.TypeClose, Channel: 1}, false, "[0:00:00: sftp carried 5 bytes to the host and 10 back]"},
		{recorder.Frame{Type: recorder.TypeClose, Channel: 1}, false, ""},
	} {
		if got := p.hides(c.frame); got != c.hides {
			t.Errorf("step %d: hidden is %v", i, got)
		}
		if got := p.line(c.frame); got != c.line {
			t.Errorf("step %d: line %q, want %q", i, got, c.line)
		}
	}
}
