package recorder

import "context"

// Commit is the fate of a frame, and of all others that go to the disk with it.
type Commit struct {
	done chan struct{}
	err  error
}

func newCommit() *Commit { return &Commit{done: make(chan struct{})} }

// finish must be called once.
func (c *Commit) finish(err error) {
	c.err = err
	close(c.done)
}

// Done is closed when the frame is durable or lost.
func (c *Commit) Done() <-chan struct{} { return c.done }

// Err waits for Done. It is nil if the frame is durable.
func (c *Commit) Err() error {
	<-c.done
	return c.err
}

// Wait is Err that gives up with ctx.
func (c *Commit) Wait(ctx context.Context) error {
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
