package bastion

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

// mostAhead is how many requests of a client wait on a channel while a limit holds the session.
const mostAhead = 64

// hold leaves the session as it is, with nothing passing, until approvers release it or its time is over. The CA opens no other one for the grant meanwhile.
func (s *session) hold(c crossing, told control.Risk) {
	length := s.holdTime()
	s.tellAll(fmt.Sprintf("%s, so this session is held until approvers release it with: postern approve %s. It ends in %s otherwise; then ask anew: postern request %s",
		told.Reason(), told.Request, spoken(length), s.reply.Session.Target))
	time.AfterFunc(length, func() {
		if s.risk.expire(c.String(), c.lifted) {
			s.cut("held", "this session was held, and nobody released it in "+spoken(length))
		}
	})
}

func (s *session) holdTime() time.Duration {
	if n := s.reply.HoldSeconds; n > 0 {
		return time.Duration(n) * time.Second
	}
	return s.b.Limits.HoldTime
}

// find is called with mu held. It returns the limit if it holds the session, and for that many times before.
func (r *risk) find(text string, lifted uint64) *watched {
	for _, w := range r.watched {
		if w.held && w.lifted == lifted && w.String() == text {
			return w
		}
	}
	return nil
}

// expire ends the session's chance of a release. False: that hold is over already.
func (r *risk) expire(text string, lifted uint64) bool {
	r.tallies.mu.Lock()
	defer r.tallies.mu.Unlock()
	if r.find(text, lifted) == nil {
		return false
	}
	r.over = true
	return true
}

// lift ends one hold; the limit counts afresh. It says whether that hold was there to be ended, and which others are.
func (r *risk) lift(l control.Lifted) (lifted bool, others []string) {
	r.tallies.mu.Lock()
	defer r.tallies.mu.Unlock()
	w := r.find(l.Limit, l.Before)
	if w == nil || r.over || r.cut != nil {
		return false, nil
	}
	w.held, w.crossed = false, false
	w.lifted++
	w.afresh()
	for _, o := range r.watched {
		if o.held {
			others = append(others, o.String())
		}
	}
	if len(others) == 0 {
		r.stopped.Store(false)
		close(r.opened)
		r.opened = nil
	}
	return true, others
}

// Lift tells what approvers decided about a hold. It may come twice, or too late, lifts no other hold than that one, and none of a session that is being
// revoked.
func (b *Bastion) Lift(l control.Lifted) {
	b.prepare()
	v := &b.revoked
	v.mu.Lock()
	var held *session
	for s := range v.live {
		if s.reply.Session.ID == l.Session && v.strikes(s, b.Now()) == nil {
			held = s
		}
	}
	v.mu.Unlock()
	if held != nil {
		held.lift(l)
	}
}

func (s *session) lift(l control.Lifted) {
	if s.risk == nil || s.ctx.Err() != nil {
		return
	}
	by := oneLine(strings.Join(l.By, " and "))
	if l.Denied {
		if s.risk.expire(l.Limit, l.Before) {
			s.cut("held", "this session was held, and "+by+" refused to release it")
		}
		return
	}
	lifted, others := s.risk.lift(l)
	if !lifted {
		return
	}
	s.touch() // nobody could do anything
	text := "released by " + by
	if len(others) > 0 {
		text += "; what holds it still: " + strings.Join(others, "; ")
	}
	s.log.Info("hold released", "limit", l.Limit, "by", by, "still", len(others))
	s.remark(text)
	s.tellAll(text)
}

// remark puts a line into the recording without waiting for it.
func (s *session) remark(text string) { go s.note(s.rec, text) }

// tellAll tells every program's user, whether or not there is a terminal.
func (s *session) tellAll(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.channels {
		c.herald.add(c, text)
	}
}

// herald tells a program's user one thing after the other, without anybody waiting for it.
type herald struct {
	mu    sync.Mutex
	queue []string
	busy  bool
}

func (h *herald) add(c *channel, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.queue) < 16 {
		h.queue = append(h.queue, text)
	}
	if !h.busy {
		h.busy = true
		go h.run(c)
	}
}

func (h *herald) run(c *channel) {
	for {
		h.mu.Lock()
		if h.busy = len(h.queue) > 0; !h.busy {
			h.mu.Unlock()
			return
		}
		text := h.queue[0]
		h.queue = h.queue[1:]
		h.mu.Unlock()
		if c.started() && c.screen != nil {
			c.screen.interrupt(text)
		} else {
			c.tell(text)
		}
	}
}

// ahead reads a channel's requests while one of them is held, so that we see the client close it, and that the others of its connection go on meanwhile.
// The context is done when it did.
func (c *channel) ahead(reqs <-chan *ssh.Request) (<-chan *ssh.Request, context.Context) {
	if !c.s.risk.holds() {
		return reqs, c.ctx
	}
	queue := make(chan *ssh.Request, mostAhead)
	asking, gone := context.WithCancel(c.ctx)
	go func() {
		defer close(queue)
		defer gone()
		for req := range reqs {
			select {
			case queue <- req:
				continue
			default:
			}
			if c.s.risk.stop() {
				_ = req.Reply(false, nil)
				continue
			}
			select {
			case queue <- req:
			case <-c.ctx.Done():
				_ = req.Reply(false, nil)
			}
		}
	}()
	return queue, asking
}
