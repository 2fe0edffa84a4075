package bastion

import (
	"fmt"
	"strconv"
	"time"

	"postern/internal/control"
)

// warnings are given so long before the end, on terminals.
var warnings = []time.Duration{5 * time.Minute, time.Minute}

// clock is what a session does as time passes.
type clock struct {
	tick   *time.Ticker
	heads  time.Time // when the last head went to the CA
	frames uint64    // and how many frames it covered
	warned int       // of the warnings
	until  time.Time // the deadline, as the CA says it
	end    time.Time // the same on this machine's clock, monotonic
	over   *time.Timer
}

func (s *session) clock() *clock {
	now := time.Now()
	c := &clock{tick: time.NewTicker(time.Second), heads: now, over: time.NewTimer(time.Hour)}
	s.set(c, s.ends())
	return c
}

// set runs the clock to a deadline. A session of three minutes is not told at once that five are left.
func (s *session) set(c *clock, until time.Time) {
	now := time.Now()
	c.until, c.end, c.warned = until, now.Add(until.Sub(s.b.Now())), 0
	c.over.Reset(c.end.Sub(now))
	for c.warned < len(warnings) && c.end.Sub(now) <= warnings[c.warned] {
		c.warned++
	}
}

// prolong runs the clock to a deadline that moved, and tells. False: it did not. [session.lastUntil] sees to it that none moves back.
func (s *session) prolong(c *clock) bool {
	until := s.ends()
	if until.Equal(c.until) {
		return false
	}
	s.set(c, until)
	s.log.Info("session extended", "deadline", until)
	s.warn("this session was extended until " + until.UTC().Format("15:04:05 UTC"))
	return true
}

func (c *clock) stop() {
	c.tick.Stop()
	c.over.Stop()
}

func (s *session) tick(c *clock) {
	now := time.Now()
	left := c.end.Sub(now)
	idle := now.Sub(s.born) - time.Duration(s.touched.Load())
	limit := time.Duration(s.reply.IdleSeconds) * time.Second
	switch {
	case limit > 0 && idle > limit && !s.risk.stop(): // who is held cannot do anything
		s.cut("idle", fmt.Sprintf("nothing was typed for %s, so this session ends", spoken(limit)))
		return
	case c.warned < len(warnings) && left <= warnings[c.warned]:
		s.warn(fmt.Sprintf("this session ends in %s", spoken(left.Round(time.Minute))))
		c.warned++
	}
	if now.Sub(c.heads) >= s.b.Limits.HeadEvery {
		c.heads = now
		s.tellHead(c)
	}
}

// tellHead puts the head of a live recording before the CA, when it moved.
func (s *session) tellHead(c *clock) {
	n, h := head(s.rec)
	if n != c.frames {
		c.frames = n
		s.b.Progress(control.Progress{Session: s.reply.Session.ID, Frames: n, Head: h})
	}
}

// warn tells everybody who sits at a terminal. Programs read the rest, and a line of ours would spoil what they read.
func (s *session) warn(text string) {
	go s.note(s.rec, text) // a disk that hangs must not hold up the deadline
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.channels {
		if c.started() && c.screen != nil {
			go c.screen.notify(text)
		}
	}
}

var numbers = []string{"", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"}

// spoken is a time as people say it: one minute, five minutes, 90 seconds.
func spoken(d time.Duration) string {
	if d < time.Second {
		return d.String()
	}
	n, unit := int(d.Round(time.Second)/time.Second), "second"
	switch {
	case n%3600 == 0:
		n, unit = n/3600, "hour"
	case n%60 == 0:
		n, unit = n/60, "minute"
	case n > 120: // nobody says 150 seconds
		return spoken(time.Duration(n/60)*time.Minute) + " and " + spoken(time.Duration(n%60)*time.Second)
	}
	if n != 1 {
		unit += "s"
	}
	if n < len(numbers) {
		return numbers[n] + " " + unit
	}
	return strconv.Itoa(n) + " " + unit
}
