package play

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"slices"

	"postern/recorder"
)

const (
	mostRanges = 1024
	// farthest is where a file ends at most: a client may write a byte at any offset, and no disk here has such a file.
	farthest = 1 << 40
)

// taking is one direction of a file, as its extents pass.
type taking struct {
	name   string // for now
	number int

	bytes uint64
	lost  bool // something that passed was not kept
	kept  []recorder.Range
	more  bool
	far   bool

	hash     hash.Hash // of all that passed, while that was kept and came in order; else nil
	next     uint64
	verified uint64
	wrong    bool
}

func newTaking(name string, number int, begin uint64) *taking {
	return &taking{name: name, number: number, hash: sha256.New(), next: begin}
}

// pass takes note of an extent, and says whether what is kept of it is to be written.
func (x *taking) pass(e recorder.Extent) bool {
	x.bytes += uint64(e.Length)
	x.check(e)
	if uint64(len(e.Kept)) < uint64(e.Length) {
		x.lost = true
	}
	if e.Offset > farthest || e.Offset+uint64(len(e.Kept)) > farthest {
		x.far, x.lost = true, true
		return false
	}
	if len(e.Kept) == 0 {
		return false
	}
	x.cover(recorder.Range{From: e.Offset, To: e.Offset + uint64(len(e.Kept))})
	return true
}

// check compares the hash of what passed so far with the bastion's.
func (x *taking) check(e recorder.Extent) {
	if x.hash == nil {
		return
	}
	if e.Offset != x.next || e.Sum == [32]byte{} || len(e.Kept) != int(e.Length) {
		x.hash = nil
		return
	}
	x.hash.Write(e.Kept)
	x.next += uint64(len(e.Kept))
	if [32]byte(x.hash.Sum(nil)) != e.Sum {
		x.wrong, x.hash = true, nil
		return
	}
	x.verified += uint64(len(e.Kept))
}

// cover adds a range to those that are kept.
func (x *taking) cover(r recorder.Range) {
	i, _ := slices.BinarySearchFunc(x.kept, r.From, func(o recorder.Range, from uint64) int {
		if o.To < from {
			return -1
		}
		return 1
	})
	j := i
	for j < len(x.kept) && x.kept[j].From <= r.To {
		r.From, r.To = min(r.From, x.kept[j].From), max(r.To, x.kept[j].To)
		j++
	}
	if i == j && len(x.kept) >= mostRanges {
		x.more = true
		return
	}
	x.kept = slices.Replace(x.kept, i, j, r)
}

// told is what there is to say in the end. about and transfer are nil when the recording ends before the file does.
func (x *taking) told(about *recorder.File, transfer *recorder.Transfer) Taken {
	t := Taken{About: about, Bytes: x.bytes, Kept: x.kept, More: x.more, Verified: x.verified}
	t.Complete = !x.lost && !x.more && (len(x.kept) == 0 || len(x.kept) == 1 && x.kept[0].From == 0)
	if x.far {
		t.Note = fmt.Sprintf("what is beyond %d bytes is left out", uint64(farthest))
	}
	switch {
	case transfer == nil && about != nil:
		x.wrong = true
		t.Note = "the bastion recorded it, and its summary leaves it out"
	case transfer == nil:
		t.Complete = false
		t.Note = "the recording ends before this file does"
	case transfer.Bytes != x.bytes:
		x.wrong = true
		t.Note = fmt.Sprintf("the bastion counted %d bytes and recorded %d", transfer.Bytes, x.bytes)
	case x.hash != nil && x.bytes > 0 && transfer.SHA256 != hex.EncodeToString(x.hash.Sum(nil)):
		x.wrong = true
	}
	if transfer != nil {
		t.SHA256 = transfer.SHA256
	}
	t.Wrong = x.wrong
	return t
}
