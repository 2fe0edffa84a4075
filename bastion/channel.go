package bastion

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

// channel is one session channel: the admin's half, the host's half, and the program between them.
type channel struct {
	s      *session
	id     uint32
	ctx    context.Context // done when the session or this channel is cut
	asking context.Context // and when the client has closed it
	cancel context.CancelFunc
	client ssh.Channel
	host   ssh.Channel
	pty    atomic.Bool // granted by the host, before start

	subsystem atomic.Bool // what was started is one
	shell     bool        // it is one
	columns   atomic.Uint32
	screen    *terminal // of what was started; nil: no terminal, or a protocol

	start   chan struct{} // closed when a shell, command or subsystem runs
	begins  sync.Mutex    // held while one is being started: the host may be done with it before we know that it runs
	out     sync.WaitGroup
	in      sync.WaitGroup
	inEnd   atomic.Bool       // the client ended its input
	close   func()            // tells what passed, when all of it has
	exit    chan *ssh.Request // how it ended, at most one
	hostEnd chan struct{}     // closed when the host closed its half

	// errors covers the client's standard error and end of file, which the host's bytes share with our own lines: x/crypto's channel
	// has one buffer for it.
	errors sync.Mutex
	eof    bool
	herald herald
}

// channel serves one channel that the admin opens, until it is closed.
func (s *session) channel(ch ssh.NewChannel) {
	if err := s.live(); err != nil {
		_ = ch.Reject(ssh.Prohibited, err.Error())
		return
	}
	switch kind := ch.ChannelType(); {
	case kind == "session" && s.noMore.Load():
		_ = ch.Reject(ssh.Prohibited, "you asked for no more sessions on this connection")
	case kind == "session":
		s.program(ch)
	case forwards[kind] != nil:
		s.forward(ch)
	default:
		s.refuseChannel(ch, kind)
	}
}

// program serves a channel for a shell, a command or a subsystem.
func (s *session) program(ch ssh.NewChannel) {
	c := &channel{s: s, start: make(chan struct{}), exit: make(chan *ssh.Request, 1), hostEnd: make(chan struct{}), close: func() {}}
	c.ctx, c.cancel = context.WithCancel(s.ctx)
	defer c.cancel()
	host, hostReqs, err := s.host.OpenChannel("session", ch.ExtraData())
	if err != nil {
		s.rejectLike(ch, err)
		return
	}
	c.host = host
	// The session may have been cut while the host answered.
	if !s.add(c) {
		_ = ch.Reject(ssh.ResourceShortage, "the session has ended, or has too many channels")
		host.Close()
		go ssh.DiscardRequests(hostReqs)
		return
	}
	defer s.running.Done()
	defer s.remove(c)
	client, clientReqs, err := ch.Accept()
	if err != nil {
		host.Close()
		go ssh.DiscardRequests(hostReqs)
		return
	}
	c.setClient(client)
	go drain(client.Stderr())
	c.keep(recorder.TypeOpen, recorder.OpenChannel{Kind: "session", Payload: ch.ExtraData()}.Marshal())
	var sides sync.WaitGroup
	sides.Go(func() { s.b.guard(s, func() { c.hostRequests(hostReqs) }) })
	sides.Go(func() { s.b.guard(s, c.finish) })
	c.clientRequests(clientReqs)
	s.letGo()
	host.Close() // the admin closed, or is gone
	sides.Wait()
	c.in.Wait()
	c.close()
	c.keep(recorder.TypeClose, nil)
}

// drain reads what no client sends: a window full of it, byte by byte, would take a hundred megabytes.
func drain(r io.Reader) {
	var b [64]byte
	for {
		if _, err := r.Read(b[:]); err != nil {
			return
		}
	}
}

func (s *session) refuseChannel(ch ssh.NewChannel, kind string) {
	s.log.Warn("channel refused", "kind", oneLine(kind))
	s.note(s.rec, "refused: channel "+oneLine(kind))
	missing := oneLine(kind)
	if kind == "tun@openssh.com" {
		missing = "a tunnel"
	}
	_ = ch.Reject(ssh.Prohibited, s.lacks(missing))
	s.denied()
}

