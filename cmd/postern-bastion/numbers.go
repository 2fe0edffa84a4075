package main

import (
	"errors"
	"fmt"

	"postern/internal/control"
)

// numbers follows the numbers of the revocations, over all streams there are. Each stream has to continue exactly where the one before ended: what is
// lost, repeated or out of order is seen at the next line, before a lease is renewed by it, and told again on the next stream.
type numbers struct {
	known bool   // the set was told to its end
	seq   uint64 // the last revocation that was told
}

// from is what to ask the next stream for; 0: the set.
func (n *numbers) from() uint64 {
	if !n.known {
		n.seq = 0 // a set that was cut off begins again
		return 0
	}
	return n.seq + 1
}

// take looks at the next line. With an error nothing of it may be believed.
func (n *numbers) take(e control.Event) error {
	if e.Revocation != nil {
		return n.revocation(e)
	}
	switch {
	case !n.known && e.Seq >= n.seq: // what is past is not in the set, so the last numbers may be missing from it
		n.known, n.seq = true, e.Seq
	case e.Seq > n.seq:
		return fmt.Errorf("the CA is at revocation %d, and told no more than %d: something was lost", e.Seq, n.seq)
	case e.Seq < n.seq:
		// Its next revocations would carry numbers that mean others here. No lease is better than a wrong set.
		return fmt.Errorf("the CA is at revocation %d, this bastion has seen %d: the CA was restored from an old backup; restart postern-bastion to follow it", e.Seq, n.seq)
	}
	return nil
}

func (n *numbers) revocation(e control.Event) error {
	switch {
	case e.Seq != e.Revocation.Seq || e.Pong != 0:
		return errors.New("a revocation with two numbers, or in an answer")
	case e.Seq <= n.seq:
		return fmt.Errorf("revocation %d came after %d: it was repeated, or is out of order", e.Seq, n.seq)
	case n.known && e.Seq > n.seq+1:
		return fmt.Errorf("revocation %d came after %d: those between were lost, or are out of order", e.Seq, n.seq)
	}
	n.seq = e.Seq
	return nil
}
