package bastion

import (
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/bastion/typed"
	"postern/internal/limit"
)

const (
	// echoTime is how long a line waits at most for what the host makes of keys such as the arrows and the tabulator, and echoPause how long at least
	// the host says nothing more when it has: a slow host, twice as long as it took to answer. Who sees what they enter waits for neither.
	echoTime  = time.Second
	echoPause = 25 * time.Millisecond
)

// typist is the way of what is typed to the host, where limits on commands see each line before the key that enters it passes. Only sessions with such
// limits have one.
type typist struct {
	c  *channel
	to io.Writer

	mu    sync.Mutex
	line  typed.Line
	asked time.Time     // when the host got the last key whose effect only it knows
	shown time.Time     // when the host printed something last
	took  time.Duration // from asked to what it printed first
	ended time.Time     // when the line before was entered
}

// typist watches a program to which lines are typed; nil: no limit asks for it.
func (c *channel) typist(to io.Writer, raw bool) *typist {
	if !c.s.risk.has(limit.Commands) {
		return nil
	}
	t := &typist{c: c, to: to, line: typed.Line{Raw: raw}}
	t.line.Resize(int(c.columns.Load()))
	return t
}

func (t *typist) Write(p []byte) (written int, err error) {
	for len(p) > 0 && err == nil {
		t.mu.Lock()
		n, entered := t.line.Typed(p)
		t.mu.Unlock()
		now := p[:n]
		if entered {
			now = p[:n-1]
		}
		var m int
		if m, err = t.pass(now); err == nil && entered {
			if !t.enters() || !t.c.s.kept() { // it may have waited, and the session was cut
				return written + m, errGone
			}
			_, err = t.to.Write(p[n-1 : n])
			t.entered()
			m++
		}
		written, p = written+m, p[n:]
	}
	return written, err
}

func (t *typist) pass(keys []byte) (n int, err error) {
	if len(keys) == 0 {
		return 0, nil
	}
	n, err = t.to.Write(keys)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.line.Unsure() {
		t.asked = time.Now()
	}
	return n, err
}

// print takes what the host shows.
func (t *typist) print(p []byte) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line.Shown(p)
	now := time.Now()
	if t.shown.Before(t.asked) {
		t.took = now.Sub(t.asked)
	}
	t.shown = now
}

func (t *typist) resize(columns uint32) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line.Resize(int(min(columns, 1000)))
}

// enters counts the line that is about to be entered, and waits while it is held. False: it may not be.
func (t *typist) enters() bool {
	for t.mayChange() {
		select {
		case <-time.After(echoPause / 5):
		case <-t.c.ctx.Done():
			return false
		}
	}
	t.mu.Lock()
	lines := t.line.Entered()
	t.mu.Unlock()
	return len(lines) == 0 || t.c.s.counts(t.c.ctx, limit.Commands, func(w *watched) bool { return slices.ContainsFunc(lines, w.command.MatchString) })
}

func (t *typist) entered() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = time.Now()
}

// mayChange says that the host has not shown yet what the line is.
func (t *typist) mayChange() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	shown, late := t.line.Late()
	if t.line.Unsure() && time.Since(t.asked) < echoTime {
		return late || t.shown.Before(t.asked) || time.Since(t.shown) < max(echoPause, 2*t.took)
	}
	// What is shown of the line before was counted with it.
	return late && time.Since(t.ended) < echoTime && t.c.s.risk.names(shown)
}

// sized notes how wide the terminal is, of a request that says so.
func (c *channel) sized(req *ssh.Request) {
	payload := req.Payload
	if req.Type == "pty-req" {
		payload = payload[min(4+len(stringOf(payload)), len(payload)):] // the kind of terminal
	}
	if len(payload) >= 4 {
		c.columns.Store(binary.BigEndian.Uint32(payload))
		if c.screen != nil {
			c.screen.typist.resize(c.columns.Load())
		}
	}
}
