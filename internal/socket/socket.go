// Package socket tunes the TCP connections under SSH: bulk data in large system calls, small packets at once, and no peer
// that can hold a writer for ever. Start with [New].
package socket

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	bulkSize = 256 << 10 // of a read or write buffer while data is streaming

	// Writes below this go straight to the kernel when nothing is queued, so that a keystroke pays no goroutine switch.
	// bufio flushes full 4 KiB pieces in the middle of an SSH packet; those are bulk already.
	inlineBelow = 4 << 10

	// What is queued at Close may still go out for so long: it is the line that says why.
	lingerOnClose = 200 * time.Millisecond
)

// DefaultStall is how long a peer may refuse to take bytes before its connection is given up. It is long because a person may
// suspend an ssh client and come back.
const DefaultStall = 5 * time.Minute

var buffers = sync.Pool{New: func() any { b := make([]byte, bulkSize); return &b }}

// Conn is a tuned TCP connection. Its deadlines are its own: SetDeadline and its siblings do nothing, because the SSH server
// library above sets and clears them at every read. To end it early, close it.
type Conn struct {
	net.Conn
	raw   syscall.RawConn // nil for what is not a real socket
	stall time.Duration

	in      *[]byte // only while reading in bulk
	start   int
	end     int
	bulk    bool
	readErr error

	turn     sync.Mutex // one Write at a time, so that no two are mixed
	mu       sync.Mutex
	change   sync.Cond // pending shrank, or err was set
	out      *[]byte   // being filled
	pending  int       // bytes in out
	writing  bool      // somebody is in a write system call; what comes meanwhile queues
	deadline time.Time // last one given to the kernel
	err      error
	closed   bool
	fin      bool        // the other side was told of the end
	over     atomic.Bool // closed or failed: what was read ahead is not handed out any more
	once     sync.Once
}

// New wraps c. A stall of 0 means DefaultStall.
func New(c net.Conn, stall time.Duration) *Conn {
	if stall == 0 {
		stall = DefaultStall
	}
	s := &Conn{Conn: c, stall: stall}
	s.change.L = &s.mu
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(true)
		s.raw, _ = tcp.SyscallConn()
	}
	return s
}

func (c *Conn) SetDeadline(time.Time) error      { return nil }
func (c *Conn) SetReadDeadline(time.Time) error  { return nil }
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }

// Read borrows a large buffer only while data is streaming, so an idle connection costs none.
func (c *Conn) Read(p []byte) (int, error) {
	if c.over.Load() {
		c.release()
		return 0, net.ErrClosed
	}
	if c.start < c.end {
		return c.take(p), nil
	}
	if c.readErr != nil {
		return 0, c.readErr
	}
	if !c.bulk || len(p) >= bulkSize {
		c.release()
		n, err := c.Conn.Read(p)
		if c.over.Load() {
			return 0, net.ErrClosed
		}
		c.acknowledge(n)
		c.bulk = n == len(p) && n >= inlineBelow
		return n, err
	}
	if c.in == nil {
		c.in = buffers.Get().(*[]byte)
	}
	n, err := c.Conn.Read(*c.in)
	if c.over.Load() {
		c.release()
		return 0, net.ErrClosed
	}
	c.acknowledge(n)
	c.start, c.end, c.readErr = 0, n, err
	c.bulk = n >= bulkSize/4
	if n == 0 {
		c.release()
		return 0, err
	}
	return c.take(p), nil
}

func (c *Conn) take(p []byte) int {
	n := copy(p, (*c.in)[c.start:c.end])
	c.start += n
	if c.start == c.end && !c.bulk {
		c.release()
	}
	return n
}

func (c *Conn) release() {
	if c.in != nil {
		buffers.Put(c.in)
		c.in, c.start, c.end = nil, 0, 0
	}
}

func (c *Conn) acknowledge(n int) {
	if c.raw != nil && n > 0 && n < bulkSize/4 {
		quickAck(c.raw)
	}
}

