package bastion

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

// channel is one session channel: the admin's half, the host's half, and what passes between them.
type channel struct {
	s      *session
	id     uint32
	client ssh.Channel
	host   ssh.Channel
	pty    atomic.Bool // granted by the host, before start

	start   chan struct{} // closed when a shell, command or subsystem runs
	out     sync.WaitGroup
	exit    chan *ssh.Request // how it ended, at most one
	hostEnd chan struct{}     // closed when the host closed its half

	// errors covers the client's standard error and end of file, which the host's bytes share with our own lines: x/crypto's channel
	// has one buffer for it.
	errors sync.Mutex
	eof    bool
}

// channel serves one channel that the admin opens, until it is closed.
func (s *session) channel(ch ssh.NewChannel) {
	if err := s.live(); err != nil {
		_ = ch.Reject(ssh.Prohibited, err.Error())
		return
	}
	if kind := ch.ChannelType(); kind != "session" {
		s.refuseChannel(ch, kind)
		return
	}
	c := &channel{s: s, start: make(chan struct{}), exit: make(chan *ssh.Request, 1), hostEnd: make(chan struct{})}
	host, hostReqs, err := s.host.OpenChannel("session", ch.ExtraData())
	if err != nil {
		rejectLike(ch, err)
		return
	}
	c.host = host
	// The session may have been cut while the host answered.
	if !s.add(c) {
		_ = ch.Reject(ssh.Prohibited, errEnded.Error())
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
	c.keep(recorder.TypeOpen, recorder.OpenChannel{Kind: "session", Payload: ch.ExtraData()}.Marshal())
	var sides sync.WaitGroup
	sides.Go(func() { s.b.guard(s, func() { c.hostRequests(hostReqs) }) })
	sides.Go(func() { s.b.guard(s, c.finish) })
	c.clientRequests(clientReqs)
	host.Close() // the admin closed, or is gone
	sides.Wait()
	c.keep(recorder.TypeClose, nil)
}

func (s *session) refuseChannel(ch ssh.NewChannel, kind string) {
	s.log.Warn("channel refused", "kind", oneLine(kind))
	s.note(s.rec, "refused: channel "+oneLine(kind))
	_ = ch.Reject(ssh.Prohibited, "your grant "+s.grant.request+" does not include "+oneLine(channelNeeds(kind)))
}

func rejectLike(ch ssh.NewChannel, err error) {
	if no, ok := err.(*ssh.OpenChannelError); ok {
		_ = ch.Reject(no.Reason, no.Message)
		return
	}
	_ = ch.Reject(ssh.ConnectionFailed, "the host closed the connection")
}

func (s *session) add(c *channel) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over || len(s.channels) >= s.b.Limits.MaxChannels {
		return false
	}
	c.id = s.next
	s.next++
	s.channels[c] = struct{}{}
	s.running.Add(1)
	return true
}

func (s *session) remove(c *channel) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.channels, c)
}

func (c *channel) setClient(ch ssh.Channel) {
	c.errors.Lock()
	defer c.errors.Unlock()
	c.client = ch
}

// keep records without waiting: what is released later waits for everything before it.
func (c *channel) keep(t recorder.Type, data []byte) *recorder.Commit {
	commit, err := c.s.rec.Append(recorder.Frame{Type: t, Channel: c.id, Data: data})
	if err != nil {
		c.s.unrecorded(err)
		return nil
	}
	return commit
}

// clientRequests passes the admin's requests on in their order, each answered as the host answers.
func (c *channel) clientRequests(reqs <-chan *ssh.Request) {
	for req := range reqs {
		c.s.touch()
		c.s.b.guard(c.s, func() { c.clientRequest(req) })
	}
}

func (c *channel) clientRequest(req *ssh.Request) {
	v := c.s.allowed.request(req.Type, req.Payload, c.s.reply.Environment)
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
	if v.starts && !c.durable(commit) {
		return // a command takes effect only when it is on record
	}
	// We need to know what became of these two even if the admin does not ask.
	ask := req.WantReply || v.starts || req.Type == "pty-req"
	ok, err := c.host.SendRequest(req.Type, ask, req.Payload)
	ok = ok && err == nil
	if ok && req.Type == "pty-req" {
		c.pty.Store(true)
	}
	_ = req.Reply(ok, nil)
	if ok && v.starts {
		c.relay()
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
		c.s.log.Warn("request refused", "kind", req.Type, "missing", v.missing)
	}
	if !v.starts || c.started() {
		_ = req.Reply(false, nil)
		return
	}
	_ = req.Reply(true, nil)
	c.tell("your grant " + c.s.grant.request + " does not include " + oneLine(v.missing))
	_, _ = c.client.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{255}))
	c.endOfFile()
	c.client.Close()
}

