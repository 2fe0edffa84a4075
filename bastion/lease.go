package bastion

import (
	"sync"
	"time"
)

// keepFactor is how many leases long sessions live on that were admitted while the lease held.
const keepFactor = 3

// lease is the right to admit. It runs from the moment a ping was sent, not from when its answer came, so a delayed answer cannot
// stretch it. Times carry the monotonic clock: setting the wall clock changes nothing.
type lease struct {
	mu    sync.Mutex
	admit time.Time
	keep  time.Time
	lost  *time.Timer
}

func (l *lease) admits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Before(l.admit)
}

// Renew extends the right to admit to length after sent, when the CA answered the ping sent then. Sessions that are live end when the lease
// was not renewed for three times as long.
func (b *Bastion) Renew(sent time.Time, length time.Duration) {
	b.prepare()
	l := &b.lease
	l.mu.Lock()
	defer l.mu.Unlock()
	if admit := sent.Add(length); admit.After(l.admit) {
		l.admit = admit
		l.keep = sent.Add(keepFactor * length)
	}
	left := time.Until(l.keep)
	if l.lost == nil {
		l.lost = time.AfterFunc(left, b.leaseLost)
		return
	}
	l.lost.Reset(left)
}

func (b *Bastion) leaseLost() {
	b.lease.mu.Lock()
	early := time.Until(b.lease.keep)
	if early > 0 {
		b.lease.lost.Reset(early)
	}
	b.lease.mu.Unlock()
	if early > 0 {
		return
	}
	b.Log.Error("no word from the CA: ending every session", "bastion", b.Name)
	for _, s := range b.revoked.sessions() {
		go s.cut("lost", "this bastion lost its CA, so your session ends")
	}
}
