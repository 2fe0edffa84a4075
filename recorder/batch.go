package recorder

import (
	"sync"
)

const (
	chunkSize    = 1 << 20
	batchBytes   = 4 << 20 // a batch is closed to further records beyond this
	batchRecords = 4096
)

// batch is what goes to the disk with one write and one sync. Records are reserved under the journal's lock and
// filled outside it, each in its own part of a chunk, so sessions encrypt side by side and nothing is copied again.
type batch struct {
	chunks  [][]byte // each of capacity chunkSize
	records []reserved
	size    int
	filling sync.WaitGroup
	commit  *Commit
}

// reserved is one record of a batch.
type reserved struct {
	space []byte // of the record, padding included
	w     *Writer
	seg   *segment
	body  int      // length of the body
	frame bool     // not an opening
	head  [32]byte // chain after it
	at    where    // set when durable
}

// room says whether a record of n bytes may join, up to limit bytes in all.
func (b *batch) room(n, limit int) bool {
	return len(b.records) == 0 || b.size+n <= limit && len(b.records) < batchRecords
}

// reserve takes space for a record. The result stays where it is: records never grows beyond its capacity.
func (b *batch) reserve(n int) *reserved {
	last := len(b.chunks) - 1
	if last < 0 || len(b.chunks[last])+n > cap(b.chunks[last]) {
		b.chunks = append(b.chunks, newChunk())
		last++
	}
	c := b.chunks[last]
	b.chunks[last] = c[:len(c)+n]
	b.records = append(b.records, reserved{space: c[len(c) : len(c)+n : len(c)+n]})
	b.size += n
	b.filling.Add(1)
	return &b.records[len(b.records)-1]
}

// reuse empties b for another round.
func (b *batch) reuse() {
	for _, c := range b.chunks {
		freeChunk(c)
	}
	clear(b.records)
	clear(b.chunks)
	b.chunks, b.records, b.size = b.chunks[:0], b.records[:0], 0
	b.commit = newCommit()
}

func newBatch() *batch {
	return &batch{records: make([]reserved, 0, batchRecords), commit: newCommit()}
}

var chunkPool = sync.Pool{New: func() any { return new([chunkSize]byte) }}

func newChunk() []byte { return chunkPool.Get().(*[chunkSize]byte)[:0] }

func freeChunk(c []byte) { chunkPool.Put((*[chunkSize]byte)(c[:chunkSize])) }
