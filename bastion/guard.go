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

// survive runs a handshake. In golang.org/x/crypto 0.58 a peer that asks for new keys as soon as it has keys, and in vain, makes it panic.
func survive(handshake func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the handshake broke off: %v %s", p, debug.Stack())
		}
	}()
	return handshake()
}
