package bastion

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/algo"
	"postern/internal/greeting"
	"postern/internal/pace"
	"postern/internal/socket"
)

// jumpLinger is for the last line to leave through the connection around a jump.
const jumpLinger = 200 * time.Millisecond

// jumps counts the live jumps of one outer connection.
type jumps struct{ atomic.Int32 }

// jump answers a direct-tcpip channel by speaking SSH itself inside it, in the name of the host. The originator's address in the request is
// useless, ssh -J says 127.0.0.1:65535; the client is where the outer connection comes from.
func (b *Bastion) jump(l *login, ch ssh.NewChannel) {
	var to struct {
		Host     string
		Port     uint32
		From     string
		FromPort uint32
	}
	if ssh.Unmarshal(ch.ExtraData(), &to) != nil {
		_ = ch.Reject(ssh.ConnectionFailed, "malformed request")
		return
	}
	gw, err := b.leads(l.grant, to.Host, to.Port)
	if err == nil {
		err = b.admit(l.grant)
	}
	if err == nil {
		err = b.current(l.grant.cert)
	}
	if err != nil {
		b.Log.Warn("jump refused", "client", tcpAddr(l.RemoteAddr()), "person", l.grant.person, "to", oneLine(to.Host), "port", to.Port, "why", oneLine(err.Error()))
		_ = ch.Reject(ssh.Prohibited, err.Error())
		return
	}
	c, reqs, err := ch.Accept()
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go refuseSlowly(ctx, reqs)
	go drain(c.Stderr())
	l.jumps.Add(1)
	defer l.jumps.Add(-1)
	b.inside(l, gw, &channelConn{Channel: c, login: l, ctx: ctx, closed: make(chan struct{}), stall: b.Limits.Stall})
}

// refuseSlowly answers requests on a jump's channel as a server would that does not know them.
func refuseSlowly(ctx context.Context, reqs <-chan *ssh.Request) {
	p := pace.New(requestsPerSecond, requestsPerSecond)
	for req := range reqs {
		_ = p.Wait(ctx)
		_ = req.Reply(false, nil)
	}
}

// leads finds the host that a jump is to. What the certificate is not for gets one answer, whether there is such a host or not.
func (b *Bastion) leads(g *grant, name string, port uint32) (Gateway, error) {
	gw, known := b.Gateway(strings.ToLower(name))
	canonical := gw.Name
	if !known {
		canonical = name
	}
	covered := slices.ContainsFunc(g.cert.ValidPrincipals, func(p string) bool {
		at := strings.LastIndexByte(p, '@')
		return at >= 0 && p[at+1:] == canonical
	})
	switch {
	case !covered:
		return gw, fmt.Errorf("your certificate (%s) is for %s, not for the host %s", g.cert.KeyId, strings.Join(g.cert.ValidPrincipals, ", "), oneLine(name))
	case !known:
		return gw, fmt.Errorf("this bastion has no certificate for the host %s yet; try again in a moment", oneLine(name))
	case port != 22:
		return gw, fmt.Errorf("%s is reached at port 22 through this bastion, whatever its own port is", gw.Name)
	}
	return gw, nil
}

// inside serves the SSH connection in a jump.
func (b *Bastion) inside(l *login, gw Gateway, way *channelConn) {
	in := &inner{wire: socket.New(way, 0), way: way, outer: l, done: make(chan struct{})}
	way.giveUp = func() {
		b.Log.Info("client takes nothing", "client", tcpAddr(l.RemoteAddr()), "person", l.grant.person, "host", gw.Name)
		_ = way.Close()
		_ = in.Close()
	}
	defer in.gone()
	go func() {
		// What was sent inside before the outer connection ended may be much, and be read slowly.
		select {
		case <-l.Done():
			in.gone()
			_ = in.wire.Close()
		case <-in.done:
		}
	}()
	defer in.wire.Close()
	grace := time.AfterFunc(b.Limits.LoginGrace, func() { in.Close() })
	defer grace.Stop()
	client, wire, err := greeting.Exchange(in.wire, "SSH-2.0-"+Version)
	if err != nil {
		return
	}
	in.greeted = wire
	defer func() {
		if in.login != nil {
			go greeting.Farewell(in.login) // the channel of the jump may take as long as the client likes
		}
	}()
	var conn *ssh.ServerConn
	var chans <-chan ssh.NewChannel
	var reqs <-chan *ssh.Request
	err = survive(func() (err error) {
		conn, chans, reqs, err = ssh.NewServerConn(wire, b.innerConfig(gw, in, client))
		return err
	})
	if err != nil {
		b.Log.Debug("login inside a jump ended", "person", l.grant.person, "host", gw.Name, "why", oneLine(err.Error()))
		return
	}
	grace.Stop()
	conn.Permissions.ExtraData[loginKey{}].(*session).serve(conn, chans, reqs)
}

