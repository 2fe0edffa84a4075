package sftp

import (
	"encoding/binary"
	"fmt"

	"postern/bastion/meter"
	"postern/recorder"
)

// reply takes one packet of the host.
func (d *Decoder) reply(step *meter.Step, p []byte) error {
	if !d.agreed {
		return d.agree(step, p)
	}
	if p[4] == typeVersion {
		return fmt.Errorf("the host sends VERSION a second time")
	}
	f := fields{b: p[head:]}
	id := f.uint32()
	if f.short {
		return fmt.Errorf("%w: type %d from the host", errShort, p[4])
	}
	if t, ok := d.transfers[id]; ok {
		if err := d.transferred(step, t, p); err != nil {
			return err
		}
		delete(d.transfers, id)
		if d.busy && len(d.transfers) == 0 {
			d.transfers, d.busy = map[uint32]transfer{}, false // a map never shrinks
		}
		return nil
	}
	r := d.pending[id]
	if r == nil {
		return fmt.Errorf("the host answers id %d, which nobody asked", id)
	}
	if err := d.answered(step, r, p); err != nil {
		return err
	}
	delete(d.pending, id)
	return nil
}

// transferred takes the answer to a READ or WRITE.
func (d *Decoder) transferred(step *meter.Step, t transfer, p []byte) error {
	f := fields{b: p[headID:]}
	switch {
	case p[4] == typeData && !t.write:
		data := f.string()
		if f.short {
			return fmt.Errorf("%w: DATA from the host", errShort)
		}
		if uint64(len(data)) > uint64(t.length) {
			return fmt.Errorf("the host answers %d bytes to a request for %d", len(data), t.length)
		}
		d.log.Data(recorder.Stdout, p[:headID+4])
		t.on.read(t.offset, data)
		d.log.Data(recorder.Stdout, f.b)
	case p[4] == typeStatus:
		code, text := f.status()
		if f.short {
			return fmt.Errorf("%w: STATUS from the host", errShort)
		}
		d.log.Data(recorder.Stdout, p)
		t.on.said(t, code, text)
	default:
		return fmt.Errorf("the host answers a read or write with packet type %d", p[4])
	}
	d.pass(step, p)
	t.on.waiting--
	d.settle(t.on)
	return nil
}

// answer is what the host says to a request other than to read or write.
type answer struct {
	code   uint32
	status string // of STATUS; ok for all others
	handle []byte
	names  uint64
	first  []byte
}

func (r *pending) read(p []byte) (a answer, err error) {
	f := fields{b: p[headID:]}
	a.status = statusWord(statusOK)
	switch kind := p[4]; {
	case kind == typeStatus:
		a.code, a.status = f.status()
	case kind != r.verb.reply:
		return a, fmt.Errorf("the host answers %s with packet type %d", r.verb.name, kind)
	case kind == typeHandle:
		a.handle = f.string()
	case kind == typeName:
		a.names, a.first = f.names()
	case kind == typeAttrs:
		f.attrs()
	}
	if f.short {
		return a, fmt.Errorf("%w: the host's answer to %s", errShort, r.verb.name)
	}
	return a, nil
}

func (d *Decoder) answered(step *meter.Step, r *pending, p []byte) error {
	a, err := r.read(p)
	if err != nil {
		return err
	}
	d.held -= r.cost
	if p[4] == typeHandle {
		if err := d.opened(r, a.handle); err != nil {
			return err
		}
	}
	d.log.Data(recorder.Stdout, p)
	d.pass(step, p)
	switch {
	case p[4] == typeHandle:
	case r.op != nil:
		if r.verb == &verbs[typeClose] && a.code == statusOK {
			d.closedUnseen(r.key)
		}
		r.op.Status, r.op.Entries = a.status, a.names
		if a.first != nil && r.verb != &verbs[typeReaddir] {
			to := pathOf(a.first)
			r.op.To, r.op.ToBytes, r.op.Entries = to.text, to.raw, 0
		}
		d.tell(r.op)
	case r.verb == &verbs[typeReaddir]:
		r.on.listed(a)
		d.settle(r.on)
	default: // CLOSE, or OPEN that failed
		r.on.closed = a.status
		d.settle(r.on)
	}
	return nil
}

// The codes of STATUS.
const (
	statusOK          = 0
	statusEOF         = 1
	statusDenied      = 3
	statusUnsupported = 8
)

var statusWords = [...]string{
	"ok", "end of file", "no such file", "permission denied", "failure", "bad message", "no connection", "connection lost", "operation unsupported",
}

// statusTexts are what OpenSSH's server writes beside the codes that are answered here.
var statusTexts = map[uint32]string{statusDenied: "Permission denied", statusUnsupported: "Operation unsupported"}

func statusWord(code uint32) string {
	if int64(code) < int64(len(statusWords)) {
		return statusWords[code]
	}
	return fmt.Sprintf("status %d", code)
}

// status reads what follows the id of a STATUS. Servers older than version 3 send no message.
func (f *fields) status() (code uint32, text string) {
	code = f.uint32()
	text = statusWord(code)
	if f.short || code == statusOK || code == statusEOF {
		return code, text
	}
	message := fields{b: f.b}
	if said := cutPath(message.string(), maxBrief).text; !means(said, code) {
		text += ": " + said
	}
	return code, text
}

func appendStatus(b []byte, id, code uint32) []byte {
	text := statusTexts[code]
	b = binary.BigEndian.AppendUint32(b, uint32(headID-4+4+4+len(text)+4))
	b = append(b, typeStatus)
	b = binary.BigEndian.AppendUint32(b, id)
	b = binary.BigEndian.AppendUint32(b, code)
	b = binary.BigEndian.AppendUint32(b, uint32(len(text)))
	b = append(b, text...)
	return binary.BigEndian.AppendUint32(b, 0) // language
}
