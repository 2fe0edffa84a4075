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

// errGone stops a lane on which nothing goes on any more.
var errGone = errors.New("nothing goes on")

// decoded is a channel whose bytes are a protocol. One lock covers decoding and recording, so that what one direction makes of the other's
// bytes is recorded in that order.
type decoded struct {
	s        *session
	scribe   *scribe
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
	cut     bool        // the channel is being cut
}

func (s *session) decoded(id uint32, p *protocol, up, down *lane) *decoded {
	d := &decoded{s: s, scribe: s.scribe(), id: id, protocol: p, up: up, down: down, answers: down}
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

// take decodes and records a piece, and sends what may go on itself: the decoder is free for the other direction before there is room for it,
// or two full lanes would wait for each other, but whoever decoded first sends first, because an agent's answers are told apart by their
// order alone.
func (d *decoded) take(stream byte, buf *[]byte, n int) (held, error) {
	d.mu.Lock()
	if d.bytes[stream] != nil {
		defer d.mu.Unlock()
		return d.bytes[stream].take(buf, n)
	}
	defer giveBack(buf)
	p, err := d.step(stream, (*buf)[:n])
	if err == nil && !d.s.decodedUse(d.lane(stream).ctx, &d.log, d.protocol.event) {
		d.mu.Unlock()
		return held{}, errGone
	}
	if err != nil || p.why != nil {
		defer d.mu.Unlock()
		if err == nil {
			p.forward, err = d.leave(stream, p, (*buf)[:n])
		}
		return p.forward, err
	}
	own := d.lane(stream)
	own.turn.Lock()
	defer own.turn.Unlock()
	if p.answer.n > 0 {
		d.answers.turn.Lock()
		defer d.answers.turn.Unlock()
	}
	d.mu.Unlock()
	if p.answer.n > 0 {
		d.answers.send(p.answer)
	}
	if p.forward.n > 0 && !own.send(p.forward) {
		return held{}, errGone
	}
	return held{}, nil
}

// passage is what a decoder made of a piece.
type passage struct {
	forward, answer held
	why             error // the piece is not the protocol
}

// step decodes and records a piece. It fails when the recorder does.
func (d *decoded) step(stream byte, b []byte) (p passage, err error) {
	decode := d.decoder.Client
	if stream == recorder.Stdout {
		decode = d.decoder.Host
	}
	d.log.Reset()
	out := wideBuffers.Get().(*[]byte)
	var s meter.Step
	s, p.why = decode((*out)[:0], b)
	d.retain(stream, b, len(s.Forward))
	commit, err := d.scribe.log(d.id, &d.log)
	if err != nil {
		return p, err
	}
	if len(s.Answer) > 0 {
		answer := append([]byte(nil), s.Answer...)
		p.answer = held{buf: &answer, n: len(answer), commit: commit, own: true}
	}
	if len(s.Forward) == 0 {
		giveBack(out)
		return p, nil
	}
	*out = s.Forward
	p.forward = held{buf: out, n: len(s.Forward), commit: commit}
	return p, nil
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
func (d *decoded) leave(stream byte, p passage, b []byte) (held, error) {
	if d.protocol.only != "" && d.cut {
		return held{}, errGone
	}
	if d.protocol.only != "" {
		d.cut = true
		d.note(fmt.Sprintf("what was sent instead begins with %.300q", b))
		text := fmt.Sprintf("%s allows %s and nothing else: %v", d.protocol.only, d.protocol.name, p.why)
		go d.s.b.guard(d.s, func() { d.abort(text) })
		return held{}, errGone
	}
	d.note(fmt.Sprintf("this is not %s: %v; recorded as bytes from here", d.protocol.name, p.why))
	d.tell("")
	if err := d.end(); err != nil {
		return held{}, err
	}
	for i := range d.bytes {
		d.bytes[i] = d.s.metered(d.id, byte(i), d.s.reply.Record.Streams)
	}
	if p.forward.n > 0 {
		d.lane(stream).send(p.forward)
	}
	// What the decoder held back goes on now, in both directions.
	if other, err := d.release(recorder.Stdout - stream); err != nil {
		return held{}, err
	} else if other.n > 0 {
		d.lane(recorder.Stdout - stream).send(other)
	}
	return d.release(stream)
}

func (d *decoded) note(text string) {
	d.s.keep(recorder.Frame{Type: recorder.TypeNote, Channel: d.id, Data: []byte(oneLine(text))})
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
	_, err := d.scribe.log(d.id, &d.log)
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
