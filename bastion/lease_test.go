package bastion

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// endsUnnoticed ends the lease without its timer, as on a machine or in a process that was suspended.
func (w *world) endsUnnoticed() {
	l := &w.b.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost.Stop()
	l.admit, l.keep = Uptime(), Uptime()
}

func sleepUntil(end time.Duration) { time.Sleep(end - Uptime() + 5*time.Millisecond) } // the lease is what is tested

// echoing opens a session whose host says back what it is told, and counts what it is told.
func echoing(w *world, told chan string) ssh.Channel {
	w.t.Helper()
	fakeHost(w, func(c ssh.Channel, reqs <-chan *ssh.Request) {
		go func() {
			for r := range reqs {
				told <- r.Type
				_ = r.Reply(true, nil)
			}
		}()
		b := make([]byte, 100)
		for {
			n, err := c.Read(b)
			if err != nil {
				return
			}
			told <- string(b[:n])
			_, _ = c.Write(b[:n])
		}
	})
	client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { client.Close() })
	ch, reqs, err := client.OpenChannel("session", nil)
	if err != nil {
		w.t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	if ok, err := ch.SendRequest("shell", true, nil); !ok || err != nil {
		w.t.Fatal(ok, err)
	}
	if got := <-told; got != "shell" {
		w.t.Fatal(got)
	}
	return ch
}

// TestNotOneByteAfterTheLease: no timer runs, so it is the relay that looks at the clock, before each piece.
func TestNotOneByteAfterTheLease(t *testing.T) {
	t.Parallel()
	for name, typed := range map[string]bool{"passed": false, "recorded": true} {
		t.Run("keystrokes "+name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			if typed {
				w.answer(func(r *control.OpenReply) {
					r.Record.Keystrokes, r.Record.Files, r.KeystrokeKey = true, "full", &w.typedKey
				})
			}
			told := make(chan string, 100)
			ch := echoing(w, told)
			io.WriteString(ch, "before")
			b := make([]byte, 100)
			if n, err := ch.Read(b); err != nil || string(b[:n]) != "before" || <-told != "before" {
				t.Fatalf("%q, %v", b[:n], err)
			}
			w.endsUnnoticed()
			io.WriteString(ch, "after")
			if p := w.ending(); p.End != "lost" {
				t.Errorf("ended as %q", p.End)
			}
			if rest, _ := io.ReadAll(ch); len(rest) > 0 {
				t.Errorf("%q came back", rest)
			}
			select {
			case got := <-told:
				if got != "signal" {
					t.Errorf("the host was told %q", got)
				}
			default:
			}
		})
	}
}

func TestNoRequestAfterTheLease(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	told := make(chan string, 100)
	ch := echoing(w, told)
	w.endsUnnoticed()
	if ok, _ := ch.SendRequest("window-change", true, ssh.Marshal(struct{ W, H, X, Y uint32 }{1, 1, 1, 1})); ok {
		t.Error("a request was passed on")
	}
	if p := w.ending(); p.End != "lost" {
		t.Errorf("ended as %q", p.End)
	}
	if len(told) > 0 && <-told != "signal" {
		t.Error("the host heard of it")
	}
}

// What ended does not come back to life with the CA, though the bastion did not notice that it had ended.
func TestARenewalDoesNotRevive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ch := echoing(w, make(chan string, 100))
	w.endsUnnoticed()
	w.b.Renew(Uptime(), time.Hour, time.Hour)
	if p := w.ending(); p.End != "lost" {
		t.Errorf("ended as %q", p.End)
	}
	said, _ := io.ReadAll(ch.Stderr())
	if !strings.Contains(string(said), "lost its CA") {
		t.Errorf("the admin read %q", said)
	}
	echoing(w, make(chan string, 100)) // and others may come
}

// Nothing opens that the CA allowed and that the lease ended before.
func TestTheLeaseEndsWhileASessionOpens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.answer(func(*control.OpenReply) {
		w.lapse()
		w.b.Renew(Uptime()-time.Second, time.Second, time.Hour)
	})
	if c, said, err := w.dial(w.account+"@phi1", w.certificate(nil)); err == nil || !strings.Contains(said, "lost its CA") {
		t.Errorf("a session opened: %v; reads %q", c != nil, said)
	}
}

