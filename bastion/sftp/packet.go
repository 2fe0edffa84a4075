package sftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The types of packets.
const (
	typeInit          = 1
	typeVersion       = 2
	typeOpen          = 3
	typeClose         = 4
	typeRead          = 5
	typeWrite         = 6
	typeLstat         = 7
	typeFstat         = 8
	typeSetstat       = 9
	typeFsetstat      = 10
	typeOpendir       = 11
	typeReaddir       = 12
	typeRemove        = 13
	typeMkdir         = 14
	typeRmdir         = 15
	typeRealpath      = 16
	typeStat          = 17
	typeRename        = 18
	typeReadlink      = 19
	typeSymlink       = 20
	typeStatus        = 101
	typeHandle        = 102
	typeData          = 103
	typeName          = 104
	typeAttrs         = 105
	typeExtended      = 200
	typeExtendedReply = 201
)

// version is the one spoken here.
const version = 3

var errShort = errors.New("a packet that is too short for what it is")

// head is what comes before the fields of a packet: its length, its type and, but for INIT and VERSION, its id.
const (
	head   = 4 + 1
	headID = head + 4
)

// keptBuffer bytes are not given back between packets.
const keptBuffer = 64 << 10

// The two sides, in errors.
const (
	client = "client"
	host   = "host"
)

// inbound cuts the bytes of one side into packets.
type inbound struct {
	who   string
	buf   []byte // the beginning of a packet
	given bool   // or one that next has returned
}

// next returns the first whole packet of what was held and b, with its length, and what of b follows it. There is none: it
// holds b and returns nil. The packet is valid until the next call.
func (in *inbound) next(b []byte) (p, rest []byte, err error) {
	if in.given {
		in.buf, in.given = in.buf[:0], false
	}
	for len(in.buf) > 0 {
		want := 4
		if len(in.buf) >= 4 {
			if want, err = in.size(in.buf); err != nil {
				return nil, b, err
			}
			in.buf = slices.Grow(in.buf, want-len(in.buf))
		}
		n := min(want-len(in.buf), len(b))
		in.buf = append(in.buf, b[:n]...)
		b = b[n:]
		switch {
		case len(in.buf) < want:
			return nil, nil, nil
		case want > 4:
			in.given = true
			return in.buf, b, nil
		}
	}
	if len(b) >= 4 {
		n, err := in.size(b)
		if err != nil {
			return nil, b, err
		}
		if len(b) >= n {
			if cap(in.buf) > keptBuffer && n < keptBuffer {
				in.buf = nil // the transfer is over; a thousand idle sessions would keep a quarter of a gigabyte
			}
			return b[:n], b[n:], nil
		}
	}
	in.buf = append(in.buf, b...)
	return nil, nil, nil
}

// size of a packet with its length field. OpenSSH ends at longer ones too.
func (in *inbound) size(b []byte) (int, error) {
	n := binary.BigEndian.Uint32(b)
	switch {
	case n > 0 && n <= maxPacket:
		return int(n) + 4, nil
	case isText(b[:4]) && in.who == host:
		return 0, fmt.Errorf("the host sends text that begins with %q; does its login script print something?", b[:4])
	}
	return 0, fmt.Errorf("the %s sends a packet of %d bytes", in.who, n)
}

func isText(b []byte) bool {
	for _, c := range b {
		if (c < ' ' || c > '~') && c != '\n' && c != '\r' && c != '\t' && c != 0x1b {
			return false
		}
	}
	return true
}

// fields reads the fields of a packet from its beginning. After a field that is not there all are zero and short is true.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) take(n int) []byte {
	if f.short || n > len(f.b) {
		f.short = true
		return nil
	}
	b := f.b[:n]
	f.b = f.b[n:]
	return b
}

func (f *fields) uint32() uint32 {
	if b := f.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (f *fields) uint64() uint64 {
	if b := f.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (f *fields) string() []byte {
	n := f.uint32()
	if uint64(n) > uint64(len(f.b)) {
		f.short = true
		return nil
	}
	return f.take(int(n))
}

// attrs are the attributes of a file, as far as they are there.
type attrs struct {
	flags        uint32
	size         uint64
	uid, gid     uint32
	mode         uint32
	atime, mtime uint32
	extended     uint32 // pairs of an extension; OpenSSH ignores them
}

const (
	attrSize     = 1 << 0
	attrOwner    = 1 << 1
	attrMode     = 1 << 2
	attrTimes    = 1 << 3
	attrExtended = 1 << 31
)

func (f *fields) attrs() attrs {
	a := attrs{flags: f.uint32()}
	if a.flags&attrSize != 0 {
		a.size = f.uint64()
	}
	if a.flags&attrOwner != 0 {
		a.uid, a.gid = f.uint32(), f.uint32()
	}
	if a.flags&attrMode != 0 {
		a.mode = f.uint32() & 0o7777
	}
	if a.flags&attrTimes != 0 {
		a.atime, a.mtime = f.uint32(), f.uint32()
	}
	if a.flags&attrExtended != 0 {
		a.extended = f.uint32()
		for range a.extended {
			f.string()
			if f.string(); f.short { // the count may be four billion
				break
			}
		}
	}
	return a
}

// String tells them in the order in which a server sets them.
func (a attrs) String() string {
	var s []string
	if a.flags&attrSize != 0 {
		s = append(s, fmt.Sprintf("size %d", a.size))
	}
	if a.flags&attrMode != 0 {
		s = append(s, fmt.Sprintf("mode %04o", a.mode))
	}
	if a.flags&attrTimes != 0 {
		s = append(s, "times "+when(a.atime)+" "+when(a.mtime))
	}
	if a.flags&attrOwner != 0 {
		s = append(s, fmt.Sprintf("uid %d gid %d", a.uid, a.gid))
	}
	if a.flags&attrExtended != 0 {
		s = append(s, fmt.Sprintf("%d extended", a.extended))
	}
	return strings.Join(s, ", ")
}

func when(seconds uint32) string {
	return time.Unix(int64(seconds), 0).UTC().Format(time.RFC3339)
}

// names reads a list of names and returns how many there are and the first.
func (f *fields) names() (n uint64, first []byte) {
	for range f.uint32() {
		name := f.string()
		f.string() // as ls -l would print it
		f.attrs()
		if f.short {
			break
		}
		if n == 0 {
			first = name
		}
		n++
	}
	return n, first
}
