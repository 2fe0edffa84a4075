package sftp

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postern/bastion/meter"
	"postern/recorder"
)

// place is a directory with two parts: the client's and the host's.
type place struct {
	t   testing.TB
	dir string
}

func newPlace(t testing.TB) place {
	p := place{t, t.TempDir()}
	for _, part := range []string{"here", "there"} {
		if err := os.Mkdir(filepath.Join(p.dir, part), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p place) write(name string, b []byte) {
	p.t.Helper()
	file := filepath.Join(p.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		p.t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p place) holds(name string, want []byte) {
	p.t.Helper()
	got, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil || !bytes.Equal(got, want) {
		p.t.Errorf("%s holds %d bytes, want %d (%v)", name, len(got), len(want), err)
	}
}

func (p place) missing(names ...string) {
	p.t.Helper()
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(p.dir, name)); err == nil {
			p.t.Errorf("%s is there", name)
		}
	}
}

// byPath finds the only file event of a path, relative to the place.
func (p place) byPath(tr trace, name string) recorder.File {
	p.t.Helper()
	var found []recorder.File
	for _, f := range tr.files(p.t) {
		if strings.HasSuffix(f.Path, name) {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		p.t.Fatalf("%d events for %s: %+v", len(found), name, found)
	}
	return found[0]
}

func TestPutAndGet(t *testing.T) {
	small, large := []byte("small\n"), contents(3<<20+77)
	for _, chunk := range []int{32 << 10, 1000, 1 << 20} {
		p := newPlace(t)
		p.write("here/small", small)
		p.write("here/large", large)
		p.write("here/empty", nil)
		p.write("here/tree/a/b", small)
		p.write("here/tree/c", large[:100_000])
		tr, out, failed := openssh(t, relayConfig{Config: both, Chunk: chunk}, p.dir, `
put here/small there/small
put here/large there/large
put here/empty there/empty
get there/large here/large.back
get there/empty here/empty.back
put -r here/tree there/
get -r there/tree here/tree.back
`)
		if failed {
			t.Fatal(out)
		}
		tr.faithful(t)
		p.holds("there/large", large)
		p.holds("here/large.back", large)
		p.holds("here/empty.back", nil)
		p.holds("here/tree.back/a/b", small)
		p.holds("here/tree.back/c", large[:100_000])
		for _, f := range tr.files(t) {
			want := map[string][]byte{"small": small, "large": large, "empty": nil, "b": small, "c": large[:100_000]}[filepath.Base(f.Path)]
			passed := f.Read
			if f.Written != nil {
				passed = f.Written
			}
			switch {
			case f.Status != "ok", f.Read != nil && (!f.Read.End || f.Access != "read"), f.Written != nil && f.Access != "write create truncate":
				t.Errorf("%+v", f)
			case f.Read != nil && f.Written != nil:
				t.Errorf("both ways: %+v", f)
			case passed == nil && len(want) == 0: // an empty file is not written
			case passed == nil, passed.Bytes != uint64(len(want)), passed.SHA256 != sum(want), passed.Ranges != nil:
				t.Errorf("%s: %+v", f.Path, passed)
			}
		}
		if n := len(tr.files(t)); n != 9 {
			t.Errorf("%d files", n)
		}
	}
}

func TestResume(t *testing.T) {
	whole := contents(300_000)
	p := newPlace(t)
	p.write("here/up", whole)
	p.write("there/up", whole[:100_000])
	p.write("there/down", whole)
	p.write("here/down", whole[:200_000])
	tr, out, failed := openssh(t, relayConfig{Config: both}, p.dir, "reput here/up there/up\nreget there/down here/down\n")
	if failed {
		t.Fatal(out)
	}
	tr.faithful(t)
	p.holds("there/up", whole)
	p.holds("here/down", whole)
	up := p.byPath(tr, "there/up")
	if w := up.Written; w.Bytes != 200_000 || w.SHA256 != sum(whole[100_000:]) || len(w.Ranges) != 1 || w.Ranges[0] != (recorder.Range{From: 100_000, To: 300_000}) || up.Access != "write append create" {
		t.Errorf("%+v %+v", up, w)
	}
	down := p.byPath(tr, "there/down")
	if r := down.Read; r.Bytes != 100_000 || r.SHA256 != sum(whole[200_000:]) || len(r.Ranges) != 1 || r.Ranges[0] != (recorder.Range{From: 200_000, To: 300_000}) {
		t.Errorf("%+v", r)
	}
}

func TestEverythingElse(t *testing.T) {
	p := newPlace(t)
	p.write("there/a", []byte("a"))
	p.write("there/z", []byte("z"))
	tr, out, failed := openssh(t, relayConfig{Config: both}, p.dir, `
cd there
ls -l
mkdir d
rename a d/b
ln -s d/b link
ln d/b hard
chmod 0640 d/b
cp d/b copy
rm hard
df -h
-get nothing
-rmdir d
rm d/b
rmdir d
-ln -s x link
`)
	if failed {
		t.Fatal(out)
	}
	tr.faithful(t)
	p.holds("there/copy", []byte("a"))
	p.missing("there/a", "there/hard", "there/d")
	if to, err := os.Readlink(filepath.Join(p.dir, "there/link")); to != "d/b" {
		t.Error(to, err)
	}
	var got []string
	for _, op := range tr.operations(t) {
		short := func(s string) string { return strings.TrimPrefix(strings.TrimPrefix(s, p.dir), "/there/") }
		if line := fmt.Sprintf("%s %s>%s [%s] %s", op.Name, short(op.Path), short(op.To), op.Detail, op.Status); op.Status != "" && changing(op.Name) {
			got = append(got, line)
		}
	}
	want := []string{
		"mkdir d> [mode 0777] ok",
		"posix-rename@openssh.com a>d/b [] ok",
		"symlink link>d/b [] ok",
		"hardlink@openssh.com d/b>hard [] ok",
		"setstat d/b> [mode 0640] ok",
		"copy-data d/b>copy [file 1, from 0, to file 2 at 0, all that follows] ok",
		"remove hard> [] ok",
		"rmdir d> [] failure",
		"remove d/b> [] ok",
		"rmdir d> [] ok",
		"symlink link>x [] failure",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	listed := false
	for _, op := range tr.operations(t) {
		listed = listed || op.Name == "opendir" && op.Entries == 4 && op.Status == "ok" && op.Detail == ""
	}
	if !listed {
		t.Errorf("no listing of four names: %+v", tr.operations(t))
	}
}

func changing(name string) bool {
	for _, v := range verbs {
		if v.name == name {
			return v.changes
		}
	}
	return extensions[name].changes
}

// With one capability the other direction is refused as a server would, and the session goes on.
func TestOneCapability(t *testing.T) {
	p := newPlace(t)
	p.write("there/a", []byte("a"))
	p.write("here/b", []byte("b"))
	tr, out, failed := openssh(t, relayConfig{Config: readOnly}, p.dir, `
-put here/b there/b
-rm there/a
-rename there/a there/c
-mkdir there/d
-ln there/a there/c
-ln -s there/a there/c
-chmod 600 there/a
-cp there/a there/c
ls there
get there/a here/a
`)
	if failed || strings.Count(strings.ToLower(out), "permission denied") != 6 || strings.Count(out, "does not support") != 2 {
		t.Error(out)
	}
	tr.recorded(t)
	p.holds("here/a", []byte("a"))
	p.holds("there/a", []byte("a"))
	p.missing("there/b", "there/c", "there/d")
	if f := p.byPath(tr, "there/b"); !f.Denied || f.Status != "permission denied" {
		t.Errorf("%+v", f)
	}
	var refused []string
	for _, op := range tr.operations(t) {
		if op.Denied {
			refused = append(refused, op.Name)
		}
	}
	if got := strings.Join(refused, " "); got != "remove rename mkdir symlink setstat" {
		t.Error(got)
	}

	tr, out, failed = openssh(t, relayConfig{Config: writeOnly}, p.dir, `
put here/b there/b
mkdir there/d
cd there
put here/b d/
-get b
-ls
rename b c
-get -r d
`)
	if failed || strings.Count(strings.ToLower(out), "permission denied") < 3 {
		t.Error(out)
	}
	tr.recorded(t)
	p.holds("there/c", []byte("b"))
	p.holds("there/d/b", []byte("b"))
}

// paramiko asks for a whole file before it reads the first answer.
func TestPrefetch(t *testing.T) {
	whole := contents(10 << 20)
	p := newPlace(t)
	p.write("there/large", whole)
	c := relayConfig{Config: Config{Read: true, Keep: meter.Hash}, Chunk: 32 << 10, Trace: filepath.Join(p.dir, "trace")}
	script := `
import paramiko, socket, subprocess, sys
from paramiko.sftp_file import SFTPFile
class Pipe(socket.socket):
    def get_name(self): return "pipe"
ours, theirs = socket.socketpair()
relay = subprocess.Popen([sys.argv[1]], stdin=theirs, stdout=theirs)
theirs.close()
ours = Pipe(fileno=ours.detach())
SFTPFile.MAX_REQUEST_SIZE = 512
sftp = paramiko.SFTPClient(ours)
sftp.get("there/large", "here/large")
ours.shutdown(socket.SHUT_RDWR)
sys.exit(relay.wait())
`
	cmd := exec.Command("/usr/bin/python3", "-c", script, self(t))
	cmd.Dir = p.dir
	program(t, cmd, c)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	tr := readTrace(t, c.Trace)
	p.holds("here/large", whole)
	// It asks again for what it wants to read before it has asked for it in advance; then nothing is in order.
	f := p.byPath(tr, "there/large")
	once := f.Read.Bytes == uint64(len(whole))
	if f.Status != "ok" || f.Read.Bytes < uint64(len(whole)) || once != (f.Read.SHA256 == sum(whole)) {
		t.Errorf("%+v %+v", f, f.Read)
	}
}
