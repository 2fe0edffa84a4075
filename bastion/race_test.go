package bastion

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

// TestNothingSlipsThroughARevocation opens sessions while revocations fall, two thousand times, with the CA's answer and the revocation in whatever
// order they come. Each session that the CA opened before it revoked must end, and none that it opened after.
func TestNothingSlipsThroughARevocation(t *testing.T) {
	const rounds, sessions = 125, 16
	w := newWorld(t)
	fakeHost(w, func(c ssh.Channel, reqs <-chan *ssh.Request) { ssh.DiscardRequests(reqs) })
	var seq, before, after uint64 // what the CA has decided; under w.mu
	w.answer(func(r *control.OpenReply) {
		if r.Seq = seq; seq%2 == 0 { // even numbers: not yet in this round
			before++
		} else {
			after++
		}
	})
	crossed, caught := 0, int64(0)
	for range rounds {
		w.mu.Lock()
		before, after = 0, 0
		w.mu.Unlock()
		var ended, refused atomic.Int64
		var opening sync.WaitGroup
		clients := make([]*ssh.Client, sessions)
		for i := range clients {
			opening.Go(func() {
				c, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
				if err != nil {
					ended.Add(1) // it was cut before it could say hello
					refused.Add(1)
					return
				}
				clients[i] = c
				go func() { _ = c.Wait(); ended.Add(1) }()
			})
		}
		known := rand.N(sessions) // so many the CA has answered when it revokes, and the others are at any point before that
		for range known {
			<-w.opened
		}
		time.Sleep(rand.N(2 * time.Millisecond))
		w.mu.Lock()
		seq++
		decided := seq
		w.mu.Unlock()
		w.b.Revoke(control.Revocation{Seq: decided, Kind: "person", Value: "alice"})
		opening.Wait()
		w.mu.Lock()
		doomed, spared := int64(before), after
		if caught += refused.Load(); doomed > 0 && spared > 0 {
			crossed++
		}
		seq++ // the next round's are opened after all of this
		w.mu.Unlock()
		for late := time.Now().Add(patience); ended.Load() < doomed && time.Now().Before(late); {
			time.Sleep(time.Millisecond)
		}
		if n := ended.Load(); n != doomed || doomed+int64(spared) != sessions {
			t.Fatalf("revocation %d: %d of %d sessions ended, %d were opened before it and %d after", decided, n, sessions, doomed, spared)
		}
		for range sessions - known {
			<-w.opened
		}
		for _, c := range clients {
			if c != nil {
				c.Close()
			}
		}
	}
	if crossed < rounds/4 || caught == 0 {
		t.Errorf("of %d revocations %d fell among sessions that were opening, and %d sessions were caught before they had opened: the test misses the moment", rounds, crossed, caught)
	}
	t.Logf("%d of %d revocations fell among opening sessions, %d sessions were caught before they had opened", crossed, rounds, caught)
}

// TestNoProgramStartsPastARevocation: what the host starts in the moment of a cut gets its signal after it has started, however slow the host is with it.
func TestNoProgramStartsPastARevocation(t *testing.T) {
	t.Parallel()
	const rounds, sessions = 12, 8
	w := newWorld(t)
	var started, slipped atomic.Int64
	var programs sync.WaitGroup
	fakeHost(w, func(ch ssh.Channel, reqs <-chan *ssh.Request) {
		programs.Add(1)
		defer programs.Done()
		runs, killed := false, false
		for req := range reqs {
			switch req.Type {
			case "exec":
				time.Sleep(rand.N(20 * time.Millisecond))
				runs = true
			case "signal":
				killed = runs
			}
			_ = req.Reply(runs, nil)
		}
		if runs {
			started.Add(1)
		}
		if runs && !killed {
			slipped.Add(1)
		}
	})
	for seq := range uint64(rounds) {
		clients := make([]*ssh.Client, sessions)
		for i := range clients {
			var err error
			if clients[i], _, err = w.dial(w.account+"@phi1", w.certificate(nil)); err != nil {
				t.Fatal(err)
			}
		}
		var asked sync.WaitGroup
		for _, c := range clients {
			s := must(c.NewSession())
			asked.Go(func() { _ = s.Run("true") })
		}
		time.Sleep(rand.N(15 * time.Millisecond))
		w.b.Revoke(control.Revocation{Seq: seq + 1, Kind: "person", Value: "alice"})
		asked.Wait()
		for range clients {
			w.ending()
		}
	}
	programs.Wait()
	if slipped.Load() > 0 {
		t.Errorf("%d of %d programs run on", slipped.Load(), started.Load())
	}
	t.Logf("%d of %d programs had started", started.Load(), rounds*sessions)
}
