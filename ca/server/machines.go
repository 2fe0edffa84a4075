package server

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"time"

	"postern/ca"
	"postern/internal/control"
)

const (
	// heartbeat is proof of life for clients that do not ping.
	heartbeat = 5 * time.Second
	maxPing   = 4 << 10
)

func bastionCertificates(_ context.Context, c *call) error {
	pub, err := c.publicKey()
	if err != nil {
		return err
	}
	list, err := c.ca.GatewayCertificates(c.caller, pub)
	if err != nil {
		return err
	}
	for _, cert := range list {
		if err := c.answer(cert, "%s %s\n", cert.Certificate, cert.Host); err != nil {
			return err
		}
	}
	return nil
}

func hostCertificate(_ context.Context, c *call) error {
	pub, err := c.publicKey()
	if err != nil {
		return err
	}
	cert, err := c.ca.HostCertificate(c.caller, pub)
	if err != nil {
		return err
	}
	return c.answer(cert, "%s\n", cert.Certificate)
}

func sessionOpen(_ context.Context, c *call) error {
	var open control.OpenRequest
	if err := c.inputJSON(&open); err != nil {
		return err
	}
	reply, err := c.ca.OpenSession(c.caller, open)
	if err != nil {
		return err
	}
	return c.json(reply)
}

func sessionProgress(_ context.Context, c *call) error {
	var p control.Progress
	if err := c.inputJSON(&p); err != nil {
		return err
	}
	return c.ca.Progress(c.caller, p)
}

func risk(_ context.Context, c *call) error {
	var r control.Risk
	if err := c.inputJSON(&r); err != nil {
		return err
	}
	return c.ca.Risk(c.caller, r)
}

func printKRL(_ context.Context, c *call) error {
	b, err := c.ca.KRL()
	if err != nil {
		return err
	}
	if c.has("json") {
		return c.json(struct {
			KRL []byte `json:"krl"`
		}{b})
	}
	_, err = c.out.Write(b)
	return err
}

// revocations is the stream: first what the client has missed, then what comes, each with its number; answers to
// its pings, which renew a bastion's leases; and a heartbeat. The channel that tells of news is taken before the
// store is read, so nothing can fall between the two.
func revocations(ctx context.Context, c *call) error {
	from, err := c.number("from")
	if err != nil {
		return err
	}
	if err := c.mayFollow(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pings := make(chan uint64, 8)
	if c.has("ping") {
		go func() {
			readPings(ctx, c.in, pings)
			cancel()
		}()
	}
	f := &follower{call: c, next: from, policy: c.caller.Policy}
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for first := true; ; first = false {
		changed := c.ca.Changed()
		if err := f.catchUp(first); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
			if c.caller.Kind == "host" {
				pause(ctx, hostsLater)
			}
		case n := <-pings:
			err = f.pong(n)
		case <-beat.C:
			err = f.emit(control.Event{Seq: f.seq})
		}
		if err != nil {
			return err
		}
	}
}

// mayFollow is asked again with every line: a stream outlives the policy it began under, and the key. A bastion that the policy does not name any more,
// or whose key was revoked, hears that and nothing after it, so its leases end.
func (c *call) mayFollow() error {
	caller, err := c.ca.Identify(c.key)
	if err != nil {
		return err
	}
	if caller.Kind != c.caller.Kind || caller.Name != c.caller.Name {
		return &ca.Refused{Message: "the key of " + c.caller.Name + " is " + caller.Name + "'s now; connect again"}
	}
	if caller.Kind == "person" && !c.ca.May(caller, "audit") && !c.ca.May(caller, "revoke") {
		return &ca.Refused{Message: caller.Name + " may not follow the revocations: no rule permits audit or revoke"}
	}
	return nil
}

// hostsLater lets bastions hear of a revocation first. They end what is live; a host's list is for logins to come, of which bastions make none any more,
// and to make and read it takes the time of those who cut.
const hostsLater = 50 * time.Millisecond