func (b *Bastion) innerConfig(gw Gateway, in *inner, client string) *ssh.ServerConfig {
	check := func(conn ssh.ConnMetadata, key ssh.PublicKey) (*grant, string, error) {
		g, err := b.certificate(key, in.outer.RemoteAddr())
		if err != nil {
			return nil, "", err
		}
		target := conn.User() + "@" + gw.Name
		return g, target, b.principal(g, target)
	}
	c := &ssh.ServerConfig{
		ServerVersion: "SSH-2.0-" + Version, MaxAuthTries: 10, PublicKeyAuthAlgorithms: algo.PublicKeyAlgorithms,
		PreAuthConnCallback: func(conn ssh.ServerPreAuthConn) { in.login = conn; in.greeted.Begun() },
		PublicKeyCallback: func(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			_, _, err := check(conn, key)
			if _, ok := key.(*ssh.Certificate); !ok && in.told {
				return nil, err // it came along with a certificate, of which enough was said
			}
			in.told = true
			return nil, told(err)
		},
		VerifiedPublicKeyCallback: func(conn ssh.ConnMetadata, key ssh.PublicKey, _ *ssh.Permissions, _ string) (p *ssh.Permissions, err error) {
			defer func() {
				if p := recover(); p != nil {
					b.Log.Error("internal error", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
					err = errors.New("internal error")
				}
			}()
			in.ConnMetadata = conn
			g, target, err := check(conn, key)
			if err == nil {
				err = b.admit(g)
			}
			var s *session
			if err == nil {
				s, err = b.open(g, target, in)
			}
			if err != nil {
				b.Log.Warn("refused", "client", tcpAddr(in.outer.RemoteAddr()), "user", oneLine(conn.User()), "host", gw.Name, "key", fingerprint(key), "why", oneLine(err.Error()))
				return nil, told(err)
			}
			return &ssh.Permissions{ExtraData: map[any]any{loginKey{}: s}}, nil
		},
	}
	algo.HardenFor(&c.Config, client)
	c.RekeyThreshold = b.Limits.RekeyBytes
	exchanges := pace.New(algo.ExchangesPerSecond, algo.ExchangeBurst)
	algo.OnKeyExchange(&c.Config, func() { _ = exchanges.Wait(in.way.ctx) })
	algo.HostKeys(c, gw.Signer, bare{gw.Signer})
	return c
}

// bare is the key in a host certificate without the certificate, for clients that know none and pin it. It is the bastion's own.
type bare struct{ ssh.Signer }

func (b bare) PublicKey() ssh.PublicKey {
	if cert, ok := b.Signer.PublicKey().(*ssh.Certificate); ok {
		return cert.Key
	}
	return b.Signer.PublicKey()
}

// inner is the visitor inside a jump.
type inner struct {
	ssh.ConnMetadata
	wire    *socket.Conn
	greeted *greeting.Conn
	login   ssh.ServerPreAuthConn // once authentication has begun
	way     *channelConn
	outer   *login
	done    chan struct{}
	told    bool // a certificate was looked at, or a refusal explained
	once    sync.Once
	left    sync.Once
}

func (i *inner) gone() { i.left.Do(func() { close(i.done) }) }

// BelongsTo is nothing: the outer connection is counted.
func (i *inner) BelongsTo(string) error { return nil }

func (i *inner) Done() <-chan struct{} { return i.done }
func (i *inner) Took(n int)            { i.outer.Took(n) }

// Last is about the outer connection too, if nobody else jumps through it.
func (i *inner) Last() {
	if i.alone() {
		i.outer.Last()
	}
}

// End closes the channel of the jump and, if nobody else jumps through it, ends the outer connection.
func (i *inner) End() error {
	if !i.alone() {
		return i.Close()
	}
	i.wire.Close()
	select {
	case <-i.way.closed:
		return i.outer.End()
	default: // something is queued still
		return i.Close()
	}
}

func (i *inner) alone() bool { return i.outer.jumps.Load() <= 1 }

// Close ends the connection inside and, because closing a channel only asks the peer, the outer one too: at once if nobody else jumps through
// it, else when the peer does not let go.
func (i *inner) Close() error {
	i.once.Do(func() {
		i.wire.Close()
		alone := i.alone()
		go func() {
			wait(i.way.closed, jumpLinger)
			if alone || !wait(i.done, time.Second) {
				i.outer.Close()
			}
		}()
	})
	return nil
}

func wait(c <-chan struct{}, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-c:
		return true
	case <-t.C:
		return false
	}
}

// channelConn is a jump's channel as a connection between the addresses of the outer one, which is what source addresses are checked against.
type channelConn struct {
	ssh.Channel
	login  *login
	ctx    context.Context // done when nobody serves it any more
	stall  time.Duration
	giveUp func() // when the client has taken nothing for so long
	once   sync.Once
	closed chan struct{}
}

func (c *channelConn) LocalAddr() net.Addr              { return c.login.LocalAddr() }
func (c *channelConn) RemoteAddr() net.Addr             { return c.login.RemoteAddr() }
func (c *channelConn) SetDeadline(time.Time) error      { return nil }
func (c *channelConn) SetReadDeadline(time.Time) error  { return nil }
func (c *channelConn) SetWriteDeadline(time.Time) error { return nil }

// Write waits for the channel's window. Deadlines do not reach there, and the client's answers to keepalives on the outer connection say
// nothing about it.
func (c *channelConn) Write(p []byte) (int, error) {
	late := time.AfterFunc(c.stall, c.giveUp)
	defer late.Stop()
	return c.Channel.Write(p)
}

func (c *channelConn) Close() error {
	c.once.Do(func() {
		_ = c.Channel.Close()
		close(c.closed)
	})
	return nil
}
