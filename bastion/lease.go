package bastion

import (
	"errors"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// mostKeep bounds what a CA may say: nobody's word keeps a session alive for longer without asking again.
const mostKeep = 24 * time.Hour

var errLost = errors.New("this bastion lost its CA, so your session ends")

// Uptime is how long this machine has been up. It is the clock of the leases: it neither jumps with the wall clock nor stands still while the
// machine, or this process, is suspended, as the one under time.Now does.
func Uptime() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		panic(err) // without a clock there is no lease
	}
	return time.Duration(t.Nano())
}

// lease is two rights that answers of the CA renew: to admit, and to keep alive what was admitted. Both run from the moment the ping was sent,
// not from when its answer came. The CA answers only after it has told everything decided before, so what was revoked and not told here was
// revoked after that moment, and is out when keep ends. The zero lease allows nothing.
type lease struct {
	mu          sync.Mutex
	sent        time.Duration // the newest ping that was answered
	admit, keep time.Duration // until when; [Uptime]
	until       time.Duration // the last that admit was, also when it is over
	term        uint64        // counts the times that keep ended: what began before is over, even if the CA is back
	lost        *time.Timer
	losing      sync.Mutex // held while the sessions of a term that is over are stopped
}

func (l *lease) admits() bool {
	l.mu.Lock()
	admit := l.admit
	l.mu.Unlock()
	return Uptime() < admit
}

func (l *lease) current() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.term
}

// keeps is asked before each piece that is relayed. A timer alone would be late on a bastion that was stopped: what is ready to run when it goes on
// does not run in the order of what was due.
func (l *lease) keeps(term uint64) bool {
	l.mu.Lock()
	keep, now := l.keep, l.term
	l.mu.Unlock()
	return now == term && Uptime() < keep
}

// Renew extends both rights, to admit and to keep after sent, when the CA answered the ping that was sent then by [Uptime]. An answer that another
// one overtook changes nothing; a newer one may shorten what an older one gave.
func (b *Bastion) Renew(sent, admit, keep time.Duration) {
	b.prepare()
	l := &b.lease
	l.mu.Lock()
	lapsed := l.lapse()
	if sent >= l.sent {
		l.sent, l.admit, l.keep = sent, sent+min(admit, mostKeep), sent+min(keep, mostKeep)
		l.until = l.admit
	}
	left := l.keep - Uptime()
	if l.lost == nil {
		l.lost = time.AfterFunc(left, b.leaseLost)
	} else {
		l.lost.Reset(left)
	}
	l.mu.Unlock()
	if lapsed {
		b.lose()
	}
	if b.Sheets != nil && b.lease.admits() {
		b.Sheets.heard(b.Now())
	}
}

// last is when the CA's leave to admit ended, or will; 0: there never was one.
func (l *lease) last() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.until
}

// lapse says whether keep has ended since it was asked last. Sessions of that term are over, though the timer has not said so yet.
func (l *lease) lapse() bool {
	if l.keep == 0 || Uptime() < l.keep {
		return false
	}
	l.admit, l.keep = 0, 0
	l.term++
	return true
}

func (b *Bastion) leaseLost() {
	l := &b.lease
	l.mu.Lock()
	lapsed := l.lapse()
	if l.keep > 0 {
		l.lost.Reset(l.keep - Uptime()) // it was renewed meanwhile
	}
	l.mu.Unlock()
	if lapsed {
		b.lose()
	}
}

// lose ends what began in a term that is over, all of it together.
func (b *Bastion) lose() {
	b.Log.Error("no word from the CA: ending every session", "bastion", b.Name)
	go end(b.stopLost(), nil)
	b.revoked.mu.Lock()
	defer b.revoked.mu.Unlock()
	for r := range b.revoked.readers {
		if !b.lease.keeps(r.term) {
			r.end(errLost)
		}
	}
}

func (b *Bastion) stopLost() []*ending {
	b.lease.losing.Lock()
	defer b.lease.losing.Unlock()
	lost := slices.DeleteFunc(b.revoked.sessions(), (*session).leased)
	return stopAll(lost, "lost", errLost.Error())
}

// leased says whether the lease holds under which the session began. A sealed grant has none, but its deadline.
func (s *session) leased() bool { return s.grant.sealed || s.b.lease.keeps(s.term) }

// kept says whether the session may go on, and ends it if not.
func (s *session) kept() bool {
	if s.halted.Load() {
		return false
	}
	if s.leased() {
		return true
	}
	go s.lose()
	return false
}

// lose ends a session that noticed by itself that the lease is over. All others are over too, and end with it.
func (s *session) lose() {
	s.stopWithAll()
	s.cut("lost", errLost.Error())
}

// stopWithAll returns when the sessions of the term that is over are stopped, this one among them, by whoever noticed first.
func (s *session) stopWithAll() {
	s.b.leaseLost()
	s.b.lease.losing.Lock()
	defer s.b.lease.losing.Unlock()
}

// Admits says whether anybody may be let in at the moment, as far as the CA goes.
func (b *Bastion) Admits() bool { return b.lease.admits() }
