package bastion

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// grantOnly lets sessions do only that.
func grantOnly(w *world, capabilities ...string) {
	w.answer(func(r *control.OpenReply) {
		r.Capabilities = capabilities
		r.Record = control.Record{Files: "head", Streams: 100_000, Forwards: 1000}
	})
}

func randomFile(w *world, name string, size int) []byte {
	data := make([]byte, size)
	_, _ = rand.Read(data)
	w.write(name, string(data))
	return data
}

func hexSum(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Reading is granted: everything that changes something is answered as a server answers, and the session goes on.
func TestReadingOverSFTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	grantOnly(w, "sftp-read")
	data := randomFile(w, "there", 300_000)
	w.write("here", "x")
	w.write("victim", "still here")
	for _, way := range ways {
		batch := strings.NewReplacer("DIR", w.dir, "WAY", way).Replace(`-put DIR/here DIR/written
-rename DIR/victim DIR/moved
-rm DIR/victim
-mkdir DIR/made
-rmdir DIR/made
-ln DIR/victim DIR/hard
-symlink DIR/victim DIR/soft
-chmod 777 DIR/victim
-copy DIR/victim DIR/copied
-reput DIR/here DIR/victim
ls -l DIR
get DIR/there DIR/got-WAY
`)
		got := w.run(batch, "sftp", "-b", "-", way)
		if got.status != 0 || !strings.Contains(got.out, "victim") {
			t.Errorf("%s: %+v", way, got)
		}
		if n := strings.Count(got.err, "ermission denied"); n < 7 {
			t.Errorf("%s: permission denied %d times:\n%s", way, n, got.err)
		}
		if copied, _ := os.ReadFile(w.file("got-" + way)); !bytes.Equal(copied, data) {
			t.Errorf("%s: got %d bytes", way, len(copied))
		}
		for _, name := range []string{"written", "moved", "made", "hard", "soft", "copied"} {
			if _, err := os.Lstat(w.file(name)); err == nil {
				t.Errorf("%s: %s is there", way, name)
			}
		}
		if b, _ := os.ReadFile(w.file("victim")); string(b) != "still here" {
			t.Errorf("%s: the victim reads %q", way, b)
		}
		frames := w.recording(w.ending().Session)
		denied := 0
		for _, o := range events[recorder.Operation](t, frames, recorder.EventOperation) {
			if o.Denied {
				denied++
			}
		}
		var got1 *recorder.File
		for _, f := range events[recorder.File](t, frames, recorder.EventFile) {
			if f.Denied {
				denied++
			} else if strings.HasSuffix(f.Path, "/there") {
				got1 = &f
			}
		}
		if denied < 6 {
			t.Errorf("%s: %d refusals are recorded", way, denied)
		}
		if got1 == nil || got1.Status != "ok" || got1.Read == nil || got1.Read.SHA256 != hexSum(data) || got1.Read.Bytes != 300_000 {
			t.Errorf("%s: the file's event: %+v", way, got1)
		}
		kept := 0
		for _, f := range frames {
			if e, err := f.Extent(); err == nil {
				kept += len(e.Kept)
			}
		}
		if kept != 64<<10 {
			t.Errorf("%s: %d bytes of the content are kept", way, kept)
		}
	}
}

// A terminal around SFTP is no way past its decoder.
func TestATerminalIsNoWayAroundAProtocol(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	grantOnly(w, "shell", "sftp-read")
	w.write("victim", "still here")
	_, ch, _ := w.session(t)
	name := func(s string) []byte { return ssh.Marshal(struct{ S string }{s}) }
	raw := name(string([]byte{53, 0, 0, 0, 0, 50, 0, 0, 0, 0, 51, 0, 0, 0, 0, 70, 0, 0, 0, 0, 0})) // no echo, no signals, no lines
	if ok, err := ch.SendRequest("pty-req", true, append(append(name("dumb"), make([]byte, 16)...), raw...)); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if ok, err := ch.SendRequest("subsystem", true, name("sftp")); !ok || err != nil {
		t.Fatal(ok, err)
	}
	path := name(w.file("victim"))
	_, _ = ch.Write([]byte{0, 0, 0, 5, 1, 0, 0, 0, 3})                                     // INIT 3
	_, _ = ch.Write(append([]byte{0, 0, 0, byte(5 + len(path)), 13, 0, 0, 0, 1}, path...)) // REMOVE
	_, _ = ch.Write(append([]byte{0, 0, 0, byte(5 + len(path)), 7, 0, 0, 0, 2}, path...))  // LSTAT
	go func() { _, _ = io.Copy(io.Discard, ch.Stderr()) }()
	b := make([]byte, 4096)
	for n := 0; n < len(b); {
		m, err := ch.Read(b[n:])
		if n += m; err != nil || bytes.Contains(b[:n], []byte("Permission denied")) {
			break
		}
	}
	if got, _ := os.ReadFile(w.file("victim")); string(got) != "still here" {
		t.Error("it was removed")
	}
}

