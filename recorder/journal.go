package recorder

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

const maxFlying = 32 << 20 // bytes reserved and not yet durable, all sessions together

// journal is where frames become durable: many sessions, one writer, one sync for all that waits.
type journal struct {
	files *files
	disk  Disk
	limit int   // bytes of a batch
	most  int64 // bytes flying

	mu      sync.Mutex
	space   sync.Cond // something left, or a batch was taken
	current *batch
	free    *batch
	flying  int64
	err     error // final: after a failed write or sync nobody knows what is on the disk
	closed  bool

	wake    chan struct{}
	quit    chan struct{}
	stopped chan struct{}
	dead    func(error)
	written atomic.Int64 // bytes, ever

	file  *journalFile // the committer's
	parts [][]byte
	link  []byte
}

func openJournal(fs *files, disk Disk, capacity int64, dead func(error)) *journal {
	j := &journal{
		files: fs, disk: disk, dead: dead,
		limit:   int(min(batchBytes, fs.size-fileHead-int64(padded(linkBody)))),
		most:    min(maxFlying, max(capacity/4, 1<<20)),
		current: newBatch(), free: newBatch(),
		wake:    make(chan struct{}, 1),
		quit:    make(chan struct{}),
		stopped: make(chan struct{}),
		link:    make([]byte, padded(linkBody)),
	}
	j.space.L = &j.mu
	go j.run()
	return j
}

// reserve takes n bytes of the batch that is gathering. The caller fills them and then calls filled.
func (j *journal) reserve(w *Writer, n int) (*reserved, *batch, *Commit, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for {
		switch {
		case j.err != nil:
			return nil, nil, nil, j.err
		case w.broken != nil:
			return nil, nil, nil, w.broken
		case j.closed:
			return nil, nil, nil, ErrClosed
		case j.flying+int64(n) <= j.most && j.current.room(n, j.limit):
			j.flying += int64(n)
			r := j.current.reserve(n)
			r.w = w
			return r, j.current, j.current.commit, nil
		}
		j.space.Wait()
	}
}

// filled hands a reserved record to the committer.
func (j *journal) filled(b *batch) {
	b.filling.Done()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

func (j *journal) run() {
	defer close(j.stopped)
	for {
		select {
		case <-j.wake:
			j.drain()
		case <-j.quit:
			j.drain()
			return
		}
	}
}

func (j *journal) drain() {
	for b := j.gathered(); b != nil; b = j.gathered() {
		if err := j.write(b); err != nil {
			j.fail(b, err)
		} else {
			j.settle(b)
		}
	}
}

// gathered takes what waits.
func (j *journal) gathered() *batch {
	j.mu.Lock()
	if len(j.current.records) == 0 {
		j.mu.Unlock()
		return nil
	}
	b := j.current
	j.current, j.free = j.free, nil
	j.space.Broadcast()
	j.mu.Unlock()
	b.filling.Wait()
	return b
}

// write makes b durable.
func (j *journal) write(b *batch) error {
	parts := j.parts[:0]
	if j.file == nil || j.file.end+int64(b.size) > int64(j.file.size) {
		next, err := j.files.take()
		if err != nil {
			return err
		}
		j.file, parts = next, append(parts, j.linkTo(next))
	}
	f := j.file
	begin, offset := f.end, f.end
	for _, p := range parts {
		place(p, &f.epoch, offset, uint32(begin))
		offset += int64(len(p))
	}
	for i := range b.records {
		place(b.records[i].space, &f.epoch, offset, uint32(begin))
		offset += int64(len(b.records[i].space))
	}
	j.parts = append(parts, b.chunks...)
	if err := j.disk.Write(f.f, j.parts, begin); err != nil {
		return j.die(err)
	}
	if err := j.disk.Sync(f.f); err != nil {
		return j.die(err)
	}
	f.end = offset
	j.written.Add(offset - begin)
	return nil
}

const linkBody = 16

// linkTo fills the link record: which file came before, and where it ends.
func (j *journal) linkTo(next *journalFile) []byte {
	clear(j.link)
	body := j.link[recordHead : recordHead+linkBody]
	if j.file != nil {
		binary.BigEndian.PutUint64(body, j.file.number)
		binary.BigEndian.PutUint64(body[8:], uint64(j.file.end))
	}
	r := record{length: linkBody, kind: kindLink, bodySum: bodySum(body)}
	r.put(j.link)
	return j.link
}

// settle tells everybody that b is durable.
func (j *journal) settle(b *batch) {
	end := j.file.end
	for i := len(b.records) - 1; i >= 0; i-- { // where each lies
		end -= int64(len(b.records[i].space))
		b.records[i].at = where{j.file, uint32(end) + recordHead, uint32(b.records[i].body)}
	}
	j.file.unsealed.Add(int64(len(b.records)))
	for i := range b.records {
		b.records[i].w.durable(&b.records[i])
	}
	b.commit.finish(nil)
	j.recycle(b)
}

func (j *journal) recycle(b *batch) {
	n := int64(b.size)
	b.reuse()
	j.mu.Lock()
	j.flying -= n
	j.free = b
	j.space.Broadcast()
	j.mu.Unlock()
}

// fail loses b and all that waited behind it: a session that lost a frame must not record the one after.
func (j *journal) fail(b *batch, cause error) {
	err := cause
	if !errors.Is(cause, ErrFailed) {
		err = fmt.Errorf("%w: %w", ErrFailed, cause)
	}
	j.mu.Lock()
	behind := j.current
	broken := map[*Writer]bool{}
	for _, lost := range []*batch{b, behind} {
		for i := range lost.records {
			w := lost.records[i].w
			w.broken = err
			broken[w] = true
		}
	}
	j.current = newBatch()
	j.mu.Unlock()
	behind.filling.Wait()
	for w := range broken {
		w.abandon(err)
	}
	if j.final() != nil {
		j.dead(err)
	}
	b.commit.finish(err)
	behind.commit.finish(err)
	j.mu.Lock()
	j.flying -= int64(behind.size)
	j.mu.Unlock()
	j.recycle(b)
}

// die refuses everything from now on. After a failed fsync the kernel may have dropped the pages and call the
// next one a success, so there is no trying again.
func (j *journal) die(cause error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.files.open()
	j.err = fmt.Errorf("%w until postern-bastion starts again: journal %s: %w", ErrFailed, j.files.dir, cause)
	return j.err
}

// final is why nothing can be recorded any more.
func (j *journal) final() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.err
}

// close waits for what was reserved.
func (j *journal) close() {
	j.mu.Lock()
	j.closed = true
	j.space.Broadcast()
	j.mu.Unlock()
	close(j.quit)
	<-j.stopped
}
