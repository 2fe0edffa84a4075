// Package pcapng writes connections of which somebody has the bytes as packets that Wireshark and tcpdump read.
//
// Start with [NewWriter] and [Writer.Connect]. The packets were never on a wire: addresses, ports, times and lengths are those of the connection as far as
// they are known, sequence numbers and checksums are made to fit. Of bytes that were not kept there are packets of the right length that were
// captured without them. The format is that of draft-ietf-opsawg-pcapng.
package pcapng

import (
	"bufio"
	"encoding/binary"
	"io"
	"net/netip"
	"strings"
	"time"
	"unicode/utf8"
)

// The types of blocks, and of what is in them.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockNames     = 4
	blockPacket    = 6

	optionEnd     = 0
	optionComment = 1
	optionName    = 2 // of an interface
	optionProgram = 4 // of a section

	recordEnd  = 0
	recordIPv4 = 1
	recordIPv6 = 2

	linkRaw = 101 // packets begin with the IP header
)

// Writer writes one capture. Its errors are those of Close.
type Writer struct {
	out   *bufio.Writer
	names map[alias]netip.Addr
	count [2]int // of names, by family
	flows uint32
	block []byte
}

// alias is a name in a family.
type alias struct {
	name string
	v6   bool
}

// NewWriter begins a capture. The comment is for people.
func NewWriter(out io.Writer, comment string) *Writer {
	w := &Writer{out: bufio.NewWriter(out), names: map[alias]netip.Addr{}}
	b := binary.LittleEndian.AppendUint32(w.begin(blockSection), 0x1a2b3c4d)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, 1<<64-1) // nobody knows how long it gets
	b = appendOption(b, optionComment, clean(comment))
	b = appendOption(b, optionProgram, "postern")
	w.end(appendOption(b, optionEnd, ""))

	b = binary.LittleEndian.AppendUint16(w.begin(blockInterface), linkRaw)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint32(b, 0) // no limit to the length of packets
	b = appendOption(b, optionName, "forwards")
	w.end(appendOption(b, optionEnd, ""))
	return w
}

// Close flushes the capture and returns the first error there was.
func (w *Writer) Close() error { return w.out.Flush() }

// standIn is an address that stands for a name: one that documentation uses and no network has. A block says which is whose.
func (w *Writer) standIn(name string, v6 bool) netip.Addr {
	if name = clean(name); name == "" {
		name = "unknown"
	}
	v6 = v6 || w.count[0] >= 3*254 && !w.names[alias{name, false}].IsValid()
	if a, ok := w.names[alias{name, v6}]; ok {
		return a
	}
	var a netip.Addr
	record := uint16(recordIPv4)
	if v6 {
		w.count[1]++
		b := [16]byte{0x20, 0x01, 0x0d, 0xb8}
		binary.BigEndian.PutUint64(b[8:], uint64(w.count[1]))
		a, record = netip.AddrFrom16(b), recordIPv6
	} else {
		n := w.count[0]
		w.count[0]++
		nets := [3][3]byte{{192, 0, 2}, {198, 51, 100}, {203, 0, 113}}
		net := nets[n/254]
		a = netip.AddrFrom4([4]byte{net[0], net[1], net[2], byte(1 + n%254)})
	}
	w.names[alias{name, v6}] = a
	w.resolve(record, a, name)
	return a
}

func (w *Writer) resolve(record uint16, a netip.Addr, name string) {
	value := append(append(a.AsSlice(), name...), 0)
	b := binary.LittleEndian.AppendUint16(w.begin(blockNames), record)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	b = pad(append(b, value...))
	w.end(binary.LittleEndian.AppendUint32(b, recordEnd))
}

// packet writes one of which only the beginning was captured, unless length is that of b.
func (w *Writer) packet(at time.Time, b []byte, length int, comment string) {
	micros := uint64(at.UnixMicro())
	p := binary.LittleEndian.AppendUint32(w.begin(blockPacket), 0)
	p = binary.LittleEndian.AppendUint32(p, uint32(micros>>32))
	p = binary.LittleEndian.AppendUint32(p, uint32(micros))
	p = binary.LittleEndian.AppendUint32(p, uint32(len(b)))
	p = binary.LittleEndian.AppendUint32(p, uint32(length))
	p = pad(append(p, b...))
	if comment != "" {
		p = appendOption(p, optionComment, clean(comment))
		p = appendOption(p, optionEnd, "")
	}
	w.end(p)
}

// begin leaves room for the length, which is in front of a block and behind it.
func (w *Writer) begin(kind uint32) []byte {
	return append(binary.LittleEndian.AppendUint32(w.block[:0], kind), 0, 0, 0, 0)
}

func (w *Writer) end(b []byte) {
	n := uint32(len(b) + 4)
	binary.LittleEndian.PutUint32(b[4:], n)
	w.block = binary.LittleEndian.AppendUint32(b, n)
	w.out.Write(w.block) // a bufio.Writer keeps its error
}

func appendOption(b []byte, code uint16, value string) []byte {
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	return pad(append(b, value...))
}

// pad fills up to a multiple of 4.
func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// clean keeps what a client called itself from being more than a line of text.
func clean(s string) string {
	const most = 1000
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r <= 0x9f || r == utf8.RuneError {
			return '?'
		}
		return r
	}, s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "")
	}
	return s
}
