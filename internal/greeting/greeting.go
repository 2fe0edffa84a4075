// Package greeting exchanges the identification lines with which every SSH connection begins (RFC 4253, section 4.2) before an SSH
// library sees the connection, so that a server can choose what to offer by what the client is. Start with [Exchange].
//
// A server that waits for the client's line before it says anything would wait for ever for clients that do the same. So ours goes out
// at once, as any server's does, and the library's own copy of it is swallowed.
package greeting

import (
	"bytes"
	"errors"
	"fmt"
	"net"
)

// maxLine is what RFC 4253 allows a line, its end included.
const maxLine = 255

// Exchange sends version, such as SSH-2.0-postern, as our line and reads the client's. It returns that, without its end, and the
// connection on which the library is to begin as if nothing had happened, with the same version. It reads as long as it takes: who
// wants it to end closes c.
func Exchange(c net.Conn, version string) (client string, after net.Conn, err error) {
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
			return string(line), &conn{Conn: c, said: ours, heard: heard}, nil
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

// conn says and hears the lines to the library once more.
type conn struct {
	net.Conn
	said  []byte // to be swallowed
	heard []byte // to be heard again, with what came after the line
}

func (c *conn) Read(p []byte) (int, error) {
	if len(c.heard) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.heard)
	if c.heard = c.heard[n:]; len(c.heard) == 0 {
		c.heard = nil
	}
	return n, nil
}

// Write is used by one goroutine until the lines are exchanged.
func (c *conn) Write(p []byte) (int, error) {
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
