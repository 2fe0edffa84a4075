package sftp

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"postern/recorder"
)

// path is a path as events tell it.
type path struct {
	text string
	raw  []byte // when it is not UTF-8, or was cut
}

func pathOf(b []byte) path { return cutPath(b, maxPath) }

func cutPath(b []byte, most int) path {
	cut := b[:min(len(b), most)]
	if len(cut) == len(b) && utf8.Valid(b) {
		return path{text: string(b)}
	}
	return path{text: strings.Clone(strings.ToValidUTF8(string(cut), "\ufffd")), raw: bytes.Clone(cut)} // in no more room than it needs
}

// brief is its beginning, for requests of a few bytes that name a handle: they must not make events of thousands.
func (p path) brief() path {
	if p.raw != nil {
		return cutPath(p.raw, maxBrief)
	}
	return cutPath([]byte(p.text), maxBrief)
}

func (p path) size() int { return len(p.text) + len(p.raw) }

// unseen names a handle that the host did not give out while we listened.
func unseen(key []byte) string {
	return fmt.Sprintf("handle %x, not seen opened", key[:min(len(key), 32)])
}

// describe makes the operation that a request is.
func (d *Decoder) describe(c *call) *recorder.Operation {
	d.operations++
	op := &recorder.Operation{Number: d.operations, Name: c.name}
	if c.verb == nil {
		return op
	}
	var detail []string
	for _, field := range []byte(c.verb.fields) {
		switch field {
		case 'p':
			p := pathOf(c.path)
			op.Path, op.PathBytes = p.text, p.raw
		case 't':
			p := pathOf(c.to)
			op.To, op.ToBytes = p.text, p.raw
		case 'h':
			p, which := d.named(c.handle)
			op.Path, op.PathBytes = p.text, p.raw
			detail = append(detail, which)
		case 'a':
			detail = append(detail, c.attrs.String())
		case 'c':
			p, which := d.named(c.copy.handle)
			op.To, op.ToBytes = p.text, p.raw
			detail = append(detail, fmt.Sprintf("from %d, to %s at %d, %s", c.offset, which, c.copy.offset, amount(c.copy.length)))
		case 'l':
			detail = append(detail, fmt.Sprintf("%d bytes at %d", c.length, c.offset))
		case 'd':
			detail = append(detail, fmt.Sprintf("%d bytes at %d", len(c.data), c.offset))
		case 'u':
			detail = append(detail, fmt.Sprintf("user %q", cutPath(c.user, maxBrief).text))
		}
	}
	op.Detail = strings.Join(slices.DeleteFunc(detail, func(s string) bool { return s == "" }), ", ")
	return op
}

func amount(n uint64) string {
	if n == 0 {
		return "all that follows"
	}
	return fmt.Sprintf("%d bytes", n)
}

// named says what a handle stands for: its path, as far as that is short, and its number among the files.
func (d *Decoder) named(key []byte) (path, string) {
	h := d.handles[string(key)]
	switch {
	case h == nil:
		return path{}, unseen(key)
	case h.file != nil:
		return h.path, fmt.Sprintf("file %d", h.number)
	}
	return h.path, fmt.Sprintf("directory of operation %d", h.list.Number)
}

// operationSize is what an operation holds.
func operationSize(op *recorder.Operation) int {
	return len(op.Path) + len(op.PathBytes) + len(op.To) + len(op.ToBytes) + len(op.Detail)
}

func (d *Decoder) tell(op *recorder.Operation) { d.log.Event(recorder.EventOperation, op) }

// means says whether the host's message is nothing more than the code it came with.
func means(message string, code uint32) bool {
	return message == "" || strings.EqualFold(message, statusWord(code)) || message == "Unknown error"
}
