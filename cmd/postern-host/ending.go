package main

import (
	"bytes"
	"context"
	"encoding/json"
	"sync"
	"time"

	"postern/internal/control"
	"postern/internal/lineage"
)

// graceTime is how long processes have to end by themselves before they are killed.
const graceTime = 500 * time.Millisecond

// ending ends what runs for revoked sessions, and keeps what came of it until the CA has it.
type ending struct {
	logins *logins
	grace  time.Duration

	mu     sync.Mutex
	done   []outcome
	news   chan struct{} // there is something for the CA
	active sync.WaitGroup
}

// outcome is what came of one order.
type outcome struct {
	said    control.HostEnded
	leaders []lineage.ID
}

func newEnding(l *logins) *ending {
	return &ending{logins: l, grace: graceTime, news: make(chan struct{}, 1)}
}

// obey begins what the CA orders. It does not wait: a process that does not want to end holds up nothing.
func (e *ending) obey(orders []control.EndOrder) {
	var doomed []lineage.Login
	var of []control.EndOrder // what each of them is doomed by
	for _, order := range orders {
		for _, login := range e.logins.take(order.Serial) {
			doomed, of = append(doomed, login), append(of, order)
		}
	}
	if len(doomed) == 0 {
		return
	}
	e.logins.log.Info("ending what runs for revoked sessions", "logins", len(doomed))
	e.active.Go(func() { e.carryOut(doomed, of) })
}

func (e *ending) carryOut(doomed []lineage.Login, of []control.EndOrder) {
	became := e.logins.proc.End(doomed, e.grace)
	var outs []outcome
	at := map[uint64]int{} // certificate to its outcome: one may have logged in more than once
	for i, b := range became {
		order := of[i]
		n, ok := at[order.Serial]
		if !ok {
			n = len(outs)
			at[order.Serial] = n
			outs = append(outs, outcome{said: control.HostEnded{Seq: order.Seq, Session: order.Session, Serial: order.Serial, By: b.By}})
		}
		outs[n].add(doomed[i].Leader, b)
	}
	for _, out := range outs {
		e.report(out.said)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done = append(e.done, outs...)
	select {
	case e.news <- struct{}{}:
	default:
	}
}

func (o *outcome) add(leader lineage.ID, b lineage.Ended) {
	o.leaders = append(o.leaders, leader)
	o.said.Found += int64(b.Found)
	o.said.Detached += int64(b.Detached)
	o.said.Killed += int64(b.Killed)
	o.said.Left += int64(b.Left)
	o.said.By = weaker(o.said.By, b.By)
	o.said.Took = max(o.said.Took, b.Took.Microseconds())
}

func (e *ending) report(said control.HostEnded) {
	log := e.logins.log.With("session", said.Session, "processes", said.Found, "detached", said.Detached, "killed", said.Killed, "took", time.Duration(said.Took)*time.Microsecond)
	switch {
	case said.Left > 0:
		log.Error("processes of a revoked session run on", "left", said.Left)
	case said.By == control.ByTree:
		log.Warn("a revoked session is ended, but for what detached itself: it had no audit session, so nobody can tell; let sshd use PAM with pam_loginuid")
	default:
		log.Info("nothing of a revoked session is left")
	}
}

// weaker is the less sure of two ways to know what is of a login.
func weaker(a, b string) string {
	for _, by := range []string{control.ByTree, control.ByScope} {
		if a == by || b == by {
			return by
		}
	}
	return a
}

// tell gives the CA what it was not told yet. What it refuses it will refuse again.
func (a *agent) tell(ctx context.Context, client *control.Client) error {
	for a.ending != nil {
		out, some := a.ending.next()
		if !some {
			return nil
		}
		said, err := json.Marshal(out.said)
		if err != nil {
			return err
		}
		answering, cancel := context.WithTimeout(ctx, answerTime)
		_, err = client.Run(answering, bytes.NewReader(said), "host-ended", "--json")
		cancel()
		if err := a.refused("account of what was ended", err); err != nil {
			return err
		}
		a.ending.drop()
		for _, leader := range out.leaders {
			a.ending.logins.release(leader, out.said.Left == 0)
		}
	}
	return nil
}

// ended tells that there is something to tell; nil, which is never, where nothing is ended.
func (a *agent) ended() <-chan struct{} {
	if a.ending == nil {
		return nil
	}
	return a.ending.news
}

// loggedIn tells that there is a login that the CA does not know of.
func (a *agent) loggedIn() <-chan struct{} {
	if a.ending == nil {
		return nil
	}
	return a.ending.logins.news
}

func (e *ending) next() (outcome, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.done) == 0 {
		return outcome{}, false
	}
	return e.done[0], true
}

func (e *ending) drop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.done = e.done[1:]
}
