package scp

import (
	"bytes"
	slashpath "path"
	"strings"
	"unicode/utf8"

	"postern/bastion/meter"
	"postern/recorder"
)

// What becomes of a file or directory, unless a peer says something else.
const (
	ok          = "ok"
	interrupted = "interrupted"
	unconfirmed = "all of it passed, unconfirmed" // libssh2 (curl) leaves it at that
)

// transfer is one file on its way.
type transfer struct {
	*meter.File
	source   bool
	size     uint64
	left     uint64 // bytes of it
	begun    bool   // the receiver wants it
	status   string // what went wrong first
	sent     bool   // the sender said that it is over
	answered bool   // the receiver did
	mute     bool   // in the middle, so it says no more
}

func (d *Decoder) newTransfer(l line) *transfer {
	f := recorder.File{Number: d.files, Protocol: "scp", Access: "write create truncate", Mode: l.mode, Size: &l.size, Keep: d.keep}
	if d.command.Source {
		f.Access = "read"
	}
	f.Path, f.PathBytes = path(d.place(l))
	return &transfer{File: meter.NewFile(d.log, f), source: d.command.Source, size: l.size, left: l.size}
}

// begin notes that the receiver wants it: from here on there is a hash, be it of nothing.
func (t *transfer) begin() {
	t.begun = true
	t.move(nil)
}

// pass takes what of b belongs to the file, and says how much that was.
func (t *transfer) pass(b []byte) int {
	b = b[:min(uint64(len(b)), t.left)]
	t.move(b)
	t.left -= uint64(len(b))
	return len(b)
}

func (t *transfer) move(b []byte) {
	if t.source {
		t.Read(t.size-t.left, b)
	} else {
		t.Write(t.size-t.left, b)
	}
}

// end notes that the sender vouches for the contents. Where the host is the receiver, its answer says it.
func (t *transfer) end() {
	if t.source {
		t.End()
	}
}

func (t *transfer) failed(status string) {
	if t.status == "" {
		t.status = status
	}
}

// done tells what became of it: what went wrong, else status, else that it did not come to its end.
func (t *transfer) done(status string) {
	t.failed(status)
	if t.begun && t.left == 0 {
		t.failed(unconfirmed)
	}
	t.failed(interrupted)
	t.Done(t.status)
}

// place is the path of what a line sends, as far as it can be known here.
//
// It is relative to the path of the command, if that has one. To a target it is added. Whether that is a directory only the host knows: what is
// sent to a target that is not there becomes that target, whatever its name is; for a file of the same name that is taken to be so. A source
// is where its path says, and under the name of its last component; a pattern there, or a ~, stands for the name that is sent.
func (d *Decoder) place(l line) string {
	names := d.dirs
	if l.name != "" {
		names = append(names[:len(names):len(names)], l.name)
	}
	sent := strings.Join(names, "/")
	if len(d.command.Paths) != 1 || len(names) == 0 {
		return sent
	}
	given := d.command.Paths[0]
	if !d.command.Source {
		if l.kind == 'C' && slashpath.Base(given) == sent && !d.command.Directory && !strings.HasSuffix(given, "/") {
			return given
		}
		return join(given, sent)
	}
	if strings.HasPrefix(given, "~") && !strings.Contains(given, "/") {
		return join(given, strings.Join(names[1:], "/"))
	}
	parent, _ := slashpath.Split(strings.TrimRight(given, "/"))
	return join(parent, sent)
}

// join does not clean: a path is told as it was asked for.
func join(parent, rest string) string {
	switch {
	case parent == "" || rest == "":
		return parent + rest
	case strings.HasSuffix(parent, "/"):
		return parent + rest
	}
	return parent + "/" + rest
}

// path is a path as an event tells it.
func path(p string) (text string, raw []byte) {
	if utf8.ValidString(p) {
		return p, nil
	}
	return string(bytes.ToValidUTF8([]byte(p), []byte("\ufffd"))), []byte(p)
}
