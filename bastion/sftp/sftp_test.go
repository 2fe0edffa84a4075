package sftp

import (
	"bytes"
	"reflect"
	"slices"
	"strings"
	"testing"

	"postern/recorder"
)

func TestVersionLosesWhatIsNotGranted(t *testing.T) {
	for _, test := range []struct {
		c    Config
		want []byte
	}{
		{both, packet(typeVersion, 3, "posix-rename@openssh.com", "1", "statvfs@openssh.com", "2", "limits@openssh.com", "1")},
		{readOnly, packet(typeVersion, 3, "statvfs@openssh.com", "2", "limits@openssh.com", "1")},
		{writeOnly, packet(typeVersion, 3, "posix-rename@openssh.com", "1", "statvfs@openssh.com", "2", "limits@openssh.com", "1")},
	} {
		k := newTalk(t, test.c)
		k.user(packet(typeInit, 6))
		k.host(helloUnknown)
		if k.err != nil || !bytes.Equal(k.toHost, hello) || !bytes.Equal(k.toUser, test.want) {
			t.Errorf("%+v: %v, the host got %q, the client %q", test.c, k.err, k.toHost, k.toUser)
		}
	}
}

// A file that is read in order, with the short answer and the second request that OpenSSH makes of it.
func TestRead(t *testing.T) {
	whole := contents(250)
	k := begun(t, readOnly)
	k.ask(packet(typeOpen, 1, "/srv/a", openRead, noAttrs), handleIs(1, "h"))
	k.user(packet(typeRead, 2, "h", uint64(0), 200))
	k.user(packet(typeRead, 3, "h", uint64(200), 200))
	k.host(packet(typeData, 2, string(whole[:200])))
	k.host(packet(typeData, 3, string(whole[200:])))
	k.ask(packet(typeRead, 4, "h", uint64(250), 150), status(4, statusEOF, "End of file"))
	k.ask(packet(typeClose, 5, "h"), status(5, 0, "Success"))
	want := recorder.File{Number: 1, Protocol: "sftp", Path: "/srv/a", Access: "read", Keep: "full", Status: "ok",
		Read: &recorder.Transfer{Bytes: 250, SHA256: sum(whole), End: true}}
	if got := k.files(); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("%+v", got)
	}
	if len(k.operations()) != 0 {
		t.Errorf("%+v", k.operations())
	}
}

func TestWrite(t *testing.T) {
	whole := contents(250)
	k := begun(t, writeOnly)
	k.ask(packet(typeOpen, 1, "/srv/a", openWrite|openCreate|openTruncate, attrMode, 0o100640), handleIs(1, "h"))
	k.user(packet(typeWrite, 2, "h", uint64(0), string(whole[:200])))
	k.user(packet(typeWrite, 3, "h", uint64(200), string(whole[200:])))
	k.host(status(2, 0, ""))
	k.host(status(3, 4, "No space left on device"))
	k.ask(packet(typeFsetstat, 4, "h", attrMode|attrTimes, 0o644, 1, 2), status(4, 0, "Success"))
	k.ask(packet(typeClose, 5, "h"), status(5, 0, "Success"))
	want := recorder.File{Number: 1, Protocol: "sftp", Path: "/srv/a", Access: "write create truncate", Mode: 0o640, Keep: "full",
		Status: "write: failure: No space left on device", Written: &recorder.Transfer{Bytes: 250, SHA256: sum(whole)}}
	if got := k.files(); len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("%+v", got)
	}
	op := recorder.Operation{Number: 1, Name: "fsetstat", Path: "/srv/a", Detail: "file 1, mode 0644, times 1970-01-01T00:00:01Z 1970-01-01T00:00:02Z"}
	answered := op
	answered.Status = "ok"
	if got := k.operations(); !reflect.DeepEqual(got, []recorder.Operation{op, answered}) {
		t.Errorf("%+v", got)
	}
}

