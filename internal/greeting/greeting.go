// Package greeting begins and ends SSH connections around golang.org/x/crypto/ssh. Start with [Exchange].
//
// It exchanges the identification lines (RFC 4253, section 4.2) before the library sees the connection, so that a server can choose what
// to offer by what the client is. A server that waits for the client's line before it says anything would wait for ever for clients
// that do the same. So ours goes out at once, as any server's does, and the library's own copy of it is swallowed.
//
// And it sees to it that nothing is left of a connection, which takes two things: until authentication begins a client gets no more than a
// few packets ahead of the library, and [Farewell] takes what is left of later ones.
package greeting

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// maxLine is what RFC 4253 allows a line, its end included.
const maxLine = 255

const (
	msgNewKeys = 21

	// ahead is what may come between the client's keys and the beginning of authentication: a request for that service, which
	// has 36 bytes or some more, and perhaps extensions. The library has room for sixteen packets, and none has less than 36.
	ahead = 512

	// patience is how long more than that waits for authentication to begin.
	patience = 5 * time.Second
)

// Exchange sends version, such as SSH-2.0-postern, as our line and reads the client's. It returns that, without its end, and the
// connection on which the library is to begin as if nothing had happened, with the same version. It reads as long as it takes: who
// wants it to end closes c.
func Exchange(c net.Conn, version string) (client string, after *Conn, err error) {
	ours := []byte(version + "\r\n")
	if _, err := c.Write(ours); err != nil {
		return "", nil, err
	}
	heard := make([]byte, 0, 2*maxLine)
	for {
		if end := bytes.IndexByte(heard, '\n'); end >= 0 {
			line := bytes.TrimSuffix(heard[:end], []byte("\r"))
			if err := check(line, end); err != nil {
				return "", nil, err
			}
			return string(line), &Conn{Conn: c, said: ours, line: heard[:end+1], heard: heard[end+1:], ahead: ahead, begun: make(chan struct{})}, nil
		}
		if len(heard) >= maxLine {
			return "", nil, errors.New("the client's first line is too long")
		}
		n, err := c.Read(heard[len(heard):cap(heard)])
		heard = heard[:len(heard)+n]
		if n == 0 && err != nil {
			return "", nil, err
		}
	}
}

// check refuses what is no SSH client: of other protocols the library would skip a thousand lines in the hope of one.
func check(line []byte, end int) error {
	if end >= maxLine || !bytes.HasPrefix(line, []byte("SSH-2.0-")) && !bytes.HasPrefix(line, []byte("SSH-1.99-")) {
		return fmt.Errorf("the client's first line is not of SSH 2: %q", line[:min(len(line), 40)])
	}
	for _, b := range line {
		if b < ' ' || b > '~' {
			return errors.New("the client's first line is not printable")
		}
	}
	return nil
}

// Conn says and hears the lines to the library once more. Whoever gives it to the library sets PreAuthConnCallback to one that calls Begun.
type Conn struct {
	net.Conn
	said  []byte // to be swallowed
	line  []byte // to be heard again
	heard []byte // what came with it

	head  []byte // of a packet in the clear: its length, and its number
	left  int64  // bytes of that packet still to come
	keys  bool   // it is the last one in the clear
	ahead int    // of what follows, so much may be read before authentication begins
	begun chan struct{}
	once  sync.Once
	all   bool // nothing is held back any more
}

// Begun says that authentication begins.
func (c *Conn) Begun() { c.once.Do(func() { close(c.begun) }) }

func (c *Conn) Read(p []byte) (int, error) {
	switch {
	case c.all:
		return c.read(p)
	case len(c.line) > 0:
		n := copy(p, c.line)
		c.line = c.line[n:]
		return n, nil
	case len(c.head) == 0 && c.left == 0 && c.keys:
		return c.readAhead(p)
	case len(c.head) == 0 && c.left == 0:
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if len(c.head) > 0 {
		n := copy(p, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	n, err := c.read(p[:min(int64(len(p)), c.left)])
	c.left -= int64(n)
	return n, err
}

// next looks at the next packet in the clear. What is wrong with it is for the library to find.
func (c *Conn) next() error {
	c.head = make([]byte, 6)
	if n, err := io.ReadFull(reader{c}, c.head); err != nil {
		c.head = c.head[:n]
		if n == 0 {
			return err
		}
	}
	if len(c.head) == 6 {
		c.left = max(0, 4+int64(binary.BigEndian.Uint32(c.head))-6)
		c.keys = c.head[5] == msgNewKeys
	}
	return nil
}

func (c *Conn) readAhead(p []byte) (int, error) {
	if c.ahead == 0 {
		late := time.NewTimer(patience)
		defer late.Stop()
		select {
		case <-c.begun:
		case <-late.C:
			return 0, errors.New("the client sends too much before it may log in")
		}
	}
	select {
	case <-c.begun:
		c.all = true
		return c.read(p)
	default:
	}
	n, err := c.read(p[:min(len(p), c.ahead)])
	c.ahead -= n
	return n, err
}

// read is what comes, with what came along with the line first.
func (c *Conn) read(p []byte) (int, error) {
	if len(c.heard) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.heard)
	if c.heard = c.heard[n:]; len(c.heard) == 0 {
		c.heard = nil
	}
	return n, nil
}

type reader struct{ c *Conn }

func (r reader) Read(p []byte) (int, error) { return r.c.read(p) }

// Write is used by one goroutine until the lines are exchanged.
func (c *Conn) Write(p []byte) (int, error) {
	if c.said == nil {
		return c.Conn.Write(p)
	}
	said := c.said
	c.said = nil
	if !bytes.Equal(p, said) {
		return 0, errors.New("greeting: the library does not begin with the line that was sent")
	}
	return len(p), nil
}

// Close lets a reader go that is held back, when there is nothing to read any more.
func (c *Conn) Close() error {
	defer c.Begun()
	return c.Conn.Close()
}
