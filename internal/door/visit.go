package door

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/greeting"
	"postern/internal/pace"
	"postern/internal/socket"
)

// slack is for channels that are being refused.
const slack = 64

// visit is one connection from accept to close.
type visit struct {
	*socket.Conn
	from    netip.Prefix
	client  string                // its identification line
	greeted *greeting.Conn        // what the library is given
	login   ssh.ServerPreAuthConn // set when authentication begins
	told    []string              // banners that were sent
	done    chan struct{}
	grace   *time.Timer
	alive   sync.Once
	number  uint64 // in the order of arrival; the gate's
	person  string // who logged in; under the gate's lock

	ctx      context.Context // done when the connection is closed
	cancel   context.CancelFunc
	turns    *turns
	turn     atomic.Pointer[turn] // held
	work     *pace.Pace           // of all strangers of its address
	requests *pace.Pace           // of this connection
	known    atomic.Bool          // logged in: it takes no turns any more
	channels atomic.Int32
	heard    atomic.Int64  // bytes that came
	taken    atomic.Int64  // of them by the owners of its channels
	pending  int64         // heard and not taken, when that was last looked at; under the gate's lock
	hoard    int64         // and what of it is more than an honest client has; under the gate's lock
	crowded  int32         // more channels than that, and nothing is read until some have gone
	fewer    chan struct{} // holds one when a channel has gone
}

// Read is where a client is slowed down: what it has yet to send waits in its own sockets.
func (v *visit) Read(p []byte) (int, error) {
	v.turns.end(v.turn.Swap(nil))
	if v.known.Load() {
		if err := v.wait(); err != nil {
			return 0, err
		}
		n, err := v.Conn.Read(p)
		v.heard.Add(int64(n))
		return n, err
	}
	n, err := v.Conn.Read(p)
	if n == 0 {
		return n, err
	}
	if err := v.work.Wait(v.ctx); err != nil {
		return 0, err
	}
	mine := v.turns.take(v.ctx, v.from)
	if mine == nil {
		return 0, v.ctx.Err()
	}
	v.turn.Store(mine)
	return n, err
}

// Write ends a turn: it may have to wait for the peer.
func (v *visit) Write(p []byte) (int, error) {
	v.turns.end(v.turn.Swap(nil))
	return v.Conn.Write(p)
}

// wait is for requests to be within their rate, and for channels that are done but whose end the client does not take.
func (v *visit) wait() error {
	for v.channels.Load() > v.crowded {
		select {
		case <-v.fewer:
		case <-v.ctx.Done():
			return v.ctx.Err()
		}
	}
	return v.requests.Settle(v.ctx)
}

// farewell is the last that is done.
func (v *visit) farewell() {
	if v.login != nil {
		greeting.Farewell(v.login)
	}
}

// channelGone is called when one is finished.
func (v *visit) channelGone() {
	v.channels.Add(-1)
	select {
	case v.fewer <- struct{}{}:
	default:
	}
}

func (v *visit) Close() error {
	v.cancel()
	return v.Conn.Close()
}

// maxBanners of Lookup are shown on one connection: an agent may offer many keys.
const maxBanners = 4

func (v *visit) fresh(key ssh.PublicKey, banner string) bool {
	_, certificate := key.(*ssh.Certificate)
	if !certificate && len(v.told) > 0 || len(v.told) >= maxBanners || slices.Contains(v.told, banner) {
		return false
	}
	v.told = append(v.told, banner)
	return true
}

// first says whether a refusal was not shown yet, and remembers it.
func (v *visit) first(banner string) bool {
	if slices.Contains(v.told, banner) {
		return false
	}
	v.told = append(v.told, banner)
	return true
}

// Visitor is a client's connection, during login and afterwards.
type Visitor struct {
	ssh.ConnMetadata
	visit *visit
	gate  *gate
}

// BelongsTo counts the connection as that person's until it is gone. The error is for the client: nobody takes the places of all others.
func (v *Visitor) BelongsTo(person string) error { return v.gate.claim(v.visit, person) }

// Done is closed when the connection is gone and nothing of the door's runs for it any more.
func (v *Visitor) Done() <-chan struct{} { return v.visit.done }

// Took is told how many bytes were taken of what the client sent. Who sends much of which nothing is taken is the first to go when memory is
// short.
func (v *Visitor) Took(n int) { v.visit.taken.Add(int64(n)) }

// Last says that End follows what is written next.
func (v *Visitor) Last() { v.visit.Last() }

// End closes the connection for the client. Close must follow.
func (v *Visitor) End() error { return v.visit.End() }

// Close ends the connection without waiting; what was written last still gets a moment to go out.
func (v *Visitor) Close() error { return v.visit.Close() }
