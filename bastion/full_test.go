package bastion

import (
	"io"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postern/internal/control"
	"postern/recorder"
)

// A disk that fills: ordinary sessions are refused and end, an emergency is recorded wholly, and when even the reserve is gone nothing passes that is
// not on record. package recorder has the same with a disk that is really full.
func TestADiskThatFills(t *testing.T) {
	t.Parallel()
	var free atomic.Int64
	var full atomic.Bool
	free.Store(1 << 30)
	w := newWorld(t, func(w *world, c *recorder.Config) {
		c.LowSpace, c.FileSize = 512<<20, 1<<20
		c.Disk.Free = func(string) (int64, error) { return free.Load(), nil }
		c.Disk.Allocate = func(f *os.File, size int64) error {
			if full.Load() {
				return unix.ENOSPC
			}
			return unix.Fallocate(int(f.Fd()), 0, 0, size)
		}
	})
	begin := func(command string) (in io.WriteCloser, out, errs *syncBuffer, wait func() error) {
		t.Helper()
		cmd := w.command("ssh", "phi1", command)
		in, _ = cmd.StdinPipe()
		out, errs = new(syncBuffer), new(syncBuffer)
		cmd.Stdout, cmd.Stderr = out, errs
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out.wait(t, "up")
		return in, out, errs, cmd.Wait
	}
	refused := func(says string) {
		t.Helper()
		if got := w.run("", "ssh", "phi1", "echo must not be seen"); got.status != 255 || got.out != "" || !strings.Contains(got.err, says) {
			t.Errorf("want %q: %+v", says, got)
		}
	}
	usual, seen, told, ended := begin("echo up; read x; echo must not be seen; sleep 600")

	free.Store(400 << 20)
	refused("nearly full and what is left of it is for emergencies, so no other session opens")
	if p := w.ending(); p.End != "recorder" {
		t.Errorf("the one that was refused ended as %q", p.End)
	}
	w.answer(func(r *control.OpenReply) { r.Emergency = true })
	for len(w.opened) > 0 {
		<-w.opened
	}
	urgent, saved, lost, over := begin(`echo up; while read n; do head -c $n /dev/zero | tr '\0' x; echo; done`)
	id := (<-w.opened).Session.ID

	free.Store(200 << 20)
	if err := w.b.Recorder.Room(false); err == nil {
		t.Error("room for everybody")
	}
	_, _ = io.WriteString(usual, "go\n")
	_ = ended()
	if strings.Contains(seen.String(), "must not") || !strings.Contains(told.String(), "nearly full and what is left of it is for emergencies, so this session ends") {
		t.Errorf("out %q, err %q", seen.String(), told.String())
	}
	if p := w.ending(); p.End != "recorder" {
		t.Errorf("the ordinary one ended as %q", p.End)
	}
	_, _ = io.WriteString(urgent, "1000\n")
	saved.wait(t, strings.Repeat("x", 1000))

	// Now nothing more can be had; what was allocated before still takes some, and then it ends.
	free.Store(10 << 20)
	full.Store(true)
	asked := w.asked()
	refused("is full, so no session opens, not even in an emergency")
	if w.asked() != asked {
		t.Error("the CA was asked for a session that cannot be recorded")
	}
	ends := make(chan struct{})
	go func() { _ = over(); close(ends) }()
	// Each piece is asked for when the one before has come: of a client that is behind the outer ssh drops the reason with the rest.
	for shown := len(saved.String()); !wait(ends, 0); {
		if _, err := io.WriteString(urgent, "10000\n"); err != nil {
			<-ends
			break
		}
		for shown += 10001; len(saved.String()) < shown && !wait(ends, time.Millisecond); {
		}
	}
	if !strings.Contains(lost.String(), "is full, so this session ends, although it is an emergency") {
		t.Errorf("err %.300q", lost.String())
	}
	if p := w.ending(); p.End != "recorder" {
		t.Errorf("the emergency ended as %q", p.End)
	}

	full.Store(false)
	free.Store(1 << 30)
	got := stream(w.recording(id), recorder.Stdout)
	if shown := saved.String(); len(shown) < 1<<20 || !strings.HasPrefix(got, shown) {
		t.Errorf("%d bytes were shown, %d are on record", len(shown), len(got))
	}
	w.answer(nil)
	for end := time.Now().Add(patience); w.b.Recorder.Room(false) != nil && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	if got := w.run("", "ssh", "phi1", "echo room again"); got.out != "room again\n" {
		t.Errorf("%+v", got)
	}
}
