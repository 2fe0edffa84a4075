package bastion

import (
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// doomed is a client of a session that will be cut.
type doomed struct {
	client *ssh.Client
	errs   syncBuffer
}

func (w *world) doom(command string) *doomed {
	client, banner, err := w.dial(w.account+"@phi1", w.certificate(nil))
	if err != nil {
		w.t.Fatal(err, banner)
	}
	d := &doomed{client: client}
	s := must(client.NewSession())
	s.Stderr = &d.errs
	_ = must(s.StdinPipe()) // stays open
	out := must(s.StdoutPipe())
	if err := s.Start(command); err != nil {
		w.t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len("up\n"))); err != nil {
		w.t.Fatal(err)
	}
	return d
}

// doomedHost is a host whose programs wait for their signal. They count what comes before it that should come after.
type doomedHost struct {
	signals, early, flooded atomic.Int64
}

func (k *doomedHost) program(ch ssh.Channel, reqs <-chan *ssh.Request) {
	var told atomic.Bool
	end := func() {
		if len(reqs) > 0 {
			return // it came first, and waits there
		}
		// It may be on its way from there. One that comes after the end comes tellTime later, because of the deaf.
		for begun := time.Now(); !told.Load(); time.Sleep(time.Millisecond) {
			if time.Since(begun) > tellTime/2 {
				k.early.Add(1)
				return
			}
		}
	}
	for req := range reqs {
		told.Store(told.Load() || req.Type == "signal")
		_ = req.Reply(req.Type == "exec", nil)
		switch {
		case req.Type == "signal":
			k.signals.Add(1)
		case req.Type == "exec":
			_, _ = io.WriteString(ch, "up\n")
			go func() {
				_, _ = io.Copy(io.Discard, ch)
				end()
			}()
			if strings.Contains(string(req.Payload), "flood") {
				go k.flood(ch)
			}
		}
	}
	end()
}

func (k *doomedHost) flood(ch ssh.Channel) {
	for b := make([]byte, largeRead); ; {
		n, err := ch.Write(b)
		if err != nil {
			return
		}
		k.flooded.Add(int64(n))
	}
}

// TestOneRevocationForMany: everybody reads why, every program gets its signal before its input ends, the receipts name each session, and those
// whose clients take nothing hold up nobody.
func TestOneRevocationForMany(t *testing.T) {
	const quiet, deaf = 90, 3
	var mu sync.Mutex
	told := map[string]control.CutSession{}
	complete := make(chan struct{})
	w := newWorld(t, func(w *world, _ *recorder.Config) {
		w.b.Receipt = func(r control.CutReceipt) {
			mu.Lock()
			defer mu.Unlock()
			for _, s := range r.Sessions {
				told[s.Session] = s
			}
			if r.Part == r.Parts-1 {
				close(complete)
			}
		}
	})
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
	w.b.Revoke(control.Revocation{Seq: 1, Kind: "person", Value: "alice", By: "olga", Reason: "enough"})
	for i, d := range all {
		_ = d.client.Wait()
		if i >= deaf {
			d.errs.wait(t, "postern: your access was revoked by olga: enough")
		}
	}
	<-complete
	for range all {
		if p := w.ending(); p.End != "revoked" {
			t.Errorf("ended as %q", p.End)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if len(told) != len(all) {
		t.Errorf("the receipts name %d of %d sessions", len(told), len(all))
	}
	for id, s := range told {
		if s.Closed == 0 || s.Signalled == 0 || s.Left < max(s.Closed, s.Signalled) || len(s.Survivors) != 1 {
			t.Errorf("%s: %+v", id, s)
		}
	}
	// The signal and the end are seen by two goroutines of the host: on a busy machine one of them may be late. Where the end does come first, it does for nearly all.
	killedAll(t, len(all), func() int { return int(host.signals.Load()) })
	if host.early.Load() > int64(len(all)/10) {
		t.Errorf("of %d of %d programs the input ended before they were killed", host.early.Load(), len(all))
	}
}
