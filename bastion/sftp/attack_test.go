package sftp

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// mutating are requests each of which changes something on a host, or might.
func mutating(id int) map[string][]byte {
	m := map[string][]byte{
		"write":               packet(typeWrite, id, "h", uint64(0), "evil"),
		"empty write":         packet(typeWrite, id, "h", uint64(0), ""),
		"setstat":             packet(typeSetstat, id, "a", attrMode, 0o777),
		"setstat of nothing":  packet(typeSetstat, id, "a", 0),
		"fsetstat":            packet(typeFsetstat, id, "h", attrSize, uint64(0)),
		"remove":              packet(typeRemove, id, "a"),
		"mkdir":               packet(typeMkdir, id, "d", 0),
		"rmdir":               packet(typeRmdir, id, "d"),
		"rename":              packet(typeRename, id, "a", "b"),
		"rename with flags":   packet(typeRename, id, "a", "b", 1),
		"symlink":             packet(typeSymlink, id, "a", "b"),
		"posix-rename":        packet(typeExtended, id, "posix-rename@openssh.com", "a", "b"),
		"posix-rename with 0": packet(typeExtended, id, "posix-rename@openssh.com\x00", "a", "b"),
		"hardlink":            packet(typeExtended, id, "hardlink@openssh.com", "a", "b"),
		"fsync":               packet(typeExtended, id, "fsync@openssh.com", "h"),
		"lsetstat":            packet(typeExtended, id, "lsetstat@openssh.com", "a", attrMode, 0),
		"copy-data":           packet(typeExtended, id, "copy-data", "h", uint64(0), uint64(0), "h", uint64(9)),
		"unknown extension":   packet(typeExtended, id, "evil@example.com", "a"),
		"nameless extension":  packet(typeExtended, id, ""),
		"version-select":      packet(typeExtended, id, "version-select", "6"),
		"link of version 6":   packet(21, id, "a", "b", byte(1)),
		"block of version 6":  packet(22, id, "h", uint64(0), uint64(9), 1),
		"type 0":              packet(0, id),
		"type 255":            packet(255, id, "a"),
	}
	for flags := range uint32(128) {
		if flags&0x3f > openRead || flags > 63 {
			m[fmt.Sprintf("open %#x", flags)] = packet(typeOpen, id, "a", flags, 0)
		}
	}
	m["open 0x80000001"] = packet(typeOpen, id, "a", uint32(0x80000001), 0)
	return m
}

// What changes something is refused to who may only read, and what follows is served.
func TestReadOnly(t *testing.T) {
	for name, request := range mutating(7) {
		k := begun(t, readOnly)
		k.ask(packet(typeOpen, 1, "a", openRead, noAttrs), handleIs(1, "h"))
		before := bytes.Clone(k.toHost)
		k.user(request)
		if k.err != nil || !bytes.Equal(k.toHost, before) || !bytes.Equal(k.answers, denied(7)) {
			t.Errorf("%s: %v, host %x, answer %x", name, k.err, k.toHost[len(before):], k.answers)
		}
		told := 0
		for _, op := range k.operations() {
			if op.Denied && op.Status == "permission denied" {
				told++
			}
		}
		for _, f := range k.files() {
			if f.Denied && f.Status == "permission denied" {
				told++
			}
		}
		if told != 1 {
			t.Errorf("%s: told %d times", name, told)
		}
		k.ask(packet(typeRead, 7, "h", uint64(0), 4), packet(typeData, 7, "data"))
		k.ask(packet(typeClose, 8, "h"), status(8, 0, ""))
		k.settled()
	}
}

// All of them at once and in pieces of any size, between requests that pass.
func TestReadOnlyPipelined(t *testing.T) {
	var input, passes, answers []byte
	id := 1
	all := mutating(0)
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for name := range all {
			if !yield(name) {
				return
			}
		}
	}) {
		ok := packet(typeStat, id, name)
		no := mutating(id + 1)[name]
		input = slices.Concat(input, ok, no)
		passes = append(passes, ok...)
		answers = append(answers, denied(id+1)...)
		id += 2
	}
	for _, n := range []int{1, 2, 3, 7, 29, 1000, len(input)} {
		k := begun(t, readOnly)
		for piece := range slices.Chunk(input, n) {
			k.user(piece)
		}
		if k.err != nil || !bytes.Equal(k.toHost, passes) || !bytes.Equal(k.toUser, answers) {
			t.Errorf("in pieces of %d: %v", n, k.err)
		}
	}
}

