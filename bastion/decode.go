package bastion

import (
	"errors"
	"fmt"
	"sync"

	"postern/bastion/meter"
	"postern/recorder"
)

// decoder follows a protocol in both directions. Its methods are never called at the same time.
type decoder interface {
	Client(dst, b []byte) (meter.Step, error)
	Host(dst, b []byte) (meter.Step, error)
	Close()
}

// protocol is what the bytes of a channel have to be.
type protocol struct {
	name    string // for people
	event   string // for events
	only    string // the capability that allows this and nothing else; empty: what is not the protocol passes as bytes
	decoder func(*meter.Log) decoder
}

var errNotTheProtocol = errors.New("not the protocol")

// decoded is a channel whose bytes are a protocol. One lock covers decoding and recording, so that what one direction makes of the other's
// bytes is recorded in that order.
type decoded struct {
	s        *session
	id       uint32
	protocol *protocol
	up, down *lane
	answers  *lane            // where the bastion's own answers go
	abort    func(why string) // cuts the channel

	mu      sync.Mutex
	log     meter.Log
	decoder decoder
	rest    [2][]byte   // by stream: what was read and has not gone on, if it may as bytes
	bytes   [2]*metered // once the protocol was left
}

func (s *session) decoded(id uint32, p *protocol, up, down *lane) *decoded {
	d := &decoded{s: s, id: id, protocol: p, up: up, down: down, answers: down}
	d.decoder = p.decoder(&d.log)
	d.tell(p.event)
	return d
}

// tell says what the data frames are from here on, so that who shows them does not take a protocol for text, nor text for a protocol.
func (d *decoded) tell(name string) {
	f := recorder.EventFrame(recorder.EventProtocol, recorder.Protocol{Name: name})
	f.Channel = d.id
	d.s.keep(f)
}

func (d *decoded) client(buf *[]byte, n int) (held, error) { return d.take(recorder.Stdin, buf, n) }
func (d *decoded) host(buf *[]byte, n int) (held, error)   { return d.take(recorder.Stdout, buf, n) }

func (d *decoded) take(stream byte, buf *[]byte, n int) (held, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bytes[stream] != nil {
		return d.bytes[stream].take(buf, n)
	}
	defer giveBack(buf)
	h, err, perr := d.step(stream, (*buf)[:n])
	if err != nil {
		return held{}, err
	}
	if perr != nil {
		return d.leave(stream, h, perr)
	}
	return h, nil
}

// step decodes and records a piece. It fails when the recorder does, err, and when the piece is not the protocol, perr.
func (d *decoded) step(stream byte, b []byte) (h held, err, perr error) {
	decode := d.decoder.Client
	if stream == recorder.Stdout {
		decode = d.decoder.Host
	}
	d.log.Reset()
	out := wideBuffers.Get().(*[]byte)
	s, perr := decode((*out)[:0], b)
	d.retain(stream, b, len(s.Forward))
	if h.commit, err = d.s.append(d.id, &d.log); err != nil {
		return held{}, err, perr
	}
	if len(s.Answer) > 0 {
		answer := append([]byte(nil), s.Answer...)
		d.answers.send(held{&answer, len(answer), h.commit})
	}
	if len(s.Forward) == 0 {
		giveBack(out)
		return held{}, nil, perr
	}
	*out = s.Forward
	h.buf, h.n = out, len(s.Forward)
	return h, nil, perr
}

// retain remembers what the decoder holds back, where it may pass as bytes later: nothing but a part of a line, mostly.
func (d *decoded) retain(stream byte, b []byte, forward int) {
	rest := d.rest[stream]
	if d.protocol.only != "" || len(rest) == 0 && forward == len(b) {
		return
	}
	rest = append(rest, b...)
	d.rest[stream] = rest[:copy(rest, rest[forward:])]
}

// leave is for bytes that are not the protocol: the end of the channel, or of the decoding.
func (d *decoded) leave(stream byte, h held, why error) (held, error) {
	if d.protocol.only != "" {
		text := fmt.Sprintf("%s allows %s and nothing else: %v", d.protocol.only, d.protocol.name, why)
		go d.s.b.guard(d.s, func() { d.abort(text) })
		return held{}, errNotTheProtocol
	}
	d.s.keep(recorder.Frame{Type: recorder.TypeNote, Channel: d.id, Data: []byte(oneLine(fmt.Sprintf("this is not %s: %v; recorded as bytes from here", d.protocol.name, why)))})
	d.tell("")
	if err := d.end(); err != nil {
		return held{}, err
	}
	for i := range d.bytes {
		d.bytes[i] = d.s.metered(d.id, byte(i), d.s.reply.Record.Streams)
	}
	if h.n > 0 {
		d.lane(stream).send(h)
	}
	// What the decoder held back goes on now, in both directions.
	if other, err := d.release(recorder.Stdout - stream); err != nil {
		return held{}, err
	} else if other.n > 0 {
		d.lane(recorder.Stdout - stream).send(other)
	}
	return d.release(stream)
}

func (d *decoded) release(stream byte) (held, error) {
	rest := d.rest[stream]
	if d.rest[stream] = nil; len(rest) == 0 {
		return held{}, nil
	}
	return d.bytes[stream].take(&rest, len(rest))
}

func (d *decoded) lane(stream byte) *lane {
	if stream == recorder.Stdin {
		return d.up
	}
	return d.down
}

// end has the decoder tell of what was under way.
func (d *decoded) end() error {
	d.log.Reset()
	d.decoder.Close()
	_, err := d.s.append(d.id, &d.log)
	return err
}

// close is for the end of the channel.
func (d *decoded) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.bytes[0] != nil {
		d.bytes[0].close()
		d.bytes[1].close()
		return
	}
	if err := d.end(); err != nil {
		d.s.unrecorded(err)
	}
}
