package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/bastion"
	"postern/internal/control"
	"postern/internal/durable"
)

const (
	patience   = 5 * time.Second // to connect, and to log in
	firstPause = 100 * time.Millisecond
	longPause  = 2 * time.Second // with patience it decides how soon after an outage the leases are renewed
	answerTime = 20 * time.Second
	retryNames = 10 * time.Second // after the CA gave no gateway certificates
)

// authority is the bastion's one connection to its CA, made anew whenever it is lost.
type authority struct {
	config  control.Config
	silence time.Duration // for so long the CA may answer no ping
	bastion *bastion.Bastion
	numbers numbers       // of the revocations; follow's
	keep    time.Duration // as the CA said last; listen's
	names   *names
	log     *slog.Logger

	link    link
	policy  chan struct{} // the policy changed: names may have, too
	told    *receipts
	custody *bastion.Custody
	stirred chan struct{} // auditors decided something, or something is to be destroyed

	burnt     chan struct{} // a sheet was used
	namesFile string        // where the names are kept for a start without a CA; empty: nowhere
}

func (a *authority) open(ctx context.Context, r control.OpenRequest) (*control.OpenReply, error) {
	c, err := a.link.soon(ctx)
	if err != nil {
		return nil, err
	}
	if err := a.told.settled(ctx); err != nil {
		return nil, err
	}
	reply, err := control.Call[control.OpenReply](ctx, c, r, "session-open")
	if err == nil {
		a.keepKnown(&reply)
	}
	return &reply, err
}

func (a *authority) report(ctx context.Context, p control.Progress) error {
	c, err := a.link.now()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if err := a.tellUses(ctx, c, p.Session); err != nil { // the CA knows no such session before
		return err
	}
	_, err = c.Run(ctx, jsonReader(p), "session-progress", "--json")
	return err
}

// run keeps the connection up until ctx ends.
func (a *authority) run(ctx context.Context) {
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		err := a.follow(ctx)
		a.link.set(nil)
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
	// A CA that stops answering half way must not hold us: what waits for it ends with the connection.
	defer context.AfterFunc(ctx, func() { client.Close() })()
	p := newPings(a.silence)
	group.Go(func() { cancel(p.watch(ctx)) })
	from := a.numbers.from()
	stream, err := client.Stream(ctx, "revocations", "--from", strconv.FormatUint(from, 10), "--ping")
	if err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	a.link.set(client)
	a.log.Info("following the CA", "ca", a.config.Address, "from", from)
	group.Go(func() { cancel(a.listen(stream, p)) })
	group.Go(func() { cancel(p.send(ctx, stream)) })
	group.Go(func() { a.keepNames(ctx, client) })
	group.Go(func() { a.keepCustody(ctx, client) })
	group.Go(func() {
		if err := a.keepSheets(ctx, client); err != nil {
			cancel(err)
		}
	})
	group.Go(func() {
		a.told.send(ctx, func(ctx context.Context, command string, input io.Reader) error {
			_, err := client.Run(ctx, input, command, "--json")
			return err
		}, a.log)
	})
	<-ctx.Done()
	return context.Cause(ctx)
}

// listen takes what the CA says. Revocations act before the line that renews the leases.
func (a *authority) listen(stream *control.Stream, p *pings) error {
	for {
		var e control.Event
		if err := stream.Next(&e); err != nil {
			return fmt.Errorf("revocations: %w", err)
		}
		if err := a.numbers.take(e); err != nil {
			return err
		}
		if e.Revocation != nil {
			a.bastion.Revoke(*e.Revocation)
		}
		if e.Extended != nil {
			a.bastion.Extend(*e.Extended)
		}
		if e.Lifted != nil {
			a.bastion.Lift(*e.Lifted)
		}
		if sent, ok := p.answered(e.Pong); ok {
			admit, keep := length(e.AdmitSeconds), length(e.KeepSeconds)
			if a.keep != keep {
				a.keep = keep
				a.log.Info("leases", "admit", admit, "keep", keep)
			}
			a.bastion.Renew(sent, admit, keep)
		}
		if e.Policy != "" {
			poke(a.policy)
		}
		if e.Custody != 0 {
			poke(a.stirred)
		}
	}
}

// length makes a duration of what the CA wrote; of what is none, none.
func length(seconds float64) time.Duration {
	if !(seconds > 0) {
		return 0
	}
	return time.Duration(min(seconds, 1e6) * float64(time.Second))
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
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
	if err != nil {
		return err
	}
	a.log.Info("gateway certificates", "names", list)
	if a.namesFile != "" {
		return durable.Replace(a.namesFile, out)
	}
	return nil
}
