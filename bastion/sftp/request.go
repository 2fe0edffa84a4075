package sftp

import (
	"encoding/binary"
	"fmt"
	"strings"

	"postern/bastion/meter"
	"postern/recorder"
)

// need is a set of capabilities.
type need byte

const (
	read   need = 1 << iota
	write  need = 1 << iota
	either need = 0 // whoever transfers files in one direction needs it
)

// verb is a kind of request.
type verb struct {
	name    string
	fields  string // one letter each, see [call.parse]
	needs   need
	changes bool   // something on the host
	reply   byte   // what the host answers with, if not a status
	version string // of an extension: the one whose fields these are
}

// verbs are the requests by their types. Symlink has its arguments in the order of OpenSSH, which the draft has reversed: first where
// the link points, then the link.
var verbs = [...]verb{
	typeOpen:     {name: "open", fields: "pfa", reply: typeHandle}, // what it needs is in its flags
	typeClose:    {name: "close", fields: "h"},
	typeRead:     {name: "read", fields: "hol", needs: read, reply: typeData},
	typeWrite:    {name: "write", fields: "hod", needs: write},
	typeLstat:    {name: "lstat", fields: "p", reply: typeAttrs},
	typeFstat:    {name: "fstat", fields: "h", reply: typeAttrs},
	typeSetstat:  {name: "setstat", fields: "pa", needs: write, changes: true},
	typeFsetstat: {name: "fsetstat", fields: "ha", needs: write, changes: true},
	typeOpendir:  {name: "opendir", fields: "p", needs: read, reply: typeHandle},
	typeReaddir:  {name: "readdir", fields: "h", needs: read, reply: typeName},
	typeRemove:   {name: "remove", fields: "p", needs: write, changes: true},
	typeMkdir:    {name: "mkdir", fields: "pa", needs: write, changes: true},
	typeRmdir:    {name: "rmdir", fields: "p", needs: write, changes: true},
	typeRealpath: {name: "realpath", fields: "p", reply: typeName},
	typeStat:     {name: "stat", fields: "p", reply: typeAttrs},
	typeRename:   {name: "rename", fields: "pt", needs: write, changes: true},
	typeReadlink: {name: "readlink", fields: "p", needs: read, reply: typeName},
	typeSymlink:  {name: "symlink", fields: "tp", needs: write, changes: true},
}

// The flags of OPEN.
const (
	openRead = 1 << iota
	openWrite
	openAppend
	openCreate
	openTruncate
	openExclusive
	openUnknown = ^uint32(1<<iota - 1)
)

// call is a request, read. Its slices are parts of the packet.
type call struct {
	kind     byte
	id       uint32
	verb     *verb  // nil: nobody knows it
	name     string // of the verb, also of an unknown one
	path, to []byte
	handle   []byte
	flags    uint32
	attrs    attrs
	offset   uint64
	length   uint32
	data     []byte // of WRITE
	begin    int    // where data is in the packet
	copy     copyData
	user     []byte
}

// copyData is what copy-data@ asks beyond a handle and an offset to read from.
type copyData struct {
	length uint64 // 0: up to the end
	handle []byte
	offset uint64
}

// parse reads a request; bytes that follow the last field are nobody's, and servers ignore them.
func (c *call) parse(p []byte) error {
	c.kind = p[4]
	f := fields{b: p[head:]}
	c.id = f.uint32()
	switch {
	case c.kind == typeExtended:
		name := f.string()
		if f.short {
			return fmt.Errorf("%w: an extension without a name from the client", errShort)
		}
		c.name = cutPath(name, maxBrief).text
		c.verb = extensions[string(name)]
	case int(c.kind) < len(verbs) && verbs[c.kind].name != "":
		c.verb = &verbs[c.kind]
	default:
		c.name = fmt.Sprintf("request %d", c.kind)
	}
	if c.verb != nil {
		c.name = c.verb.name
		c.fields(&f, len(p))
	}
	if f.short {
		return fmt.Errorf("%w: %s from the client", errShort, c.name)
	}
	return nil
}

