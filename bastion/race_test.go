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
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			select {
			case <-w.opened:
			case <-stop:
				return
			}
		}
	}()
	for range rounds {
		w.mu.Lock()
		before, after = 0, 0
		w.mu.Unlock()
		var ended atomic.Int64
		var opening sync.WaitGroup
		clients := make([]*ssh.Client, sessions)
		for i := range clients {
			opening.Go(func() {
				c, _, err := w.dial(w.account+"@phi1", w.certificate(nil))
				if err != nil {
					ended.Add(1) // it was cut before it could say hello
					return
				}
				clients[i] = c
				go func() { _ = c.Wait(); ended.Add(1) }()
			})
		}
		time.Sleep(rand.N(40 * time.Millisecond))
		w.mu.Lock()
		seq++
		decided := seq
		w.mu.Unlock()
		w.b.Revoke(control.Revocation{Seq: decided, Kind: "person", Value: "alice"})
		opening.Wait()
		w.mu.Lock()
		doomed, spared := int64(before), after
		seq++ // the next round's are opened after all of this
		w.mu.Unlock()
		for late := time.Now().Add(5 * time.Second); ended.Load() < doomed && time.Now().Before(late); {
			time.Sleep(time.Millisecond)
		}
		if n := ended.Load(); n != doomed || doomed+int64(spared) != sessions {
			t.Fatalf("revocation %d: %d of %d sessions ended, %d were opened before it and %d after", decided, n, sessions, doomed, spared)
		}
		for _, c := range clients {
			if c != nil {
				c.Close()
			}
		}
	}
}