// Every other request, its answer, and the events of it.
func TestOperations(t *testing.T) {
	type op = recorder.Operation
	name := func(id int, names ...string) []byte {
		parts := []any{id, len(names)}
		for _, n := range names {
			parts = append(parts, n, "-rw "+n, attrMode, 0o644)
		}
		return packet(typeName, parts...)
	}
	for _, test := range []struct {
		request, answer []byte
		told            op
		twice           bool
	}{
		{packet(typeStat, 1, "a"), packet(typeAttrs, 1, 0), op{Name: "stat", Path: "a", Status: "ok"}, false},
		{packet(typeLstat, 1, "a"), status(1, 2, "No such file"), op{Name: "lstat", Path: "a", Status: "no such file"}, false},
		{packet(typeFstat, 1, "x"), status(1, 4, "Failure"), op{Name: "fstat", Detail: "handle 78, not seen opened", Status: "failure"}, false},
		{packet(typeSetstat, 1, "a", attrSize|attrOwner, uint64(7), 1, 2), status(1, 0, ""), op{Name: "setstat", Path: "a", Detail: "size 7, uid 1 gid 2", Status: "ok"}, true},
		{packet(typeSetstat, 1, "a", uint32(attrExtended), 1, "k", "v"), status(1, 99, "Unknown error"), op{Name: "setstat", Path: "a", Detail: "1 extended", Status: "status 99"}, true},
		{packet(typeRemove, 1, "a"), status(1, 3, "Permission denied"), op{Name: "remove", Path: "a", Status: "permission denied"}, true},
		{packet(typeMkdir, 1, "a", attrMode, 0o755), status(1, 0, "OK"), op{Name: "mkdir", Path: "a", Detail: "mode 0755", Status: "ok"}, true},
		{packet(typeRmdir, 1, "a"), status(1, 4, "Directory not empty"), op{Name: "rmdir", Path: "a", Status: "failure: Directory not empty"}, true},
		{packet(typeRealpath, 1, "."), name(1, "/home/a"), op{Name: "realpath", Path: ".", To: "/home/a", Status: "ok"}, false},
		{packet(typeReadlink, 1, "l"), name(1, "\xff"), op{Name: "readlink", Path: "l", To: "\ufffd", ToBytes: []byte{0xff}, Status: "ok"}, false},
		{packet(typeRename, 1, "a", "b"), status(1, 0, ""), op{Name: "rename", Path: "a", To: "b", Status: "ok"}, true},
		{packet(typeSymlink, 1, "target", "link"), status(1, 0, ""), op{Name: "symlink", Path: "link", To: "target", Status: "ok"}, true},
		{packet(typeOpendir, 1, "d"), status(1, 2, ""), op{Name: "opendir", Path: "d", Status: "no such file"}, false},
		{packet(typeReaddir, 1, "x"), name(1, "a", "b"), op{Name: "readdir", Detail: "handle 78, not seen opened", Entries: 2, Status: "ok"}, false},
		{packet(typeClose, 1, "x"), status(1, 4, ""), op{Name: "close", Detail: "handle 78, not seen opened", Status: "failure"}, false},
		{packet(typeExtended, 1, "posix-rename@openssh.com", "a", "b"), status(1, 0, ""), op{Name: "posix-rename@openssh.com", Path: "a", To: "b", Status: "ok"}, true},
		{packet(typeExtended, 1, "statvfs@openssh.com", "a"), packet(typeExtendedReply, 1, "whatever"), op{Name: "statvfs@openssh.com", Path: "a", Status: "ok"}, false},
		{packet(typeExtended, 1, "fstatvfs@openssh.com", "x"), status(1, 4, ""), op{Name: "fstatvfs@openssh.com", Detail: "handle 78, not seen opened", Status: "failure"}, false},
		{packet(typeExtended, 1, "hardlink@openssh.com", "a", "b"), status(1, 0, ""), op{Name: "hardlink@openssh.com", Path: "a", To: "b", Status: "ok"}, true},
		{packet(typeExtended, 1, "fsync@openssh.com", "x"), status(1, 4, ""), op{Name: "fsync@openssh.com", Detail: "handle 78, not seen opened", Status: "failure"}, false},
		{packet(typeExtended, 1, "lsetstat@openssh.com", "a", attrMode, 0o700), status(1, 0, ""), op{Name: "lsetstat@openssh.com", Path: "a", Detail: "mode 0700", Status: "ok"}, true},
		{packet(typeExtended, 1, "limits@openssh.com"), packet(typeExtendedReply, 1), op{Name: "limits@openssh.com", Status: "ok"}, false},
		{packet(typeExtended, 1, "expand-path@openssh.com", "~b"), name(1, "/home/b"), op{Name: "expand-path@openssh.com", Path: "~b", To: "/home/b", Status: "ok"}, false},
		{packet(typeExtended, 1, "home-directory", "b"), name(1, "/home/b"), op{Name: "home-directory", To: "/home/b", Detail: `user "b"`, Status: "ok"}, false},
		{packet(typeExtended, 1, "users-groups-by-id@openssh.com", "\x00\x00\x00\x00", ""), packet(typeExtendedReply, 1, "", ""), op{Name: "users-groups-by-id@openssh.com", Status: "ok"}, false},
		{packet(typeExtended, 1, "copy-data", "x", uint64(1), uint64(0), "y", uint64(2)), status(1, 4, ""),
			op{Name: "copy-data", Detail: "handle 78, not seen opened, from 1, to handle 79, not seen opened at 2, all that follows", Status: "failure"}, true},
	} {
		k := begun(t, both)
		k.ask(test.request, test.answer)
		test.told.Number = 1
		want := []op{test.told}
		if test.twice {
			asked := test.told
			asked.Status = ""
			want = []op{asked, test.told}
		}
		if got := k.operations(); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", test.told.Name, got, want)
		}
		k.settled()
	}
}

