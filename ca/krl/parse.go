package krl

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"time"
)

// Parse reads a KRL as ssh-keygen -k or Marshal write it. It refuses what neither writes, even if OpenSSH is more
// tolerant: empty sections, reserved fields in use, and a list that is nothing but a header and does not say that it is
// meant to be that short.
func Parse(b []byte) (*List, error) {
	if len(b) == 0 {
		return nil, errors.New("krl: the file is empty; to sshd that means nothing is revoked")
	}
	l := new(List)
	if err := l.parse(b); err != nil {
		return nil, fmt.Errorf("krl: %w", err)
	}
	return l, nil
}

func (l *List) parse(b []byte) error {
	if len(b) > maxSize {
		return fmt.Errorf("%d bytes are more than OpenSSH loads", len(b))
	}
	r := &reader{rest: b}
	if err := l.parseHeader(r, len(b)); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if len(r.rest) == 0 && !l.whole {
		return errors.New("nothing follows the header; the file may have been cut there")
	}
	for len(r.rest) > 0 {
		kind := r.byte()
		section := &reader{rest: r.string()}
		if r.failed {
			return fmt.Errorf("section at byte %d is cut", len(b)-len(r.rest))
		}
		if err := l.parseSection(kind, section); err != nil {
			return fmt.Errorf("section of type %d: %w", kind, err)
		}
	}
	for _, a := range l.authorities {
		a.serials, a.unsorted = a.ranges(), false
	}
	return nil
}

func (l *List) parseHeader(r *reader, size int) error {
	start := string(r.take(len(magic)))
	version := r.uint32()
	l.Version = r.uint64()
	l.Generated = time.Unix(int64(r.uint64()), 0).UTC()
	flags := r.uint64()
	reserved := r.string()
	comment := string(r.string())
	switch {
	case start != magic:
		return errors.New("this is no KRL; to sshd it would be a list of plain keys")
	case r.failed:
		return errCut
	case version != formatVersion:
		return fmt.Errorf("format version %d, not %d", version, formatVersion)
	case flags != 0 || len(reserved) != 0:
		return errors.New("flags or reserved fields are in use")
	case strings.ContainsRune(comment, 0):
		return errors.New("comment holds a NUL byte")
	}
	var told int
	l.Comment, told, l.whole = cutSize(comment)
	if l.whole && told != size {
		return fmt.Errorf("the file says that it has %d bytes, but it has %d", told, size)
	}
	return nil
}

func (l *List) parseSection(kind byte, r *reader) error {
	if len(r.rest) == 0 {
		return errors.New("is empty")
	}
	switch kind {
	case sectionCertificates:
		return l.parseCertificates(r)
	case sectionKeys:
		return r.strings(func(key []byte) error {
			if len(key) == 0 {
				return errors.New("empty key")
			}
			l.keys.add(string(key))
			return nil
		})
	case sectionSHA1:
		return r.strings(func(sum []byte) error { return addHash(&l.sha1s, sum, sha1.Size) })
	case sectionSHA256:
		return r.strings(func(sum []byte) error { return addHash(&l.sha256s, sum, sha256.Size) })
	}
	return errors.New("unknown")
}

func addHash(s *set, sum []byte, size int) error {
	if len(sum) != size {
		return fmt.Errorf("hash of %d bytes, not %d", len(sum), size)
	}
	s.add(string(sum))
	return nil
}

func (l *List) parseCertificates(r *reader) error {
	ca, reserved := r.string(), r.string()
	switch {
	case r.failed:
		return errCut
	case len(reserved) != 0:
		return errors.New("reserved field is in use")
	case len(r.rest) == 0:
		return errors.New("revokes nothing")
	}
	if err := parseAuthority(ca); err != nil {
		return fmt.Errorf("key of the CA: %w", err)
	}
	a := l.authority(string(ca))
	for len(r.rest) > 0 {
		kind := r.byte()
		section := &reader{rest: r.string()}
		if r.failed {
			return errCut
		}
		if err := a.parseSection(kind, section); err != nil {
			return fmt.Errorf("subsection of type %#x: %w", kind, err)
		}
	}
	return nil
}

func (a *authority) parseSection(kind byte, r *reader) error {
	if len(r.rest) == 0 {
		return errors.New("is empty")
	}
	switch kind {
	case certSerialList:
		a.shape.Lists.add(uint64(len(r.rest) / 8))
		for len(r.rest) > 0 {
			serial := r.uint64()
			if r.failed {
				return errCut
			}
			if err := a.parsed(serial, serial); err != nil {
				return err
			}
		}
		return nil
	case certSerialRange:
		lo, hi := r.uint64(), r.uint64()
		if r.failed || len(r.rest) > 0 {
			return errCut
		}
		if err := a.parsed(lo, hi); err != nil {
			return err
		}
		a.shape.Ranges.add(hi - lo + 1)
		return nil
	case certSerialBitmap:
		offset, number := r.uint64(), r.string()
		if r.failed || len(r.rest) > 0 {
			return errCut
		}
		return a.parseBitmap(offset, number)
	case certKeyID:
		return r.strings(func(id []byte) error {
			if strings.ContainsRune(string(id), 0) {
				return fmt.Errorf("key ID %q holds a NUL byte", id)
			}
			a.keyIDs.add(string(id))
			return nil
		})
	}
	return errors.New("unknown")
}

// parsed refuses what OpenSSH refuses: such a file locks everybody out.
func (a *authority) parsed(lo, hi uint64) error {
	if lo == 0 || lo > hi {
		return fmt.Errorf("serials %d to %d", lo, hi)
	}
	a.addSerials(lo, hi)
	return nil
}

func (a *authority) parseBitmap(offset uint64, number []byte) error {
	negative := len(number) > 0 && number[0] >= 0x80
	padded := len(number) > 1 && number[0] == 0 && number[1] < 0x80
	if len(number) == 0 || negative || padded || number[0] == 0 && len(number) == 1 {
		return errors.New("bitmap is not a positive mpint")
	}
	if number[0] == 0 {
		number = number[1:]
	}
	size := 8*(len(number)-1) + bits.Len8(number[0])
	if size > maxBitmap {
		return fmt.Errorf("bitmap of %d bits, where sshd reads %d", size, maxBitmap)
	}
	if offset+uint64(size-1) < offset {
		return errors.New("bitmap goes beyond the last serial")
	}
	count := uint64(0)
	for _, b := range number {
		count += uint64(bits.OnesCount8(b))
	}
	a.shape.Bitmaps.add(count)
	for n := range size {
		if number[len(number)-1-n/8]&(1<<(n%8)) == 0 {
			continue
		}
		if err := a.parsed(offset+uint64(n), offset+uint64(n)); err != nil {
			return err
		}
	}
	return nil
}

// reader takes RFC 4251 types from the front of rest. Once something was missing it has failed, and gives zeros.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) take(n int) []byte {
	if r.failed || n < 0 || n > len(r.rest) {
		r.failed = true
		return nil
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) string() []byte { return r.take(int(r.uint32())) }

// strings calls fn for each string up to the end.
func (r *reader) strings(fn func([]byte) error) error {
	for len(r.rest) > 0 {
		s := r.string()
		if r.failed {
			return errCut
		}
		if err := fn(s); err != nil {
			return err
		}
	}
	return nil
}
