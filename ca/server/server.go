// Package server is the control plane: the CA's operations as commands of an SSH server.
//
// Start with [Server]. What each command takes, prints and refuses is in ca/PROTOCOL.md; the table in commands.go
// is the list of them. It decides nothing: package ca does.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca"
	"postern/internal/door"
)

const (
	// The control plane's own host certificate is renewed long before it ends.
	certificateLife = 24 * time.Hour
	renewEvery      = 6 * time.Hour
	keyExtension    = "key"
)

// Server serves one CA. CA is required; Log defaults to slog.Default.
type Server struct {
	CA     *ca.CA
	Leases Leases
	Log    *slog.Logger

	host atomic.Pointer[ssh.Signer]
	lent lending
	door *door.Door
}

// Serve answers on l until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if s.Log == nil {
		s.Log = slog.Default()
	}
	if err := s.renew(); err != nil {
		return err
	}
	var err error
	if s.lent.before, err = s.CA.Lend(s.leases().Keep); err != nil {
		return err
	}
	s.door = &door.Door{
		HostKeys:  func() []ssh.Signer { return []ssh.Signer{*s.host.Load()} },
		Lookup:    func(_ ssh.ConnMetadata, key ssh.PublicKey) error { _, err := s.CA.Identify(key); return err },
		Authorise: s.authorise,
		Channel:   func(conn *ssh.ServerConn, ch ssh.NewChannel) { s.channel(ctx, conn, ch) },
		Log:       s.Log,
	}
	defer context.AfterFunc(ctx, func() { s.door.Close() })()
	go s.keepRenewing(ctx)
	err = s.door.Serve(l)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (s *Server) leases() Leases {
	return Leases{cmp.Or(s.Leases.Admit, DefaultLeases.Admit), cmp.Or(s.Leases.Keep, DefaultLeases.Keep), s.Leases.WhenFull}
}

func (s *Server) renew() error {
	signer, err := s.CA.OwnHostCertificate(certificateLife)
	if err == nil {
		s.host.Store(&signer)
	}
	return err
}

func (s *Server) keepRenewing(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.renew(); err != nil {
				s.Log.Error("host certificate of the control plane", "err", err)
			}
		}
	}
}

func (s *Server) authorise(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	c, err := s.CA.Identify(key)
	if err != nil {
		s.Log.Warn("login refused", "client", conn.RemoteAddr().String(), "key", ssh.FingerprintSHA256(key))
		return nil, err
	}
	if err := conn.(*door.Visitor).BelongsTo(c.Kind + " " + c.Name); err != nil {
		return nil, &ssh.BannerError{Err: err, Message: "postern: " + err.Error() + "\n"}
	}
	s.Log.Info("identified", "who", c.Kind+" "+c.Name, "client", conn.RemoteAddr().String(), "key", c.Key)
	return &ssh.Permissions{Extensions: map[string]string{keyExtension: string(key.Marshal())}}, nil
}

// caller looks the connection's key up anew: who left the policy since is out.
func (s *Server) caller(conn *ssh.ServerConn) (ca.Caller, ssh.PublicKey, error) {
	key, err := ssh.ParsePublicKey([]byte(conn.Permissions.Extensions[keyExtension]))
	if err != nil {
		return ca.Caller{}, nil, err
	}
	c, err := s.CA.Identify(key)
	if addr, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		c.Address = addr.IP.String()
	}
	return c, key, err
}

// channel serves one session channel: one command.
func (s *Server) channel(ctx context.Context, conn *ssh.ServerConn, nc ssh.NewChannel) {
	if nc.ChannelType() != "session" {
		nc.Reject(ssh.Prohibited, "the control plane runs commands and nothing else")
		return
	}
	ch, reqs, err := nc.Accept()
	if err != nil {
		return
	}
	defer ch.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	started := false
	done := make(chan struct{})
	for {
		select {
		case <-done:
			return
		case req, ok := <-reqs:
			if !ok {
				cancel() // the client is gone; wait for the command to notice
				if started {
					<-done
				}
				return
			}
			command, is := commandOf(req)
			if !is || started {
				req.Reply(req.Type == "env" || req.Type == "pty-req", nil)
				continue
			}
			started = true
			req.Reply(true, nil)
			go func() {
				defer close(done)
				s.serve(ctx, conn, ch, command)
			}()
		}
	}
}

// commandOf returns the command of an exec; a shell request asks for help.
func commandOf(req *ssh.Request) (string, bool) {
	switch req.Type {
	case "shell":
		return "help", true
	case "exec":
		var exec struct{ Command string }
		if ssh.Unmarshal(req.Payload, &exec) == nil {
			return exec.Command, true
		}
	}
	return "", false
}

func (s *Server) serve(ctx context.Context, conn *ssh.ServerConn, ch ssh.Channel, command string) {
	status := uint32(3)
	defer func() {
		if p := recover(); p != nil {
			s.Log.Error("command panicked", "panic", p)
			fmt.Fprintln(ch.Stderr(), "internal error, tell your administrator")
		}
		ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		ch.CloseWrite()
	}()
	status = s.report(ch.Stderr(), conn, s.run(ctx, conn, ch, command))
}

func (s *Server) run(ctx context.Context, conn *ssh.ServerConn, ch ssh.Channel, command string) error {
	caller, key, err := s.caller(conn)
	if err != nil {
		return err
	}
	words, err := split(command)
	if err != nil {
		return err
	}
	call, cmd, err := parse(words)
	if err != nil {
		return err
	}
	if call.has("help") {
		fmt.Fprintln(ch, "usage: "+cmd.usage)
		return nil
	}
	call.ca, call.caller, call.key = s.CA, caller, key
	call.in, call.out = ch, ch
	call.leases, call.lent = s.leases(), &s.lent
	return cmd.run(ctx, call)
}

// report turns an error into a line for the person and an exit status, and logs what they may not read.
func (s *Server) report(w io.Writer, conn *ssh.ServerConn, err error) uint32 {
	var refused *ca.Refused
	var misuse *misuse
	switch {
	case err == nil:
		return 0
	case errors.As(err, &refused):
		fmt.Fprintln(w, refused.Message)
		return 1
	case errors.As(err, &misuse):
		fmt.Fprintln(w, misuse.message)
		return 2
	case ca.Full(err):
		fmt.Fprintln(w, "the disk of the CA is full: until there is room it takes only what ends access, and emergencies; tell your administrator")
		s.Log.Error("command", "client", conn.RemoteAddr().String(), "err", err)
		return 1
	case errors.Is(err, context.Canceled), errors.Is(err, io.EOF):
		return 3
	}
	s.Log.Error("command", "client", conn.RemoteAddr().String(), "err", err)
	fmt.Fprintf(w, "internal error, tell your administrator: connection %x\n", conn.SessionID()[:4])
	return 3
}