func TestWallClocksDoNotMatterToTheLease(t *testing.T) {
	t.Parallel()
	for name, jump := range map[string]time.Duration{"a year ahead": 365 * 24 * time.Hour, "a year back": -365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var moved atomic.Int64
			w := newWorld(t, func(w *world, _ *recorder.Config) {
				w.b.Now = func() time.Time { return time.Now().Add(time.Duration(moved.Load())) }
			})
			told := make(chan string, 100)
			ch := echoing(w, told)
			moved.Store(int64(jump))
			io.WriteString(ch, "still here")
			b := make([]byte, 100)
			if n, err := ch.Read(b); err != nil || string(b[:n]) != "still here" || !w.b.Admits() {
				t.Errorf("%q, %v; admits: %v", b[:n], err, w.b.Admits())
			}
			sent := Uptime()
			w.b.Renew(sent, 100*time.Millisecond, 200*time.Millisecond)
			if p := w.ending(); p.End != "lost" || Uptime()-sent < 200*time.Millisecond || w.b.Admits() {
				t.Errorf("ended as %q after %s", p.End, Uptime()-sent)
			}
		})
	}
}

// An answer may be shorter than the one before, but an old one neither shortens nor stretches.
func TestLengthsFollowTheNewestAnswer(t *testing.T) {
	b := new(Bastion)
	now := Uptime()
	for _, step := range []struct {
		sent, admit, keep     time.Duration
		wantAdmit, wantKeepTo time.Duration
	}{
		{0, 10 * time.Second, time.Hour, 10 * time.Second, time.Hour},
		{-time.Second, 60 * time.Second, 3 * time.Hour, 10 * time.Second, time.Hour},
		{1, 5 * time.Second, 30 * time.Second, 5*time.Second + 1, 30*time.Second + 1},
		{2, 1 << 62, 1 << 62, mostKeep + 2, mostKeep + 2},
		{3, time.Second, time.Minute, time.Second + 3, time.Minute + 3},
	} {
		b.Renew(now+step.sent, step.admit, step.keep)
		b.lease.mu.Lock()
		gotAdmit, gotKeep := b.lease.admit-now, b.lease.keep-now
		b.lease.mu.Unlock()
		if gotAdmit != step.wantAdmit || gotKeep != step.wantKeepTo {
			t.Errorf("%+v: to admit for %s, to keep for %s", step, gotAdmit, gotKeep)
		}
	}
}

// An auditor reads no more than an admin does of a bastion that lost its CA: nobody would hear of a revocation of theirs.
func TestAnAuditorsLeaseEndsToo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.recorded("echo something to read")
	client := w.auditing(id)
	if out, said, err := output(t, client, "recording "+id); err != nil || len(out) == 0 {
		t.Fatal(err, said)
	}
	late, err := client.NewSession() // it is open already
	if err != nil {
		t.Fatal(err)
	}
	w.endsUnnoticed()
	if out, err := late.Output("recording " + id); err == nil || len(out) > 0 {
		t.Errorf("%d bytes after the lease, %v", len(out), err)
	}
	if _, err := client.NewSession(); err == nil {
		t.Error("another command after the lease")
	}
	w.b.leaseLost() // what the timer does
	gone := make(chan struct{})
	go func() { _ = client.Wait(); close(gone) }()
	if !wait(gone, patience) {
		t.Error("the connection stays")
	}
}

// TestALostLeaseEndsAllTogether: as with a revocation, everybody reads why, every program is killed, and those whose clients take nothing hold up nobody.
func TestALostLeaseEndsAllTogether(t *testing.T) {
	const quiet, deaf = 60, 2
	w := newWorld(t)
	host := &doomedHost{}
	fakeHost(w, host.program)
	var all []*doomed
	for range deaf {
		all = append(all, w.doom("flood"))
	}
	for range quiet {
		all = append(all, w.doom("quiet"))
	}
	for before := int64(-1); before != host.flooded.Load(); time.Sleep(100 * time.Millisecond) {
		before = host.flooded.Load() // until nothing fits anywhere any more
	}
	w.b.Renew(Uptime(), 0, 0)
	for i, d := range all {
		_ = d.client.Wait()
		if i >= deaf {
			d.errs.wait(t, "postern: "+errLost.Error())
		}
	}
	for range all {
		if p := w.ending(); p.End != "lost" {
			t.Errorf("ended as %q", p.End)
		}
	}
	killedAll(t, len(all), func() int { return int(host.signals.Load()) })
	if n := len(w.b.stopLost()); n > 0 {
		t.Errorf("%d sessions had to be stopped once more", n)
	}
}
