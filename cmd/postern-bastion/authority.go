package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/bastion"
	"postern/internal/control"
)

const (
	pingEvery   = time.Second
	silence     = 5 * time.Second // without an answer to any ping: the connection is dead, whatever TCP thinks
	firstPause  = 100 * time.Millisecond
	longPause   = 5 * time.Second
	answerTime  = 20 * time.Second
	retryNames  = 10 * time.Second // after the CA gave no gateway certificates
	unreachable = "no connection to the CA"
)

// authority is the bastion's one connection to its CA, made anew whenever it is lost.
type authority struct {
	config  control.Config
	bastion *bastion.Bastion
	names   *names
	log     *slog.Logger

	client  atomic.Pointer[control.Client]
	policy  chan struct{} // the policy changed: names may have, too
	told    receipts
	custody *bastion.Custody
	stirred chan struct{} // auditors decided something, or something is to be destroyed
}

func (a *authority) open(ctx context.Context, r control.OpenRequest) (*control.OpenReply, error) {
	c := a.client.Load()
	if c == nil {
		return nil, errors.New(unreachable)
	}
	reply, err := control.Call[control.OpenReply](ctx, c, r, "session-open")
	return &reply, err
}

func (a *authority) report(ctx context.Context, p control.Progress) error {
	c := a.client.Load()
	if c == nil {
		return errors.New(unreachable)
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	_, err := c.Run(ctx, jsonReader(p), "session-progress", "--json")
	return err
}

// run keeps the connection up until ctx ends.
func (a *authority) run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		err := a.follow(ctx)
		a.client.Store(nil)
		if ctx.Err() != nil {
			return
		}
		a.log.Warn("no CA", "ca", a.config.Address, "error", err)
		if time.Since(began) > longPause {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + rand.N(pause)): // not all bastions in the same moment
		}
		pause = min(2*pause, longPause)
	}
}

// follow connects and stays until the connection is lost.
func (a *authority) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	client, err := control.Dial(ctx, a.config)
	if err != nil {
		return err
	}
	var group sync.WaitGroup
	defer group.Wait()
	defer client.Close()
	defer cancel(nil)
	from := a.bastion.Seq()
	if from > 0 {
		from++ // 0 asks for the set as it is
	}
	stream, err := client.Stream(ctx, "revocations", "--from", strconv.FormatUint(from, 10), "--ping")
	if err != nil {
		return err
	}
	a.client.Store(client)
	a.log.Info("following the CA", "ca", a.config.Address, "from", from)
	p := &pings{sent: map[uint64]time.Time{}, heard: time.Now()}
	group.Go(func() { cancel(a.listen(stream, p)) })
	group.Go(func() { cancel(p.send(ctx, stream)) })
	group.Go(func() { a.keepNames(ctx, client) })
	group.Go(func() { a.keepCustody(ctx, client) })
	group.Go(func() { a.told.send(ctx, client, a.log) })
	<-ctx.Done()
	return context.Cause(ctx)
}

// listen takes what the CA says. Revocations act before the line that renews the lease.
func (a *authority) listen(stream *control.Stream, p *pings) error {
	for {
		var e control.Event
		if err := stream.Next(&e); err != nil {
			return fmt.Errorf("revocations: %w", err)
		}
		if seen := a.bastion.Seq(); e.Seq < seen {
			// Its next revocations would carry numbers that mean others here. No lease is better than a wrong set.
			return fmt.Errorf("the CA is at revocation %d, this bastion has seen %d: the CA was restored from an old backup; restart postern-bastion to follow it", e.Seq, seen)
		}
		if e.Revocation != nil {
			a.bastion.Revoke(*e.Revocation)
		}
		if e.Extended != nil {
			a.bastion.Extend(*e.Extended)
		}
		if e.Pong != 0 {
			if sent, ok := p.answered(e.Pong); ok {
				a.bastion.Renew(sent, time.Duration(e.LeaseSeconds*float64(time.Second)))
			}
		}
		if e.Policy != "" {
			poke(a.policy)
		}
		if e.Custody != 0 {
			poke(a.stirred)
		}
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// pings remembers when each was sent: the lease runs from there.
type pings struct {
	mu    sync.Mutex
	sent  map[uint64]time.Time
	heard time.Time
}

func (p *pings) send(ctx context.Context, stream *control.Stream) error {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for n := uint64(1); ; n++ {
		p.mu.Lock()
		quiet := time.Since(p.heard)
		p.sent[n] = time.Now()
		p.mu.Unlock()
		if quiet > silence {
			return fmt.Errorf("no answer for %s", quiet.Round(time.Second))
		}
		if err := stream.Send(control.Ping{Ping: n}); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (p *pings) answered(n uint64) (sent time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if sent, ok = p.sent[n]; !ok {
		return sent, false
	}
	p.heard = time.Now()
	for i := range p.sent {
		if i <= n {
			delete(p.sent, i)
		}
	}
	return sent, true
}

// keepNames fetches gateway certificates: at once, when the policy changes, and long before they expire.
func (a *authority) keepNames(ctx context.Context, client *control.Client) {
	for {
		wait := time.Until(a.names.due())
		if wait <= 0 {
			if err := a.fetchNames(ctx, client); err != nil {
				a.log.Error("no gateway certificates", "error", err)
				wait = retryNames
			} else {
				wait = time.Until(a.names.due())
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-a.policy:
			a.names.outdate()
		case <-time.After(wait):
		}
	}
}

func (a *authority) fetchNames(ctx context.Context, client *control.Client) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	public := string(ssh.MarshalAuthorizedKey(a.names.key.PublicKey()))
	out, err := client.Run(ctx, stringReader(public), "bastion-certificates", "--json")
	if err != nil {
		return err
	}
	list, err := a.names.set(out)
	if err == nil {
		a.log.Info("gateway certificates", "names", list)
	}
	return err
}
