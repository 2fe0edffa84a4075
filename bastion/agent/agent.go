// Package agent guards the channel of a forwarded agent: programs on the host ask, the client's agent answers.
//
// Start with [New]. A [Decoder] lets requests through that list keys, sign, or bind and query extensions. Whatever would change the agent is
// answered with a failure here, as is a signature that postern itself would believe: an approval that a host made with the agent of an
// approver who happens to be there would be as good as theirs. Each request is an event, recorder.AgentUse; no byte of the channel is
// recorded. It does no I/O and is not safe for concurrent use.
//
// The protocol is draft-ietf-sshm-ssh-agent with the extension session-bind@openssh.com of OpenSSH's PROTOCOL.agent: packets of a uint32
// length, a byte kind and what belongs to it; answers come in the order of the requests.
package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"postern/bastion/meter"
	"postern/recorder"
)

// Kinds of packets.
const (
	failure            = 5
	success            = 6
	requestIdentities  = 11
	identitiesAnswer   = 12
	signRequest        = 13
	signResponse       = 14
	extension          = 27
	extensionFailure   = 28
	extensionResponse  = 29
	failureOfSSHCom    = 30 // both are what some agents of other makers answer
	failureOfVersion2  = 102
	mostPacket         = 256 << 10 // as in OpenSSH
	mostOutstanding    = 64        // requests; a program that talks to an agent waits for each answer
	mostDenied         = 1000      // requests: each is an event, and costs the host five bytes
	mostNamed          = 128       // bytes of a name in an event
	failed             = "\x00\x00\x00\x01\x05"
	ourNamespaceSuffix = "@postern"
)

// Decoder follows one channel.
type Decoder struct {
	log      *meter.Log
	requests []byte    // of a packet that is not whole
	answers  []byte    // likewise
	waiting  []request // in the order in which they were asked
	number   uint64
	denied   int
	err      error
}

// New follows a channel that the host opened to the client's agent.
func New(log *meter.Log) *Decoder { return &Decoder{log: log} }

// Host takes requests. Forward is dst with what goes on to the client's agent, Answer what we answer ourselves: it goes back to the host.
// Answers of ours that would overtake the agent's come with a later step of [Decoder.Client]. Whoever writes to the host has to write what
// both return in the order of the calls.
//
// An error says that this is not the protocol; nothing goes on after it, in either direction.
func (d *Decoder) Host(dst, b []byte) (meter.Step, error) {
	step := meter.Step{Forward: dst}
	d.each(&d.requests, b, func(packet []byte) error { return d.request(packet, &step) })
	return step, d.err
}

func (d *Decoder) request(packet []byte, step *meter.Step) error {
	if len(d.waiting) == mostOutstanding {
		return fmt.Errorf("the host asks the agent %d times without waiting for an answer", mostOutstanding+1)
	}
	r := read(packet[4:])
	d.number++
	r.use.Number = d.number
	if !r.use.Denied {
		step.Forward = append(step.Forward, packet...)
		d.waiting = append(d.waiting, r)
		if r.kind == signRequest {
			d.tell(r.pending())
		}
		return nil
	}
	if d.denied++; d.denied > mostDenied {
		return fmt.Errorf("the host asks the agent for what it may not have, and does not stop after %d times", mostDenied)
	}
	d.tell(r.use)
	if len(d.waiting) == 0 {
		step.Answer = append(step.Answer, failed...)
	} else {
		d.waiting = append(d.waiting, r)
	}
	return nil
}

// Client takes the agent's answers. Forward is dst with what goes to the host: these, and those of ours that waited for them.
func (d *Decoder) Client(dst, b []byte) (meter.Step, error) {
	step := meter.Step{Forward: dst}
	d.each(&d.answers, b, func(packet []byte) error { return d.answer(packet, &step) })
	return step, d.err
}

func (d *Decoder) answer(packet []byte, step *meter.Step) error {
	if len(d.waiting) == 0 {
		return errors.New("the agent answers what nobody asked")
	}
	r := d.waiting[0]
	ok, known := r.answered(packet[4])
	if !known {
		return fmt.Errorf("the agent answers %q with a packet of kind %d", r.use.Request, packet[4])
	}
	r.use.OK = ok
	d.tell(r.use)
	step.Forward = append(step.Forward, packet...)
	d.waiting = d.waiting[1:]
	for len(d.waiting) > 0 && d.waiting[0].use.Denied {
		step.Forward = append(step.Forward, failed...)
		d.waiting = d.waiting[1:]
	}
	return nil
}

// Close tells of requests that were never answered.
func (d *Decoder) Close() {
	for _, r := range d.waiting {
		if !r.use.Denied && r.kind != signRequest { // that was told when it was asked
			d.tell(r.pending())
		}
	}
	d.waiting = nil
	if d.err == nil {
		d.err = errors.New("the agent's channel is closed")
	}
}

// each calls f for every packet that is whole with b, and holds what comes after.
func (d *Decoder) each(held *[]byte, b []byte, f func(packet []byte) error) {
	if d.err != nil {
		return
	}
	*held = append(*held, b...)
	rest := *held
	for d.err == nil && len(rest) >= 4 {
		n := binary.BigEndian.Uint32(rest)
		if n == 0 || n > mostPacket {
			d.err = fmt.Errorf("a packet of %d bytes is not the agent's protocol", n)
			return
		}
		if uint32(len(rest)-4) < n {
			break
		}
		d.err = f(rest[:4+n])
		rest = rest[4+n:]
	}
	*held = slices.Delete(*held, 0, len(*held)-len(rest))
	if len(*held) == 0 && cap(*held) > 64<<10 {
		*held = nil
	}
}

func (d *Decoder) tell(use recorder.AgentUse) { d.log.Event(recorder.EventAgent, use) }
