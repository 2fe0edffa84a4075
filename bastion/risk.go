package bastion

import (
	"bytes"
	"context"
	"hash/maphash"
	"regexp"
	"slices"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"postern/bastion/meter"
	"postern/internal/control"
	"postern/internal/limit"
	"postern/recorder"
)

// risk counts what a session does against its limits, in the flow and before it takes effect: the byte, file or command that is one too many does not pass,
// where the limit stops. A nil risk has no limits.
type risk struct {
	tallies *tallies // whose lock covers all of this
	watched []*watched
	stopped atomic.Bool   // nothing passes, in either direction
	cut     *crossing     // what revokes: the session has ended as revoked from then on, whoever closes it first
	over    bool          // a hold came to its end: too late for any release
	opened  chan struct{} // while limits hold the session: closed when the last of them is released
}

// watched is a limit and its count.
type watched struct {
	limit.Limit
	tally   *tally // of the grant
	own     uint64 // of it, in this session
	epoch   uint64 // of the tally that own is of
	crossed bool
	held    bool   // it holds the session now
	lifted  uint64 // how often it was released
	command *regexp.Regexp
}

// crossing is a limit that was crossed now.
type crossing struct {
	limit.Limit
	count, lifted uint64
}

// seed is for the hashes of paths: who does not know it cannot make two that count as one.
var seed = maphash.MakeSeed()

func newRisk(text string) (*risk, error) {
	list, err := limit.Parse(text)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	r := &risk{tallies: &tallies{}}
	for _, l := range list {
		w := &watched{Limit: l, tally: r.tallies.of(l)}
		switch {
		case l.AtOpening():
			continue // the CA decides these
		case l.Counter == limit.Commands:
			if w.command, err = l.Command(); err != nil {
				return nil, err
			}
		}
		r.watched = append(r.watched, w)
	}
	return r, nil
}

func (r *risk) has(counter string) bool {
	return r != nil && slices.ContainsFunc(r.watched, func(w *watched) bool { return w.Counter == counter })
}

// names says whether a limit is about that command.
func (r *risk) names(command string) bool {
	return slices.ContainsFunc(r.watched, func(w *watched) bool { return w.Counter == limit.Commands && w.command.MatchString(command) })
}

// holds says whether a limit may hold the session some time.
func (r *risk) holds() bool {
	return r != nil && slices.ContainsFunc(r.watched, func(w *watched) bool { return w.Action == limit.Hold })
}

// stop says whether a limit has stopped the session.
func (r *risk) stop() bool { return r != nil && r.stopped.Load() }

// wait waits while limits hold the session. False: nothing passes any more.
func (r *risk) wait(ctx context.Context) bool {
	for r.stop() {
		r.tallies.mu.Lock()
		stopped, opened := r.stopped.Load(), r.opened
		r.tallies.mu.Unlock()
		if !stopped {
			return true
		}
		select {
		case <-ctx.Done():
		case <-opened: // never, of what revokes
		}
		if ctx.Err() != nil {
			return false
		}
	}
	return true
}

// bytesOut says how many of the next n bytes of the host may go to the client. Of the limits that stop, the first to be reached decides, to the byte.
func (r *risk) bytesOut(n int) (pass int, crossed []crossing) {
	if r == nil {
		return n, nil
	}
	r.tallies.mu.Lock()
	defer r.tallies.mu.Unlock()
	if r.stopped.Load() {
		return 0, nil
	}
	pass = n
	for _, w := range r.watched {
		if w.Counter == limit.BytesOut && w.Stops() {
			pass = int(min(uint64(pass), w.Most-min(w.Most, w.tally.count)))
		}
	}
	for _, w := range r.watched {
		if w.Counter != limit.BytesOut {
			continue
		}
		before := w.tally.count
		w.add(uint64(pass))
		switch {
		case w.Stops() && pass < n && w.tally.count >= w.Most:
			crossed = append(crossed, r.cross(w, before+uint64(n)))
		case !w.Stops() && !w.crossed && w.tally.count > w.Most:
			crossed = append(crossed, r.cross(w, w.tally.count))
		}
	}
	return pass, crossed
}

// one counts one more of something for the limits that it counts for. It may not take effect when the session is stopped then; while it is, nothing is
// counted.
func (r *risk) one(counter string, counts func(*watched) bool) (crossed []crossing, counted bool) {
	if r == nil {
		return nil, true
	}
	r.tallies.mu.Lock()
	defer r.tallies.mu.Unlock()
	if r.stopped.Load() {
		return nil, false
	}
	for _, w := range r.watched {
		if w.Counter != counter || w.crossed || counts != nil && !counts(w) {
			continue
		}
		if w.add(1); w.tally.count > w.Most {
			crossed = append(crossed, r.cross(w, w.tally.count))
		}
	}
	return crossed, true
}

// cross is called with mu held.
func (r *risk) cross(w *watched, count uint64) crossing {
	w.crossed = true
	c := crossing{w.Limit, count, w.lifted}
	if w.Revokes() && r.cut == nil {
		r.cut = &c
	}
	if w.Action == limit.Hold {
		if w.held = true; r.opened == nil {
			r.opened = make(chan struct{})
		}
	}
	if w.Stops() {
		r.stopped.Store(true)
	}
	return c
}

