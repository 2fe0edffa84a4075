package bastion

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

// Limits of an auditor's connection.
const (
	mostNamed    = 1000           // sessions in a certificate
	mostReadings = 32             // commands at once
	mostBodies   = 64             // segments in one command
	readingTime  = 12 * time.Hour // an auditor reads for a day, and a program that was forgotten does not stay for ever
	partingTime  = time.Second    // for the last words to arrive
)

var errReadLong = fmt.Errorf("an auditor's connection ends after %d hours; ask again", int(readingTime.Hours()))

// reader is an auditor's connection: it may read the recordings that its certificate names, and nothing else.
type reader struct {
	*login
	sessions []string
	viewer   string // fingerprint of the key that signed the view
	seq      uint64 // the last revocation that the CA knew when it decided
	commands atomic.Int32
	term     uint64 // of the lease
	ctx      context.Context
	end      context.CancelCauseFunc
}

// newReader reads what a certificate says about recordings.
func newReader(l *login, named, viewer string) (*reader, error) {
	r := &reader{login: l, sessions: strings.Split(named, ",")}
	if len(r.sessions) > mostNamed || slices.Contains(r.sessions, "") {
		return nil, errors.New("this certificate names no recordings")
	}
	var seq string
	var err error
	r.viewer, seq, _ = strings.Cut(viewer, " ")
	if r.seq, err = strconv.ParseUint(seq, 10, 64); err != nil || r.viewer == "" {
		return nil, errors.New("this certificate does not say who views")
	}
	return r, nil
}

// attend puts a reader into the index, and sees it out when its time is over.
func (b *Bastion) attend(r *reader) error {
	r.ctx, r.end = context.WithCancelCause(context.Background())
	v := &b.revoked
	v.mu.Lock()
	defer v.mu.Unlock()
	if b.closing {
		return errClosing
	}
	r.term = b.lease.current()
	for _, known := range v.set {
		if r.struckBy(known, b.Name) {
			return errors.New(revokedText(known.Revocation))
		}
	}
	if v.readers == nil {
		v.readers = map[*reader]struct{}{}
	}
	v.readers[r] = struct{}{}
	go b.seeOut(r)
	return nil
}

func (b *Bastion) seeOut(r *reader) {
	late := time.AfterFunc(readingTime, func() { r.end(errReadLong) })
	defer late.Stop()
	select {
	case <-r.Done():
	case <-r.ctx.Done():
		select {
		case <-r.Done():
		case <-time.After(partingTime):
			r.Close()
		}
	}
	r.end(nil)
	b.revoked.mu.Lock()
	delete(b.revoked.readers, r)
	b.revoked.mu.Unlock()
}

// struckBy says whether a revocation ends the reading. Those the CA knew when it let the auditor in are about what was before.
func (r *reader) struckBy(revoked *ruling, bastion string) bool {
	t := control.Traits{Serials: []uint64{r.grant.cert.Serial}, Person: r.grant.person, Keys: []string{r.viewer, r.grant.key}, Bastion: bastion}
	return revoked.Seq > r.seq && revoked.hits(t)
}

// serveReader serves one channel of an auditor's connection.
func (b *Bastion) serveReader(r *reader, ch ssh.NewChannel) {
	if ch.ChannelType() != "session" {
		_ = ch.Reject(ssh.Prohibited, "recordings are fetched with the command: recording SESSION")
		return
	}
	if !b.lease.keeps(r.term) {
		_ = ch.Reject(ssh.Prohibited, errLost.Error())
		return
	}
	defer r.commands.Add(-1)
	if r.commands.Add(1) > mostReadings {
		_ = ch.Reject(ssh.ResourceShortage, fmt.Sprintf("%d commands at once are the most", mostReadings))
		return
	}
	c, reqs, err := ch.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	for req := range reqs {
		if req.Type != "exec" {
			_ = req.Reply(false, nil)
			continue
		}
		_ = req.Reply(true, nil)
		ctx, stop := context.WithCancelCause(r.ctx)
		go func() {
			ssh.DiscardRequests(reqs)
			stop(context.Canceled) // the channel is closed
		}()
		status := b.read(ctx, r, leased{c, b, r.term}, stringOf(req.Payload))
		_, _ = c.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
		_ = c.CloseWrite()
		stop(nil)
		return
	}
}

