package bastion

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/rawssh"
)

// raw logs in with a client that will send whatever it is told to.
func (w *world) raw(t testing.TB, user string) *rawssh.Client {
	t.Helper()
	c, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	raw := rawssh.New(c)
	if err := raw.Login(user, w.aliceCertified()); err != nil {
		c.Close()
		t.Fatal(err)
	}
	return raw
}

// rawInside is one that is logged in to a host inside a jump; piece is how many bytes of its connection it puts into one packet of the
// outer one.
func (w *world) rawInside(t testing.TB, piece int) (inside, outside *rawssh.Client) {
	t.Helper()
	outside = w.raw(t, "jump")
	jump, err := openJump(outside, largestWindow, piece)
	if err != nil {
		t.Fatal(err)
	}
	inside = rawssh.New(jump)
	if err := inside.Login(w.account, w.aliceCertified()); err != nil {
		t.Fatal(err)
	}
	return inside, outside
}

// Messages, by their numbers in RFC 4250.
const (
	msgDisconnect   = 1
	msgGlobal       = 80
	msgGlobalNo     = 82
	msgOpen         = 90
	msgOpened       = 91
	msgNotOpened    = 92
	msgWindow       = 93
	msgData         = 94
	msgExtended     = 95
	msgEOF          = 96
	msgClose        = 97
	msgRequest      = 98
	msgRequestYes   = 99
	msgRequestNo    = 100
	largestWindow   = 1<<31 - 1
	ordinaryWindow  = 2 << 20
	ordinaryPacket  = 32 << 10
	stderrOfClients = 1
)

func opening(kind string, channel, window, most uint32, extra []byte) []byte {
	return rawssh.Packet(msgOpen, struct {
		Kind                  string
		Channel, Window, Most uint32
		Extra                 []byte `ssh:"rest"`
	}{kind, channel, window, most, extra})
}

func request(channel uint32, kind string, reply bool, extra []byte) []byte {
	return rawssh.Packet(msgRequest, struct {
		Channel uint32
		Kind    string
		Reply   bool
		Extra   []byte `ssh:"rest"`
	}{channel, kind, reply, extra})
}

func global(kind string, reply bool, extra []byte) []byte {
	return rawssh.Packet(msgGlobal, struct {
		Kind  string
		Reply bool
		Extra []byte `ssh:"rest"`
	}{kind, reply, extra})
}

func data(channel uint32, b []byte) []byte {
	return rawssh.Packet(msgData, struct {
		Channel uint32
		Data    []byte
	}{channel, b})
}

func text(s string) []byte { return ssh.Marshal(struct{ S string }{s}) }

// start runs a command on a session channel of its own.
func start(raw *rawssh.Client, window uint32, command string) (*pipe, error) {
	s, err := open(raw, opening("session", 0, window, ordinaryPacket, nil))
	if err != nil {
		return nil, err
	}
	if err := raw.Send(request(s.id, "exec", true, text(command))); err != nil {
		return nil, err
	}
	_, err = raw.Expect(msgRequestYes)
	return s, err
}

// pipe is a channel as a connection that chops up what it is given. Nobody else may receive from its client.
type pipe struct {
	net.Conn // the outer one
	raw      *rawssh.Client
	id       uint32
	piece    int
	heard    bytes.Buffer
	answered chan struct{} // to a global request

	mu     sync.Mutex
	change sync.Cond
	window int
	err    error
}

func openJump(raw *rawssh.Client, window uint32, piece int) (*pipe, error) {
	s, err := open(raw, opening("direct-tcpip", 0, window, ordinaryPacket, ssh.Marshal(struct {
		Host string
		Port uint32
		From string
		Old  uint32
	}{"phi1", 22, "127.0.0.1", 65535})))
	if err == nil {
		s.piece = piece
	}
	return s, err
}

func open(raw *rawssh.Client, packet []byte) (*pipe, error) {
	if err := raw.Send(packet); err != nil {
		return nil, err
	}
	p, err := raw.Expect(msgOpened)
	if err != nil {
		return nil, err
	}
	s := &pipe{Conn: raw.Conn, raw: raw, id: binary.BigEndian.Uint32(p[5:]), piece: 1, window: int(binary.BigEndian.Uint32(p[9:])), answered: make(chan struct{}, 1)}
	s.change.L = &s.mu
	return s, nil
}

func (s *pipe) Read(p []byte) (int, error) {
	for s.heard.Len() == 0 {
		packet, err := s.raw.Receive()
		if err != nil {
			s.end(err)
			return 0, err
		}
		switch packet[0] {
		case msgData:
			s.heard.Write(packet[9:])
		case msgWindow:
			s.mu.Lock()
			s.window += int(binary.BigEndian.Uint32(packet[5:]))
			s.change.Broadcast()
			s.mu.Unlock()
		case msgGlobalNo:
			s.answered <- struct{}{}
		case msgEOF, msgClose, msgDisconnect:
			s.end(io.EOF)
			return 0, io.EOF
		}
	}
	return s.heard.Read(p)
}

func (s *pipe) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.change.Broadcast()
}

// Write puts many packets into one system call.
func (s *pipe) Write(p []byte) (int, error) {
	done := 0
	var packets []byte
	for done < len(p) {
		n := min(s.piece, len(p)-done)
		s.mu.Lock()
		for s.window < n && s.err == nil {
			s.mu.Unlock()
			if _, err := s.Conn.Write(packets); err != nil {
				return done, err
			}
			packets = packets[:0]
			s.mu.Lock()
			if s.window < n && s.err == nil {
				s.change.Wait()
			}
		}
		s.window -= n
		err := s.err
		s.mu.Unlock()
		if err != nil {
			return done, err
		}
		packets = append(packets, s.raw.Seal(data(s.id, p[done:done+n]))...)
		done += n
	}
	_, err := s.Conn.Write(packets)
	return done, err
}

// arrived waits until everything that was sent has been looked at. Somebody has to be reading.
func (s *pipe) arrived() error {
	if err := s.raw.Send(global("keepalive@openssh.com", true, nil)); err != nil {
		return err
	}
	<-s.answered
	return nil
}

// SetReadDeadline and its siblings are of the outer connection. Closing closes that.
var _ net.Conn = (*pipe)(nil)

// answers counts the messages of some kinds that come in a time, and waits longer only for the least that have to come.
func answers(raw *rawssh.Client, kinds []byte, least int, during time.Duration) (n int, err error) {
	began := time.Now()
	for {
		end := began.Add(during)
		if n < least {
			end = began.Add(patience)
		}
		_ = raw.SetReadDeadline(end)
		p, err := raw.Receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if bytes.IndexByte(kinds, p[0]) >= 0 {
			n++
		}
	}
}

func (w *world) aliceCertified() ssh.Signer {
	return must(ssh.NewCertSigner(w.certificate(nil), w.alice))
}
