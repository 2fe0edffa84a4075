package krl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

const (
	magic         = "SSHKRL\n\x00"
	formatVersion = 1

	// Sections of a KRL.
	sectionCertificates = 1
	sectionKeys         = 2
	sectionSHA1         = 3
	sectionSHA256       = 5

	// Sections of a certificates section.
	certSerialList   = 0x20
	certSerialRange  = 0x21
	certSerialBitmap = 0x22
	certKeyID        = 0x23

	// maxBitmap is the largest bitmap in bits: OpenSSH reads no longer mpint. ssh-keygen -k writes longer ones,
	// after which sshd refuses every key.
	maxBitmap = 16384

	// maxSize is what OpenSSH loads into one buffer at most.
	maxSize = 0x8000000
)

// Marshal writes the list. The same list gives the same bytes, in whatever order it was built. Files stay small where
// serials are dense: a serial costs 8 bytes, a range of any length 21, and in a bitmap a bit.
func (l *List) Marshal() ([]byte, error) {
	if strings.ContainsRune(l.Comment, 0) {
		return nil, fmt.Errorf("krl: comment %q holds a NUL byte", l.Comment)
	}
	body, err := l.sections()
	if err != nil {
		return nil, err
	}
	b := l.header(len(body))
	b = append(b, body...)
	if len(b) > maxSize {
		return nil, fmt.Errorf("krl: %d bytes are more than OpenSSH loads; revoke by range or by CA", len(b))
	}
	return b, nil
}

func (l *List) header(body int) []byte {
	var generated uint64
	if !l.Generated.IsZero() {
		generated = uint64(l.Generated.Unix())
	}
	b := []byte(magic)
	b = binary.BigEndian.AppendUint32(b, formatVersion)
	b = binary.BigEndian.AppendUint64(b, l.Version)
	b = binary.BigEndian.AppendUint64(b, generated)
	b = binary.BigEndian.AppendUint64(b, 0) // flags
	b = appendString(b, "")                 // reserved
	return appendString(b, sizedComment(l.Comment, len(b)+4+body))
}

// sizedComment appends to comment the size of the file, which is rest and the comment.
func sizedComment(comment string, rest int) string {
	size := 0
	for {
		sized := fmt.Sprintf("%s [%d bytes]", comment, size)
		if comment == "" {
			sized = sized[1:]
		}
		if size == rest+len(sized) {
			return sized
		}
		size = rest + len(sized)
	}
}

// cutSize undoes sizedComment. ok is false if there is no size.
func cutSize(sized string) (comment string, size int, ok bool) {
	at := strings.LastIndexByte(sized, '[')
	if at < 0 {
		return sized, 0, false
	}
	if n, err := fmt.Sscanf(sized[at:], "[%d bytes]", &size); n != 1 || err != nil || size < 0 || sized[at:] != fmt.Sprintf("[%d bytes]", size) {
		return sized, 0, false
	}
	if at == 0 {
		return "", size, true
	}
	if comment, ok = strings.CutSuffix(sized[:at], " "); !ok || comment == "" {
		return sized, 0, false
	}
	return comment, size, true
}

func (l *List) sections() ([]byte, error) {
	var b []byte
	cas := set{}
	for ca := range l.authorities {
		cas.add(ca)
	}
	for _, ca := range cas.sorted() {
		section, err := l.authorities[ca].marshal(ca)
		if err != nil {
			return nil, err
		}
		b = appendSection(b, sectionCertificates, section)
	}
	b = appendSection(b, sectionKeys, appendStrings(nil, l.keys))
	b = appendSection(b, sectionSHA1, appendStrings(nil, l.sha1s))
	return appendSection(b, sectionSHA256, appendStrings(nil, l.sha256s)), nil
}

func (a *authority) marshal(ca string) ([]byte, error) {
	if err := parseAuthority([]byte(ca)); err != nil {
		return nil, fmt.Errorf("krl: key of a CA: %w", err)
	}
	b := appendString(nil, ca)
	b = appendString(b, "") // reserved
	b = appendSerials(b, a.ranges())
	for id := range a.keyIDs {
		if strings.ContainsRune(id, 0) {
			return nil, fmt.Errorf("krl: key ID %q holds a NUL byte, with which sshd would refuse the list", id)
		}
	}
	return appendSection(b, certKeyID, appendStrings(nil, a.keyIDs)), nil
}

// appendSerials writes spans as ranges and bitmaps where they are shorter, and what remains as one list.
func appendSerials(b []byte, s spans) []byte {
	var list []byte
	for len(s) > 0 {
		if n := bitmapGain(s); n > 0 {
			b = appendSection(b, certSerialBitmap, bitmap(s[:n]))
			s = s[n:]
			continue
		}
		if s[0].hi-s[0].lo < 2 {
			for serial := s[0].lo; ; serial++ {
				list = binary.BigEndian.AppendUint64(list, serial)
				if serial == s[0].hi {
					break
				}
			}
		} else {
			r := binary.BigEndian.AppendUint64(nil, s[0].lo)
			b = appendSection(b, certSerialRange, binary.BigEndian.AppendUint64(r, s[0].hi))
		}
		s = s[1:]
	}
	return appendSection(b, certSerialList, list)
}

const (
	sectionCost = 1 + 4
	rangeCost   = sectionCost + 8 + 8
	bitmapCost  = sectionCost + 8 + 4 + 1 // and a byte for each eight bits
)

// bitmapGain says how many of the first spans are best written as one bitmap; 0 if that saves nothing.
func bitmapGain(s spans) int {
	apart, best, saved := uint64(0), 0, int64(0)
	for i, x := range s {
		// Beyond such a gap a bitmap of its own is shorter.
		if x.hi-s[0].lo >= maxBitmap || i > 0 && x.lo-s[i-1].hi > 8*bitmapCost {
			break
		}
		apart += min(8*(x.hi-x.lo+1), rangeCost)
		together := bitmapCost + (x.hi-s[0].lo)/8 + 1
		if gain := int64(apart) - int64(together); gain > saved {
			best, saved = i+1, gain
		}
	}
	return best
}

// bitmap is section 2.3 of PROTOCOL.krl: an offset and an mpint whose bit N stands for the serial offset+N.
func bitmap(s spans) []byte {
	offset := s[0].lo
	top := s[len(s)-1].hi - offset
	// A byte more than the bits need if the top bit would make the mpint negative.
	bits := make([]byte, (top+1)/8+1)
	for _, x := range s {
		for n := x.lo - offset; n <= x.hi-offset; n++ {
			bits[uint64(len(bits))-1-n/8] |= 1 << (n % 8)
		}
	}
	return appendString(binary.BigEndian.AppendUint64(nil, offset), string(bits))
}

func appendSection(b []byte, kind byte, data []byte) []byte {
	if len(data) == 0 {
		return b
	}
	return appendString(append(b, kind), string(data))
}

func appendStrings(b []byte, s set) []byte {
	for _, member := range s.sorted() {
		b = appendString(b, member)
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
}

var errCut = errors.New("cut or malformed")
