// Package door is the outer SSH listener of postern's servers, over github.com/gliderlabs/ssh, and nothing more: it limits
// who may knock, does the handshake, authenticates with public keys only, and hands every channel to its owner. Start with
// [Door]. It promises that a panic ends one connection and not the process, that a peer which does not log in is gone after
// the login grace, and that a flood of strangers cannot use up what those who are logged in need.
//
// The library's own session, forwarding and agent handlers are never registered: they panic and deadlock on hostile
// requests, and they change the bytes that pass.
package door

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"strings"
	"sync"
	"time"
	"unicode"

	gliderlabs "github.com/gliderlabs/ssh"
	"golang.org/x/crypto/ssh"

	"postern/internal/algo"
	"postern/internal/greeting"
	"postern/internal/pace"
	"postern/internal/socket"
)

// Door serves one SSH listener.
type Door struct {
	// Version is the software version shown to clients, without "SSH-2.0-". Zero: postern.
	Version string

	// HostKeys returns the keys or host certificates to present. It is asked anew for every connection, so that short
	// certificates can be rotated. The first of each type wins.
	HostKeys func() []ssh.Signer

	// Lookup says cheaply whether a key is worth a signature. It runs before the client proved anything, so its answer must
	// not tell a stranger who or what exists. A *ssh.BannerError is shown, unless it was before
	// or it is about a plain key after something was said already: that key came along with a certificate. Nil: every key is.
	Lookup func(conn ssh.ConnMetadata, key ssh.PublicKey) error

	// Authorise decides, once the client's signature is verified. A *ssh.BannerError is shown to the client. The
	// ConnMetadata is a [*Visitor].
	Authorise func(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error)

	// Channel owns one channel that a client asks for; it returns when the channel is finished. Each call has its own
	// goroutine.
	Channel func(conn *ssh.ServerConn, ch ssh.NewChannel)

	// Request answers a request about the connection as a whole. Nil: every one is answered as a server would that does not know it.
	Request func(conn *ssh.ServerConn, req *ssh.Request) (ok bool, payload []byte)

	Limits    Limits
	KeepAlive time.Duration // between keepalive requests to clients with a channel; zero: 60 s, negative: none
	Log       *slog.Logger  // zero: slog.Default()

	once   sync.Once
	server *gliderlabs.Server
	gate   *gate
	turns  *turns
}

// Serve accepts connections until the listener fails or Close is called, and returns a non-nil error then.
func (d *Door) Serve(l net.Listener) error {
	d.once.Do(d.prepare)
	if !d.gate.listen(l) {
		l.Close()
		return net.ErrClosed
	}
	for {
		c, err := l.Accept()
		var temporary interface{ Temporary() bool }
		switch {
		case err == nil:
			d.admit(c)
		case errors.Is(err, net.ErrClosed):
			return err
		case errors.As(err, &temporary) && temporary.Temporary():
			// Out of file descriptors, mostly. Those who are in must be able to go on.
			time.Sleep(50 * time.Millisecond)
		default:
			return err
		}
	}
}

// Stop closes the listeners and leaves connections alone.
func (d *Door) Stop() {
	d.once.Do(d.prepare)
	d.gate.stop()
}

// Close closes the listeners and every connection.
func (d *Door) Close() error {
	d.once.Do(d.prepare)
	d.gate.stop()
	d.gate.closeAll()
	return nil
}

func (d *Door) prepare() {
	d.Limits = d.Limits.withDefaults()
	if d.Log == nil {
		d.Log = slog.Default()
	}
	if d.KeepAlive == 0 {
		d.KeepAlive = time.Minute
	}
	if d.Version == "" {
		d.Version = "postern"
	}
	d.gate, d.turns = newGate(d.Limits), newTurns(d.Limits)
	if d.Limits.Memory > 0 {
		go d.guardMemory(d.Limits.Memory)
	}
	d.server = &gliderlabs.Server{
		Version: d.Version,
		// Without a PublicKeyHandler the library switches authentication off altogether, whatever the configuration says.
		PublicKeyHandler:         d.lookup,
		ServerConfigCallback:     d.config,
		ConnectionFailedCallback: d.failed,
		ChannelHandlers:          map[string]gliderlabs.ChannelHandler{"default": d.channel},
		RequestHandlers:          map[string]gliderlabs.RequestHandler{"default": d.request},
		SubsystemHandlers:        map[string]gliderlabs.SubsystemHandler{},
		ConnCallback: func(ctx gliderlabs.Context, c net.Conn) net.Conn {
			v := c.(*visit)
			ctx.SetValue(visitKey, v)
			return v.greeted
		},
	}
}

