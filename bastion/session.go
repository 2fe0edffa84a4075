package bastion

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/bastion/meter"
	"postern/internal/control"
	"postern/internal/destination"
	"postern/internal/greeting"
	"postern/internal/pace"
	"postern/recorder"
)

// What a client may ask of its connection inside a jump before it is slowed down, as at the door.
const (
	requestsPerSecond = 200
	requestBurst      = 2000
)

// session is one login of an admin to one account of one host: from the CA's leave to its end.
type session struct {
	b       *Bastion
	grant   *grant
	reply   *control.OpenReply
	account string
	allowed capabilities
	link    visitor // the admin's side
	term    uint64  // of the lease that it lives on
	log     *slog.Logger
	ctx     context.Context // done when the session ends: nothing is released from then on
	cancel  context.CancelFunc

	born         time.Time
	prolonged    chan struct{} // holds one when the deadline moved
	begun        chan struct{} // closed when both sides and the recording are there
	destinations destination.List
	risk         *risk      // nil: no limits
	warned       sync.Once  // of what the CA says of its opening
	requests     *pace.Pace // channels and global requests inside a jump; the door has its own for the outer connection
	noMore       atomic.Bool
	halted       atomic.Bool // it was cut: nothing passes, and ctx ends in a moment
	globals      sync.Mutex  // held while a request about the whole connection is answered

	mu       sync.Mutex
	host     ssh.Conn
	client   ssh.Conn
	rec      *recorder.Writer
	typed    func(recorder.Frame) (*recorder.Commit, error) // records keystrokes; nil: nobody asked for them
	channels map[*channel]struct{}
	open     int                 // channels of all kinds
	next     uint32              // number of the next channel
	expects  map[string]struct{} // what the host may open
	deadline time.Time
	over     bool
	why      string        // what the admin was or is to be told of the end
	killed   chan struct{} // once over: closed when the host was asked to kill what runs

	running sync.WaitGroup // channels
	touched atomic.Int64   // nanoseconds after it was born, by a clock that does not jump, of the last sign of the admin
}

// open asks the CA, and brings up the host's side and the recording. An error is for the admin to read.
func (b *Bastion) open(g *grant, target string, link visitor) (*session, error) {
	// Whether it is an emergency the CA says; the recorder asks for room again when it is known.
	if err := errors.Join(b.Recorder.Err(), b.Recorder.Room(true)); err != nil {
		b.Log.Error("no session can be recorded", "error", err)
		return nil, noRecorder(err, true)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		select {
		case <-link.Done():
			cancel()
		case <-ctx.Done():
		}
	}()
	key, reply, err := b.leave(ctx, g, target, link)
	if err != nil {
		cancel()
		return nil, err
	}
	s := &session{
		b: b, born: time.Now(), deadline: reply.Session.Deadline, prolonged: make(chan struct{}, 1), grant: g, reply: reply, allowed: reply.Capabilities, link: link, ctx: ctx, cancel: cancel,
		begun: make(chan struct{}), channels: map[*channel]struct{}{}, expects: map[string]struct{}{}, requests: pace.New(requestsPerSecond, requestBurst),
		log: b.Log.With("session", reply.Session.ID, "person", g.person, "request", g.request, "target", reply.Session.Target),
	}
	if reply.Record.Files == "" { // a CA that does not say how much to keep
		reply.Record.Files, reply.Record.Streams, reply.Record.Forwards = meter.Full, -1, -1
	}
	s.account, _, _ = strings.Cut(reply.Session.Target, "@")
	s.touch()
	if err := s.begin(key); err != nil {
		s.cut(endOf(err), "")
		return nil, s.reason(err)
	}
	s.log.Info("session open", "client", tcpAddr(link.RemoteAddr()), "serial", g.cert.Serial, "deadline", reply.Session.Deadline)
	go s.attend(s.clock())
	return s, nil
}