func (c *call) fields(f *fields, whole int) {
	for _, field := range []byte(c.verb.fields) {
		switch field {
		case 'p':
			c.path = f.string()
		case 't':
			c.to = f.string()
		case 'h':
			c.handle = f.string()
		case 'f':
			c.flags = f.uint32()
		case 'a':
			c.attrs = f.attrs()
		case 'o':
			c.offset = f.uint64()
		case 'l':
			c.length = f.uint32()
		case 'd':
			c.data = f.string()
			c.begin = whole - len(f.b) - len(c.data)
		case 'c':
			c.copy = copyData{length: f.uint64(), handle: f.string(), offset: f.uint64()}
		case 'u':
			c.user = f.string()
		case 's':
			f.string()
		}
	}
}

// needs is what the grant must include for the request. Without WRITE a server opens for reading, whatever else the flags say.
func (c *call) needs() need {
	if c.kind != typeOpen {
		return c.verb.needs
	}
	var n need
	if c.flags&openRead != 0 || c.flags&openWrite == 0 {
		n |= read
	}
	if c.flags&^openRead != 0 {
		n |= write
	}
	if c.flags&openUnknown != 0 {
		n |= read | write
	}
	return n
}

// access says how OPEN wants the file.
func (c *call) access() string {
	var s []string
	for i, word := range []string{"read", "write", "append", "create", "truncate", "exclusive"} {
		if c.flags&(1<<i) != 0 || i == 0 && c.flags&openWrite == 0 {
			s = append(s, word)
		}
	}
	if unknown := c.flags & openUnknown; unknown != 0 {
		s = append(s, fmt.Sprintf("%#x", unknown))
	}
	return strings.Join(s, " ")
}

// request takes one packet of the client.
func (d *Decoder) request(step *meter.Step, p []byte) error {
	if !d.begun {
		return d.begin(step, p)
	}
	switch p[4] {
	case typeInit:
		return fmt.Errorf("the client begins a second time")
	case typeVersion, typeStatus, typeHandle, typeData, typeName, typeAttrs, typeExtendedReply:
		return fmt.Errorf("the client answers (packet type %d) instead of asking", p[4])
	}
	var c call
	if err := c.parse(p); err != nil {
		return err
	}
	if d.outstanding(c.id) {
		return fmt.Errorf("the client uses id %d, which is not answered yet, for another request (%s)", c.id, c.name)
	}
	switch {
	case c.verb == nil || c.needs()&^d.granted != 0:
		d.logRequest(&c, p, nil)
		d.deny(step, &c)
		return nil
	case c.kind == typeRead || c.kind == typeWrite:
		return d.transfer(step, &c, p)
	}
	return d.ask(step, &c, p)
}

// logRequest records a request; the contents that a WRITE carries only as part of a file.
func (d *Decoder) logRequest(c *call, p []byte, file *meter.File) {
	if c.kind != typeWrite {
		d.log.Data(recorder.Stdin, p)
		return
	}
	d.log.Data(recorder.Stdin, p[:c.begin])
	if file != nil {
		file.Write(c.offset, c.data)
	}
	d.log.Data(recorder.Stdin, p[c.begin+len(c.data):])
}

// begin takes the first packet, which must be INIT. The host is not asked for a version that nobody here reads: what a client could
// hide in it would be for the host to interpret.
func (d *Decoder) begin(step *meter.Step, p []byte) error {
	if p[4] != typeInit {
		return fmt.Errorf("the client begins with packet type %d instead of INIT", p[4])
	}
	f := fields{b: p[head:]}
	wanted := f.uint32()
	if f.short {
		return fmt.Errorf("%w: INIT", errShort)
	}
	d.begun = true
	d.log.Data(recorder.Stdin, p)
	at := len(step.Forward)
	d.pass(step, p)
	binary.BigEndian.PutUint32(step.Forward[at+head:], min(wanted, version))
	return nil
}

// deny answers for the host. A request that nobody knows gets what a server answers that does not know it, but only where the grant includes
// all that there is.
func (d *Decoder) deny(step *meter.Step, c *call) {
	code := uint32(statusDenied)
	if c.verb == nil && d.granted == read|write {
		code = statusUnsupported
	}
	if c.kind == typeOpen {
		h := d.newFile(c)
		h.file.Deny()
		h.file.Done(statusWord(code))
	} else {
		op := d.describe(c)
		op.Status, op.Denied = statusWord(code), true
		d.tell(op)
	}
	d.refuse(step, c.id, code)
}