func TestWriteOnly(t *testing.T) {
	for name, test := range map[string]struct {
		request []byte
		passes  bool
	}{
		"read":           {packet(typeRead, 7, "h", uint64(0), 9), false},
		"readdir":        {packet(typeReaddir, 7, "h"), false},
		"opendir":        {packet(typeOpendir, 7, "d"), false},
		"readlink":       {packet(typeReadlink, 7, "l"), false},
		"open read":      {packet(typeOpen, 7, "a", openRead, 0), false},
		"open nothing":   {packet(typeOpen, 7, "a", 0, 0), false},
		"open create":    {packet(typeOpen, 7, "a", openCreate|openTruncate, 0), false}, // a server opens that for reading
		"open both":      {packet(typeOpen, 7, "a", openRead|openWrite, 0), false},
		"open write":     {packet(typeOpen, 7, "a", openWrite|openAppend, 0), true},
		"copy-data":      {packet(typeExtended, 7, "copy-data", "h", uint64(0), uint64(0), "h", uint64(9)), false},
		"names of users": {packet(typeExtended, 7, "users-groups-by-id@openssh.com", "", ""), false},
		"unknown":        {packet(typeExtended, 7, "evil@example.com"), false},
		"stat":           {packet(typeStat, 7, "a"), true},
		"lstat":          {packet(typeLstat, 7, "a"), true},
		"fstat":          {packet(typeFstat, 7, "h"), true},
		"realpath":       {packet(typeRealpath, 7, "."), true},
		"limits":         {packet(typeExtended, 7, "limits@openssh.com"), true},
		"expand-path":    {packet(typeExtended, 7, "expand-path@openssh.com", "~"), true},
		"home-directory": {packet(typeExtended, 7, "home-directory", ""), true},
		"statvfs":        {packet(typeExtended, 7, "statvfs@openssh.com", "/"), true},
	} {
		k := begun(t, writeOnly)
		k.user(test.request)
		if passed := bytes.Equal(k.toHost, test.request); k.err != nil || passed != test.passes || !passed && !bytes.Equal(k.answers, denied(7)) {
			t.Errorf("%s: %v, passed %v", name, k.err, passed)
		}
	}
}

// With everything granted, what nobody knows is answered as by a server that does not know it.
func TestUnknownRequests(t *testing.T) {
	for _, request := range [][]byte{packet(typeExtended, 7, "evil@example.com"), packet(22, 7, "h")} {
		k := begun(t, both)
		k.user(request)
		if k.err != nil || k.toHost != nil || !bytes.Equal(k.answers, status(7, 8, "Operation unsupported")) {
			t.Errorf("%x: %v %x %x", request, k.err, k.toHost, k.answers)
		}
		if op := k.operations(); len(op) != 1 || !op[0].Denied || op[0].Status != "operation unsupported" {
			t.Errorf("%+v", op)
		}
	}
}

// OpenSSH's server reads the fields of a short packet out of the next one, and does what they say before it notices.
func TestShortPackets(t *testing.T) {
	requests := map[string][]byte{}
	for name, request := range mutating(7) {
		if !strings.HasPrefix(name, "open") {
			requests[name] = request
		}
	}
	requests["open"] = packet(typeOpen, 7, "a", openRead, attrSize|attrOwner|attrMode|attrTimes, uint64(0), 0, 0, 0, 0, 0)
	requests["extended attributes"] = packet(typeSetstat, 7, "a", uint32(attrExtended), 2, "a", "b", "c", "d")
	for name, request := range requests {
		for cut := headID - 1; cut < len(request); cut++ {
			short := bytes.Clone(request[:cut])
			short[3] = byte(cut - 4)
			k := begun(t, both)
			k.user(append(short, request...))
			// What follows the last field is nobody's.
			if extra := name == "rename with flags" && cut >= len(request)-4; len(k.toHost) > 0 && !extra {
				t.Fatalf("%s: %x passes", name, short)
			}
		}
	}
}

