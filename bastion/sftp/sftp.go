// Package sftp reads SFTP version 3 while it passes between a client and the host's sftp-server, records what happens, and
// answers the client itself where the grant says no.
//
// The protocol is draft-ietf-secsh-filexfer-02 as OpenSSH speaks it, with the extensions of its PROTOCOL file. Start with [New];
// [Decoder.Client] and [Decoder.Host] take the bytes of the two sides as they come. Only whole packets go on, unchanged but for two:
//
//   - INIT asks for version 3 at most, so that no host answers in a version that is not read here;
//   - VERSION loses the extensions that are not known here or not granted. Clients then do without, as with an older server.
//
// A request that the grant does not include never reaches the host. It is answered with "permission denied" and the session goes
// on. What does not parse, on either side, is an error: OpenSSH's server reads a short packet on into the next one, so nothing may
// reach it that we understood differently.
//
// What a request needs is decided by its own bytes, never by the handle it names or by what the host said before. Whose bytes
// pass is decided when they are asked for: a request belongs to the file that its handle meant at that moment, and an answer to
// the request with its id. So a host that answers what was not asked, sends more than was asked, or gives out a handle that is
// open, and a client that uses an id twice at a time, end the session: no real one does.
//
// # Bounds
//
// A decoder holds at most 16 MiB ([maxTransfers] reads and writes that wait for their answers, [maxHeld] bytes of paths, other
// requests and open files, and a packet of [maxPacket] bytes from each side); one at rest holds a few hundred bytes and what its open
// files cost. Beyond, Client or Host returns an error. Events come to at most 128 bytes for each byte that passed: a path is told with
// the request that names it, and only its first [maxBrief] bytes with requests that name a handle.
package sftp

import (
	"errors"
	"fmt"

	"postern/bastion/meter"
	"postern/recorder"
)

const (
	maxPacket    = 256<<10 + 1<<10 // OpenSSH takes 256 KiB; others send contents of 256 KiB and what surrounds them
	maxTransfers = 200_000         // paramiko asks for a whole file at once: what fits into two SSH windows and the pipes between
	maxHeld      = 4 << 20
	maxPath      = 4096 // bytes of a path that an event tells
	maxBrief     = 128  // bytes of it when the request did not name it, and of what the host says of a failure
	maxHandle    = 256  // bytes of a handle, as the protocol says
)

var (
	errClosed  = errors.New("sftp: the channel has ended")
	errTooMuch = errors.New("more requests or open files at a time than a client has")
)

// Config says what the grant allows and how much of files is recorded.
type Config struct {
	Read, Write bool   // at least one of them
	Keep        string // full, head or hash; empty: head
}

// Decoder follows one SFTP session. Its methods must not be called at the same time.
type Decoder struct {
	granted need
	keep    string
	log     *meter.Log
	err     error // once there was one, nothing passes any more

	client, host inbound
	begun        bool // INIT passed
	agreed       bool // VERSION passed

	transfers map[uint32]transfer // reads and writes without their answers: many, and small
	busy      bool                // transfers has grown large
	pending   map[uint32]*pending // all other requests without their answers
	handles   map[string]*handle  // as the host named them
	strays    map[string]*handle  // handles that a client reads or writes and nobody opened
	live      map[*handle]struct{}
	held      int // what pending and live cost, in bytes

	operations uint64
	files      uint32
}

// New begins a session. What happens goes into log, which the caller empties after each call.
func New(c Config, log *meter.Log) *Decoder {
	d := &Decoder{
		keep: c.Keep, log: log, client: inbound{who: client}, host: inbound{who: host},
		transfers: map[uint32]transfer{}, pending: map[uint32]*pending{},
		handles: map[string]*handle{}, strays: map[string]*handle{}, live: map[*handle]struct{}{},
	}
	if d.keep == "" {
		d.keep = meter.Head
	}
	if c.Read {
		d.granted |= read
	}
	if c.Write {
		d.granted |= write
	}
	return d
}

// Client takes what the client sent. Forward is dst with the packets for the host; Answer goes to the client.
func (d *Decoder) Client(dst, b []byte) (meter.Step, error) {
	return d.take(&d.client, d.request, dst, b)
}

// Host takes what the host sent. Forward is dst with the packets for the client.
func (d *Decoder) Host(dst, b []byte) (meter.Step, error) {
	return d.take(&d.host, d.reply, dst, b)
}

func (d *Decoder) take(in *inbound, each func(*meter.Step, []byte) error, dst, b []byte) (meter.Step, error) {
	step := meter.Step{Forward: dst}
	for d.err == nil {
		p, rest, err := in.next(b)
		if err == nil && p == nil {
			return step, nil
		}
		if err == nil {
			err = each(&step, p)
		}
		if err != nil {
			d.err = fmt.Errorf("sftp: %w", err)
		}
		b = rest
	}
	return step, d.err
}

// Close tells what became of files and requests that were still open when the channel ended.
func (d *Decoder) Close() {
	if d.log == nil {
		return
	}
	d.interrupt()
	if d.err == nil {
		d.err = errClosed
	}
	d.log, d.transfers, d.pending, d.handles, d.strays, d.live = nil, nil, nil, nil, nil, nil
}

// pass lets a packet go on as it is.
func (d *Decoder) pass(step *meter.Step, p []byte) { step.Forward = append(step.Forward, p...) }

// refuse answers a request instead of the host.
func (d *Decoder) refuse(step *meter.Step, id, code uint32) {
	a := appendStatus(nil, id, code)
	d.log.Data(recorder.Stdout, a)
	step.Answer = append(step.Answer, a...)
}

// charge accounts for memory that stays after this call.
func (d *Decoder) charge(n int) error {
	if d.held+n > maxHeld {
		return errTooMuch
	}
	d.held += n
	return nil
}
