package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

const (
	firstPause = 200 * time.Millisecond
	longPause  = 15 * time.Second

	// answerTime is how long the CA may take for one command.
	answerTime = 20 * time.Second

	// speakEvery is how often the CA hears how the host stands, though nothing changed.
	speakEvery = 20 * time.Second

	// speakSoon is how long a login waits until the CA hears of it.
	speakSoon = 200 * time.Millisecond

	// silenceTime is how long the stream may say nothing; the CA's heartbeat is every five seconds.
	silenceTime = 30 * time.Second
)

// agent follows one CA for one host.
type agent struct {
	ca          control.Config
	revoked     revokedKeys
	certificate *hostCertificate // nil: none to keep
	ending      *ending          // nil: nothing is ended here
	cannotEnd   error            // though it should be
	log         *slog.Logger
	every       time.Duration // between refreshes that no event asked for

	seq uint64 // of the last revocation that the list was fetched for
}

// run serves until ctx ends. The CA being away is no reason to stop: the list on disk stays in force.
func (a *agent) run(ctx context.Context) error {
	removed, err := a.revoked.tidy()
	if err != nil {
		return err
	}
	if removed != nil {
		a.log.Error("revocation list was damaged and is removed; sshd refuses every key until the CA is reached", "error", removed)
	}
	if a.ending != nil {
		defer a.ending.active.Wait() // what is stopped is to be killed
	}
	pause := firstPause
	for {
		began := time.Now()
		err := a.follow(ctx)
		if ctx.Err() != nil {
			return nil
		}
		a.log.Warn("lost the CA", "ca", a.ca.Address, "error", err)
		if time.Since(began) > longPause {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return nil
		// Jitter, so that a thousand hosts do not return to a restarted CA in the same moment.
		case <-time.After(pause/2 + rand.N(pause)):
		}
		pause = min(2*pause, longPause)
	}
}

// follow connects, and refreshes at once, at every event and every so often, until the connection is lost.
func (a *agent) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	client, err := control.Dial(ctx, a.ca)
	if err != nil {
		return err
	}
	defer client.Close()
	// The stream is opened before the first refresh: a revocation between the two is then told, not missed.
	from := a.seq
	if from > 0 {
		from++ // 0 asks for the set as it is
	}
	stream, err := client.Stream(ctx, "revocations", "--from", strconv.FormatUint(from, 10))
	if err != nil {
		return err
	}
	defer stream.Close()
	news := make(chan uint64)
	var listening sync.WaitGroup
	defer listening.Wait()
	defer cancel(nil)
	listening.Go(func() { cancel(a.listen(ctx, stream, news)) })
	a.log.Info("following the CA", "ca", a.ca.Address)

	tick, speak := time.NewTicker(a.every), time.NewTicker(speakEvery)
	defer tick.Stop()
	defer speak.Stop()
	due := true
	for {
		if due {
			if err := a.refresh(ctx, client); err != nil {
				return err
			}
		}
		if err := a.tell(ctx, client); err != nil {
			return err
		}
		if err := a.speak(ctx, client); err != nil {
			return err
		}
		if due, err = a.await(ctx, client, wake{tick, speak, news}); err != nil {
			return err
		}
	}
}

// wake is what an agent waits for.
type wake struct {
	tick, speak *time.Ticker
	news        <-chan uint64 // revocations
}

// await returns when there is something to do. The list is due again when its time has come, and when there is a revocation: then what is to be
// ended was asked for already, and it is asked for again after the list is there, for what logged in meanwhile.
func (a *agent) await(ctx context.Context, client *control.Client, w wake) (due bool, err error) {
	for {
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-w.tick.C:
			return true, nil
		case <-w.speak.C:
			w.speak.Reset(speakEvery)
			return false, nil
		case <-a.ended():
			return false, nil
		case <-a.loggedIn():
			w.speak.Reset(speakSoon) // of many logins at once it is told once
		case a.seq = <-w.news:
			return true, a.speak(ctx, client)
		}
	}
}

// listen tells of revocations, of many at once if they come faster than they are taken.
func (a *agent) listen(ctx context.Context, stream *control.Stream, news chan<- uint64) error {
	lines := make(chan uint64)
	lost := make(chan error, 1)
	go func() {
		for {
			var e control.Event
			if err := stream.Next(&e); err != nil {
				lost <- err
				return
			}
			select {
			case lines <- e.Seq:
			case <-ctx.Done():
				return
			}
		}
	}()
	silence := time.NewTimer(silenceTime)
	defer silence.Stop()
	seen := a.seq
	var out chan<- uint64 // nil while there is nothing to tell
	for {
		select {
		case seq := <-lines:
			silence.Reset(silenceTime)
			if seq > seen {
				seen, out = seq, news
			}
		case out <- seen:
			out = nil
		case <-silence.C:
			return fmt.Errorf("the CA was silent for %v", silenceTime)
		case err := <-lost:
			return fmt.Errorf("revocation stream: %w", err)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// refresh fetches what is due. An answer that we cannot use is logged and leaves the files alone; only a CA that does not
// answer is an error.
func (a *agent) refresh(ctx context.Context, client *control.Client) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	file, err := client.Run(ctx, nil, "krl")
	if err := a.refused("revocation list", err); err != nil {
		return err
	}
	if err == nil {
		a.installList(file)
	}
	if a.certificate == nil {
		return nil
	}
	return a.refreshCertificate(ctx, client)
}

func (a *agent) installList(file []byte) {
	list, changed, err := a.revoked.install(file)
	switch {
	case err != nil:
		a.log.Error("revocation list is not installed", "error", err)
	case changed:
		a.log.Info("revocation list is installed", "file", a.revoked.path, "version", list.Version, "bytes", len(file))
	}
}

func (a *agent) refreshCertificate(ctx context.Context, client *control.Client) error {
	h := a.certificate
	if !h.due(time.Now()) {
		if err := h.reloadIfDue(ctx); err != nil {
			a.log.Error("host certificate is not in use yet", "error", err)
		}
		return nil
	}
	answer, err := control.Call[control.Certificate](ctx, client, ssh.MarshalAuthorizedKey(h.key), "host-certificate")
	if err != nil {
		return a.refused("host certificate", err)
	}
	cert, err := h.install(ctx, answer.Certificate, time.Now())
	if err != nil {
		a.log.Error("host certificate is not installed", "error", err)
		return nil
	}
	a.log.Info("host certificate is installed", "file", h.path, "serial", cert.Serial,
		"principals", cert.ValidPrincipals, "until", time.Unix(int64(cert.ValidBefore), 0).UTC())
	return nil
}

// refused logs the CA's no and lets any other error through.
func (a *agent) refused(what string, err error) error {
	var no *control.Refused
	if !errors.As(err, &no) {
		return err
	}
	a.log.Error("the CA refuses the "+what, "error", no)
	return nil
}