func (b *Bastion) ask(ctx context.Context, r control.OpenRequest) (*control.OpenReply, error) {
	ctx, cancel := context.WithTimeout(ctx, b.Limits.OpenTime)
	defer cancel()
	reply, err := b.Open(ctx, r)
	var no *control.Refused
	if errors.As(err, &no) && no.Status != 3 {
		return nil, errors.New(oneLine(strings.TrimPrefix(no.Message, "postern: ")))
	}
	if err != nil {
		b.Log.Error("the CA does not open sessions", "target", r.Target, "error", err)
		return nil, errors.New("the CA cannot be asked at the moment, so no session opens; try again, then tell your operator")
	}
	return reply, nil
}

// reason is why a session that was cut while it opened did not, rather than what broke because of it.
func (s *session) reason(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why != "" {
		return errors.New(s.why)
	}
	return err
}

// failed is an error with how the session is said to have ended.
type failed struct {
	end string
	error
}

func endOf(err error) string {
	var f failed
	if errors.As(err, &f) {
		return f.end
	}
	return "refused"
}

// begin records and dials at the same time: both are waiting, one for the disk and one for the host.
func (s *session) begin(key ssh.Signer) error {
	to, err := s.recordingKeys()
	if err != nil {
		s.log.Error("recording key", "error", err)
		return failed{"recorder", err}
	}
	if s.destinations, err = destination.ParseList(s.reply.Destinations); err != nil {
		s.log.Error("the CA's answer is unusable", "error", err)
		return failed{"host", errors.New("the CA's answer is unusable; tell your operator")}
	}
	if s.risk, err = newRisk(s.reply.Session.Limits); err != nil {
		s.log.Error("the CA's answer is unusable", "error", err)
		return failed{"host", errors.New("the CA's answer is unusable; tell your operator")}
	}
	s.risk.share(s.b.grants.enter(s.grant.request, s.b.Now(), s.ends()), s.reply.Used)
	if err := s.b.register(s); err != nil {
		s.b.grants.leave(s.grant.request, s.ends())
		return failed{"revoked", err}
	}
	created := make(chan error, 1)
	go func() { created <- s.record(to) }()
	late := time.NewTimer(s.b.Limits.FreezeTime)
	defer late.Stop()
	host, err := s.dial(key)
	var cerr error
	select {
	case cerr = <-created:
	case <-late.C:
		cerr = errFrozen
	}
	if cerr != nil {
		s.log.Error("recording cannot begin", "error", cerr)
		err = errors.Join(failed{"recorder", noRecorder(cerr, s.reply.Emergency)}, closeConn(host))
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		host.Close()
		return errEnded
	}
	s.host = host
	close(s.begun)
	return nil
}

func closeConn(c ssh.Conn) error {
	if c != nil {
		c.Close()
		go greeting.Farewell(c)
	}
	return nil
}

// sealedTo is whom a recording is for.
type sealedTo struct {
	all   recorder.PublicKey
	typed recorder.PublicKey // keystrokes, if they are recorded
}

func (s *session) recordingKeys() (to sealedTo, err error) {
	if to.all, err = s.b.recordingKey(s.reply.RecordingKey, ""); err != nil || !s.reply.Record.Keystrokes {
		return to, err
	}
	if s.reply.KeystrokeKey == nil {
		return to, errors.New("this session's keystrokes are to be recorded, and there is no key to seal them to")
	}
	if s.reply.KeystrokeKey.ID == s.reply.RecordingKey.ID {
		return to, errors.New("this session's keystrokes would be sealed to the key of everything else")
	}
	to.typed, err = s.b.recordingKey(*s.reply.KeystrokeKey, control.Keystrokes)
	return to, err
}

