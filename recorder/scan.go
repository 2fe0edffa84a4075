package recorder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// found is a record read back from the journal.
type found struct {
	record
	at   where
	body []byte // valid during the call
}

// scan reads the files of a journal back.
type scan struct {
	each   func(found) error // called for every record, oldest first
	damage func(error) error // hears of damage, as FORMAT.md defines it; nil from it goes on; nil: every damage ends the scan

	files  []*journalFile // open
	number uint64         // the highest in use
}

func (s *scan) run(dir string) error {
	names, err := filepath.Glob(filepath.Join(dir, journalName+"*"))
	if err != nil {
		return err
	}
	slices.Sort(names) // the order of their numbers
	for _, name := range names {
		if err := s.open(name); err != nil {
			return err
		}
	}
	for i, f := range s.files {
		r := &scanner{f: f, each: s.each}
		err := r.run()
		f.end = r.end
		if err == nil {
			err = checkLink(s.files[:i], f, r.link)
		}
		if err := s.damaged(f, err); err != nil {
			return err
		}
	}
	return nil
}

// damaged lets an error pass unless it is damage that is accepted.
func (s *scan) damaged(f *journalFile, err error) error {
	if err != nil {
		err = fmt.Errorf("journal %s: %w", f.f.Name(), err)
	}
	if errors.Is(err, ErrDamaged) && s.damage != nil {
		return s.damage(err)
	}
	return err
}

func (s *scan) open(path string) error {
	raw, err := os.Open(path)
	if err != nil {
		return err
	}
	f := &journalFile{f: raw}
	s.files = append(s.files, f)
	number, bad := strconv.ParseUint(strings.TrimPrefix(filepath.Base(path), journalName), 16, 64)
	if bad != nil {
		return s.damaged(f, fmt.Errorf("%w: its name has no number", ErrDamaged))
	}
	s.number = max(s.number, number)
	if err := f.readHeader(number); err != nil {
		f.fileHeader = fileHeader{}
		return s.damaged(f, err)
	}
	return nil
}

func (f *journalFile) readHeader(number uint64) (err error) {
	b := make([]byte, fileHead)
	if _, err := io.ReadFull(f.f, b); err != nil {
		return fmt.Errorf("%w: header: %w", ErrDamaged, err)
	}
	if f.fileHeader, err = parseFileHeader(b); err == nil && f.number != number {
		err = fmt.Errorf("%w: by its header it is number %016x", ErrDamaged, f.number)
	}
	return err
}

func (s *scan) close() {
	for _, f := range s.files {
		f.f.Close()
	}
}

// checkLink verifies that the file before f ended where f says it did.
func checkLink(before []*journalFile, f *journalFile, link *[2]uint64) error {
	if link == nil { // f is empty
		return nil
	}
	if len(before) == 0 || link[0] == 0 || link[0] < before[0].number { // the one before was retired
		return nil
	}
	last := before[len(before)-1]
	if last.number != link[0] || last.end != int64(link[1]) {
		return fmt.Errorf("%w: file %016x goes on up to %d by its first record; what can be read before it ends at %d of file %016x",
			ErrDamaged, link[0], link[1], last.end, last.number)
	}
	return nil
}

// scanner reads one file.
type scanner struct {
	f    *journalFile
	each func(found) error
	end  int64      // where the valid records end
	link *[2]uint64 // from the first record
}

// run reads the valid records, and then makes sure that nothing acknowledged lies behind them.
func (s *scanner) run() error {
	s.end = fileHead
	there, err := s.f.f.Stat()
	if err != nil {
		return err
	}
	size := min(int64(s.f.size), there.Size())
	in := &peeker{r: io.NewSectionReader(s.f.f, 0, size), size: size}
	for {
		rec, body, err := s.next(in)
		if err != nil {
			return err
		}
		if body == nil {
			return s.tail(in)
		}
		if err := s.take(rec, body); err != nil {
			return err
		}
		s.end += int64(padded(len(body)))
	}
}

// next reads the record at s.end; a nil body says that there is none.
func (s *scanner) next(in *peeker) (record, []byte, error) {
	head, err := in.at(s.end, recordHead)
	if err != nil || head == nil {
		return record{}, nil, err
	}
	rec, ok := parseRecord(head, &s.f.epoch, s.end)
	if !ok {
		return rec, nil, nil
	}
	all, err := in.at(s.end, padded(int(rec.length)))
	if err != nil || all == nil {
		return rec, nil, err
	}
	body := all[recordHead : recordHead+int(rec.length)]
	pad := all[recordHead+int(rec.length):]
	if bodySum(body) != rec.bodySum || len(bytes.Trim(pad, "\x00")) != 0 {
		return rec, nil, nil
	}
	return rec, body, nil
}

func (s *scanner) take(rec record, body []byte) error {
	if (rec.kind == kindLink) != (s.end == fileHead) {
		return fmt.Errorf("%w at %d: a link belongs first in a file, and nothing else does", ErrDamaged, s.end)
	}
	if rec.kind == kindLink {
		if len(body) != linkBody {
			return fmt.Errorf("%w at %d: link of %d bytes", ErrDamaged, s.end, len(body))
		}
		s.link = &[2]uint64{binary.BigEndian.Uint64(body), binary.BigEndian.Uint64(body[8:])}
		return nil
	}
	at := where{s.f, uint32(s.end) + recordHead, rec.length}
	return s.each(found{record: rec, at: at, body: body})
}

// tail looks for a record behind the end whose batch began after it: then what stood at the end was acknowledged.
func (s *scanner) tail(in *peeker) error {
	for p := s.end + 8; ; {
		b, err := in.rest(p, recordHead)
		if err != nil || b == nil {
			return err
		}
		for ; len(b) >= recordHead; p, b = p+8, b[8:] {
			if b[4] == 0 { // as nearly everywhere
				continue
			}
			if rec, ok := parseRecord(b, &s.f.epoch, p); ok && int64(rec.batch) > s.end {
				return fmt.Errorf("%w at %d: no valid record, and one at %d that was written after what stood there was acknowledged", ErrDamaged, s.end, p)
			}
		}
	}
}

// peeker is a window that moves forward over a file.
type peeker struct {
	r      io.ReaderAt
	size   int64
	offset int64 // of buf
	buf    []byte
	space  []byte
}

const peekSize = 512 << 10

// at returns n bytes at an offset; nil if the file ends before.
func (p *peeker) at(offset int64, n int) ([]byte, error) {
	b, err := p.rest(offset, n)
	if b == nil {
		return nil, err
	}
	return b[:n], nil
}

// rest returns n bytes at an offset and whatever is at hand after them.
func (p *peeker) rest(offset int64, n int) ([]byte, error) {
	if offset < p.offset || offset+int64(n) > p.offset+int64(len(p.buf)) {
		if p.space == nil {
			p.space = make([]byte, min(peekSize, p.size))
		}
		got, err := p.r.ReadAt(p.space, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		p.offset, p.buf = offset, p.space[:got]
	}
	begin := offset - p.offset
	if begin+int64(n) > int64(len(p.buf)) {
		return nil, nil
	}
	return p.buf[begin:], nil
}