func pause(ctx context.Context, length time.Duration) {
	t := time.NewTimer(length)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// follower is one client of the stream.
type follower struct {
	call   *call
	next   uint64 // the revocation it has not seen; 0: it wants the set first
	seq    uint64 // the last one it has seen
	policy string // the policy it knows
	heard  uint64 // the number of deletions it knows
	lifts  uint64 // the number of decided halts it knows; 0 at first, as well
	moved  uint64 // the number of extensions it knows; 0 at first, so that a bastion that comes back hears of every one that is alive
}

func (f *follower) catchUp(first bool) error {
	list, seq, err := f.call.ca.Revocations(f.next)
	if err != nil {
		return err
	}
	for _, rev := range list {
		if err := f.emit(control.Event{Seq: rev.Seq, Revocation: &rev}); err != nil {
			return err
		}
	}
	f.seq, f.next = seq, seq+1
	if digest := f.call.ca.PolicyDigest(); first || digest != f.policy {
		f.policy = digest
		if err := f.emit(control.Event{Seq: seq, Policy: digest}); err != nil {
			return err
		}
	}
	if err := f.extended(); err != nil {
		return err
	}
	if err := f.lifted(); err != nil {
		return err
	}
	if err := f.custody(); err != nil {
		return err
	}
	return f.call.mayFollow() // last, so that it hears of what ended it
}

// extended tells a bastion which grants last longer. It comes after the revocations: what was cut is not among them.
func (f *follower) extended() error {
	if f.call.caller.Kind != "bastion" {
		return nil
	}
	list, n, err := f.call.ca.Extended(f.moved)
	if err != nil {
		return err
	}
	for _, m := range list {
		if err := f.emit(control.Event{Seq: f.seq, Extended: &m}); err != nil {
			return err
		}
	}
	f.moved = n
	return nil
}

// lifted tells a bastion what was decided about its held sessions. It comes after the revocations, too.
func (f *follower) lifted() error {
	if f.call.caller.Kind != "bastion" {
		return nil
	}
	list, n, err := f.call.ca.Lifts(f.call.caller.Name, f.lifts)
	if err != nil {
		return err
	}
	for _, l := range list {
		if err := f.emit(control.Event{Seq: f.seq, Lifted: &l}); err != nil {
			return err
		}
	}
	f.lifts = n
	return nil
}

// custody tells a bastion that there is something to ask for.
func (f *follower) custody() error {
	if f.call.caller.Kind != "bastion" {
		return nil
	}
	n, err := f.call.ca.CustodyNumber()
	if err != nil || n == f.heard {
		return err
	}
	f.heard = n
	return f.emit(control.Event{Seq: f.seq, Custody: n})
}

// pong answers a ping only after everything that was decided before it has been sent: a renewed lease means that
// the bastion knows. A CA that can revoke nobody answers none: what it could say, that nobody is revoked, is not what people decided.
func (f *follower) pong(n uint64) error {
	if !f.call.leases.WhenFull && f.call.ca.CannotRevoke() != nil {
		return f.catchUp(false)
	}
	if f.call.caller.Kind == "bastion" {
		f.call.lent.answers(f.call.caller.Name, f.call.leases.Keep)
	}
	if err := f.catchUp(false); err != nil {
		return err
	}
	l := f.call.leases
	return f.emit(control.Event{Seq: f.seq, Pong: n, AdmitSeconds: l.Admit.Seconds(), KeepSeconds: l.Keep.Seconds()})
}

func (f *follower) emit(e control.Event) error {
	c := f.call
	if c.has("json") {
		return c.json(e)
	}
	switch {
	case e.Revocation != nil:
		r := e.Revocation
		return c.answer(e, "%d %s %s:%s by %s: %s\n", r.Seq, r.At.Format(time.RFC3339), r.Kind, r.Value, r.By, r.Reason)
	case e.Policy != "":
		return c.answer(e, "%d policy %s\n", e.Seq, e.Policy)
	}
	return nil
}

func readPings(ctx context.Context, r io.Reader, pings chan<- uint64) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 512), maxPing)
	for lines.Scan() {
		var p control.Ping
		if json.Unmarshal(lines.Bytes(), &p) != nil {
			return
		}
		select {
		case pings <- p.Ping:
		case <-ctx.Done():
			return
		}
	}
}
