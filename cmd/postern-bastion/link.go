package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"postern/internal/control"
)

var errUnreachable = errors.New("no connection to the CA")

// link is the connection to the CA that is up now, if one is. Its zero value is one that was never up.
type link struct {
	mu     sync.Mutex
	client *control.Client
	up     chan struct{} // closed when a client comes; nil: nobody waits
	lost   time.Time     // when there was one last
}

func (l *link) set(c *control.Client) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client != nil && c == nil {
		l.lost = time.Now()
	}
	l.client = c
	if c != nil && l.up != nil {
		close(l.up)
		l.up = nil
	}
}

// now fails at once when there is none.
func (l *link) now() (*control.Client, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.client == nil {
		return nil, errUnreachable
	}
	return l.client, nil
}

// soon waits for one that was lost a moment ago, as when the CA starts anew: nobody has to be refused for that.
func (l *link) soon(ctx context.Context) (*control.Client, error) {
	l.mu.Lock()
	c, left := l.client, patience-time.Since(l.lost)
	if c == nil && l.up == nil {
		l.up = make(chan struct{})
	}
	up := l.up
	l.mu.Unlock()
	if c != nil {
		return c, nil
	}
	if left <= 0 {
		return nil, errUnreachable
	}
	select {
	case <-up:
		return l.now()
	case <-time.After(left):
	case <-ctx.Done():
	}
	return nil, errUnreachable
}
