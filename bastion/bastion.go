// Package bastion stands between admins and the hosts that hold protected data: it checks the admin's certificate, asks the
// CA to open a session, logs in to the host with a certificate made for that session alone, and relays every channel while
// the recorder keeps what passes.
//
// Start with [Bastion]; cmd/postern-bastion wires its func fields to the CA and its methods to the outer listener. It promises
// that no byte of a host reaches an admin before the frame that holds it is durable, that nothing passes which the grant does not
// name, and that a revocation, a deadline or a lost CA ends a session whatever its two ends do. It holds no CA key.
package bastion

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/internal/socket"
	"postern/recorder"
)

// Version is what clients and hosts are told. It begins like OpenSSH's because OpenSSH sends eow@openssh.com, without which
// "ssh host yes | head -1" hangs, only to its like.
const Version = "OpenSSH_9.9 postern"

// Bastion serves one bastion. Fields without a stated zero meaning must be set before its methods are called.
type Bastion struct {
	Name     string
	UserCA   ssh.PublicKey          // signs admins' certificates
	HostCA   ssh.PublicKey          // signs hosts' certificates
	Auditors func() []ssh.PublicKey // who may sign recording keys
	Recorder *recorder.Store        // where sessions are recorded

	// Gateway finds a host by name or alias, and the key under which the bastion speaks in its name.
	Gateway func(name string) (Gateway, bool)

	// Open asks the CA to open a session. A *control.Refused is shown to the admin.
	Open func(context.Context, control.OpenRequest) (*control.OpenReply, error)

	// Progress tells the CA about a recording. It must not block.
	Progress func(control.Progress)

	// Receipt tells the CA what was done about a revocation. It must not block; nil: nobody is told.
	Receipt func(control.CutReceipt)

	// Risk tells the CA of a limit that a session crossed. It must not block; nil: nobody is told.
	Risk func(control.Risk)

	// Sheets takes sealed grants while there is no CA; nil: none are taken.
	Sheets *Sheets

	Limits Limits
	Log    *slog.Logger     // zero: slog.Default()
	Now    func() time.Time // for certificates; zero: time.Now

	lease   lease
	revoked revocations
	keys    recordingKeys
	grants  grants
	once    sync.Once
	closing bool // under revoked.mu: no session may begin
}

// Gateway is a host as the bastion presents it.
type Gateway struct {
	Name   string     // canonical
	Signer ssh.Signer // with the gateway CA's certificate for that name
}

// Limits bound a session. A zero field takes the default named with it.
type Limits struct {
	LoginGrace  time.Duration // to log in inside a jump; 30 s
	OpenTime    time.Duration // for the CA to answer; 10 s
	DialTime    time.Duration // to reach and log in to the host; 15 s
	FreezeTime  time.Duration // a session whose frames do not become durable waits so long and ends; 10 s
	Stall       time.Duration // a client inside a jump that takes nothing for so long is dropped; 5 min, as door.Limits has it for others
	HeadEvery   time.Duration // between heads of a live recording for the CA's log; 5 s
	HoldTime    time.Duration // a session that a limit holds ends after it; 5 min
	NoticeTime  time.Duration // a notice waits so long for a moment at which it spoils nothing on the terminal; 1 s
	MaxChannels int           // open at once in one session; 128
	RekeyBytes  uint64        // inside a jump, new keys after so much; as much as the cipher is good for
}

func (b *Bastion) prepare() {
	b.once.Do(func() {
		if b.Log == nil {
			b.Log = slog.Default()
		}
		if b.Now == nil {
			b.Now = time.Now
		}
		duration := func(d *time.Duration, otherwise time.Duration) {
			if *d == 0 {
				*d = otherwise
			}
		}
		duration(&b.Limits.LoginGrace, 30*time.Second)
		duration(&b.Limits.OpenTime, 10*time.Second)
		duration(&b.Limits.DialTime, 15*time.Second)
		duration(&b.Limits.FreezeTime, 10*time.Second)
		duration(&b.Limits.Stall, socket.DefaultStall)
		duration(&b.Limits.HeadEvery, 5*time.Second)
		duration(&b.Limits.HoldTime, 5*time.Minute)
		duration(&b.Limits.NoticeTime, time.Second)
		if b.Limits.MaxChannels == 0 {
			b.Limits.MaxChannels = 128
		}
	})
}