func TestDirectory(t *testing.T) {
	entry := func(id int) []byte {
		return packet(typeName, id, 2, "a", "-rw a", 0, "b", "-rw b", attrSize|attrTimes, uint64(1), 2, 3)
	}
	for _, end := range []bool{true, false} {
		k := begun(t, readOnly)
		k.ask(packet(typeOpendir, 1, "/srv"), handleIs(1, "d"))
		k.ask(packet(typeReaddir, 2, "d"), entry(2))
		k.ask(packet(typeReaddir, 3, "d"), entry(3))
		want := recorder.Operation{Number: 1, Name: "opendir", Path: "/srv", Entries: 4, Status: "ok", Detail: "not to the end"}
		if end {
			k.ask(packet(typeReaddir, 4, "d"), status(4, statusEOF, "End of file"))
			want.Detail = ""
		}
		if len(k.operations()) != 0 {
			t.Errorf("too early: %+v", k.operations())
		}
		k.ask(packet(typeClose, 5, "d"), status(5, 0, ""))
		if got := k.operations(); !reflect.DeepEqual(got, []recorder.Operation{want}) {
			t.Errorf("%+v", got)
		}
		k.settled()
	}
}

// settled checks that nothing is held for what is over.
func (k *talk) settled() {
	k.t.Helper()
	k.accounted()
	if k.d.held != 0 || len(k.d.live)+len(k.d.pending)+len(k.d.transfers)+len(k.d.handles)+len(k.d.strays) != 0 {
		k.t.Errorf("%d bytes are still held: %d handles, %d requests", k.d.held, len(k.d.live), len(k.d.pending))
	}
}

// accounted checks that held is what is held.
func (k *talk) accounted() {
	k.t.Helper()
	held := 0
	for _, r := range k.d.pending {
		held += r.cost
	}
	for h := range k.d.live {
		held += h.cost
	}
	if held != k.d.held {
		k.t.Fatalf("%d bytes are held, %d accounted for", held, k.d.held)
	}
}

func TestOpenThatFails(t *testing.T) {
	k := begun(t, both)
	k.ask(packet(typeOpen, 1, "/etc/shadow", openRead|openWrite|openAppend|openExclusive, noAttrs), status(1, 3, "Permission denied"))
	got := k.files()
	if len(got) != 1 || got[0].Status != "permission denied" || got[0].Denied || got[0].Access != "read write append exclusive" || got[0].Read != nil {
		t.Errorf("%+v", got)
	}
	k.settled()
}

func TestPathsThatAreNotText(t *testing.T) {
	long := strings.Repeat("x", 5000)
	k := begun(t, both)
	k.ask(packet(typeOpen, 1, "caf\xe9", openRead, noAttrs), handleIs(1, "h"))
	k.ask(packet(typeFstat, 2, "h"), packet(typeAttrs, 2, 0))
	k.ask(packet(typeRename, 3, long, "b"), status(3, 2, ""))
	k.ask(packet(typeOpen, 4, long, openRead, noAttrs), handleIs(4, "l"))
	k.ask(packet(typeFstat, 5, "l"), packet(typeAttrs, 5, 0))
	k.close()
	for _, f := range k.files() {
		want := recorder.File{Path: "caf\ufffd", PathBytes: []byte("caf\xe9")}
		if f.Number == 2 {
			want = recorder.File{Path: long[:4096], PathBytes: []byte(long[:4096])}
		}
		if f.Path != want.Path || !bytes.Equal(f.PathBytes, want.PathBytes) || f.Status != "interrupted" {
			t.Errorf("%+v", f)
		}
	}
	ops := k.operations()
	if len(ops) != 4 || !bytes.Equal(ops[0].PathBytes, []byte("caf\xe9")) || len(ops[1].Path) != 4096 || len(ops[1].PathBytes) != 4096 || len(ops[3].Path) != maxBrief {
		t.Errorf("%+v", ops)
	}
}

