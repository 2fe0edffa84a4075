package scp

import (
	"fmt"
	"strings"

	"postern/recorder"
)

// judge reads a whole line; if it may come now, it is recorded, and takes effect.
func (d *Decoder) judge(stream byte, sender bool, b []byte) error {
	if err := d.may(sender, b[0]); err != nil {
		return err // the other side went on since it began
	}
	l, err := parse(b)
	if err != nil {
		return d.wrong(sender, err.Error())
	}
	said := l.kind <= 2
	if sender && d.phase == record {
		if err := d.fits(l); err != nil {
			return err
		}
	}
	d.log.Data(stream, b)
	switch {
	case sender && d.phase == record && said:
		d.message(sender, l)
	case sender && d.phase == record:
		d.ask(l)
	case sender || d.phase == content || d.phase == closing:
		d.close(sender, l)
	default:
		d.answer(l)
	}
	if l.kind == 2 {
		d.giveUp()
	}
	return nil
}

// fits says whether a line of the sender may stand where it does. Times may, also without -p: every receiver takes them.
func (d *Decoder) fits(l line) error {
	switch {
	case d.timed && l.kind != 'C' && l.kind != 'D':
		return d.wrong(true, "sends times and nothing that has them")
	case l.kind == 'D' && !d.command.Recursive:
		return d.wrong(true, "sends a directory, but the command has no -r")
	case l.kind == 'D' && len(strings.Join(d.dirs, "/"))+len(l.name) > mostPath:
		return d.wrong(true, "sends directories that are nested too deep")
	case l.kind == 'E' && len(d.dirs) == 0:
		return d.wrong(true, "ends a directory that did not begin")
	}
	return nil
}

// ask takes a line that is to be answered.
func (d *Decoder) ask(l line) {
	d.asked, d.phase = l, answer
	d.timed = l.kind == 'T'
	switch l.kind {
	case 'C':
		d.files++
		d.file = d.newTransfer(l)
	case 'D':
		d.operations++
		d.operation(l, "")
	case 'E':
		d.operations++
	}
}

// answer takes the receiver's answer to the greeting or a line.
func (d *Decoder) answer(l line) {
	was := d.phase
	d.phase = record
	status := ok
	if l.kind != 0 {
		status = l.message()
	}
	switch {
	case was == greeting:
		if l.kind != 0 {
			d.message(false, l)
		}
	case d.asked.kind == 'T':
		d.timed = l.kind == 0
	case d.asked.kind == 'C' && l.kind == 0:
		d.phase = content
		if d.file.begin(); d.file.left == 0 {
			d.phase = closing
		}
	case d.asked.kind == 'C':
		d.file.done(status)
		d.file = nil
	case d.asked.kind == 'D':
		d.operation(d.asked, status)
		if l.kind == 0 {
			d.dirs = append(d.dirs, d.asked.name)
		}
	case d.asked.kind == 'E': // whatever the answer says: the sender is out of it
		d.operation(d.asked, status)
		d.dirs = d.dirs[:len(d.dirs)-1]
	}
}

// close takes what a side says about a file after its contents. The sender comes first, but PuTTY as a receiver does not wait for that. And a
// receiver may say in the middle of them that it can not go on, which is its last word.
func (d *Decoder) close(sender bool, l line) {
	if l.kind != 0 {
		d.file.failed(l.message())
	}
	switch {
	case sender:
		d.file.sent = true
		if l.kind == 0 {
			d.file.end()
		}
	default:
		d.file.answered = true
		d.file.mute = d.phase == content
	}
	if d.file.sent && d.file.answered && !d.file.mute {
		d.file.done(ok)
		d.file, d.phase = nil, record
	}
}

// giveUp ends it after a 2.
func (d *Decoder) giveUp() {
	if d.file != nil {
		d.file.done("")
		d.file = nil
	}
	d.phase = over
}

// message is what one side says beside a file or directory, such as the name of a file that it cannot open.
func (d *Decoder) message(sender bool, l line) {
	if d.messages++; d.messages > mostMessages {
		return // its bytes are recorded all the same
	}
	side := "client"
	if sender == d.command.Source {
		side = "host"
	}
	d.operations++
	o := recorder.Operation{Number: d.operations, Name: "message", Detail: "from the " + side, Status: l.message()}
	if len(d.command.Paths) == 1 {
		o.Path, o.PathBytes = path(d.command.Paths[0])
	}
	d.log.Event(recorder.EventOperation, o)
}

// operation tells of a directory: when it begins, what came of that, and its end.
func (d *Decoder) operation(l line, status string) {
	o := recorder.Operation{Number: d.operations, Name: "directory", Status: status}
	if l.kind == 'D' {
		o.Detail = fmt.Sprintf("mode %04o", l.mode)
	} else {
		o.Name = "end of directory"
	}
	o.Path, o.PathBytes = path(d.place(l))
	d.log.Event(recorder.EventOperation, o)
}