// relay starts the three streams. A terminal's input is keystrokes, which may hold passwords: recorded only where the policy says so.
func (c *channel) relay() {
	terminal := c.pty.Load()
	c.out.Add(2)
	close(c.start)
	go func() {
		defer c.out.Done()
		c.s.b.guard(c.s, func() {
			c.pump(flow{stream: recorder.Stdout, from: c.host, to: c.client, record: true, counts: !terminal})
			c.keep(recorder.TypeEOF, nil)
		})
	}()
	go func() {
		defer c.out.Done()
		c.s.b.guard(c.s, func() {
			c.pump(flow{stream: recorder.Stderr, from: c.host.Stderr(), to: lockedErrors{c}, record: true, counts: !terminal})
		})
	}()
	record := !terminal || c.s.reply.Record.Keystrokes
	go c.s.b.guard(c.s, func() {
		c.pump(flow{stream: recorder.Stdin, from: c.client, to: c.host, record: record, counts: true})
		if record {
			c.keep(recorder.TypeEOF, nil)
		}
		_ = c.host.CloseWrite()
	})
}

// hostRequests passes the host's requests on in their order, but keeps how the program ended until its output is out.
func (c *channel) hostRequests(reqs <-chan *ssh.Request) {
	defer close(c.hostEnd)
	for req := range reqs {
		switch req.Type {
		case "exit-status", "exit-signal":
			_ = req.Reply(true, nil)
			select {
			case c.exit <- req:
			default: // a second one means nothing
			}
		default:
			c.keep(recorder.TypeRequest, recorder.Request{Name: req.Type, FromHost: true, Payload: req.Payload}.Marshal())
			ok, _ := c.client.SendRequest(req.Type, req.WantReply, req.Payload)
			_ = req.Reply(ok, nil)
		}
	}
}

// finish ends the admin's half when the program is done: all output, then how it ended, then the end of file, then the close.
//
// The end of file waits although the host may have sent it long before: an OpenSSH client that shares its connection closes a channel when both
// directions ended, x/crypto answers a close at once, and an exit status that comes later is lost: one of four multiplexed commands.
func (c *channel) finish() {
	select {
	case <-c.start:
	case <-c.hostEnd:
	}
	c.out.Wait()
	var exit *ssh.Request
	select {
	case exit = <-c.exit:
	case <-c.hostEnd:
		select {
		case exit = <-c.exit:
		default:
		}
	}
	if exit != nil && c.durable(c.keep(recorder.TypeExit, exitOf(exit).Marshal())) {
		_, _ = c.client.SendRequest(exit.Type, false, exit.Payload)
	}
	c.endOfFile()
	<-c.hostEnd
	_ = c.client.Close()
}

func exitOf(req *ssh.Request) recorder.Exit {
	var status struct{ Status uint32 }
	var signal struct {
		Name    string
		Core    bool
		Message string
		Lang    string
	}
	if req.Type == "exit-status" {
		_ = ssh.Unmarshal(req.Payload, &status)
		return recorder.Exit{Status: status.Status}
	}
	_ = ssh.Unmarshal(req.Payload, &signal)
	return recorder.Exit{Signal: signal.Name, Core: signal.Core, Message: signal.Message}
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
	_, _ = c.client.Stderr().Write([]byte(before + "postern: " + text + after))
}

// lockedErrors is the client's standard error for the host's bytes.
type lockedErrors struct{ c *channel }

func (e lockedErrors) Write(p []byte) (int, error) {
	e.c.errors.Lock()
	defer e.c.errors.Unlock()
	return e.c.client.Stderr().Write(p)
}

// durable waits for a frame; false: the session is ending.
func (c *channel) durable(commit *recorder.Commit) bool {
	if commit == nil {
		return false
	}
	select {
	case <-commit.Done():
	default:
		late := time.NewTimer(c.s.b.Limits.FreezeTime)
		defer late.Stop()
		select {
		case <-commit.Done():
		case <-late.C:
			c.s.unrecorded(errFrozen)
			return false
		case <-c.s.ctx.Done():
			return false
		}
	}
	if err := commit.Err(); err != nil {
		c.s.unrecorded(err)
		return false
	}
	return true
}