// visitKey is where a connection's visit is found in the library's context.
var visitKey = &struct{ name string }{"postern visit"}

// request answers a global request. Keepalives are among them, to which any answer is proof of life.
func (d *Door) request(ctx gliderlabs.Context, _ *gliderlabs.Server, req *ssh.Request) (ok bool, payload []byte) {
	v := ctx.Value(visitKey).(*visit)
	defer d.recover(v, "request "+req.Type)
	v.requests.Count()
	if d.Request == nil {
		return false, nil
	}
	return d.Request(ctx.Value(gliderlabs.ContextKeyConn).(*ssh.ServerConn), req)
}

func (d *Door) admit(c net.Conn) {
	v := d.visit(c)
	if why := d.gate.enter(v); why != "" {
		if more, tell := d.gate.complain(time.Now()); tell {
			d.Log.Warn("connection refused", "client", c.RemoteAddr().String(), "why", why, "and_before", more)
		}
		v.cancel()
		c.Close()
		return
	}
	v.grace = time.AfterFunc(d.Limits.LoginGrace, func() {
		// A deadline would be wiped by the library at the next read.
		d.Log.Info("login grace is over", "client", c.RemoteAddr().String())
		v.cancel()
		c.Close()
	})
	go func() {
		defer v.farewell()
		defer close(v.done)
		defer d.gate.leave(v)
		defer c.Close()
		defer v.Close()
		defer d.recover(v, handshake)
		var err error
		if v.client, v.greeted, err = greeting.Exchange(v, "SSH-2.0-"+d.Version); err != nil {
			d.failed(v, err)
			return
		}
		d.server.HandleConn(v)
	}()
}

func (d *Door) visit(c net.Conn) *visit {
	from := host(c.RemoteAddr())
	v := &visit{
		Conn: socket.New(c, d.Limits.Stall), from: from, done: make(chan struct{}),
		turns: d.turns, work: d.turns.pace(from), requests: pace.New(d.Limits.RequestsPerSecond, d.Limits.RequestBurst),
		crowded: int32(d.Limits.MaxChannels) + slack, fewer: make(chan struct{}, 1),
	}
	v.ctx, v.cancel = context.WithCancel(context.Background())
	return v
}

// recover is deferred around everything that runs foreign bytes: a panic costs its connection and no other.
//
// One is the library's, and anybody's to have: in golang.org/x/crypto 0.58 a client that asks for new keys as soon as it has keys, and in
// vain, leaves it without the algorithms that it is about to copy. So strangers get one line of the log in a second.
func (d *Door) recover(v *visit, where string) {
	p := recover()
	if p == nil {
		return
	}
	defer v.Close()
	before, level, what := 0, slog.LevelError, "internal error"
	if where == handshake && !v.known.Load() {
		var tell bool
		if before, tell = d.gate.complain(time.Now()); !tell {
			return
		}
		level, what = slog.LevelWarn, "handshake broke off"
	}
	d.Log.Log(context.Background(), level, what, "where", brief(where), "client", v.RemoteAddr().String(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()), "and_before", before)
}

const handshake = "connection"

func (d *Door) config(ctx gliderlabs.Context) *ssh.ServerConfig {
	v := ctx.Value(visitKey).(*visit)
	c := &ssh.ServerConfig{
		MaxAuthTries:            d.Limits.MaxAuthTries,
		PublicKeyAuthAlgorithms: algo.PublicKeyAlgorithms,
		NoClientAuthCallback: func(ssh.ConnMetadata) (*ssh.Permissions, error) {
			return nil, errors.New("authentication is required")
		},
		// The permissions that come in are one object shared by all attempts of the connection: never use them.
		VerifiedPublicKeyCallback: func(conn ssh.ConnMetadata, key ssh.PublicKey, _ *ssh.Permissions, _ string) (p *ssh.Permissions, err error) {
			err = errors.New("internal error") // unless Authorise returns
			defer d.recover(v, "authorisation")
			p, err = d.Authorise(&Visitor{conn, v, d.gate}, key)
			var banner *ssh.BannerError
			if errors.As(err, &banner) && !v.first(banner.Message) {
				err = banner.Err // the same certificate from a second file: it was said
			}
			return p, err
		},
		PreAuthConnCallback: func(conn ssh.ServerPreAuthConn) { v.login = conn; v.greeted.Begun() },
		AuthLogCallback:     func(conn ssh.ConnMetadata, method string, err error) { d.attempt(v, conn, method, err) },
	}
	algo.HardenFor(&c.Config, v.client)
	c.RekeyThreshold = d.Limits.RekeyBytes
	exchanges := pace.New(algo.ExchangesPerSecond, algo.ExchangeBurst)
	algo.OnKeyExchange(&c.Config, func() { _ = exchanges.Wait(v.ctx) })
	algo.HostKeys(c, d.HostKeys()...)
	return c
}