// lacks is what an admin reads who asks for what the grant has not.
func (s *session) lacks(what string) string {
	return "your grant " + s.grant.request + " does not include " + what
}

func (s *session) rejectLike(ch ssh.NewChannel, err error) {
	if no, ok := err.(*ssh.OpenChannelError); ok && s.mayPass(len(no.Message)) {
		_ = ch.Reject(no.Reason, no.Message)
		return
	}
	_ = ch.Reject(ssh.ConnectionFailed, "the host closed the connection")
}

func (s *session) add(c *channel) bool {
	id, ok := s.number()
	if !ok {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c.id = id
	s.channels[c] = struct{}{}
	return true
}

// number counts a channel in and numbers it. Whoever got one calls s.running.Done and s.uncount.
func (s *session) number() (uint32, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || s.open >= s.b.Limits.MaxChannels {
		return 0, false
	}
	id := s.next
	s.next++
	s.open++
	s.running.Add(1)
	return id, true
}

func (s *session) uncount() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

func (s *session) remove(c *channel) {
	s.uncount()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.channels, c)
}

func (c *channel) setClient(ch ssh.Channel) {
	c.errors.Lock()
	defer c.errors.Unlock()
	c.client = counted{ch, c.s.link}
}

// counted tells the connection how much of what came on it was taken.
type counted struct {
	ssh.Channel
	link visitor
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Channel.Read(p)
	c.link.Took(n)
	return n, err
}

// keep records without waiting: what is released later waits for everything before it.
func (c *channel) keep(t recorder.Type, data []byte) *recorder.Commit {
	return c.s.keep(recorder.Frame{Type: t, Channel: c.id, Data: data})
}

// keep records frames without waiting, and returns the commit that covers them all; nil: the session is ending.
func (s *session) keep(frames ...recorder.Frame) (last *recorder.Commit) {
	for _, f := range frames {
		commit, err := s.rec.Append(f)
		if err != nil {
			s.unrecorded(err)
			return nil
		}
		last = commit
	}
	return last
}

// byHand are the requests that are a sign of somebody who is there: what a client sends by itself to keep the connection up is none.
var byHand = map[string]bool{"pty-req": true, "shell": true, "exec": true, "subsystem": true, "window-change": true, "signal": true}

// clientRequests passes the admin's requests on in their order, each answered as the host answers.
func (c *channel) clientRequests(reqs <-chan *ssh.Request) {
	reqs, c.asking = c.ahead(reqs)
	for req := range reqs {
		if byHand[req.Type] {
			c.s.touch()
		}
		if c.s.pace() != nil || !c.s.risk.wait(c.asking) {
			_ = req.Reply(false, nil)
			continue
		}
		c.s.b.guard(c.s, func() { c.clientRequest(req) })
	}
}

