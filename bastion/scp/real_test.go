package scp

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"postern/recorder"
)

// world is a host, which is a directory, and a client with another one.
type world struct {
	*testing.T
	host, client, trace string
}

func newWorld(t *testing.T) *world {
	w := &world{T: t, host: t.TempDir(), client: t.TempDir()}
	w.trace = filepath.Join(t.TempDir(), "trace")
	return w
}

// scp runs the real one. Its paths are relative to the client, those after "host:" to the host.
func (w *world) scp(args ...string) (said string, status int) {
	w.Helper()
	self, err := os.Executable()
	if err != nil {
		w.Fatal(err)
	}
	os.Remove(w.trace)
	cmd := exec.Command("scp", append([]string{"-O", "-S", self}, args...)...)
	cmd.Dir, cmd.Env = w.client, append(os.Environ(), "SCP_TEST_HOME="+w.host, "SCP_TEST_TRACE="+w.trace, "LC_ALL=C.UTF-8", "GORACE=atexit_sleep_ms=0")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		w.Fatalf("this needs OpenSSH's scp (apt install openssh-client): %v", err)
	}
	if strings.Contains(string(out), "relay:") {
		w.Fatalf("scp %q: %s", args, out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (w *world) must(args ...string) {
	w.Helper()
	if said, status := w.scp(args...); status != 0 || said != "" {
		w.Fatalf("scp %q: status %d: %s", args, status, said)
	}
}

func (w *world) write(root, name, contents string) {
	w.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(contents), 0o644); err != nil {
		w.Fatal(err)
	}
}

func (w *world) want(root, name, contents string) {
	w.Helper()
	if b, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(b) != contents {
		w.Errorf("%s is %.100q, want %.100q (%v)", name, b, contents, err)
	}
}

// events are what was recorded of the last scp.
func (w *world) events() (files []recorder.File, operations []recorder.Operation) {
	w.Helper()
	b, err := os.ReadFile(w.trace)
	if err != nil {
		w.Fatal(err)
	}
	for decoder := json.NewDecoder(bytes.NewReader(b)); ; {
		var f recorder.Frame
		if err := decoder.Decode(&f); err == io.EOF {
			return files, operations
		} else if err != nil {
			w.Fatal(err)
		}
		files, operations = event(w.T, f, files, operations)
	}
}

func event(t *testing.T, f recorder.Frame, files []recorder.File, operations []recorder.Operation) ([]recorder.File, []recorder.Operation) {
	t.Helper()
	e, err := f.Event()
	if err != nil {
		t.Fatal(err)
	}
	switch e.Name {
	case recorder.EventFile:
		files = append(files, recorder.File{})
		err = json.Unmarshal(e.JSON, &files[len(files)-1])
	case recorder.EventOperation:
		operations = append(operations, recorder.Operation{})
		err = json.Unmarshal(e.JSON, &operations[len(operations)-1])
	}
	if err != nil {
		t.Fatal(err)
	}
	return files, operations
}

// transferred checks that the last scp was one file with these contents.
func (w *world) transferred(path, contents string) {
	w.Helper()
	files, _ := w.events()
	if len(files) != 1 {
		w.Fatalf("%d files, want one: %+v", len(files), files)
	}
	w.file(files[0], path, contents)
}

func (w *world) file(f recorder.File, path, contents string) {
	w.Helper()
	moved, access := f.Read, "read"
	if moved == nil {
		moved, access = f.Written, "write create truncate"
	}
	hash := sha256.Sum256([]byte(contents))
	if f.Path != path || f.Status != "ok" || f.Access != access || moved == nil || moved.Bytes != uint64(len(contents)) || moved.SHA256 != hex.EncodeToString(hash[:]) || *f.Size != moved.Bytes {
		w.Errorf("%+v %+v, want %s with %d bytes", f, moved, path, len(contents))
	}
}

func TestUpload(t *testing.T) {
	w := newWorld(t)
	w.write(w.client, "a", "hello\n")
	w.must("a", "host:b")
	w.want(w.host, "b", "hello\n")
	w.transferred("b/a", "hello\n") // whether b is a directory, only the host knows
	w.must("a", "host:")
	w.want(w.host, "a", "hello\n")
	w.transferred("./a", "hello\n")
}

func TestDownload(t *testing.T) {
	w := newWorld(t)
	w.write(w.host, "dir/a", "hello\n")
	w.must("host:dir/a", "b")
	w.want(w.client, "b", "hello\n")
	w.transferred("dir/a", "hello\n")
	if files, _ := w.events(); files[0].Mode != 0o644 || !files[0].Read.End {
		t.Errorf("%+v", files[0])
	}
}

func TestEmptyFiles(t *testing.T) {
	w := newWorld(t)
	w.write(w.host, "a", "")
	w.must("host:a", "b")
	w.want(w.client, "b", "")
	w.transferred("a", "")
	w.must("b", "host:c")
	w.want(w.host, "c", "")
	w.transferred("c/b", "")
}

func TestBigFile(t *testing.T) {
	w := newWorld(t)
	big := strings.Repeat("0123456789abcde\n", 1<<18)
	w.write(w.host, "big", big)
	w.must("host:big", "copy")
	w.want(w.client, "copy", big)
	w.transferred("big", big)
	w.must("copy", "host:big2")
	w.want(w.host, "big2", big)
	w.transferred("big2/copy", big)
}

// Several files at once, times and modes kept, and names that a shell would stumble over.
func TestNames(t *testing.T) {
	names := []string{"with space", "it's", `"double"`, "semi;colon", "$(id)", "caf\u00e9 \u65e5\u672c", "tab\there", "Icon\r", "back\\slash", "-dash", "*", "latin\xe9"}
	w := newWorld(t)
	for _, name := range names {
		w.write(w.client, name, "contents of "+name)
	}
	w.must(append(append([]string{"-p", "--"}, names...), "host:.")...)
	files, _ := w.events()
	if len(files) != len(names) {
		t.Fatalf("%d files", len(files))
	}
	for i, name := range names {
		w.want(w.host, name, "contents of "+name)
		w.file(files[i], "./"+strings.ToValidUTF8(name, "\ufffd"), "contents of "+name)
	}
	if last := files[len(files)-1]; string(last.PathBytes) != "./latin\xe9" {
		t.Errorf("%q", last.PathBytes)
	}
	back := t.TempDir()
	for typed, name := range map[string]string{`with\ space`: "with space", `"it's"`: "it's", `'"double"'`: `"double"`, "'semi;colon'": "semi;colon", "'$(id)'": "$(id)", "'caf\u00e9 \u65e5\u672c'": "caf\u00e9 \u65e5\u672c"} {
		w.must("-T", "host:"+typed, back) // else scp compares the name with the quotes
		w.want(back, name, "contents of "+name)
		w.transferred(name, "contents of "+name)
	}
}

func TestPattern(t *testing.T) {
	w := newWorld(t)
	w.write(w.host, "d/a.txt", "a")
	w.write(w.host, "d/b.txt", "b")
	w.write(w.host, "d/c.bin", "c")
	w.must("host:d/*.txt", ".")
	files, _ := w.events()
	if len(files) != 2 {
		t.Fatalf("%+v", files)
	}
	w.file(files[0], "d/a.txt", "a")
	w.file(files[1], "d/b.txt", "b")
	w.want(w.client, "b.txt", "b")
}

func TestRecursive(t *testing.T) {
	w := newWorld(t)
	w.write(w.host, "top/a", "a")
	w.write(w.host, "top/deep/er/b", "b")
	w.write(w.host, "top/empty/x", "")
	w.must("-r", "-p", "host:top", "copy")
	w.want(w.client, "copy/deep/er/b", "b")
	files, operations := w.events()
	got := map[string]int{}
	for _, f := range files {
		got[f.Path]++
	}
	begun, answered, ended := map[string]int{}, map[string]int{}, map[string]int{}
	for _, o := range operations {
		switch {
		case o.Name == "directory" && o.Status == "":
			begun[o.Path]++
		case o.Name == "directory" && o.Status == "ok" && o.Detail == "mode 0755":
			answered[o.Path]++
		case o.Name == "end of directory" && o.Status == "ok":
			ended[o.Path]++
		default:
			t.Errorf("%+v", o)
		}
	}
	want := map[string]int{"top": 1, "top/deep": 1, "top/deep/er": 1, "top/empty": 1}
	if fmt.Sprint(begun) != fmt.Sprint(want) || fmt.Sprint(answered) != fmt.Sprint(want) || fmt.Sprint(ended) != fmt.Sprint(want) {
		t.Errorf("begun %v, answered %v, ended %v", begun, answered, ended)
	}
	if fmt.Sprint(got) != fmt.Sprint(map[string]int{"top/a": 1, "top/deep/er/b": 1, "top/empty/x": 1}) {
		t.Errorf("files %v", got)
	}
	w.must("-rp", "copy", "host:up")
	w.want(w.host, "up/deep/er/b", "b")
	if before, after := stat(t, w.host, "top/a"), stat(t, w.host, "up/a"); !before.ModTime().Equal(after.ModTime()) && before.ModTime().Unix() != after.ModTime().Unix() {
		t.Error("times are lost")
	}
}

func stat(t *testing.T, root, name string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// What is missing is said by the sender, and the rest goes on.
func TestMissing(t *testing.T) {
	w := newWorld(t)
	w.write(w.client, "there", "x")
	said, status := w.scp("gone", "there", "host:.")
	if status == 0 || !strings.Contains(said, "gone: No such file") {
		t.Errorf("%d %s", status, said)
	}
	w.want(w.host, "there", "x")
	w.transferred("./there", "x")
	if _, operations := w.events(); len(operations) != 1 || operations[0].Detail != "from the client" || !strings.Contains(operations[0].Status, "gone: No such file") {
		t.Errorf("%+v", operations)
	}
	said, status = w.scp("host:nothing", ".")
	if status == 0 || !strings.Contains(said, "nothing: No such file") {
		t.Errorf("%d %s", status, said)
	}
	files, operations := w.events()
	if len(files) != 0 || len(operations) != 1 || operations[0].Name != "message" || operations[0].Path != "nothing" || operations[0].Status != "scp: nothing: No such file or directory" {
		t.Errorf("%+v %+v", files, operations)
	}
}

// One that may not be written is passed over, one that cannot be read is said; the others arrive.
func TestRefusedInTheMiddle(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c"} {
		w.write(w.client, name, name)
	}
	w.write(w.host, "b/in the way", "")
	said, status := w.scp("a", "b", "c", "host:.")
	if status == 0 || !strings.Contains(said, "b: Is a directory") {
		t.Errorf("%d %s", status, said)
	}
	w.want(w.host, "c", "c")
	files, _ := w.events()
	if len(files) != 3 || !strings.Contains(files[1].Status, "Is a directory") || files[1].Written != nil {
		t.Fatalf("%+v", files)
	}
	w.file(files[0], "./a", "a")
	w.file(files[2], "./c", "c")

	w.write(w.host, "d/1", "1")
	w.write(w.host, "d/2/x", "")
	w.write(w.host, "d/3", "3")
	said, status = w.scp("host:d/*", ".")
	if status == 0 || !strings.Contains(said, "d/2: not a regular file") {
		t.Errorf("%d %s", status, said)
	}
	files, operations := w.events()
	if len(files) != 2 || len(operations) != 1 || files[1].Path != "d/3" || files[1].Status != "ok" {
		t.Errorf("%+v %+v", files, operations)
	}

	if err := os.MkdirAll(filepath.Join(w.client, "local", "1"), 0o755); err != nil {
		t.Fatal(err)
	}
	if said, status = w.scp("host:d/?", "local"); status == 0 || !strings.Contains(said, "1: Is a directory") {
		t.Errorf("%d %s", status, said)
	}
	if files, _ = w.events(); len(files) != 2 || !strings.Contains(files[0].Status, "Is a directory") || files[0].Read != nil || files[1].Status != "ok" {
		t.Errorf("%+v", files)
	}
}

func TestTargetIsNoDirectory(t *testing.T) {
	w := newWorld(t)
	w.write(w.client, "a", "a")
	w.write(w.client, "b", "b")
	w.write(w.host, "file", "")
	said, status := w.scp("a", "b", "host:file")
	if status == 0 || !strings.Contains(said, "file: Not a directory") {
		t.Errorf("%d %s", status, said)
	}
	if _, operations := w.events(); len(operations) != 1 || operations[0].Detail != "from the host" {
		t.Errorf("%+v", operations)
	}
	if said, status = w.scp("a", "host:two words"); status == 0 || !strings.Contains(said, "ambiguous target") {
		t.Errorf("%d %s", status, said)
	}
}