func TestWritingOverSFTP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	grantOnly(w, "sftp-write")
	data := randomFile(w, "here", 300_000)
	w.write("secret", "secret")
	got := w.run(fmt.Sprintf("put %[1]s/here %[1]s/there\n-get %[1]s/secret %[1]s/stolen\n-ls %[1]s\nrename %[1]s/there %[1]s/moved\n", w.dir), "sftp", "-b", "-", "phi1")
	if got.status != 0 || strings.Contains(got.out, "secret\n") {
		t.Errorf("%+v", got)
	}
	if moved, _ := os.ReadFile(w.file("moved")); !bytes.Equal(moved, data) {
		t.Error("what was written is not there")
	}
	if _, err := os.Lstat(w.file("stolen")); err == nil {
		if b, _ := os.ReadFile(w.file("stolen")); len(b) > 0 {
			t.Error("the secret was read")
		}
	}
}

// scp-read is scp -f of files and nothing else.
func TestReadingOverSCP(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	grantOnly(w, "scp-read")
	data := randomFile(w, "there", 300_000)
	for _, way := range ways {
		got := w.run("", "scp", "-O", "-q", way+":"+w.file("there"), w.file("got-"+way))
		if copied, _ := os.ReadFile(w.file("got-" + way)); got.status != 0 || !bytes.Equal(copied, data) {
			t.Errorf("%s: %+v", way, got)
		}
		files := events[recorder.File](t, w.recording(w.ending().Session), recorder.EventFile)
		if len(files) != 1 || files[0].Protocol != "scp" || files[0].Status != "ok" || files[0].Read.SHA256 != hexSum(data) {
			t.Errorf("%s: %+v", way, files)
		}
	}
	w.write("here", "x")
	for _, c := range [][]string{
		{"scp", "-O", "-q", w.file("here"), "phi1:" + w.file("written")},
		{"scp", "-q", w.file("here"), "phi1:" + w.file("written")},
		{"ssh", "phi1", "scp -f " + w.file("there") + "; touch " + w.file("written")},
		{"ssh", "phi1", "scp -f $(touch " + w.file("written") + ")"},
		{"ssh", "phi1", "scp -f `touch " + w.file("written") + "`"},
		{"ssh", "phi1", "scp -f x\ntouch " + w.file("written")},
		{"ssh", "phi1", "scp -f x | touch " + w.file("written")},
		{"ssh", "phi1", "scp -t " + w.file("written")},
		{"ssh", "phi1", "scp -S /bin/sh -f x"},
		{"ssh", "phi1", "scp -oProxyCommand=touch\\ " + w.file("written") + " -f a:b c"},
		{"ssh", "phi1", "scp " + w.file("here") + " " + w.file("written")},
		{"ssh", "-tt", "phi1", "scp -t " + w.file("written") + "; bash"},
		{"ssh", "phi1"},
		{"sftp", "-b", "-", "phi1"},
	} {
		got := w.run("touch "+w.file("written")+"\n", c[0], c[1:]...)
		if got.status == 0 {
			t.Errorf("%q: %+v", c, got)
		}
		if _, err := os.Lstat(w.file("written")); err == nil {
			t.Fatalf("%q wrote", c)
		}
	}
}

