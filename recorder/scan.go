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

// scanJournal reads the files of a journal back, oldest first, and calls each for every record. It returns the files,
// open, and the highest number in use. Damage, as FORMAT.md defines it, is an error.
func scanJournal(dir string, each func(found) error) (list []*journalFile, number uint64, err error) {
	if list, number, err = openJournalFiles(dir); err != nil {
		return list, number, err
	}
	for i, f := range list {
		s := &scanner{f: f, each: each}
		if err := s.run(); err != nil {
			return list, number, fmt.Errorf("journal %s: %w", f.f.Name(), err)
		}
		f.end = s.end
		if err := checkLink(list[:i], f, s.link); err != nil {
			return list, number, err
		}
	}
	return list, number, nil
}

// checkLink verifies that the file before f ended where f says it did.
func checkLink(before []*journalFile, f *journalFile, link *[2]uint64) error {
	if link == nil { // f is empty
		return nil
	}
	if len(before) == 0 || link[0] == 0 {
		return nil
	}
	last := before[len(before)-1]
	if last.number != link[0] || last.end != int64(link[1]) {
		return fmt.Errorf("journal %s: %w at %d: file %016x says that file %016x goes on up to %d",
			last.f.Name(), ErrDamaged, last.end, f.number, link[0], link[1])
	}
	return nil
}

func openJournalFiles(dir string) (list []*journalFile, number uint64, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, 0, err
	}
	for _, e := range entries {
		name, ok := strings.CutPrefix(e.Name(), journalName)
		if !ok {
			continue
		}
		f, err := openJournalFile(filepath.Join(dir, e.Name()), name)
		if err != nil {
			return list, number, err
		}
		list = append(list, f)
		number = max(number, f.number)
	}
	slices.SortFunc(list, func(a, b *journalFile) int { return int(int64(a.number) - int64(b.number)) })
	return list, number, nil
}

func openJournalFile(path, name string) (*journalFile, error) {
	raw, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f := &journalFile{f: raw}
	b := make([]byte, fileHead)
	if _, err = io.ReadFull(raw, b); err != nil {
		err = fmt.Errorf("%w: header: %w", ErrDamaged, err)
	} else {
		f.fileHeader, err = parseFileHeader(b)
	}
	if number, bad := strconv.ParseUint(name, 16, 64); err == nil && (bad != nil || number != f.number) {
		err = fmt.Errorf("%w: it is number %016x by its header", ErrDamaged, f.number)
	}
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("journal %s: %w", path, err)
	}
	return f, nil
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
	r := io.NewSectionReader(s.f.f, 0, int64(s.f.size))
	in := &peeker{r: r, offset: fileHead}
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
			p.space = make([]byte, peekSize)
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
