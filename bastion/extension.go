package bastion

import (
	"maps"
	"time"

	"postern/internal/control"
)

// Extend moves the deadline of what is live of a grant, and of what opens of it. It never moves it back, may come twice, and gives nothing to a
// session that is cut: a revocation before or after it wins. A bastion that does not hear of it keeps the deadline it has.
func (b *Bastion) Extend(m control.Moved) {
	b.prepare()
	v := &b.revoked
	v.mu.Lock()
	maps.DeleteFunc(v.moved, func(_ string, ends time.Time) bool { return !b.Now().Before(ends) })
	if v.moved == nil {
		v.moved = map[string]time.Time{}
	}
	if m.Ends.After(v.moved[m.Request]) {
		v.moved[m.Request] = m.Ends
	}
	var hit []*session
	for s := range v.live {
		if s.grant.request == m.Request {
			hit = append(hit, s)
		}
	}
	v.mu.Unlock()
	for _, s := range hit {
		s.lastUntil(m.Ends)
	}
}

// lastUntil moves the deadline of the session, if that is later.
func (s *session) lastUntil(ends time.Time) {
	s.mu.Lock()
	later := !s.over && ends.After(s.deadline)
	if later {
		s.deadline = ends
	}
	s.mu.Unlock()
	if !later {
		return
	}
	select {
	case s.prolonged <- struct{}{}:
	default: // it is about to look
	}
}

func (s *session) ends() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.deadline
}