func (c *channel) clientRequest(req *ssh.Request) {
	if !c.s.kept() {
		_ = req.Reply(false, nil)
		return
	}
	v := c.s.allowed.request(req.Type, req.Payload, c.s.reply)
	if v.pass && v.starts && c.started() {
		v.pass = false // one program per channel, as at any server
	}
	commit := c.keep(recorder.TypeRequest, recorder.Request{Name: req.Type, Refused: !v.pass, Payload: req.Payload}.Marshal())
	if commit == nil {
		return
	}
	if !v.pass {
		c.refuse(req, v)
		return
	}
	if v.starts && !c.s.durable(c.ctx, commit) {
		return // a command takes effect only when it is on record
	}
	if req.Type == "exec" && !c.command(req) {
		return
	}
	if v.expects != "" {
		c.s.expect(v.expects)
	}
	if v.starts {
		c.begins.Lock()
		defer c.begins.Unlock()
		if !c.s.kept() {
			return
		}
	}
	// We need to know what became of these two even if the admin does not ask.
	ask := req.WantReply || v.starts || req.Type == "pty-req"
	ok, err := c.host.SendRequest(req.Type, ask, req.Payload)
	ok = ok && err == nil
	if ok && v.starts && !c.s.kept() {
		c.kill() // it started in the moment of a cut, whose own signal may have come before
	}
	if ok && req.Type == "pty-req" {
		c.pty.Store(true)
	}
	if req.Type == "pty-req" || req.Type == "window-change" {
		c.sized(req)
	}
	c.shell = req.Type == "shell"
	if v.starts && !ok && !req.WantReply {
		c.fail("the host did not start it") // it was held, and its client was told that it runs
		return
	}
	_ = req.Reply(ok, nil)
	c.subsystem.Store(ok && req.Type == "subsystem" || c.subsystem.Load())
	if ok && v.starts {
		c.relay(v.protocol)
		c.s.warned.Do(func() {
			for _, text := range c.s.reply.Warnings {
				c.tell(oneLine(text))
			}
		})
	}
}

func (c *channel) started() bool {
	select {
	case <-c.start:
		return true
	default:
		return false
	}
}

// refuse answers a request that may not pass. A program that may not start is started in the admin's eyes, says why and fails: a plain
// refusal would leave ssh with "exec request failed" and nothing else.
func (c *channel) refuse(req *ssh.Request, v verdict) {
	if v.missing != "" {
		defer c.s.denied()
		c.s.log.Warn("request refused", "kind", oneLine(req.Type), "missing", oneLine(v.missing))
	}
	if !v.starts || c.started() {
		_ = req.Reply(false, nil)
		return
	}
	_ = req.Reply(true, nil)
	c.fail(c.s.lacks(oneLine(v.missing)))
}

// fail ends the admin's half as a program does that says why and fails.
func (c *channel) fail(why string) {
	c.tell(why)
	_, _ = c.client.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{255}))
	c.endOfFile()
	c.client.Close()
}

// abort cuts this channel and leaves the session alone: what its bytes were granted for, they are not.
func (c *channel) abort(why string) {
	c.s.log.Warn("channel cut", "why", oneLine(why))
	c.keep(recorder.TypeNote, []byte("cut: "+oneLine(why)))
	c.s.denied()
	c.cancel()
	within(tellTime, c.kill)
	within(tellTime, func() { c.fail(oneLine(why)) }) // before the host closes its half, which ends the admin's
	c.host.Close()
	c.client.Close() // whether it read that or not
}

// kill asks the host to end the program. sshd refuses it for root's forced commands and for subsystems, and it ends a job with its terminal anyway; it
// matters for commands without a terminal, which would run on after their connection is gone.
func (c *channel) kill() {
	_, _ = c.host.SendRequest("signal", false, ssh.Marshal(struct{ Name string }{"KILL"}))
}

func (c *channel) endOfFile() {
	c.errors.Lock()
	defer c.errors.Unlock()
	if !c.eof {
		c.eof = true
		_ = c.client.CloseWrite()
	}
}

// tell writes a line of ours where the admin reads it.
func (c *channel) tell(text string) {
	c.errors.Lock()
	defer c.errors.Unlock()
	if c.eof || c.client == nil {
		return
	}
	before, after := "", "\n"
	if c.pty.Load() {
		before, after = "\r\n", "\r\n"
	}
	if c.started() && c.screen != nil && c.screen.alt.Load() {
		before = leaveAlt + before // the program that would do it is gone
	}
	_, _ = c.client.Stderr().Write([]byte(before + "postern: " + text + after))
}

// lockedErrors is the client's standard error for the host's bytes.
type lockedErrors struct{ c *channel }

func (e lockedErrors) Write(p []byte) (int, error) {
	e.c.errors.Lock()
	defer e.c.errors.Unlock()
	return e.c.client.Stderr().Write(p)
}
