package sftp

import (
	"cmp"
	"maps"
	"slices"

	"postern/bastion/meter"
	"postern/recorder"
)

// transfer is a request to read or write that the host has not answered.
type transfer struct {
	on     *handle
	offset uint64
	length uint32
	write  bool
}

// pending is any other request that the host has not answered.
type pending struct {
	verb *verb
	on   *handle             // of OPEN what becomes open, of CLOSE and READDIR what the host opened before
	op   *recorder.Operation // told when it is answered; nil: on tells it
	key  string              // of CLOSE, a handle not seen opened
	cost int
}

func (d *Decoder) outstanding(id uint32) bool {
	if _, ok := d.transfers[id]; ok {
		return true
	}
	return d.pending[id] != nil
}

// transfer takes READ or WRITE.
func (d *Decoder) transfer(step *meter.Step, c *call, p []byte) error {
	if len(d.transfers) >= maxTransfers {
		return errTooMuch
	}
	on, err := d.fileOf(c.handle)
	if err != nil {
		return err
	}
	d.logRequest(c, p, on.file)
	d.transfers[c.id] = transfer{on: on, offset: c.offset, length: c.length, write: c.kind == typeWrite}
	d.busy = d.busy || len(d.transfers) > 4096
	on.waiting++
	d.pass(step, p)
	return nil
}

// ask takes any other request that goes to the host.
func (d *Decoder) ask(step *meter.Step, c *call, p []byte) error {
	r := &pending{verb: c.verb, cost: pendingCost}
	switch c.kind {
	case typeOpen:
		r.on = d.newFile(c)
		if err := d.hold(r.on); err != nil {
			return err
		}
	case typeClose:
		// From here on the handle means nothing: a host that works on several requests at a time may give it out again before it answers.
		r.on = d.handles[string(c.handle)]
		delete(d.handles, string(c.handle))
	case typeReaddir:
		if h := d.handles[string(c.handle)]; h != nil && h.list != nil {
			r.on = h
			h.waiting++
		}
	}
	if r.on == nil {
		r.op = d.describe(c)
		r.cost += operationSize(r.op)
	}
	if r.on == nil && c.kind == typeClose {
		r.key = string(c.handle)
		r.cost += len(r.key)
	}
	if err := d.charge(r.cost); err != nil {
		return err
	}
	d.pending[c.id] = r
	d.logRequest(c, p, nil)
	if r.op != nil && c.verb.changes {
		d.tell(r.op)
	}
	d.pass(step, p)
	return nil
}

// interrupted is the status of what had not ended when the channel did.
const interrupted = "interrupted"

// interrupt tells of everything that is open, in the order in which it was asked for.
func (d *Decoder) interrupt() {
	var ops []*recorder.Operation
	for _, r := range d.pending {
		if r.op != nil {
			r.op.Status = interrupted
			ops = append(ops, r.op)
		}
	}
	slices.SortFunc(ops, func(a, b *recorder.Operation) int { return cmp.Compare(a.Number, b.Number) })
	for _, op := range ops {
		d.tell(op)
	}
	open := slices.SortedFunc(maps.Keys(d.live), func(a, b *handle) int {
		if a.list != nil && b.list != nil {
			return cmp.Compare(a.list.Number, b.list.Number)
		}
		return cmp.Compare(a.number, b.number)
	})
	for _, h := range open {
		if h.closed == "" || h.stray {
			h.closed = interrupted
		}
		d.finish(h, h.closed)
	}
}