func TestChannelEndsInTheMiddle(t *testing.T) {
	k := begun(t, both)
	k.ask(packet(typeOpen, 1, "a", openWrite|openCreate, noAttrs), handleIs(1, "a"))
	k.ask(packet(typeOpendir, 2, "d"), handleIs(2, "d"))
	k.ask(packet(typeOpen, 3, "b", openWrite, noAttrs), handleIs(3, "b"))
	k.user(packet(typeWrite, 4, "b", uint64(10), "data"))
	k.user(packet(typeOpen, 5, "c", openRead, noAttrs))
	k.user(packet(typeRemove, 6, "e"))
	k.user(packet(typeStat, 7, "f"))
	k.user(packet(typeClose, 8, "a"))
	k.user(packet(typeWrite, 9, "stray", uint64(0), "x"))
	k.user(packet(typeStat, 10, "g")[:7])
	k.close()
	k.close()
	var got []string
	for _, op := range k.operations() {
		got = append(got, op.Name+" "+op.Path+" "+op.Status)
	}
	if want := []string{"remove e ", "remove e interrupted", "stat f interrupted", "opendir d interrupted"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	got = nil
	for _, f := range k.files() {
		got = append(got, f.Path+" "+f.Status)
		if f.Path == "b" && (f.Written == nil || f.Written.Bytes != 4 || f.Written.Ranges[0] != recorder.Range{From: 10, To: 14}) {
			t.Errorf("%+v", f.Written)
		}
	}
	if want := []string{"a interrupted", "b interrupted", "c interrupted", " interrupted"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if step, err := k.d.Client(nil, packet(typeStat, 11, "h")); err == nil || step.Forward != nil {
		t.Error("goes on after Close")
	}
}

// A host that works on several requests at a time answers CLOSE before the READ it was given earlier, and gives the same handle out again.
func TestAnswersInAnotherOrder(t *testing.T) {
	k := begun(t, readOnly)
	k.ask(packet(typeOpen, 1, "a", openRead, noAttrs), handleIs(1, "h"))
	k.user(packet(typeRead, 2, "h", uint64(0), 5))
	k.user(packet(typeRead, 3, "h", uint64(5), 5))
	k.user(packet(typeClose, 4, "h"))
	k.user(packet(typeOpen, 5, "b", openRead, noAttrs))
	k.host(handleIs(5, "h"))
	k.user(packet(typeRead, 6, "h", uint64(0), 5))
	k.host(packet(typeData, 6, "bbbbb"))
	k.host(status(4, 0, ""))
	k.host(packet(typeData, 3, "22222"))
	if len(k.files()) != 0 {
		t.Errorf("told before it is known: %+v", k.files())
	}
	k.host(packet(typeData, 2, "11111"))
	k.ask(packet(typeClose, 7, "h"), status(7, 0, ""))
	got := k.files()
	if k.err != nil || len(got) != 2 || got[0].Path != "a" || got[0].Read.Bytes != 10 || got[0].Read.SHA256 != "" || got[1].Path != "b" || got[1].Read.SHA256 != sum([]byte("bbbbb")) {
		t.Errorf("%v %+v", k.err, got)
	}
	k.settled()
}

// A client need not wait for a handle that it can guess. What it writes is on record, and stays apart from what the host opened.
func TestHandleThatIsGuessed(t *testing.T) {
	k := begun(t, both)
	k.user(packet(typeOpen, 1, "a", openWrite|openCreate, noAttrs))
	k.user(packet(typeWrite, 2, "\x00\x00\x00\x00", uint64(0), "guess"))
	k.user(packet(typeRead, 3, "\x00\x00\x00\x00", uint64(0), 5))
	k.host(handleIs(1, "\x00\x00\x00\x00"))
	k.host(status(2, 0, ""))
	k.host(packet(typeData, 3, "GUESS"))
	k.ask(packet(typeClose, 4, "\x00\x00\x00\x00"), status(4, 0, ""))
	got := k.files()
	if k.err != nil || len(got) != 2 || got[0].Access != "handle 00000000, not seen opened" || got[0].Status != "ok" || got[0].Written.SHA256 != sum([]byte("guess")) ||
		got[0].Read.SHA256 != sum([]byte("GUESS")) || got[1].Path != "a" || got[1].Written != nil {
		t.Errorf("%v %+v", k.err, got)
	}
	k.settled()
}

// The end of a file is seen only where everything before it was read.
func TestEndOfFile(t *testing.T) {
	for _, test := range []struct {
		offset uint64
		end    bool
	}{{3, true}, {4, false}, {1 << 60, false}} {
		k := begun(t, readOnly)
		k.ask(packet(typeOpen, 1, "a", openRead, noAttrs), handleIs(1, "h"))
		k.ask(packet(typeRead, 2, "h", uint64(0), 5), packet(typeData, 2, "abc"))
		k.ask(packet(typeRead, 3, "h", test.offset, 5), status(3, statusEOF, ""))
		k.ask(packet(typeClose, 4, "h"), status(4, 0, ""))
		if got := k.files(); len(got) != 1 || got[0].Read.End != test.end {
			t.Errorf("at %d: %+v", test.offset, got[0].Read)
		}
	}
}