// Write sends small packets at once and gathers large ones, so that the packets of a stream share system calls. An error may
// be reported by a later Write.
func (c *Conn) Write(p []byte) (int, error) {
	c.turn.Lock()
	defer c.turn.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.fin {
		return 0, net.ErrClosed
	}
	if len(p) < inlineBelow && !c.writing && c.pending == 0 && c.err == nil {
		return c.inline(p)
	}
	done := 0
	for done < len(p) {
		for c.pending == bulkSize && c.err == nil {
			c.change.Wait()
		}
		if c.err != nil {
			return done, c.err
		}
		if c.out == nil {
			c.out = buffers.Get().(*[]byte)
		}
		n := copy((*c.out)[c.pending:], p[done:])
		c.pending += n
		done += n
		if !c.writing {
			c.writing = true
			go c.flush()
		}
	}
	return done, nil
}

// inline writes p from the caller's goroutine. mu is held on entry and exit, not during the system call.
func (c *Conn) inline(p []byte) (int, error) {
	c.writing = true
	c.extend()
	c.mu.Unlock()
	n, err := c.Conn.Write(p)
	c.mu.Lock()
	c.writing = false
	if err != nil {
		c.fail(err)
		return n, err
	}
	if c.pending > 0 {
		c.writing = true
		go c.flush()
	}
	c.change.Broadcast()
	return n, nil
}

// flush writes what is queued until nothing is. It lives for one burst.
func (c *Conn) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.pending > 0 && c.err == nil {
		b, n := c.out, c.pending
		c.out, c.pending = nil, 0
		c.extend()
		c.change.Broadcast()
		c.mu.Unlock()
		_, err := c.Conn.Write((*b)[:n])
		buffers.Put(b)
		c.mu.Lock()
		if err != nil {
			c.fail(err)
		}
	}
	c.writing = false
	c.change.Broadcast()
}

// extend moves the write deadline. A system call's worth of timer work per packet is too much, so it moves in steps.
func (c *Conn) extend() {
	now := time.Now()
	if c.closed || c.deadline.Sub(now) > c.stall*7/8 {
		return
	}
	c.deadline = now.Add(c.stall)
	_ = c.Conn.SetWriteDeadline(c.deadline)
}

// fail gives the connection up. It is closed here, because those above learn of a failed write late or never, and a peer that takes
// nothing but goes on sending would keep what it holds.
func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
		c.over.Store(true)
		if !c.closed {
			go c.Conn.Close()
		}
		if c.out != nil {
			buffers.Put(c.out)
			c.out, c.pending = nil, 0
		}
	}
	c.change.Broadcast()
}

// Last says that End or Close follows what is written next, so that both may go out in one packet: of a thousand connections that are closed in the
// same moment each costs half as much.
func (c *Conn) Last() {
	if c.raw != nil {
		cork(c.raw)
	}
}

// End closes the connection for the other side, which has everything that was written and sees the end of it. Nothing is written after it, and
// what is read is thrown away; but whoever waits in Read goes on waiting until Close, which must follow: of many connections that end together all
// may have ended before the first is cleaned up. What is queued still, or no TCP, is closed at once.
func (c *Conn) End() error {
	c.mu.Lock()
	tcp, ok := c.Conn.(*net.TCPConn)
	if !ok || c.closed || c.writing || c.pending > 0 || c.err != nil {
		c.mu.Unlock()
		return c.Close()
	}
	c.over.Store(true)
	c.fin = true
	c.mu.Unlock()
	return tcp.CloseWrite()
}

// Close ends reading at once. What is queued gets a moment to go out, without the caller waiting for it.
func (c *Conn) Close() error {
	c.once.Do(func() {
		c.mu.Lock()
		c.closed = true
		c.over.Store(true)
		idle := !c.writing && c.pending == 0
		if !idle && c.err == nil {
			_ = c.Conn.SetDeadline(time.Now().Add(lingerOnClose))
			_ = c.Conn.SetReadDeadline(time.Unix(1, 0))
		}
		if idle {
			c.fail(net.ErrClosed)
		}
		c.mu.Unlock()
		if idle {
			_ = c.Conn.Close()
			return
		}
		go c.drain()
	})
	return nil
}

func (c *Conn) drain() {
	c.mu.Lock()
	for (c.writing || c.pending > 0) && c.err == nil {
		c.change.Wait()
	}
	c.fail(net.ErrClosed)
	c.mu.Unlock()
	_ = c.Conn.Close()
}
