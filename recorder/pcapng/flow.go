package pcapng

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// Place is one end of a connection.
type Place struct {
	Host string // an IP address; or any other name, for which an address stands in
	Port uint16
}

// The sides of a connection.
const (
	Initiator = 0
	Responder = 1
)

const (
	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagPSH = 0x08
	flagACK = 0x10

	mostPayload = 32 << 10 // of a packet
	windowScale = 14       // so that nothing ever looks as if the window were full
)

// Flow is one connection.
type Flow struct {
	w    *Writer
	from [2]netip.AddrPort // by side
	seq  [2]uint32         // next
	open bool              // the responder has answered
	over [2]bool           // sends no more
	dead bool
}

// Connect begins a connection from one place to another: a SYN, with a comment for people. The answer to it comes with what passes first.
func (w *Writer) Connect(at time.Time, from, to Place, comment string) *Flow {
	a, b := w.addresses(from.Host, to.Host)
	f := &Flow{w: w, from: [2]netip.AddrPort{netip.AddrPortFrom(a, from.Port), netip.AddrPortFrom(b, to.Port)}}
	w.flows++
	f.seq = [2]uint32{w.flows << 16, w.flows<<16 + 1<<15} // so that one between the same ports is not taken for the same
	f.packet(segment{at: at, side: Initiator, flags: flagSYN, comment: comment})
	return f
}

// addresses are those of two hosts, in one family.
func (w *Writer) addresses(from, to string) (a, b netip.Addr) {
	a, b = literal(from), literal(to)
	v6 := a.Is6() || b.Is6()
	if !a.IsValid() {
		a = w.standIn(from, v6)
	}
	if !b.IsValid() {
		b = w.standIn(to, v6)
	}
	if a.Is4() != b.Is4() {
		a, b = netip.AddrFrom16(a.As16()), netip.AddrFrom16(b.As16())
	}
	return a, b
}

func literal(host string) netip.Addr {
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// Send tells that length bytes passed from a side to the other, and that b, their beginning, was kept.
func (f *Flow) Send(at time.Time, side int, b []byte, length int) {
	f.accept(at)
	for length > 0 && !f.over[side] && !f.dead {
		n := min(length, mostPayload)
		kept := b[:min(n, len(b))]
		f.packet(segment{at: at, side: side, flags: flagPSH | flagACK, payload: kept, length: n})
		b, length = b[len(kept):], length-n
	}
}

// End tells that a side sends no more.
func (f *Flow) End(at time.Time, side int) {
	f.accept(at)
	if !f.over[side] && !f.dead {
		f.over[side] = true
		f.packet(segment{at: at, side: side, flags: flagFIN | flagACK})
	}
}

// Close tells that the connection is over on both sides.
func (f *Flow) Close(at time.Time) {
	f.End(at, Initiator)
	f.End(at, Responder)
	if !f.dead {
		f.dead = true
		f.packet(segment{at: at, side: Initiator, flags: flagACK})
	}
}

// Refuse tells that the connection did not come about.
func (f *Flow) Refuse(at time.Time) {
	if !f.open && !f.dead {
		f.dead = true
		f.packet(segment{at: at, side: Responder, flags: flagRST | flagACK})
	}
}

// accept is the rest of the handshake.
func (f *Flow) accept(at time.Time) {
	if f.open || f.dead {
		return
	}
	f.open = true
	f.packet(segment{at: at, side: Responder, flags: flagSYN | flagACK})
	f.packet(segment{at: at, side: Initiator, flags: flagACK})
}

// segment is a packet to be.
type segment struct {
	at      time.Time
	side    int
	flags   byte
	payload []byte // its beginning
	length  int    // of the payload
	comment string
}

func (f *Flow) packet(s segment) {
	src, dst := f.from[s.side], f.from[1-s.side]
	tcp := f.header(s, src.Port(), dst.Port())
	size := len(tcp) + s.length
	tcp = append(tcp, s.payload...)
	if len(s.payload) == s.length { // else nobody can compute it, and nobody checks it
		sum := checksum(pseudo(src.Addr(), dst.Addr(), size), tcp)
		binary.BigEndian.PutUint16(tcp[16:], sum)
	}
	ip := ipHeader(src.Addr(), dst.Addr(), size)
	f.w.packet(s.at, append(ip, tcp...), len(ip)+size, s.comment)
	f.seq[s.side] += uint32(s.length)
	if s.flags&(flagSYN|flagFIN) != 0 {
		f.seq[s.side]++
	}
}

// header is that of section 3.1 of RFC 9293.
func (f *Flow) header(s segment, src, dst uint16) []byte {
	ack := uint32(0)
	if s.flags&flagACK != 0 {
		ack = f.seq[1-s.side]
	}
	var options []byte
	if s.flags&flagSYN != 0 {
		options = []byte{2, 4, 0xff, 0xd7, 1, 3, 3, windowScale} // largest segment, nothing, window scale
	}
	b := binary.BigEndian.AppendUint16(nil, src)
	b = binary.BigEndian.AppendUint16(b, dst)
	b = binary.BigEndian.AppendUint32(b, f.seq[s.side])
	b = binary.BigEndian.AppendUint32(b, ack)
	b = append(b, byte(20+len(options))<<2, s.flags)
	b = binary.BigEndian.AppendUint16(b, 0xffff) // window
	b = append(b, 0, 0, 0, 0)                    // checksum, urgent pointer
	return append(b, options...)
}

func ipHeader(src, dst netip.Addr, size int) []byte {
	if src.Is6() {
		b := binary.BigEndian.AppendUint16([]byte{0x60, 0, 0, 0}, uint16(size))
		b = append(b, 6, 64)
		return append(append(b, src.AsSlice()...), dst.AsSlice()...)
	}
	b := binary.BigEndian.AppendUint16([]byte{0x45, 0}, uint16(20+size))
	b = append(b, 0, 0, 0x40, 0, 64, 6, 0, 0) // identification, do not fragment, hops, TCP, checksum
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	binary.BigEndian.PutUint16(b[10:], checksum(b))
	return b
}

// pseudo is the header that the checksum of TCP covers beside the segment.
func pseudo(src, dst netip.Addr, size int) []byte {
	b := append(src.AsSlice(), dst.AsSlice()...)
	if src.Is6() {
		return append(binary.BigEndian.AppendUint32(b, uint32(size)), 0, 0, 0, 6)
	}
	return binary.BigEndian.AppendUint16(append(b, 0, 6), uint16(size))
}

// checksum is that of RFC 1071. All parts but the last have an even length.
func checksum(parts ...[]byte) uint16 {
	var sum uint32
	for _, p := range parts {
		for ; len(p) > 1; p = p[2:] {
			sum += uint32(p[0])<<8 | uint32(p[1])
		}
		if len(p) == 1 {
			sum += uint32(p[0]) << 8
		}
		sum = sum&0xffff + sum>>16 // 32 KiB of 0xffff fill 30 bits
	}
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
