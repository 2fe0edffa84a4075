package bastion

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/bastion/agent"
	"postern/bastion/meter"
	"postern/recorder"
)

// route is where a connection through the session leads, and where it says it comes from.
type route struct {
	host string
	port uint32
	path string // of a socket, instead of host and port
	from string
}

func (r route) String() string {
	if r.path != "" {
		return r.path
	}
	return net.JoinHostPort(r.host, strconv.FormatUint(uint64(r.port), 10))
}

// forwards are the channel types by which a client reaches through the host, and how their payload reads.
var forwards = map[string]func([]byte) (route, bool){
	"direct-tcpip":                   tcpRoute,
	"direct-streamlocal@openssh.com": socketRoute,
}

// backwards are those by which the host reaches the client. A nil one says nothing that matters.
var backwards = map[string]func([]byte) (route, bool){
	"forwarded-tcpip":                   tcpRoute,
	"forwarded-streamlocal@openssh.com": socketRoute,
	"x11":                               nil,
	"auth-agent@openssh.com":            nil,
}

func tcpRoute(payload []byte) (route, bool) {
	var p struct {
		Host     string
		Port     uint32
		From     string
		FromPort uint32
	}
	if ssh.Unmarshal(payload, &p) != nil || p.Port > 65535 {
		return route{}, false
	}
	return route{host: p.Host, port: p.Port, from: net.JoinHostPort(p.From, strconv.FormatUint(uint64(p.FromPort), 10))}, true
}

// socketRoute reads the path; what follows is reserved in both types.
func socketRoute(payload []byte) (route, bool) {
	path := stringOf(payload)
	return route{path: path}, path != ""
}

// forward serves a connection that the client wants to make from the host.
func (s *session) forward(ch ssh.NewChannel) {
	r, ok := forwards[ch.ChannelType()](ch.ExtraData())
	e := recorder.Forward{Kind: ch.ChannelType(), To: oneLine(r.String()), From: oneLine(r.from)}
	switch {
	case !ok:
		e.Why = "malformed request"
	case !s.allowed.has("forward-local"):
		e.Why = s.lacks("forward-local")
	case !s.leads(r):
		e.Why = s.lacks("forward-local to " + oneLine(r.String()))
	}
	if e.Why != "" {
		s.denyForward(ch, e)
		return
	}
	s.carry(ch, s.host, e, false)
}

func (s *session) leads(r route) bool {
	if r.path != "" {
		return s.destinations.Socket(r.path)
	}
	return s.destinations.Host(r.host, r.port)
}

// backward serves a connection that the host opens to the client: one that the client asked for, and no other.
func (s *session) backward(ch ssh.NewChannel) {
	kind := ch.ChannelType()
	read, known := backwards[kind]
	e := recorder.Forward{Kind: oneLine(kind)}
	expected := known && s.expected(kind)
	if read != nil {
		r, ok := read(ch.ExtraData())
		e.To, e.From = oneLine(r.String()), oneLine(r.from)
		expected = ok && s.expected(listening(r))
	}
	client := s.clientConn()
	switch {
	case !expected || client == nil:
		e.Why = "not granted"
	case s.live() != nil:
		e.Why = s.live().Error()
	}
	if e.Why != "" {
		s.denyForward(ch, e)
		return
	}
	s.carry(ch, client, e, true)
}

func (s *session) denyForward(ch ssh.NewChannel, e recorder.Forward) {
	e.Denied = true
	s.log.Warn("forward refused", "kind", e.Kind, "to", e.To, "why", e.Why)
	f := recorder.EventFrame(recorder.EventForward, e)
	f.Channel = recorder.Global
	s.keep(f)
	_ = ch.Reject(ssh.Prohibited, e.Why)
	if forwards[e.Kind] != nil { // what the host asks for is not the person's doing
		s.denied()
	}
}

// carried is a connection through the session: bytes in two directions, of which the bastion records the beginning, a hash and the counts.
type carried struct {
	s            *session
	id           uint32
	ctx          context.Context
	cancel       context.CancelFunc
	client, host ssh.Channel
	event        recorder.Forward
	began        time.Time
}

