package store

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// A full disk must not keep a store from taking the one thing that matters. Under [Room] Badger writes nothing; an update that says [Tx.FromReserve] goes
// into a file that was allocated beforehand instead, and what it wrote is laid over Badger's rows in memory. With room again all of it goes to Badger
// before anything else does.
//
// The file holds records, one for each batch: uint32 length, a nonce of 12 bytes, and that many bytes of AES-256-GCM. The additional data is the number of
// times the file was emptied, which is a row of Badger's, and the number of the record: so what is left of earlier contents, or was cut short, opens
// nothing, and ends what is read. The plaintext is the rows: uint32 length of the key, the key, a byte 1 and uint32 length of the value and the value, or
// a byte 0 for a row that was deleted. Numbers are big-endian.
type reserve struct {
	file    *os.File
	aead    cipher.AEAD
	size    int64
	sure    int64 // so much of it this process allocated: one that was copied may have holes
	used    int64
	written int64 // beyond used there may be something of an earlier process up to here
	epoch   uint64
	count   uint64
	broken  error // what was written last may be there, or not: nothing is written after it, until Badger has all and the file begins anew
}

const (
	reserveFile = "reserve"
	recordHead  = 4 + 12
)

// openReserve opens the file, or with [os.O_CREATE] makes it.
func openReserve(dir string, key []byte, flag int) (*reserve, error) {
	f, err := os.OpenFile(filepath.Join(dir, reserveFile), os.O_RDWR|flag, 0o600)
	if err != nil {
		return nil, err
	}
	r := &reserve{file: f}
	info, err := f.Stat()
	if err == nil {
		r.size, r.written = info.Size(), info.Size()
		r.aead, err = sealer(key)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), err), f.Close())
	}
	return r, nil
}

// allocate takes the room on the disk, also of what is a hole in the file so far.
func (r *reserve) allocate(size int64) error {
	size = max(r.size, size)
	err := unix.Fallocate(int(r.file.Fd()), 0, 0, size)
	if err == nil {
		err = r.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.file.Name(), err)
	}
	r.size, r.sure = size, size
	return nil
}

// sealer is for records. A store without a key has nothing to hide, and then it only finds what was cut short.
func sealer(key []byte) (cipher.AEAD, error) {
	derived, err := hkdf.Key(sha256.New, append([]byte("postern"), key...), nil, "reserve of a store", 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (r *reserve) additional() []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, r.epoch), r.count)
}

func (r *reserve) cost(rows int) int64 { return int64(recordHead + rows + r.aead.Overhead()) }

// left is how many bytes of rows one more record may hold.
func (r *reserve) left() int64 {
	if r == nil || r.broken != nil {
		return 0
	}
	return max(r.size-r.used-r.cost(0), 0)
}

// there says whether the next process would find it.
func (r *reserve) there() bool {
	var st unix.Stat_t
	return unix.Fstat(int(r.file.Fd()), &st) == nil && st.Nlink > 0
}

// put makes rows durable.
func (r *reserve) put(rows []byte) error {
	if r.broken != nil {
		return r.broken
	}
	if !r.there() {
		r.broken = fmt.Errorf("%s: somebody deleted it; make room, and it is made anew", r.file.Name())
		return r.broken
	}
	record := make([]byte, recordHead, r.cost(len(rows)))
	rand.Read(record[4:])
	record = r.aead.Seal(record, record[4:recordHead], rows, r.additional())
	binary.BigEndian.PutUint32(record, uint32(len(record)-recordHead))
	_, err := r.file.WriteAt(record, r.used)
	if err == nil {
		err = unix.Fdatasync(int(r.file.Fd()))
	}
	if err != nil {
		r.broken = fmt.Errorf("%s: %w", r.file.Name(), err)
		return r.broken
	}
	r.used += int64(len(record))
	r.count++
	return nil
}