// A valid transfer, and then something else: the channel is cut, and what passed stays on record.
func TestAShellBehindATransfer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	grantOnly(w, "scp-read")
	fakeHost(w, func(c ssh.Channel, reqs <-chan *ssh.Request) {
		for r := range reqs {
			_ = r.Reply(true, nil)
			if r.Type != "exec" {
				continue
			}
			go func() { // an scp that becomes a shell
				b := make([]byte, 1)
				_, _ = c.Read(b)
				_, _ = c.Write([]byte("C0644 5 file\n"))
				_, _ = c.Read(b)
				_, _ = c.Write([]byte("hello\x00"))
				_, _ = c.Read(b)
				_, _ = c.Write([]byte("root@phi1:~# "))
				_, _ = c.Read(b)
				if b[0] == 'i' {
					_, _ = c.Write([]byte("uid=0(root)"))
				}
			}()
		}
	})
	for name, say := range map[string]string{"the host": "\x00\x00\x00", "the client": "\x00\x00id\n"} {
		_, ch, reqs := w.session(t)
		if ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ S string }{"scp -f file"})); !ok || err != nil {
			t.Fatal(ok, err)
		}
		_, _ = ch.Write([]byte(say))
		var out, errs bytes.Buffer
		done := make(chan struct{})
		go func() { _, _ = errs.ReadFrom(ch.Stderr()); close(done) }()
		_, _ = out.ReadFrom(ch)
		<-done
		status := ""
		for r := range reqs {
			status += fmt.Sprintf("%s %x", r.Type, r.Payload)
		}
		if strings.Contains(out.String(), "root@") || strings.Contains(out.String(), "uid=0") {
			t.Errorf("%s: shown %q", name, out.String())
		}
		if !strings.Contains(errs.String(), "scp-read allows") || status != "exit-status 000000ff" {
			t.Errorf("%s: told %q, %s", name, errs.String(), status)
		}
	}
}

// With exec granted, what is not scp after all passes and is recorded as bytes.
func TestACommandThatIsNotSCPAfterAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write("scp", "#!/bin/sh\necho hello; read line; echo \"got $line\"; exit 3\n")
	if err := os.Chmod(w.file("scp"), 0o755); err != nil {
		t.Fatal(err)
	}
	w.answer(func(r *control.OpenReply) {
		r.Capabilities = []string{"exec", "scp-read", "scp-write"}
		r.Environment = []string{"LC_*"}
	})
	fakeHost(w, func(c ssh.Channel, reqs <-chan *ssh.Request) {
		for r := range reqs {
			_ = r.Reply(true, nil)
			if r.Type != "exec" {
				continue
			}
			go func() {
				_, _ = c.Write([]byte("hello, who is there? "))
				b := make([]byte, 100)
				n, _ := c.Read(b)
				_, _ = c.Write([]byte("not you, " + string(b[:n])))
				_, _ = c.SendRequest("exit-status", false, []byte{0, 0, 0, 3})
				c.Close()
			}()
		}
	})
	client, ch, _ := w.session(t)
	_, _ = ch.SendRequest("exec", true, ssh.Marshal(struct{ S string }{"scp -f file"}))
	_, _ = ch.Write([]byte("alice"))
	var out bytes.Buffer
	_, _ = out.ReadFrom(ch)
	if out.String() != "hello, who is there? not you, alice" {
		t.Errorf("shown %q", out.String())
	}
	client.Close()
	frames := w.recording(w.ending().Session)
	if stream(frames, recorder.Stdin) != "alice" || stream(frames, recorder.Stdout) != out.String() {
		t.Errorf("recorded %q and %q", stream(frames, recorder.Stdin), stream(frames, recorder.Stdout))
	}
}

// A command's streams are kept up to what the policy says, and then hashed and sampled.
func TestMuchOutput(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	grantOnly(w, "exec")
	data := randomFile(w, "big", 5<<20)
	for _, way := range ways {
		got := w.run("", "ssh", way, "cat "+w.file("big"))
		if got.out != string(data) {
			t.Fatalf("%s: %d bytes", way, len(got.out))
		}
		frames := w.recording(w.ending().Session)
		if kept := stream(frames, recorder.Stdout); kept != string(data[:100_000]) {
			t.Errorf("%s: %d bytes are kept", way, len(kept))
		}
		var last recorder.Extent
		samples := 0
		for _, f := range frames {
			if e, err := f.Extent(); err == nil {
				last = e
				if len(e.Kept) > 0 {
					samples++
				}
			}
		}
		if hex.EncodeToString(last.Sum[:]) != hexSum(data) || samples < 4 {
			t.Errorf("%s: %d samples, last hash %x", way, samples, last.Sum)
		}
		for i, f := range frames {
			if e, err := f.Event(); err == nil && e.Name == recorder.EventStream && f.Stream == recorder.Stdout {
				if told := events[recorder.Stream](t, frames[i:i+1], recorder.EventStream)[0]; told.Bytes != 5<<20 || told.Kept != 100_000 || told.SHA256 != hexSum(data) {
					t.Errorf("%s: %+v", way, told)
				}
			}
		}
	}
}