// visitor is a client's connection while it logs in and afterwards: the outer one, which internal/door hands in, or the one
// inside a jump.
type visitor interface {
	ssh.ConnMetadata
	BelongsTo(person string) error
	Done() <-chan struct{} // closed when the connection is gone
	Took(n int)            // of what the client sent, so many bytes were taken out of its channels
	Last()                 // End follows what is written next
	End() error            // closes it for the client, without waiting; Close follows
	Close() error          // ends it for certain, without waiting
}

// login is what authentication on the outer connection found out.
type login struct {
	visitor
	grant   *grant
	session *session // the login named account@host: every channel belongs to it
	reader  *reader  // of recordings, and of nothing else
	sheet   bool     // it presents a sheet, and nothing else
	jumps   jumps
}

type loginKey struct{}

// Lookup says whether a key that a client offers is worth a signature; see door.Door.
func (b *Bastion) Lookup(conn ssh.ConnMetadata, key ssh.PublicKey) error {
	b.prepare()
	_, err := b.recognise(conn, key)
	return told(err)
}

// Authorise decides about an outer login. For "ssh -l account@host" the session opens here, so that a refusal reads as one.
func (b *Bastion) Authorise(conn ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
	b.prepare()
	l, err := b.recognise(conn, key)
	if err == nil {
		err = b.admit(l.grant)
	}
	if err == nil {
		err = l.visitor.BelongsTo(l.grant.person)
	}
	if err == nil && l.reader != nil {
		err = b.attend(l.reader)
	}
	if err == nil && l.reader == nil && !l.sheet && strings.Contains(conn.User(), "@") {
		l.session, err = b.open(l.grant, conn.User(), l.visitor)
	}
	if err != nil {
		b.Log.Warn("refused", "client", conn.RemoteAddr().String(), "user", oneLine(conn.User()), "key", fingerprint(key), "why", oneLine(err.Error()))
		return nil, told(err)
	}
	b.Log.Info("admitted", "client", conn.RemoteAddr().String(), "user", oneLine(conn.User()), "person", l.grant.person, "request", l.grant.request, "serial", l.grant.cert.Serial)
	return &ssh.Permissions{ExtraData: map[any]any{loginKey{}: l}}, nil
}

// Channel serves one channel of an outer connection.
func (b *Bastion) Channel(conn *ssh.ServerConn, ch ssh.NewChannel) {
	l := conn.Permissions.ExtraData[loginKey{}].(*login)
	switch {
	case l.reader != nil:
		b.serveReader(l.reader, ch)
	case l.sheet:
		b.serveSheet(l, ch)
	case l.session != nil:
		l.session.setClientConn(conn)
		l.session.globals.Lock() // a request that came before is answered before
		l.session.globals.Unlock()
		l.session.channel(ch)
	case ch.ChannelType() == "direct-tcpip":
		b.jump(l, ch)
	default:
		_ = ch.Reject(ssh.Prohibited, fmt.Sprintf("this is the bastion %s; say which account and host: ssh -J %s ACCOUNT@HOST, or ssh -l ACCOUNT@HOST %s", b.Name, b.Name, b.Name))
	}
}

var errNoCA = errors.New("this bastion has lost its CA and admits nobody until it is back")

// admit is what has to be true before anything begins, beyond the certificate itself: the lease, then the revocations.
func (b *Bastion) admit(g *grant) error {
	if g.sealed {
		return b.admitSheet(g)
	}
	if !b.lease.admits() {
		return errNoCA
	}
	return b.check(g)
}

// told makes what the client reads of an error: one line during authentication.
func told(err error) error {
	if err == nil {
		return nil
	}
	return &ssh.BannerError{Err: err, Message: "postern: " + err.Error() + "\n"}
}

func tcpAddr(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
