package bastion

import (
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
	"postern/recorder"
)

const (
	tellTime   = 100 * time.Millisecond // for the last line to one admin, and for the last signal to one host, from when it is their turn
	hostLinger = 50 * time.Millisecond  // for sshd to read that signal before its connection closes
	settleTime = 3 * time.Second        // for the channels of an ended session to let go
)

// ending is a session on its way out. Of many that end together each goes through one step before any goes on to the next: first nothing passes
// any more, then the admins' connections end, then what runs on the hosts is killed, and only then comes what takes time and harms nobody: a
// session is two dozen goroutines and some twenty packets of memory, and it takes longer to let go of all that than to end it.
type ending struct {
	s        *session
	reason   string
	why      string // the line that the admin reads; empty: nobody is told and nothing is killed
	host     ssh.Conn
	rec      *recorder.Writer
	channels []*channel
	killed   chan struct{} // closed when the host was asked to kill what runs, or takes nothing
	once     sync.Once

	closed    time.Time // the admin's connection
	signalled time.Time // the host was asked to kill the last of what ran; zero: nothing ran, or the host took no request in time
	left      time.Time // the host's connection was closed
}

// stop is the first step: from here on nothing passes. The first caller's reason is the one that counts; nil: there was one before.
func (s *session) stop(reason, why string) *ending {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return nil
	}
	reason, why = s.sentence(reason, why)
	e := &ending{s: s, reason: reason, why: why, host: s.host, rec: s.rec, killed: make(chan struct{})}
	s.over, s.why, s.killed = true, why, e.killed
	for c := range s.channels {
		e.channels = append(e.channels, c)
	}
	s.halted.Store(true)
	s.mu.Unlock()
	if e.host == nil {
		s.cancel() // it was opening, and need not go on with that
	}
	return e
}

// cut ends the session, whatever its two ends do; why, unless empty, is the line that the admin reads, and means that the program on the host
// is to be killed too.
func (s *session) cut(reason, why string) {
	e := s.stop(reason, why)
	switch {
	case e == nil:
	case e.why == "":
		e.giveUp()
		s.cancel()
		e.hangUp()
		go settle([]*ending{e}, nil)
	default:
		end([]*ending{e}, nil)
	}
}

// end takes sessions that were stopped, and whose admins are told why, to their ends. It returns when the admins' connections have ended and what
// ran on the hosts is killed. Then, when the connections to the hosts are closed too, it calls closed, and ends the recordings.
func end(list []*ending, closed func()) {
	steps := make([]step, 0, 2*len(list))
	for _, e := range list {
		steps = append(steps, step{e.dismiss, e.hangUp})
	}
	for _, e := range list {
		steps = append(steps, step{e.kill, e.giveUp})
	}
	outcome := each(steps, tellTime)
	for i, e := range list {
		e.closed = outcome[i].at
		if killed := outcome[len(list)+i]; !killed.late && len(e.channels) > 0 {
			e.signalled = killed.at
		}
	}
	go settle(list, closed)
}

// dismiss tells the admin and ends the connection, which is closed later: to clean up takes longer.
func (e *ending) dismiss() {
	if !e.hangsUp() {
		e.tell()
		return
	}
	e.s.link.Last()
	e.tell()
	e.s.link.End()
}

// tell writes to all channels at once: one may be of a client that takes nothing, and another of somebody who reads.
func (e *ending) tell() {
	if len(e.channels) == 1 {
		e.channels[0].tell(e.why)
		return
	}
	var all sync.WaitGroup
	for _, c := range e.channels {
		all.Go(func() { c.tell(e.why) })
	}
	all.Wait()
}

// hangsUp says whether the admin's connection is to be closed. Who is still logging in reads the reason there. Who left by themselves is about to
// say goodbye around the jump too, or keeps that connection.
func (e *ending) hangsUp() bool { return e.host != nil && e.reason != "closed" }

func (e *ending) hangUp() {
	if e.hangsUp() {
		e.s.link.Close()
	}
}

// kill asks the host to end what runs.
func (e *ending) kill() {
	e.kills()
	e.giveUp()
}

func (e *ending) kills() {
	for _, c := range e.channels {
		c.kill()
	}
}

func (e *ending) giveUp() { e.once.Do(func() { close(e.killed) }) }

func (e *ending) allStarted() bool {
	return !slices.ContainsFunc(e.channels, func(c *channel) bool { return !c.started() })
}

// letGo waits, if the session is being cut, until its programs are killed: what ends them must come to the host before the end of their input
// does, which some take for the end of their work.
func (s *session) letGo() {
	if !s.leased() {
		s.stopWithAll() // what noticed it before any timer did may be what lets go
	}
	s.mu.Lock()
	killed := s.killed
	s.mu.Unlock()
	if killed != nil {
		<-killed
	}
}

// settle lets go of the hosts and ends the recordings.
func settle(list []*ending, closed func()) {
	if slices.ContainsFunc(list, func(e *ending) bool { return e.why != "" && len(e.channels) > 0 }) {
		time.Sleep(hostLinger)
		// What was about to start when its signal went by has started by now, or never will.
		var again []step
		for _, e := range list {
			if !e.allStarted() {
				again = append(again, step{e.kills, func() {}})
			}
		}
		each(again, tellTime)
	}
	for _, e := range list {
		e.s.cancel()
		e.hangUp()
		closeConn(e.host)
		e.left = time.Now()
	}
	if closed != nil {
		closed()
	}
	finish := make([]step, len(list))
	for i, e := range list {
		finish[i] = step{e.finish, func() {}}
	}
	each(finish, time.Minute)
}

// finish ends the recording and tells the CA.
func (e *ending) finish() {
	s := e.s
	s.log.Info("session ends", "end", e.reason, "why", e.why, "channels", len(e.channels))
	if e.why != "" {
		within(s.b.Limits.FreezeTime, func() { s.note(e.rec, e.why) })
	}
	s.waitChannels()
	p := control.Progress{Session: s.reply.Session.ID, End: e.reason}
	if e.rec != nil {
		// A disk that hangs holds up the end of the recording, not that of the session.
		within(s.b.Limits.FreezeTime, func() {
			if err := e.rec.Close(e.reason); err != nil {
				s.log.Error("recording did not end cleanly", "error", err)
			}
		})
		p.Frames, p.Head = head(e.rec)
	}
	p.Counts = s.risk.leave()
	s.b.Progress(p)
	s.b.unregister(s)
	s.log.Info("session ended", "end", e.reason, "frames", p.Frames)
}