// leased is a channel on which nothing is written once the lease of its reader has ended.
type leased struct {
	ssh.Channel
	b    *Bastion
	term uint64
}

func (l leased) Write(p []byte) (int, error) {
	if !l.b.lease.keeps(l.term) {
		return 0, errLost
	}
	return l.Channel.Write(p)
}

// read runs a command; ca/PROTOCOL.md lists them.
func (b *Bastion) read(ctx context.Context, r *reader, c ssh.Channel, command string) uint32 {
	log := b.Log.With("person", r.grant.person, "client", tcpAddr(r.RemoteAddr()))
	words := strings.Split(command, " ")
	if len(words) < 2 || !slices.Contains(r.sessions, words[1]) {
		log.Warn("recording refused", "command", oneLine(command))
		return complain(c, "this certificate is for the recordings of "+named(r.sessions)+" and nothing else")
	}
	session := words[1]
	var err error
	switch {
	case len(words) == 2 && words[0] == "recording":
		err = b.Recorder.Export(session, c)
	case len(words) == 2 && words[0] == "outline":
		err = b.Recorder.Outline(session, c)
	case len(words) == 2 && words[0] == "follow":
		log.Info("session followed", "session", session)
		err = b.Recorder.Follow(ctx, session, c)
	case len(words) == 4 && words[0] == "segments":
		if err = b.bodies(session, words[2:], c); err == nil {
			return 0 // too many for the log, and the outline is in it
		}
	default:
		log.Warn("recording refused", "command", oneLine(command))
		return complain(c, "recordings are read with: recording SESSION, outline SESSION, segments SESSION FROM COUNT, follow SESSION")
	}
	if r.ctx.Err() != nil {
		return complain(c, oneLine(context.Cause(r.ctx).Error()))
	}
	return b.readSaid(log.With("session", session, "what", words[0]), session, c, err)
}

var errRange = errors.New("segments are counted from 0, and at most 64 are given at a time")

func (b *Bastion) bodies(session string, words []string, c ssh.Channel) error {
	from, err1 := strconv.ParseUint(words[0], 10, 32)
	count, err2 := strconv.ParseUint(words[1], 10, 32)
	if err1 != nil || err2 != nil || count < 1 || count > mostBodies {
		return errRange
	}
	return b.Recorder.Bodies(session, from, count, c)
}

// readSaid tells the auditor, and the log, how a command went.
func (b *Bastion) readSaid(log *slog.Logger, session string, c ssh.Channel, err error) uint32 {
	switch {
	case err == nil:
		log.Info("recording fetched")
		return 0
	case errors.Is(err, errRange):
		return complain(c, err.Error())
	case errors.Is(err, recorder.ErrNotFound), errors.Is(err, recorder.ErrDeleted):
		return complain(c, b.Name+" has no such thing: "+oneLine(err.Error()))
	case errors.Is(err, recorder.ErrClosed):
		return complain(c, b.Name+" is shutting down")
	case errors.Is(err, context.Canceled):
		return 1
	}
	log.Error("recording", "error", err)
	return complain(c, "the recording of "+session+" could not be read to its end; tell your operator")
}

func complain(c ssh.Channel, text string) uint32 {
	fmt.Fprintf(c.Stderr(), "postern: %s\n", text)
	return 1
}

// named lists some sessions for people.
func named(sessions []string) string {
	if len(sessions) > 3 {
		return fmt.Sprintf("%s and %d others", oneLine(sessions[0]), len(sessions)-1)
	}
	return oneLine(strings.Join(sessions, ", "))
}