// carry connects a channel that one side opened to the other side, until both have closed.
func (s *session) carry(ch ssh.NewChannel, to ssh.Conn, e recorder.Forward, fromHost bool) {
	if fromHost && !s.mayPass(len(ch.ExtraData())) {
		_ = ch.Reject(ssh.Prohibited, errHeld.Error())
		return
	}
	id, ok := s.number()
	if !ok {
		_ = ch.Reject(ssh.ResourceShortage, "the session has ended, or has too many channels")
		return
	}
	defer s.running.Done()
	defer s.uncount()
	c := &carried{s: s, id: id, event: e, began: time.Now()}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	defer c.cancel()
	open := recorder.OpenChannel{Kind: e.Kind, FromHost: fromHost, Payload: ch.ExtraData()}
	opening := s.keep(recorder.Frame{Type: recorder.TypeOpen, Channel: id, Data: open.Marshal()}, c.told())
	if opening == nil || !s.durable(s.ctx, opening) || !s.kept() { // it takes effect only when it is on record, and the session goes on
		_ = ch.Reject(ssh.ConnectionFailed, "this session cannot be recorded any more")
		return
	}
	c.event.Ended = true
	other, otherReqs, err := to.OpenChannel(ch.ChannelType(), ch.ExtraData())
	if err != nil {
		c.event.Why = oneLine(err.Error())
		s.keep(c.told(), recorder.Frame{Type: recorder.TypeClose, Channel: id})
		s.rejectLike(ch, err)
		return
	}
	one, reqs, err := ch.Accept()
	if err != nil {
		other.Close()
		go ssh.DiscardRequests(otherReqs)
		return
	}
	c.client, c.host = one, other
	clientReqs, hostReqs := reqs, otherReqs
	if fromHost {
		c.client, c.host = other, one
		clientReqs, hostReqs = otherReqs, reqs
	}
	c.client = counted{c.client, s.link}
	s.log.Info("forward", "kind", e.Kind, "to", e.To)
	c.run(clientReqs, hostReqs)
}

func (c *carried) told() recorder.Frame {
	f := recorder.EventFrame(recorder.EventForward, c.event)
	f.Channel = c.id
	return f
}

func (c *carried) run(clientReqs, hostReqs <-chan *ssh.Request) {
	up, down := c.s.lane(c.ctx, c.client, c.host, nil), c.s.lane(c.ctx, c.host, c.client, nil)
	up.counts, down.counts, down.out = true, true, true
	closing := c.record(up, down)
	// Nothing sends extended data on such a channel; what does would else fill the window for ever.
	go func() { _, _ = io.Copy(io.Discard, c.client.Stderr()) }()
	go func() { _, _ = io.Copy(io.Discard, c.host.Stderr()) }()
	upDone, downDone := make(chan struct{}), make(chan struct{})
	go func() { defer close(upDone); up.run(); _ = c.host.CloseWrite() }()
	go func() { defer close(downDone); down.run(); _ = c.client.CloseWrite() }()
	var closes sync.WaitGroup
	// A side that closed wants nothing any more, but what it said before still goes to the other one.
	closes.Go(func() { ssh.DiscardRequests(clientReqs); <-upDone; c.host.Close() })
	closes.Go(func() { ssh.DiscardRequests(hostReqs); <-downDone; c.client.Close() })
	<-upDone
	<-downDone
	c.client.Close()
	c.host.Close()
	closes.Wait()
	closing()
	c.event.Seconds = time.Since(c.began).Seconds()
	c.s.keep(c.told(), recorder.Frame{Type: recorder.TypeClose, Channel: c.id})
}

// record decides what is kept of what passes, and returns what tells about it in the end. The payload of a display holds keystrokes and
// whole screens, so there it is the counts and hashes alone.
func (c *carried) record(up, down *lane) (closing func()) {
	if c.event.Kind == "auth-agent@openssh.com" {
		return c.recordAgent(up, down)
	}
	keep := c.s.reply.Record.Forwards
	if c.event.Kind == "x11" {
		keep = 0
	}
	sent, received := c.s.metered(c.id, recorder.Stdin, keep), c.s.metered(c.id, recorder.Stdout, keep)
	up.take, down.take = sent.take, received.take
	return func() {
		sent.close()
		received.close()
		c.event.Sent, c.event.Received = sent.stream.Bytes(), received.stream.Bytes()
	}
}

// recordAgent lets the host ask for signatures and for nothing that changes the agent.
func (c *carried) recordAgent(up, down *lane) (closing func()) {
	p := &protocol{name: "the agent protocol", event: "agent", only: "agent", decoder: func(log *meter.Log) decoder { return agent.New(log) }}
	d := c.s.decoded(c.id, p, up, down)
	d.answers = up // it is the host that asks
	d.abort = func(why string) {
		c.s.log.Warn("channel cut", "why", oneLine(why))
		c.s.keep(recorder.Frame{Type: recorder.TypeNote, Channel: c.id, Data: []byte("cut: " + oneLine(why))})
		c.cancel()
		c.host.Close()
		c.client.Close()
	}
	var sent, received uint64
	up.take = func(buf *[]byte, n int) (held, error) { sent += uint64(n); return d.client(buf, n) }
	down.take = func(buf *[]byte, n int) (held, error) { received += uint64(n); return d.host(buf, n) }
	return func() {
		d.close()
		c.event.Sent, c.event.Received = sent, received
	}
}

// listening names what the client asked the host to listen on, as [session.expect] knows it.
func listening(r route) string { return fmt.Sprintf("listen %s", r) }