// read returns all rows that the records hold, after which the next one is written behind them. The last record may be cut short, for then nobody was told
// of it. One that was altered, and has another behind it, was acknowledged.
func (r *reserve) read() (map[string][]byte, error) {
	rows := map[string][]byte{}
	head := make([]byte, recordHead)
	for r.used+recordHead <= r.size {
		if _, err := r.file.ReadAt(head, r.used); err != nil {
			return nil, err
		}
		n := int64(binary.BigEndian.Uint32(head))
		if n < int64(r.aead.Overhead()) || r.used+recordHead+n > r.size {
			break
		}
		sealed := make([]byte, n)
		if _, err := r.file.ReadAt(sealed, r.used+recordHead); err != nil {
			return nil, err
		}
		plain, err := r.aead.Open(nil, head[4:], sealed, r.additional())
		if err != nil && r.follows(r.used+recordHead+n) {
			return nil, fmt.Errorf("%s: record %d of it was altered, and holds what was decided; restore the store from a backup, or move this file away and lose what is in it", r.file.Name(), r.count)
		}
		if err != nil {
			break
		}
		if err := decodeRows(plain, rows); err != nil {
			return nil, fmt.Errorf("%s: %w", r.file.Name(), err)
		}
		r.used += recordHead + n
		r.count++
	}
	return rows, nil
}

// follows says whether the record after the next is at a place.
func (r *reserve) follows(at int64) bool {
	head := make([]byte, recordHead)
	if _, err := r.file.ReadAt(head, at); err != nil {
		return false
	}
	n := int64(binary.BigEndian.Uint32(head))
	if n < int64(r.aead.Overhead()) || at+recordHead+n > r.size {
		return false
	}
	sealed := make([]byte, n)
	if _, err := r.file.ReadAt(sealed, at+recordHead); err != nil {
		return false
	}
	after := *r
	after.count++
	_, err := r.aead.Open(nil, head[4:], sealed, after.additional())
	return err == nil
}

// emptied begins the file anew, once Badger has it all. What was in it is overwritten, so that a row can be destroyed. If that cannot be done nothing is
// written into it until it is made anew.
func (r *reserve) emptied(epoch uint64) error {
	end := max(r.used, r.written)
	r.epoch, r.count, r.used, r.written = epoch, 0, 0, end
	for at := int64(0); at < end && r.broken == nil; at += 1 << 20 {
		_, r.broken = r.file.WriteAt(make([]byte, min(1<<20, end-at)), at)
	}
	if r.broken == nil {
		r.broken = unix.Fdatasync(int(r.file.Fd()))
	}
	if r.broken != nil {
		return fmt.Errorf("%s: %w", r.file.Name(), r.broken)
	}
	r.written = 0
	return nil
}

// blank says whether nothing is where the first record would be.
func (r *reserve) blank() bool {
	head := make([]byte, recordHead)
	_, err := r.file.ReadAt(head, 0)
	return err == nil && bytes.Equal(head, make([]byte, recordHead))
}

func encodeRows(rows map[string][]byte) []byte {
	var out []byte
	for _, k := range slices.Sorted(maps.Keys(rows)) {
		out = append(binary.BigEndian.AppendUint32(out, uint32(len(k))), k...)
		v := rows[k]
		if v == nil {
			out = append(out, 0)
			continue
		}
		out = append(binary.BigEndian.AppendUint32(append(out, 1), uint32(len(v))), v...)
	}
	return out
}

func decodeRows(b []byte, into map[string][]byte) error {
	field := func() ([]byte, bool) {
		if len(b) < 4 || int64(binary.BigEndian.Uint32(b)) > int64(len(b)-4) {
			return nil, false
		}
		n := 4 + binary.BigEndian.Uint32(b)
		f := b[4:n]
		b = b[n:]
		return f, true
	}
	for len(b) > 0 {
		k, ok := field()
		if !ok || len(b) == 0 || b[0] > 1 {
			return errors.New("a record of it is none")
		}
		there := b[0] == 1
		b = b[1:]
		if !there {
			into[string(k)] = nil
			continue
		}
		v, ok := field()
		if !ok {
			return errors.New("a record of it is none")
		}
		into[string(k)] = append([]byte{}, v...) // never nil: nil means deleted
	}
	return nil
}
