package main

import (
	"strings"
	"testing"

	"postern/internal/control"
)

func TestTerms(t *testing.T) {
	ordinary := control.Record{Files: "head", Streams: 16 << 20, Forwards: 64 << 10}
	for _, c := range []struct {
		capabilities, destinations string
		record                     *control.Record
		want                       string
	}{
		{"shell", "", nil, ""},
		{"shell", "", &ordinary, "recorded: what is printed"},
		{"shell", "", &control.Record{Keystrokes: true}, "recorded: what is printed, what is typed, passwords too"},
		{"sftp-read", "", &ordinary, "recorded: what is printed, the beginning of every file"},
		{"scp-write", "", &control.Record{Files: "full"}, "recorded: what is printed, all of every file"},
		{"exec", "", &control.Record{Files: "hash", Streams: -1}, "recorded: what is printed, all of what goes into and comes out of commands, a checksum of every file"},
		{"forward-local", "/run/x 127.0.0.1:5432", &ordinary,
			"forwards may lead to /run/x, 127.0.0.1:5432\nrecorded: what is printed, what goes through forwards (at most 64K each)"},
		{"forward-local", "db:1\x1b[2J", &control.Record{}, "forwards may lead to db:1\\x1b[2J\nrecorded: what is printed, a checksum of what goes through forwards"},
	} {
		r := control.Request{Capabilities: strings.Fields(c.capabilities), Destinations: strings.Fields(c.destinations), Record: c.record}
		var out strings.Builder
		printTerms(&out, r)
		if got := strings.TrimSuffix(out.String(), "\n"); got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.capabilities, got, c.want)
		}
	}
}
