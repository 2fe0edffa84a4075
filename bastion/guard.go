package bastion

import (
	"fmt"
	"runtime/debug"
)

// guard runs a piece of a session. A panic ends that session and no other.
func (b *Bastion) guard(s *session, f func()) {
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("internal error", "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			s.cut("internal", "internal error, tell your operator session "+s.reply.Session.ID)
		}
	}()
	f()
}