// revoked is what was crossed that revokes, if anything was.
func (r *risk) revoked() (c crossing, ok bool) {
	if r == nil {
		return c, false
	}
	r.tallies.mu.Lock()
	defer r.tallies.mu.Unlock()
	if r.cut == nil {
		return c, false
	}
	return *r.cut, true
}

// newFile says whether a file counts for a limit on paths, and did not before.
func (w *watched) newFile(path string) bool {
	if !w.Matches(path) {
		return false
	}
	hash := maphash.String(seed, path)
	if _, known := w.tally.seen[hash]; known {
		return false
	}
	w.tally.seen[hash], w.tally.last = struct{}{}, hash
	return true
}

// mayPass counts bytes of the host that go to the client beside what lanes carry: requests and their answers. They pass as a whole or not at all.
func (s *session) mayPass(n int) bool {
	for s.risk.wait(s.ctx) {
		pass, crossed := s.risk.bytesOut(n)
		s.act(crossed)
		if pass == n {
			return !s.halted.Load()
		}
		n -= pass
	}
	return false
}

// denied counts what was asked for and refused.
func (s *session) denied() {
	crossed, _ := s.risk.one(limit.Denied, nil)
	s.act(crossed)
}

// counts counts one more of something that waits to take effect. False: it may not.
func (s *session) counts(ctx context.Context, counter string, which func(*watched) bool) bool {
	for s.risk.wait(ctx) {
		crossed, counted := s.risk.one(counter, which)
		s.act(crossed)
		if counted {
			return s.risk.wait(ctx)
		}
	}
	return false
}

// decodedUse counts what a decoder saw in a piece of a protocol. False: the piece does not go on.
func (s *session) decodedUse(ctx context.Context, log *meter.Log, protocol string) bool {
	if s.risk == nil {
		return true
	}
	for _, use := range log.Uses() {
		if use.Read && !s.counts(ctx, limit.FilesRead, nil) {
			return false
		}
		if !s.counts(ctx, limit.Paths, func(w *watched) bool { return w.newFile(use.Path) }) {
			return false
		}
	}
	// What the host asks of an agent is not the person's doing.
	if s.risk.has(limit.Denied) && protocol != "agent" {
		for _, f := range log.Frames() {
			if f.Type == recorder.TypeEvent && bytes.Contains(f.Data, []byte(`"denied":true`)) {
				s.denied()
			}
		}
	}
	return s.risk.wait(ctx)
}

// command counts a command that is about to start, and waits while it is held. False: it may not start.
func (c *channel) command(req *ssh.Request) bool {
	line := stringOf(req.Payload)
	matches := func(w *watched) bool { return w.command.MatchString(line) }
	for {
		crossed, counted := c.s.risk.one(limit.Commands, matches)
		if c.s.risk.stop() {
			_ = req.Reply(true, nil) // so that the client shows why
			req.WantReply = false
		}
		c.s.act(crossed)
		if !c.s.risk.wait(c.asking) {
			return false
		}
		if counted {
			return true
		}
	}
}

// hostWords is how much a request of the host says.
func hostWords(req *ssh.Request) int {
	if req.Type == "eow@openssh.com" || req.Type == "exit-status" {
		return 0
	}
	return len(req.Type) + len(req.Payload)
}

// act does what limits say that were crossed. What stops has stopped already.
func (s *session) act(crossed []crossing) {
	for _, c := range crossed {
		s.log.Warn("limit crossed", "limit", c.String(), "count", c.count)
		told := s.crossed(c)
		s.remark(told.Reason())
		switch {
		case c.Action == limit.Warn:
			s.tellAll(told.Reason())
		case c.Action == limit.Hold:
			s.hold(c, told)
		case c.Revokes():
			// At once, whatever becomes of the CA; it cuts the same, and what else there is of the person.
			s.b.Revoke(s.revocation(told))
		}
		if s.b.Risk != nil {
			s.b.Risk(told)
		}
	}
}

func (s *session) crossed(c crossing) control.Risk {
	return control.Risk{Session: s.reply.Session.ID, Request: s.grant.request, Person: s.grant.person, Bastion: s.b.Name, Limit: c.String(),
		Count: c.count, Lifted: c.lifted, Action: c.Action, At: s.b.Now().UTC()}
}

func (s *session) revocation(told control.Risk) control.Revocation {
	return control.Revocation{Kind: "request", Value: s.grant.request, Requests: []string{s.grant.request}, Reason: told.Reason(),
		By: control.ByPolicy, At: told.At, Until: s.reply.Session.Deadline}
}

// sentence is how the session ends that is cut for a reason: who crossed a limit that revokes, and leaves before the cut comes, was revoked all the same.
func (s *session) sentence(reason, why string) (string, string) {
	c, ok := s.risk.revoked()
	if !ok || reason == "revoked" {
		return reason, why
	}
	return "revoked", revokedText(s.revocation(s.crossed(c)))
}