func (d *Door) lookup(ctx gliderlabs.Context, key gliderlabs.PublicKey) bool {
	v := ctx.Value(visitKey).(*visit)
	defer d.recover(v, "lookup")
	v.work.Count() // a read may bring several, and asking costs no attempt when the answer is yes
	if d.Lookup == nil {
		return true
	}
	err := d.Lookup(v.login, key)
	var banner *ssh.BannerError
	if errors.As(err, &banner) && v.fresh(key, banner.Message) {
		_ = v.login.SendAuthBanner(banner.Message)
	}
	if err != nil {
		d.Log.Info("key not accepted", "client", v.RemoteAddr().String(), "user", brief(v.login.User()), "key", ssh.FingerprintSHA256(key), "why", brief(err.Error()))
	}
	return err == nil
}

// attempt hears of every authentication attempt with its final result, after the library's own checks.
func (d *Door) attempt(v *visit, conn ssh.ConnMetadata, method string, err error) {
	switch {
	case err == nil:
		v.grace.Stop()
		v.known.Store(true)
		d.gate.authenticated(v)
		d.Log.Info("login", "client", conn.RemoteAddr().String(), "user", brief(conn.User()), "version", string(conn.ClientVersion()), "cipher", cipher(conn))
	case method != "none":
		d.Log.Info("login refused", "client", conn.RemoteAddr().String(), "user", brief(conn.User()), "method", brief(method), "why", brief(err.Error()))
	}
}

// brief is foreign text for the log: a name may have a quarter of a megabyte, and slog's text leaves DEL as it is.
func brief(s string) string {
	const most = 300
	if len(s) > most {
		s = s[:most] + "…"
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, " "))
}

func cipher(conn ssh.ConnMetadata) string {
	if c, ok := conn.(ssh.AlgorithmsConnMetadata); ok {
		return c.Algorithms().Read.Cipher
	}
	return ""
}

func (d *Door) failed(c net.Conn, err error) {
	d.Log.Debug("handshake ended", "client", c.RemoteAddr().String(), "why", brief(err.Error()))
}

func (d *Door) channel(_ *gliderlabs.Server, conn *ssh.ServerConn, ch ssh.NewChannel, ctx gliderlabs.Context) {
	v := ctx.Value(visitKey).(*visit)
	defer d.recover(v, "channel "+ch.ChannelType())
	if d.KeepAlive > 0 {
		v.alive.Do(func() { go d.keepAlive(conn) })
	}
	v.requests.Count()
	defer v.channelGone()
	if v.channels.Add(1) > int32(d.Limits.MaxChannels) {
		_ = ch.Reject(ssh.ResourceShortage, "too many channels on this connection")
		return
	}
	d.Channel(conn, ch)
}

// keepAlive closes a connection whose peer stopped answering. The request itself would wait for ever.
func (d *Door) keepAlive(conn *ssh.ServerConn) {
	gone := make(chan struct{})
	go func() { _ = conn.Wait(); close(gone) }()
	tick := time.NewTicker(d.KeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-gone:
			return
		case <-tick.C:
		}
		late := time.AfterFunc(d.Limits.Stall, func() {
			d.Log.Info("client does not answer", "client", conn.RemoteAddr().String(), "user", brief(conn.User()))
			conn.Close()
		})
		_, _, err := conn.SendRequest("keepalive@openssh.com", true, nil)
		late.Stop()
		if err != nil {
			return
		}
	}
}
