package bastion

import (
	"net"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

// mostListening is how many addresses the host may listen on for one session.
const mostListening = 64

// noMoreGrace is for the session that a client opened just before it asked for no more: the two came in different queues.
const noMoreGrace = time.Second

// serve answers everything that a client wants on the connection of its session, until the connection ends. Requests and channels come in two
// queues: whoever asks for a remote forward and opens a channel that relies on it asked in that order, so the requests that are there
// go before a channel.
func (s *session) serve(conn ssh.Conn, chans <-chan ssh.NewChannel, reqs <-chan *ssh.Request) {
	s.setClientConn(conn)
	for {
		select {
		case req, ok := <-reqs:
			if !ok {
				reqs = nil
				continue
			}
			s.answer(req)
		case ch, ok := <-chans:
			if !ok {
				return // and then there are no more requests either
			}
			s.answerAll(reqs)
			if s.pace() != nil {
				_ = ch.Reject(ssh.Prohibited, errEnded.Error())
				continue
			}
			go s.b.guard(s, func() { s.channel(ch) })
		}
	}
}

func (s *session) answerAll(reqs <-chan *ssh.Request) {
	for {
		select {
		case req, ok := <-reqs:
			if !ok {
				return
			}
			s.answer(req)
		default:
			return
		}
	}
}

func (s *session) answer(req *ssh.Request) {
	var ok bool
	var payload []byte
	s.b.guard(s, func() { ok, payload = s.global(req) })
	_ = req.Reply(ok, payload)
}

// Request answers a request on an outer connection as a whole.
func (b *Bastion) Request(conn *ssh.ServerConn, req *ssh.Request) (ok bool, payload []byte) {
	l := conn.Permissions.ExtraData[loginKey{}].(*login)
	if l.session == nil {
		return false, nil // as a server that does not know it. That serves keepalives too: any answer is proof of life
	}
	l.session.setClientConn(conn)
	l.session.b.guard(l.session, func() { ok, payload = l.session.global(req) })
	return ok, payload
}

// global answers one request about the connection. What is not listed is answered as a server would that does not know it, keepalives included.
func (s *session) global(req *ssh.Request) (bool, []byte) {
	s.globals.Lock()
	defer s.globals.Unlock()
	if s.pace() != nil {
		return false, nil
	}
	switch req.Type {
	case "no-more-sessions@openssh.com":
		time.AfterFunc(noMoreGrace, func() { s.noMore.Store(true) })
		return true, nil
	case "tcpip-forward":
		return s.listen(req, tcpListen, false)
	case "cancel-tcpip-forward":
		return s.listen(req, tcpListen, true)
	case "streamlocal-forward@openssh.com":
		return s.listen(req, socketListen, false)
	case "cancel-streamlocal-forward@openssh.com":
		return s.listen(req, socketListen, true)
	}
	return false, nil
}

// tcpListen reads where a host is to listen: on its own loopback only, so that nobody else on its network comes in to the client.
func tcpListen(payload []byte) (r route, ok bool) {
	var p struct {
		Address string
		Port    uint32
	}
	if ssh.Unmarshal(payload, &p) != nil || p.Port > 65535 {
		return route{}, false
	}
	ip := net.ParseIP(p.Address)
	return route{host: p.Address, port: p.Port}, strings.EqualFold(p.Address, "localhost") || ip != nil && ip.IsLoopback()
}

func socketListen(payload []byte) (route, bool) {
	path := stringOf(payload)
	return route{path: path}, strings.HasPrefix(path, "/")
}

// listen asks the host to listen for the client, or to stop.
func (s *session) listen(req *ssh.Request, read func([]byte) (route, bool), cancel bool) (bool, []byte) {
	r, ok := read(req.Payload)
	e := recorder.Listen{Address: oneLine(r.String()), Cancel: cancel}
	e.Denied = !ok || !s.allowed.has("forward-remote") || s.live() != nil || !cancel && s.listeners() >= mostListening
	asked := recorder.Request{Name: req.Type, Refused: e.Denied, Payload: req.Payload}
	commit := s.keep(recorder.Frame{Type: recorder.TypeRequest, Channel: recorder.Global, Data: asked.Marshal()})
	if e.Denied || !s.durable(s.ctx, commit) || !s.kept() {
		s.log.Warn("listening refused", "address", e.Address)
		s.keepListen(e)
		if e.Denied {
			s.denied()
		}
		return false, nil
	}
	if !cancel && r.port == 0 && r.path == "" {
		return s.listenAnywhere(req, r, e)
	}
	name := listening(r)
	if !cancel {
		s.expect(name) // a connection may come before the answer does
	}
	granted, payload, err := s.host.SendRequest(req.Type, true, req.Payload)
	e.OK = granted && err == nil
	if cancel == e.OK {
		s.expectNoMore(name)
	}
	s.keepListen(e)
	return e.OK && s.mayPass(len(payload)), payload
}

// listenAnywhere is for a port that the host chooses and answers with.
func (s *session) listenAnywhere(req *ssh.Request, r route, e recorder.Listen) (bool, []byte) {
	granted, payload, err := s.host.SendRequest(req.Type, true, req.Payload)
	var chosen struct{ Port uint32 }
	e.OK = granted && err == nil && ssh.Unmarshal(payload, &chosen) == nil
	if e.OK {
		e.Address = oneLine(net.JoinHostPort(r.host, strconv.FormatUint(uint64(chosen.Port), 10)))
		r.port = chosen.Port
		s.expect(listening(r))
	}
	s.keepListen(e)
	return e.OK, payload
}

func (s *session) keepListen(e recorder.Listen) {
	f := recorder.EventFrame(recorder.EventListen, e)
	f.Channel = recorder.Global
	s.keep(f)
}

// expect lets the host open channels: of a type, or for an address it listens on.
func (s *session) expect(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expects[what] = struct{}{}
}

func (s *session) expectNoMore(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.expects, what)
}

func (s *session) expected(what string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.expects[what]
	return ok
}

func (s *session) listeners() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.expects)
}

func (s *session) setClientConn(conn ssh.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.client = conn
}

func (s *session) clientConn() ssh.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.client
}
