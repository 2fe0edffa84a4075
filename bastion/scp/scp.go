// Package scp reads the old protocol of scp, which "scp -O" and clients before OpenSSH 9 speak with an scp on the host, while it passes.
//
// Start with [ParseCommand], which says whether a command is such an scp and nothing else, and [New]. A [Decoder] lets nothing pass that
// is not the protocol of that command, in either direction, and records what it understood: control bytes as data, contents as extents, one
// event per file, one operation per directory. It has no clock, does no I/O and is not safe for concurrent use.
//
// # The protocol
//
// One side sends, the other receives: with -f the host sends, with -t the client. The receiver speaks first, and answers everything; the
// sender waits for each answer, and ends by closing its direction.
//
//	T<mtime> <microseconds> <atime> <microseconds>\n   times for the C or D that has to follow
//	C<mode> <size> <name>\n                            a file. If the answer is 0: size bytes, then the sender's own answer, then the receiver's
//	D<mode> 0 <name>\n                                 a directory: what follows is in it
//	E\n                                                the end of it
//	\x01 or \x02, text, \n                             the sender could not send something; 2: and gives up. Not answered
//
// An answer is the byte 0, or 1 (refused) or 2 (refused, and the receiver gives up), text and \n. A mode is four octal digits. A name is one
// component of a path, and neither . nor .. nor empty.
//
// OpenSSH reads 2047 bytes of a line and takes the rest for another one. So does every copy of its source, so a longer line is refused: what
// a peer reads must be what was checked. For the same reason there is no NUL in a line, and no byte passes before the line is complete.
// Other control characters may be in a name; macOS has a file "Icon\r".
//
// The sender must wait. If it sent contents at once, and the receiver refused the file, the receiver would take these contents for
// lines: files that nobody records. OpenSSH, PuTTY, libssh, libssh2 and paramiko wait; a script that does not is refused.
package scp

import (
	"bytes"
	"fmt"
	"strings"

	"postern/bastion/meter"
	"postern/recorder"
)

const (
	mostLine     = 2047    // bytes, with its end
	mostPath     = 8 << 10 // bytes of nested directories; no Linux makes more than 4096
	mostMessages = 1000    // that become events; they need no answer, so a sender could send them without end
)

// phase is what is due.
type phase int

const (
	greeting phase = iota // the receiver's first answer
	record                // a line of the sender, or its end
	answer                // the receiver's answer to that line
	content               // bytes of a file
	closing               // after them, what both say about it
	over                  // nothing: one of them gave up
)

// Decoder follows one scp.
type Decoder struct {
	command Command
	keep    string
	log     *meter.Log

	phase phase
	asked line      // what the answer is due to
	timed bool      // a T was accepted: C or D has to follow
	dirs  []string  // where we are
	file  *transfer // announced, and not over
	held  [2][]byte // by stream: what came and may not go on yet
	err   error     // why nothing goes on any more

	files      uint32
	operations uint64
	messages   int
}

// New follows what comes of a command. keep is how much of the contents of files is recorded, as in package meter.
func New(c Command, keep string, log *meter.Log) *Decoder {
	return &Decoder{command: c, keep: keep, log: log}
}

// Client takes bytes that the client sent. Forward is dst with what may go on to the host: all that came in this direction, but for a line
// that is not whole.
//
// An error says that this is not the protocol, or not that of the command. Forward then has what was good before it, and nothing goes on
// afterwards, in either direction.
func (d *Decoder) Client(dst, b []byte) (meter.Step, error) { return d.take(recorder.Stdin, dst, b) }

// Host takes bytes that the host sent, like [Decoder.Client].
func (d *Decoder) Host(dst, b []byte) (meter.Step, error) { return d.take(recorder.Stdout, dst, b) }

// Close tells what became of the file that was under way when the channel ended.
func (d *Decoder) Close() {
	if d.err == nil {
		d.err = fmt.Errorf("scp: the channel is closed")
	}
	if d.file != nil {
		d.file.done("")
		d.file = nil
	}
	if d.phase == answer && d.asked.directory() {
		d.operation(d.asked, interrupted)
	}
	d.phase = over
}

func (d *Decoder) take(stream byte, dst, b []byte) (meter.Step, error) {
	if d.err != nil {
		return meter.Step{Forward: dst}, d.err
	}
	sender := d.command.Source == (stream == recorder.Stdout)
	for d.err == nil && len(b) > 0 {
		if sender && d.phase == content {
			n := d.file.pass(b)
			dst, b = append(dst, b[:n]...), b[n:]
			if d.file.left == 0 {
				d.phase = closing
			}
			continue
		}
		var whole bool
		if b, whole = d.collect(stream, sender, b); whole && d.err == nil {
			dst = append(dst, d.held[stream]...)
			d.held[stream] = d.held[stream][:0]
		}
	}
	if d.err != nil {
		d.held[stream] = append(d.held[stream], b...)
	}
	return meter.Step{Forward: dst}, d.err
}

// collect adds to the line that is held, and once it is whole judges it and does what it says. It returns what comes after it.
func (d *Decoder) collect(stream byte, sender bool, b []byte) (rest []byte, whole bool) {
	held := &d.held[stream]
	if len(*held) == 0 {
		if d.err = d.may(sender, b[0]); d.err != nil {
			return b, false
		}
	}
	n, whole := lineEnd(*held, b)
	*held = append(*held, b[:n]...)
	if whole || len(*held) > mostLine {
		d.err = d.judge(stream, sender, *held)
	}
	return b[n:], whole
}

// lineEnd says how many bytes of b belong to the line that begins with held, and whether it is whole then. An answer of 0 is a line of
// its own.
func lineEnd(held, b []byte) (n int, whole bool) {
	if len(held) == 0 && b[0] == 0 {
		return 1, true
	}
	b = b[:min(len(b), mostLine+1-len(held))]
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		return i + 1, true
	}
	return len(b), false
}

// may says whether a line that begins with c may come now from that side.
func (d *Decoder) may(sender bool, c byte) error {
	says := c <= 2
	switch {
	case d.phase == over:
		return d.wrong(sender, "goes on after one of the two gave up")
	case !sender && !says:
		return d.wrong(sender, "sends what is no answer")
	case !sender && d.phase == record:
		return d.wrong(sender, "answers what nobody asked")
	case !sender && d.phase == content && (c == 0 || d.file.answered):
		return d.wrong(sender, "answers before it has the file")
	case !sender && d.phase == closing && d.file.answered:
		return d.wrong(sender, "answers twice")
	case sender && (d.phase == greeting || d.phase == answer || d.phase == closing && d.file.sent):
		return d.wrong(sender, "does not wait for an answer")
	case sender && d.phase == closing && !says:
		return d.wrong(sender, "sends more of a file than it announced")
	case sender && d.phase == record && strings.IndexByte("TCDE\x01\x02", c) < 0:
		return d.wrong(sender, "sends what is no line of it")
	}
	return nil
}

// wrong is an error about what one side did. It does not quote what was sent: that may be anything, and errors go to logs.
func (d *Decoder) wrong(sender bool, what string) error {
	side := "client"
	if sender == d.command.Source {
		side = "host"
		if d.files == 0 && d.operations == 0 {
			what += "; does a startup file of the account print something?"
		}
	}
	return fmt.Errorf("the %s %s", side, what)
}