func TestNotTheProtocol(t *testing.T) {
	user, host := (*talk).user, (*talk).host
	type step struct {
		who func(*talk, []byte)
		b   []byte
	}
	open := []step{{user, packet(typeOpen, 1, "a", openRead, 0)}, {host, handleIs(1, "h")}}
	read := append(slices.Clone(open), step{user, packet(typeRead, 2, "h", uint64(0), 10)})
	after := func(steps []step, more ...step) []step { return append(slices.Clone(steps), more...) }
	for name, steps := range map[string][]step{
		"nothing long":             {{user, []byte{0, 0, 0, 0, typeStat}}},
		"too long":                 {{user, []byte{0, 4, 4, 1}}},
		"a shell's greeting":       {{host, []byte("Welcome to phi1\n")}},
		"no id":                    {{user, packet(typeStat)}},
		"INIT again":               {{user, hello}},
		"VERSION again":            {{host, helloBack}},
		"VERSION by the client":    {{user, helloBack}},
		"STATUS by the client":     {{user, status(1, 0, "")}},
		"DATA by the client":       {{user, packet(typeData, 1, "x")}},
		"an id twice":              after(read, step{user, packet(typeRead, 2, "h", uint64(0), 10)}),
		"an id for another":        after(read, step{user, packet(typeStat, 2, "a")}),
		"an answer not asked":      {{host, status(9, 0, "")}},
		"an answer twice":          after(read, step{host, packet(typeData, 2, "x")}, step{host, packet(typeData, 2, "x")}),
		"more than asked":          after(read, step{host, packet(typeData, 2, strings.Repeat("x", 11))}),
		"less than it says":        after(read, step{host, packet(typeData, 2, 11)}),
		"HANDLE for READ":          after(read, step{host, handleIs(2, "h")}),
		"NAME for READ":            after(read, step{host, packet(typeName, 2, 0)}),
		"DATA for STAT":            {{user, packet(typeStat, 1, "a")}, {host, packet(typeData, 1, "secret")}},
		"DATA for WRITE":           {{user, packet(typeWrite, 1, "h", uint64(0), "x")}, {host, packet(typeData, 1, "secret")}},
		"DATA for CLOSE":           after(open, step{user, packet(typeClose, 2, "h")}, step{host, packet(typeData, 2, "secret")}),
		"ATTRS for OPEN":           {{user, packet(typeOpen, 1, "a", openRead, 0)}, {host, packet(typeAttrs, 1, 0)}},
		"HANDLE for STAT":          {{user, packet(typeStat, 1, "a")}, {host, handleIs(1, "h")}},
		"a reply for REMOVE":       {{user, packet(typeRemove, 1, "a")}, {host, packet(typeExtendedReply, 1)}},
		"a handle given out twice": after(open, step{user, packet(typeOpen, 2, "b", openRead, 0)}, step{host, handleIs(2, "h")}),
		"a directory's handle too": after(open, step{user, packet(typeOpendir, 2, "b")}, step{host, handleIs(2, "h")}),
		"a long handle":            {{user, packet(typeOpen, 1, "a", openRead, 0)}, {host, handleIs(1, strings.Repeat("h", 257))}},
		"names that are not there": after(open[:0], step{user, packet(typeRealpath, 1, "a")}, step{host, packet(typeName, 1, uint32(1<<32-1), "a", "b", 0)}),
		"STATUS without a code":    after(read, step{host, packet(typeStatus, 2)}),
		"a request by the host":    {{host, packet(typeStat, 1, "a")}},
	} {
		k := begun(t, both)
		for i, s := range steps {
			toHost, toUser := len(k.toHost), len(k.toUser)
			s.who(k, s.b)
			if last := i == len(steps)-1; last != (k.err != nil) {
				t.Errorf("%s: step %d: %v", name, i, k.err)
			} else if last && (len(k.toHost) != toHost || len(k.toUser) != toUser) {
				t.Errorf("%s: it passes", name)
			}
		}
		k.close()
		for _, f := range k.files() {
			if f.Status == "ok" {
				t.Errorf("%s: %+v", name, f)
			}
		}
	}
}

func TestBeginning(t *testing.T) {
	for name, test := range map[string]struct{ user, host []byte }{
		"a request first":          {packet(typeStat, 1, "a"), nil},
		"INIT without a version":   {packet(typeInit), nil},
		"VERSION without INIT":     {nil, helloBack},
		"STATUS for INIT":          {hello, status(0, 4, "")},
		"VERSION without version":  {hello, packet(typeVersion)},
		"half an extension":        {hello, packet(typeVersion, 3, "limits@openssh.com")},
		"version 6":                {hello, packet(typeVersion, 6)},
		"version 2":                {packet(typeInit, 2), packet(typeVersion, 2)},
		"a shell at the other end": {[]byte("ls -l\n"), nil},
	} {
		k := newTalk(t, both)
		if test.user != nil {
			k.user(test.user)
		}
		if test.host != nil {
			k.host(test.host)
		}
		if k.err == nil || k.toUser != nil {
			t.Errorf("%s: %v, %x", name, k.err, k.toUser)
		}
	}
}

// A handle does not carry a capability: what may be done with it is asked of every request.
func TestWriteOnHandleForReading(t *testing.T) {
	k := begun(t, both)
	k.ask(packet(typeOpen, 1, "a", openRead, noAttrs), handleIs(1, "h"))
	k.ask(packet(typeWrite, 2, "h", uint64(0), "evil"), status(2, 4, "Failure"))
	k.ask(packet(typeClose, 3, "h"), status(3, 0, ""))
	if got := k.files(); len(got) != 1 || got[0].Written.Bytes != 4 || got[0].Status != "write: failure" {
		t.Errorf("%+v", got)
	}
	k = begun(t, readOnly)
	k.ask(packet(typeOpen, 1, "a", openRead, noAttrs), handleIs(1, "h"))
	toHost := len(k.toHost)
	k.user(packet(typeWrite, 2, "h", uint64(8), "evil"))
	if op := k.operations(); len(k.toHost) != toHost || len(op) != 1 || op[0].Path != "a" || op[0].Detail != "file 1, 4 bytes at 8" || !op[0].Denied {
		t.Errorf("%+v", op)
	}
	if raw, missing := replayed(t, k.frames, 0); missing != 4 || len(raw) != len(k.toHost)+len(packet(typeWrite, 2, "h", uint64(8), "")) {
		t.Errorf("%d bytes on record, %d not", len(raw), missing)
	}
}
