package bastion

import (
	"bytes"
	"context"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"postern/bastion/typed"
	"postern/internal/control"
	"postern/internal/limit"
	"postern/recorder"
)

// What waits, for a limit, an echo or the disk, was let through before it waited. When the session is cut meanwhile, nothing of it goes on, although the
// connections still stand for the moment in which everybody is told.
func TestWhatWaitedPassesNoCut(t *testing.T) {
	s := &session{ctx: context.Background()}
	s.halted.Store(true)
	var out bytes.Buffer
	if l := (&lane{s: s, ctx: s.ctx, to: &out}); l.deliver([]byte("x"), false) {
		t.Error("a lane goes on")
	}
	typist := &typist{c: &channel{s: s, ctx: s.ctx}, to: &out, line: typed.Line{Raw: true}}
	if _, err := typist.Write([]byte("\n")); err == nil {
		t.Error("a line is entered")
	}
	if s.mayPass(1) {
		t.Error("a word of the host's passes")
	}
	if out.Len() > 0 {
		t.Errorf("%q passed", out.Bytes())
	}
}

// TestNothingReachesOutWhenTheLeaseEndedMeanwhile: a forward takes effect only when it is on record, and the lease ends while the disk is at that.
func TestNothingReachesOutWhenTheLeaseEndedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, ask := range map[string]func(c *ssh.Client, to net.Addr) bool{
		"to an address": func(c *ssh.Client, to net.Addr) bool {
			conn, err := c.Dial("tcp", to.String())
			if err == nil {
				conn.Close()
			}
			return err == nil
		},
		"from the host": func(c *ssh.Client, _ net.Addr) bool {
			ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(struct {
				Address string
				Port    uint32
			}{"127.0.0.1", 0}))
			return ok && err == nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			var end atomic.Pointer[func()]
			w := newWorld(t, func(_ *world, c *recorder.Config) {
				c.Disk.Sync = func(f *os.File) error {
					if now := end.Swap(nil); now != nil {
						(*now)()
					}
					return unix.Fdatasync(int(f.Fd()))
				}
			})
			w.answer(func(r *control.OpenReply) {
				r.Capabilities = append(r.Capabilities, "forward-local", "forward-remote")
				r.Destinations = []string{"127.0.0.1:*"}
			})
			inside, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer inside.Close()
			reached := make(chan struct{}, 10)
			go func() {
				for {
					c, err := inside.Accept()
					if err != nil {
						return
					}
					reached <- struct{}{}
					c.Close()
				}
			}()
			client, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			if !ask(client, inside.Addr()) {
				t.Fatal("it is not let through at all")
			}
			if name == "to an address" {
				<-reached
			}
			over := w.endsUnnoticed
			end.Store(&over)
			if ask(client, inside.Addr()) {
				t.Error("it was let through")
			}
			if p := w.ending(); p.End != "lost" {
				t.Errorf("ended as %q", p.End)
			}
			if len(reached) > 0 {
				t.Error("the host connected")
			}
		})
	}
}

// A release comes too late for a session that another limit revokes: the CA may not know of that yet, nor the set.
func TestNoReleaseOfWhatIsRevoked(t *testing.T) {
	r, err := newRisk("bytes-out 10 hold; bytes-out 20 revoke")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, crossed := r.bytesOut(100)
		for _, c := range crossed {
			lifted, _ := r.lift(control.Lifted{Limit: c.String(), Before: c.lifted})
			if _, revoked := r.revoked(); lifted == revoked {
				t.Errorf("%s: released is %v, revoked is %v", c.String(), lifted, revoked)
			}
		}
	}
	if !r.stop() {
		t.Error("it goes on")
	}
	r, err = newRisk("commands 'a' 0 hold; commands 'ab' 0 revoke")
	if err != nil {
		t.Fatal(err)
	}
	crossed, _ := r.one(limit.Commands, func(w *watched) bool { return w.command.MatchString("ab") })
	for _, c := range crossed {
		if lifted, _ := r.lift(control.Lifted{Limit: c.String()}); lifted {
			t.Errorf("%s: released while it is revoked", c.String())
		}
	}
	if len(crossed) != 2 || !r.stop() {
		t.Errorf("%d were crossed", len(crossed))
	}
}
