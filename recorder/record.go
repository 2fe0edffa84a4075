package recorder

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// The kinds of journal records.
const (
	kindOpening = 1
	kindFrame   = 2
	kindLast    = 3 // the frame that ends a recording
	kindLink    = 4
)

const (
	recordHead    = 48
	maxRecordBody = maxFrameBody
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// record is the header of a journal record.
type record struct {
	length    uint32
	kind      byte
	recording [16]byte
	frame     uint64
	segment   uint32
	batch     uint32
	bodySum   uint32
}

// padded is the space a record with a body of n bytes takes.
func padded(n int) int { return (recordHead + n + 7) &^ 7 }

// put writes all but the batch and the checksum of the header, which depend on where the record comes to lie.
func (r *record) put(b []byte) {
	binary.BigEndian.PutUint32(b, r.length)
	b[4], b[5], b[6], b[7] = r.kind, 0, 0, 0
	copy(b[8:], r.recording[:])
	binary.BigEndian.PutUint64(b[24:], r.frame)
	binary.BigEndian.PutUint32(b[32:], r.segment)
	binary.BigEndian.PutUint32(b[40:], r.bodySum)
}

// place completes the header at b for the place it is written to.
func place(b []byte, epoch *[16]byte, offset int64, batch uint32) {
	binary.BigEndian.PutUint32(b[36:], batch)
	binary.BigEndian.PutUint32(b[44:], headSum(b, epoch, offset))
}

func headSum(b []byte, epoch *[16]byte, offset int64) uint32 {
	var seed [24]byte
	copy(seed[:], epoch[:])
	binary.BigEndian.PutUint64(seed[16:], uint64(offset))
	return crc32.Update(crc32.Update(0, castagnoli, seed[:]), castagnoli, b[:44])
}

// parseRecord reads the header at b, which lies at offset. It says no to everything that is not a record written
// to this place of this use of the file.
func parseRecord(b []byte, epoch *[16]byte, offset int64) (r record, ok bool) {
	if len(b) < recordHead || b[4] < kindOpening || b[4] > kindLink || b[5]|b[6]|b[7] != 0 {
		return r, false
	}
	r.length = binary.BigEndian.Uint32(b)
	if r.length > maxRecordBody || binary.BigEndian.Uint32(b[44:]) != headSum(b, epoch, offset) {
		return r, false
	}
	r.kind = b[4]
	copy(r.recording[:], b[8:])
	r.frame = binary.BigEndian.Uint64(b[24:])
	r.segment = binary.BigEndian.Uint32(b[32:])
	r.batch = binary.BigEndian.Uint32(b[36:])
	r.bodySum = binary.BigEndian.Uint32(b[40:])
	return r, int64(r.batch) <= offset && r.batch >= fileHead
}

// fileHeader is the first block of a journal file.
type fileHeader struct {
	number uint64
	size   uint64
	epoch  [16]byte
}

const (
	fileHead     = 4096
	fileVersion  = "postern-journal-v1"
	fileHeadUsed = 4 + len(fileVersion) + 8 + 8 + 16 + 4
)

func (h fileHeader) marshal() []byte {
	b := make([]byte, 0, fileHead)
	b = binary.BigEndian.AppendUint32(b, uint32(len(fileVersion)))
	b = append(b, fileVersion...)
	b = binary.BigEndian.AppendUint64(b, h.number)
	b = binary.BigEndian.AppendUint64(b, h.size)
	b = append(b, h.epoch[:]...)
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	return b[:fileHead]
}

func parseFileHeader(b []byte) (h fileHeader, err error) {
	if len(b) != fileHead {
		return h, fmt.Errorf("%w: header of %d bytes", ErrDamaged, len(b))
	}
	if binary.BigEndian.Uint32(b) != uint32(len(fileVersion)) || string(b[4:4+len(fileVersion)]) != fileVersion {
		return h, fmt.Errorf("%w: it does not begin with %s", ErrDamaged, fileVersion)
	}
	if crc32.Checksum(b[:fileHeadUsed-4], castagnoli) != binary.BigEndian.Uint32(b[fileHeadUsed-4:]) {
		return h, fmt.Errorf("%w: checksum of the header", ErrDamaged)
	}
	for _, c := range b[fileHeadUsed:] {
		if c != 0 {
			return h, fmt.Errorf("%w: header is not followed by zeros", ErrDamaged)
		}
	}
	rest := b[4+len(fileVersion):]
	h.number = binary.BigEndian.Uint64(rest)
	h.size = binary.BigEndian.Uint64(rest[8:])
	copy(h.epoch[:], rest[16:])
	if h.size < minFile || h.size > maxFile {
		return h, fmt.Errorf("%w: size of %d bytes", ErrDamaged, h.size)
	}
	return h, nil
}

const (
	minFile = 1 << 20
	maxFile = 1<<32 - 8
)

func bodySum(body []byte) uint32 { return crc32.Checksum(body, castagnoli) }
