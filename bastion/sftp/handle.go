package sftp

import (
	"fmt"
	"math"

	"postern/bastion/meter"
	"postern/recorder"
)

// handle is a file or a directory, from when it is asked for until what became of it is told.
type handle struct {
	key     string // as the host named it
	path    path   // brief
	number  uint32 // of a file
	file    *meter.File
	list    *recorder.Operation // of a directory: the opendir, told when it is closed. One of the two is nil
	stray   bool                // nobody saw it opened
	waiting int                 // requests to read or write that are not answered
	closed  string              // what the host said to CLOSE; empty: nothing yet
	trouble string              // the first of those requests that failed
	texts   int                 // bytes of its path that the meter holds
	cost    int

	next  uint64 // what was read from the beginning without a gap
	end   uint64 // the first place where the host said that the file ends
	whole bool   // the host said that the directory ends
}

// What is held costs about this much beside its texts.
const (
	handleCost  = 640  // with what the host said of a transfer that failed
	fileCost    = 2560 // a hash and 64 ranges for each direction
	pendingCost = 320
)

// newFile is the file of an OPEN, granted or not.
func (d *Decoder) newFile(c *call) *handle {
	p := pathOf(c.path)
	return d.follow(p.brief(), recorder.File{Path: p.text, PathBytes: p.raw, Access: c.access(), Mode: c.attrs.mode})
}

func (d *Decoder) follow(brief path, about recorder.File) *handle {
	d.files++
	about.Number, about.Protocol, about.Keep = d.files, "sftp", d.keep
	h := &handle{path: brief, number: d.files, file: meter.NewFile(d.log, about), end: math.MaxUint64}
	h.texts = len(about.Path) + len(about.PathBytes) + len(about.Access)
	return h
}

// fileOf is the file that a handle means now. One that we did not see opened, or a directory, becomes a file without a name: a host
// refuses it, and if it does not, what passes is on record.
func (d *Decoder) fileOf(key []byte) (*handle, error) {
	if h := d.handles[string(key)]; h != nil && h.file != nil {
		return h, nil
	}
	if h := d.strays[string(key)]; h != nil {
		return h, nil
	}
	h := d.follow(path{}, recorder.File{Access: unseen(key)})
	h.key, h.stray, h.closed = string(key), true, statusWord(statusOK)
	d.strays[h.key] = h
	return h, d.hold(h)
}

// opened takes the handle that the host gives out.
func (d *Decoder) opened(r *pending, key []byte) error {
	if len(key) > maxHandle {
		return fmt.Errorf("the host gives out a handle of %d bytes", len(key))
	}
	if d.handles[string(key)] != nil {
		return fmt.Errorf("the host gives out handle %x, which is still open", key)
	}
	h := r.on
	if h == nil {
		h = &handle{list: r.op, path: path{r.op.Path, r.op.PathBytes}.brief()}
	}
	h.key = string(key)
	d.handles[h.key] = h
	return d.hold(h)
}

// hold accounts for a handle, again when it has grown.
func (d *Decoder) hold(h *handle) error {
	d.release(h)
	h.cost = handleCost + len(h.key) + h.path.size()
	if h.file != nil {
		h.cost += fileCost + h.texts
	} else {
		h.cost += operationSize(h.list)
	}
	d.live[h] = struct{}{}
	return d.charge(h.cost)
}

func (d *Decoder) release(h *handle) {
	d.held -= h.cost
	h.cost = 0
	delete(d.live, h)
}

// read takes bytes of a file from the host.
func (h *handle) read(offset uint64, b []byte) {
	h.file.Read(offset, b)
	if end := offset + uint64(len(b)); offset <= h.next && end > h.next {
		h.next = end
	}
}

// said takes a status in answer to READ or WRITE.
func (h *handle) said(t transfer, code uint32, text string) {
	if code == statusEOF && !t.write {
		h.end = min(h.end, t.offset)
	} else if code != statusOK && h.trouble == "" && t.write {
		h.trouble = "write: " + text
	} else if code != statusOK && h.trouble == "" {
		h.trouble = "read: " + text
	}
}

// listed takes the answer to READDIR.
func (h *handle) listed(a answer) {
	h.waiting--
	h.list.Entries += a.names
	switch {
	case a.code == statusEOF:
		h.whole = true
	case a.code != statusOK && h.trouble == "":
		h.trouble = "readdir: " + a.status
	}
}

// settle tells of what is closed once every request about it is answered: a host that works on several at a time may answer CLOSE
// first. What is stray is over when nobody asks for it.
func (d *Decoder) settle(h *handle) {
	if h.waiting > 0 || h.closed == "" {
		return
	}
	if h.stray {
		delete(d.strays, h.key)
	}
	d.finish(h, h.closed)
}

// closedUnseen takes the end of a handle that was not known when CLOSE came: a client that guesses handles asks for it before the host has
// answered OPEN.
func (d *Decoder) closedUnseen(key string) {
	if h := d.handles[key]; h != nil {
		delete(d.handles, key)
		h.closed = statusWord(statusOK)
		d.settle(h)
	}
}

// finish tells of a file or directory. The reader saw the end of a file if the host said so where the reader was: further on it always says so.
func (d *Decoder) finish(h *handle, status string) {
	if h.trouble != "" && status == interrupted {
		status += "; " + h.trouble
	} else if h.trouble != "" {
		status = h.trouble
	}
	if h.file != nil {
		if h.end <= h.next {
			h.file.End()
		}
		h.file.Done(status)
	} else {
		h.list.Status = status
		if !h.whole {
			h.list.Detail = "not to the end"
		}
		d.tell(h.list)
	}
	d.release(h)
}
