package bastion

import (
	"postern/bastion/meter"
	"postern/recorder"
)

// relay starts the three lanes of a program. What is read from a terminal are keystrokes, which may hold passwords: recorded only where
// the policy says so. Everything else is recorded for what it is: a protocol that has a decoder, a screen, or bytes. A terminal does not
// excuse a program from the one protocol that it was granted for.
func (c *channel) relay(p *protocol) {
	tty := c.pty.Load()
	up, down, errs := c.lanes()
	stderr := c.s.metered(c.id, recorder.Stderr, c.s.reply.Record.Streams)
	switch {
	case p != nil && (p.only != "" || !tty):
		d := c.s.decoded(c.id, p, up, down)
		d.abort = c.abort
		up.take, down.take, errs.take = d.client, d.host, stderr.take
		c.close = func() { d.close(); stderr.close() }
	case tty:
		c.screen = &terminal{c: c, at: scanner{begin: true}, typist: c.typist(up.to, false)}
		if c.screen.typist != nil {
			up.to = c.screen.typist
		}
		up.take, up.mechanical, down.to = c.s.keystrokes(c.id), reports, c.screen
		down.take = c.s.plain(c.id, recorder.Stdout)
		errs.take = c.s.plain(c.id, recorder.Stderr)
		down.counts, errs.counts = false, false
	default:
		stdin := c.s.metered(c.id, recorder.Stdin, c.s.reply.Record.Streams)
		stdout := c.s.metered(c.id, recorder.Stdout, c.s.reply.Record.Streams)
		up.take, down.take, errs.take = stdin.take, stdout.take, stderr.take
		c.close = func() { stdin.close(); stdout.close(); stderr.close() }
		if t := c.typist(up.to, true); c.shell && t != nil {
			up.to = t
		}
	}
	c.run(up, down, errs)
}

func (c *channel) lanes() (up, down, errs *lane) {
	up = c.s.lane(c.ctx, c.client, c.host, nil)
	down = c.s.lane(c.ctx, c.host, c.client, nil)
	errs = c.s.lane(c.ctx, c.host.Stderr(), lockedErrors{c}, nil)
	up.counts, down.counts, errs.counts = true, true, true
	down.out, errs.out = true, true
	return up, down, errs
}

func (c *channel) run(up, down, errs *lane) {
	c.in.Add(1)
	c.out.Add(2)
	close(c.start)
	go func() {
		defer c.out.Done()
		down.run()
		c.keepEOF(recorder.Stdout)
	}()
	go func() {
		defer c.out.Done()
		errs.run()
	}()
	go func() {
		defer c.in.Done()
		up.run()
		if t, ok := up.to.(*typist); ok {
			t.finish()
		}
		if up.take != nil {
			c.keepEOF(recorder.Stdin)
		}
		c.inEnd.Store(true)
		c.s.letGo()
		_ = c.host.CloseWrite()
	}()
}

func (c *channel) keepEOF(stream byte) {
	c.s.keep(recorder.Frame{Type: recorder.TypeEOF, Channel: c.id, Stream: stream})
}

// plain records everything as it is.
func (s *session) plain(channel uint32, stream byte) taker {
	return s.taker(s.rec.Append, channel, stream)
}

// keystrokes records what is typed in the compartment for it, or not at all.
func (s *session) keystrokes(channel uint32) taker {
	if s.typed == nil {
		return nil
	}
	return s.taker(s.typed, channel, recorder.Stdin)
}

func (s *session) taker(append func(recorder.Frame) (*recorder.Commit, error), channel uint32, stream byte) taker {
	scribe := s.scribe()
	return func(buf *[]byte, n int) (held, error) {
		commit, err := scribe.record(append, recorder.Frame{Type: recorder.TypeData, Channel: channel, Stream: stream, Data: (*buf)[:n]})
		return held{buf: buf, n: n, commit: commit}, err
	}
}

// metered is a stream of bytes of which the beginning is kept.
type metered struct {
	scribe  *scribe
	channel uint32
	log     meter.Log
	stream  *meter.Stream
}

func (s *session) metered(channel uint32, stream byte, keep int64) *metered {
	m := &metered{scribe: s.scribe(), channel: channel}
	m.stream = meter.NewStream(&m.log, stream, keep)
	return m
}

func (m *metered) take(buf *[]byte, n int) (held, error) {
	m.log.Reset()
	m.stream.Pass((*buf)[:n])
	commit, err := m.scribe.log(m.channel, &m.log)
	return held{buf: buf, n: n, commit: commit}, err
}

// close tells what all of the stream was.
func (m *metered) close() {
	m.log.Reset()
	m.stream.Done()
	if _, err := m.scribe.log(m.channel, &m.log); err != nil {
		m.scribe.s.unrecorded(err)
	}
}
