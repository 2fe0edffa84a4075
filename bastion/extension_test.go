package bastion

import (
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

func moved(d time.Duration) control.Moved {
	return control.Moved{Request: "R-1", Ends: time.Now().Add(d)}
}

func (w *world) lasting(d time.Duration) {
	w.answer(func(r *control.OpenReply) { r.Session.Deadline = time.Now().Add(d) })
}

// lasts gives a session another deadline, an earlier one as well, which the CA never does.
func (s *session) lasts(until time.Time) {
	s.mu.Lock()
	s.deadline = until
	s.mu.Unlock()
	s.prolonged <- struct{}{}
}

// typedBefore makes it so long ago that the admin was there.
func (s *session) typedBefore(d time.Duration) { s.touched.Store(int64(time.Since(s.born) - d)) }

// prolonged has the session that open opens extended to m while its first deadline is ahead, and returns when that is past. It tries again with a later
// one if the machine was too slow for it.
func (w *world) prolonged(m control.Moved, open func() (leave func())) {
	w.t.Helper()
	for first := 500 * time.Millisecond; ; first *= 2 {
		leave := open()
		ends := time.Now().Add(first)
		s := w.only()
		s.lasts(ends)
		w.b.Extend(m)
		w.b.Extend(m) // as after every reconnect
		if time.Now().Before(ends) {
			time.Sleep(time.Until(ends.Add(50 * time.Millisecond)))
			return
		}
		s.cut("deadline", "")
		leave()
		w.ending()
		w.unmoved()
	}
}

func (w *world) unmoved() {
	w.b.revoked.mu.Lock()
	defer w.b.revoked.mu.Unlock()
	w.b.revoked.moved = nil
}

// A session lives past its first deadline, and ends at the one that it was moved to.
func TestExtend(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, way := range ways {
		var done chan result
		m := moved(time.Hour)
		w.prolonged(m, func() func() {
			done, _ = w.running(way, "echo up; sleep 600")
			return func() { <-done }
		})
		s := w.only()
		w.b.Extend(control.Moved{Request: "R-1", Ends: time.Now().Add(time.Second)})
		w.b.Extend(control.Moved{Request: "R-2", Ends: time.Now().Add(2 * time.Hour)})
		if got := s.ends(); !got.Equal(m.Ends) {
			t.Errorf("%s: it ends at %s, and was extended until %s", way, got, m.Ends)
		}
		s.lasts(time.Now())
		wants(t, done, "postern: the time of R-1 is over")
		if p := w.ending(); p.End != "deadline" {
			t.Errorf("%s: ended as %q", way, p.End)
		}
		w.unmoved()
	}
}

// The CA decided about the session before, and the bastion hears of the extension first.
func TestExtendedBeforeItOpens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.lasting(0)
	w.b.Extend(moved(time.Hour))
	done, _ := w.running("direct", "echo up; sleep 600")
	w.only().lasts(time.Now())
	wants(t, done, "postern: the time of R-1 is over")
}

// New channels open on the connection that there is, past the first deadline.
func TestChannelsAfterTheFirstDeadline(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var client *ssh.Client
	w.prolonged(moved(time.Hour), func() func() {
		client, _, _ = w.session(t)
		return func() { client.Close() }
	})
	ch, reqs, err := client.OpenChannel("session", nil)
	if err != nil {
		t.Fatal(err)
	}
	go ssh.DiscardRequests(reqs)
	if ok, err := ch.SendRequest("exec", true, ssh.Marshal(struct{ C string }{"echo still here"})); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if out, err := io.ReadAll(ch); err != nil || string(out) != "still here\n" {
		t.Errorf("%q %v", out, err)
	}
	client.Close()
}

// Whatever the order in which a revocation and an extension come, the session is cut, and none opens.
func TestExtensionsRaceWithRevocations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for i := range 400 {
		s := &session{
			b: w.b, grant: &grant{request: "R-1", person: "alice", cert: &ssh.Certificate{Serial: 7}}, reply: &control.OpenReply{},
			born: time.Now(), deadline: time.Now(), prolonged: make(chan struct{}, 1), log: w.b.Log, link: noLink{},
		}
		s.ctx, s.cancel = t.Context(), func() {}
		w.forget()
		if err := w.b.register(s); err != nil {
			t.Fatal(i, err)
		}
		var both sync.WaitGroup
		both.Go(func() { w.b.Extend(moved(time.Hour)) })
		both.Go(func() {
			w.b.Revoke(control.Revocation{Seq: 1, Kind: "request", Value: "R-1", Requests: []string{"R-1"}, Until: time.Now().Add(time.Hour)})
		})
		both.Wait()
		for deadline := time.Now().Add(patience); ; time.Sleep(100 * time.Microsecond) {
			s.mu.Lock()
			over := s.over
			s.mu.Unlock()
			if over {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d: it goes on", i)
			}
		}
		w.b.Extend(moved(2 * time.Hour)) // too late in any case
		if err := w.b.register(s); err == nil || !strings.Contains(err.Error(), "revoked") {
			t.Fatalf("%d: another opens: %v", i, err)
		}
		w.ending()
	}
}

// noLink is the connection of somebody who is not there.
type noLink struct{ visitor }

func (noLink) Close() error { return nil }

func (w *world) idle(seconds int64) {
	w.answer(func(r *control.OpenReply) { r.IdleSeconds = seconds })
}
