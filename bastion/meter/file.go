package meter

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"slices"

	"postern/recorder"
)

// How much of the contents of files is kept.
const (
	Full = "full" // everything
	Head = "head" // the first HeadSize bytes
	Hash = "hash" // nothing
)

// HeadSize is what is kept of a file under [Head].
const HeadSize = 64 << 10

const (
	mostExtent = 128 << 10 // bytes that one extent speaks of; it has to fit into a frame when all of them are kept
	mostRanges = 64
)

// File follows one file while it is transferred.
type File struct {
	log           *Log
	about         recorder.File
	read, written *transfer
	done          bool
	used          [2]bool // read, written
}

// NewFile follows the file that about describes; an unknown Keep means [Full], which loses nothing.
func NewFile(log *Log, about recorder.File) *File {
	if about.Keep != Head && about.Keep != Hash {
		about.Keep = Full
	}
	return &File{log: log, about: about}
}

// Read takes bytes that came from the host.
func (f *File) Read(offset uint64, b []byte) {
	f.use(0)
	if f.read == nil {
		f.read = newTransfer(offset)
	}
	f.pass(recorder.Stdout, f.read, offset, b)
}

// Write takes bytes that go to the host.
func (f *File) Write(offset uint64, b []byte) {
	f.use(1)
	if f.written == nil {
		f.written = newTransfer(offset)
	}
	f.pass(recorder.Stdin, f.written, offset, b)
}

// use tells the log of the first piece in a direction.
func (f *File) use(direction int) {
	if !f.used[direction] {
		f.used[direction] = true
		path := f.about.Path
		if f.about.PathBytes != nil {
			path = string(f.about.PathBytes)
		}
		f.log.uses = append(f.log.uses, Use{path, direction == 0})
	}
}

// End notes that the reader was told of the end of the file.
func (f *File) End() {
	if f.read == nil {
		f.read = newTransfer(0)
	}
	f.read.end = true
}

// Deny notes that the bastion refused what was asked of the file.
func (f *File) Deny() { f.about.Denied = true }

// Done tells what became of the file. Only the first call counts.
func (f *File) Done(status string) {
	if f.done {
		return
	}
	f.done = true
	f.about.Status = status
	f.about.Read, f.about.Written = f.read.told(), f.written.told()
	f.log.Event(recorder.EventFile, f.about)
}

func (f *File) pass(stream byte, t *transfer, offset uint64, b []byte) {
	for len(b) > 0 {
		piece := b[:min(len(b), mostExtent)]
		t.pass(offset, piece)
		e := recorder.Extent{File: f.about.Number, Offset: offset, Length: uint32(len(piece)), Kept: f.kept(offset, piece)}
		if t.hash != nil {
			t.hash.Sum(e.Sum[:0])
		}
		f.log.extent(stream, e)
		offset += uint64(len(piece))
		b = b[len(piece):]
	}
}

func (f *File) kept(offset uint64, b []byte) []byte {
	switch {
	case f.about.Keep == Full:
		return b
	case f.about.Keep == Head && offset < HeadSize:
		return b[:min(uint64(len(b)), HeadSize-offset)]
	}
	return nil
}

// transfer is one direction of a file.
type transfer struct {
	hash   hash.Hash // nil: it did not pass in order
	next   uint64
	bytes  uint64
	ranges []recorder.Range // sorted, apart
	more   bool
	end    bool
}

func newTransfer(begin uint64) *transfer { return &transfer{hash: sha256.New(), next: begin} }

func (t *transfer) pass(offset uint64, b []byte) {
	t.bytes += uint64(len(b))
	if offset != t.next {
		t.hash = nil
	}
	if t.hash != nil {
		t.hash.Write(b)
	}
	t.next = offset + uint64(len(b))
	t.cover(recorder.Range{From: offset, To: t.next})
}

// cover adds a range to those that passed. Beyond mostRanges a new one only counts if it touches an old one.
func (t *transfer) cover(r recorder.Range) {
	if r.To < r.From { // an offset near 2^64 wraps; no file is there
		t.more = true
		return
	}
	i, _ := slices.BinarySearchFunc(t.ranges, r.From, func(o recorder.Range, from uint64) int {
		if o.To < from {
			return -1
		}
		return 1
	})
	j := i
	for j < len(t.ranges) && t.ranges[j].From <= r.To {
		r.From, r.To = min(r.From, t.ranges[j].From), max(r.To, t.ranges[j].To)
		j++
	}
	if i == j && len(t.ranges) >= mostRanges {
		t.more = true
		return
	}
	t.ranges = slices.Replace(t.ranges, i, j, r)
}

func (t *transfer) told() *recorder.Transfer {
	if t == nil {
		return nil
	}
	told := &recorder.Transfer{Bytes: t.bytes, End: t.end, More: t.more}
	if t.hash != nil {
		told.SHA256 = hex.EncodeToString(t.hash.Sum(nil))
	}
	if whole := len(t.ranges) == 0 || len(t.ranges) == 1 && t.ranges[0].From == 0; !whole || t.hash == nil {
		told.Ranges = t.ranges
	}
	return told
}

// appendExtent is [recorder.Extent.Marshal] onto b.
func appendExtent(b []byte, e recorder.Extent) []byte {
	b = binary.BigEndian.AppendUint32(b, e.File)
	b = binary.BigEndian.AppendUint64(b, e.Offset)
	b = binary.BigEndian.AppendUint32(b, e.Length)
	b = append(b, e.Sum[:]...)
	return append(b, e.Kept...)
}