func (s *session) record(to sealedTo) error {
	_, host, _ := strings.Cut(s.reply.Session.Target, "@")
	w, err := s.b.Recorder.Create(recorder.Header{
		Session: s.reply.Session.ID, Request: s.grant.request, Person: s.grant.person, Account: s.account, Host: host,
		Bastion: s.b.Name, Client: tcpAddr(s.link.RemoteAddr()), Key: s.grant.key, Serial: s.grant.cert.Serial,
		Emergency: s.reply.Emergency,
		Facts:     map[string]string{"client-version": oneLine(string(s.link.ClientVersion()))},
	}, to.all)
	if err != nil {
		return err
	}
	go s.b.note(s.reply.Session, s.reply.RecordingKey.Month)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		go w.Close("refused") // it took too long, or the session was cut
		return errEnded
	}
	s.rec = w
	if s.reply.Record.Keystrokes {
		typed, err := w.Compartment(to.typed)
		if err != nil {
			return err
		}
		s.typed = typed.Append
	}
	return nil
}

// traits are what a revocation can name of a session. An approver's are listed by request.
func (s *session) traits() control.Traits { return s.grant.traits(s.b.Name, s.reply.Session.Target) }

func (g *grant) traits(bastion string, targets ...string) control.Traits {
	return control.Traits{
		Request: g.request, Serials: []uint64{g.cert.Serial}, Person: g.person, Keys: []string{g.key}, Targets: targets, Bastion: bastion,
	}
}

// attend watches over the session until it ends.
func (s *session) attend(clock *clock) {
	gone := make(chan struct{})
	go func() { _ = s.host.Wait(); close(gone) }()
	defer clock.stop()
	for {
		select {
		case <-s.ctx.Done():
			s.cut("closed", "") // the admin left, unless it was cut already
			return
		case <-gone:
			// Its last words are still in the channels.
			s.waitChannels()
			s.cut("host", s.reply.HostName+" closed the connection")
			return
		case <-s.rec.Failed():
			s.unrecorded(s.rec.Why())
			return
		case <-s.prolonged:
			s.prolong(clock)
		case <-clock.over.C:
			if s.prolong(clock) {
				continue
			}
			s.cut("deadline", fmt.Sprintf("the time of %s is over", s.grant.request))
			return
		case <-clock.tick.C:
			s.tick(clock)
		}
	}
}

// within runs f and waits for it, but not longer than limit. It says whether f returned.
func within(limit time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() { f(); close(done) }()
	return wait(done, limit)
}

func (s *session) waitChannels() { within(settleTime, s.running.Wait) }

func (s *session) note(rec *recorder.Writer, text string) {
	if rec != nil {
		_, _ = rec.Append(recorder.Frame{Type: recorder.TypeNote, Channel: recorder.Global, Data: []byte(text)})
	}
}

// unrecorded ends a session whose frames cannot be kept. What was read from the host and is not durable is never shown.
func (s *session) unrecorded(err error) {
	if s.ctx.Err() != nil {
		return
	}
	s.log.Error("session cannot be recorded", "error", err)
	s.cut("recorder", s.lastWords(err))
}

func head(rec *recorder.Writer) (uint64, string) {
	n, h := rec.Head()
	return n, hex.EncodeToString(h[:])
}

// pace waits while the client asks for too much; an error: the session has ended.
func (s *session) pace() error { return s.requests.Wait(s.ctx) }

func (s *session) touch() { s.touched.Store(int64(time.Since(s.born))) }

func line(key ssh.PublicKey) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) }

// live says whether another channel may open: the certificate is good for minutes, the connection could stay for hours.
func (s *session) live() error {
	if s.ctx.Err() != nil || s.halted.Load() {
		return errEnded
	}
	if s.risk.stop() {
		return errHeld
	}
	admit := s.b.admit
	if s.grant.sealed { // that there is a CA again ends nothing
		admit = s.b.check
	}
	if err := admit(s.grant); err != nil {
		return err
	}
	if !s.b.Now().Before(s.ends()) {
		return fmt.Errorf("the time of %s is over", s.grant.request)
	}
	return nil
}
