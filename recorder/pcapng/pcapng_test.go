package pcapng

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

var start = time.Date(2026, 11, 3, 12, 0, 0, 123456000, time.UTC)

// captured is a packet as this test reads it.
type captured struct {
	at       time.Time
	src, dst netip.AddrPort
	seq, ack uint32
	flags    byte
	payload  []byte // as far as it was captured
	length   int    // of the payload on the wire
	comment  string
}

// parsed is a capture as this test reads it, with no code of the package.
type parsed struct {
	packets []captured
	names   map[netip.Addr]string
	blocks  []uint32
}

func parse(t testing.TB, b []byte) parsed {
	t.Helper()
	p := parsed{names: map[netip.Addr]string{}}
	u16, u32 := binary.LittleEndian.Uint16, binary.LittleEndian.Uint32
	for len(b) > 0 {
		if len(b) < 12 || len(b) < int(u32(b[4:])) || u32(b[4:])%4 != 0 || u32(b[4:]) < 12 {
			t.Fatalf("a block of %x", b[:min(len(b), 12)])
		}
		n := int(u32(b[4:]))
		kind, body := u32(b), b[8:n-4]
		if u32(b[n-4:]) != uint32(n) {
			t.Fatalf("a block of %d bytes ends with the length %d", n, u32(b[n-4:]))
		}
		b = b[n:]
		p.blocks = append(p.blocks, kind)
		switch kind {
		case 0x0a0d0d0a:
			if u32(body) != 0x1a2b3c4d || u16(body[4:]) != 1 || u16(body[6:]) != 0 {
				t.Fatalf("section %x", body)
			}
			options(t, body[16:])
		case 1:
			if u16(body) != 101 {
				t.Fatalf("link type %d", u16(body))
			}
			options(t, body[8:])
		case 4:
			length := int(u16(body[2:]))
			size := map[uint16]int{1: 4, 2: 16}[u16(body)]
			value := body[4 : 4+length]
			a, ok := netip.AddrFromSlice(value[:size])
			name, end := bytes.CutSuffix(value[size:], []byte{0})
			if !ok || !end || bytes.IndexByte(name, 0) >= 0 || u32(body[4+(length+3)/4*4:]) != 0 {
				t.Fatalf("names %x", body)
			}
			p.names[a] = string(name)
		case 6:
			size := int(u32(body[12:]))
			micros := int64(u32(body[4:]))<<32 | int64(u32(body[8:]))
			c := packet(t, body[20:20+size], int(u32(body[16:])))
			c.at, c.comment = time.UnixMicro(micros).UTC(), options(t, body[20+(size+3)/4*4:])[1]
			p.packets = append(p.packets, c)
		default:
			t.Fatalf("block of type %d", kind)
		}
	}
	return p
}

func options(t testing.TB, b []byte) map[uint16]string {
	t.Helper()
	all := map[uint16]string{}
	for len(b) > 0 {
		code, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		all[code] = string(b[4 : 4+n])
		b = b[4+(n+3)/4*4:]
	}
	if _, ended := all[0]; len(all) > 0 && !ended {
		t.Fatalf("options without an end: %v", all)
	}
	return all
}

// packet reads one of which size bytes were on the wire, and checks its sums.
func packet(t testing.TB, b []byte, size int) (c captured) {
	t.Helper()
	u16, u32 := binary.BigEndian.Uint16, binary.BigEndian.Uint32
	var src, dst netip.Addr
	var tcp, pseudo []byte
	switch b[0] >> 4 {
	case 4:
		if sum(b[:20]) != 0xffff || int(u16(b[2:])) != size {
			t.Fatalf("IP header %x of %d bytes", b[:20], size)
		}
		src, _ = netip.AddrFromSlice(b[12:16])
		dst, _ = netip.AddrFromSlice(b[16:20])
		pseudo, tcp, size = bytes.Clone(b[12:20]), b[20:], size-20
	case 6:
		if int(u16(b[4:])) != size-40 || b[6] != 6 {
			t.Fatalf("IP header %x of %d bytes", b[:40], size)
		}
		src, _ = netip.AddrFromSlice(b[8:24])
		dst, _ = netip.AddrFromSlice(b[24:40])
		pseudo, tcp, size = bytes.Clone(b[8:40]), b[40:], size-40
	default:
		t.Fatalf("IP version %d", b[0]>>4)
	}
	head := int(tcp[12] >> 4 * 4)
	c = captured{
		src: netip.AddrPortFrom(src, u16(tcp)), dst: netip.AddrPortFrom(dst, u16(tcp[2:])),
		seq: u32(tcp[4:]), ack: u32(tcp[8:]), flags: tcp[13], payload: tcp[head:], length: size - head,
	}
	pseudo = binary.BigEndian.AppendUint32(append(pseudo, 0, 6), uint32(size))
	if len(pseudo)%2 != 0 {
		t.Fatal("pseudo header")
	}
	if got := sum(append(pseudo, tcp...)); len(tcp) == size && got != 0xffff {
		t.Fatalf("checksum of the segment %x: %x", tcp, got)
	}
	return c
}

// sum is the sum of RFC 1071, with no complement: 0xffff over what has its checksum in it.
func sum(b []byte) uint16 {
	total := uint64(0)
	for i, c := range b {
		total += uint64(c) << (8 * (1 - i%2))
	}
	for total > 0xffff {
		total = total&0xffff + total>>16
	}
	return uint16(total)
}

func capture(t testing.TB, tell func(*Writer)) ([]byte, parsed) {
	t.Helper()
	var out bytes.Buffer
	w := NewWriter(&out, "a test")
	tell(w)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes(), parse(t, out.Bytes())
}

// conversation tells the story of a connection in three kinds of packets.
func conversation(w *Writer, from, to Place) {
	f := w.Connect(start, from, to, "the first")
	f.Send(start.Add(time.Second), Initiator, []byte("GET /\r\n"), 7)
	f.Send(start.Add(2*time.Second), Responder, []byte("odd"), 3)
	f.Send(start.Add(2*time.Second), Responder, bytes.Repeat([]byte{0xff}, 40_000), 40_000)
	f.Send(start.Add(3*time.Second), Responder, []byte("sample"), 100_000)
	f.End(start.Add(4*time.Second), Initiator)
	f.Send(start.Add(5*time.Second), Responder, nil, 1)
	f.Close(start.Add(6 * time.Second))
}

func TestFlow(t *testing.T) {
	for _, test := range []struct{ name, from, to, src, dst string }{
		{"IPv4", "10.0.0.1", "192.168.7.9", "10.0.0.1", "192.168.7.9"},
		{"IPv6", "::1", "fd00::5", "::1", "fd00::5"},
		{"both", "127.0.0.1", "fe80::1%eth0", "::ffff:127.0.0.1", "fe80::1"},
		{"mapped", "::ffff:10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"},
		{"a name", "127.0.0.1", "db.internal", "127.0.0.1", "192.0.2.1"},
		{"a name and IPv6", "::1", "db.internal", "::1", "2001:db8::1"},
		{"names", "here", "there", "192.0.2.1", "192.0.2.2"},
		{"a socket", "who", "/run/postgresql/.s.PGSQL.5432", "192.0.2.1", "192.0.2.2"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, p := capture(t, func(w *Writer) { conversation(w, Place{test.from, 40000}, Place{test.to, 80}) })
			src, dst := netip.AddrPortFrom(netip.MustParseAddr(test.src), 40000), netip.AddrPortFrom(netip.MustParseAddr(test.dst), 80)
			var got []string
			next := map[netip.AddrPort]uint32{}
			for i, c := range p.packets {
				who := "<"
				if c.src == src && c.dst == dst {
					who = ">"
				} else if c.src != dst || c.dst != src {
					t.Fatalf("packet %d from %v to %v", i, c.src, c.dst)
				}
				got = append(got, fmt.Sprintf("%s%s%d/%d@%v", who, flags(c.flags), len(c.payload), c.length, c.at.Sub(start)))
				if c.flags&flagSYN == 0 && (c.seq != next[c.src] || c.ack != next[c.dst]) {
					t.Errorf("packet %d has seq %d and ack %d, due are %d and %d", i, c.seq, c.ack, next[c.src], next[c.dst])
				}
				next[c.src] = c.seq + uint32(c.length)
				if c.flags&(flagSYN|flagFIN) != 0 {
					next[c.src]++
				}
			}
			want := ">S0/0@0s <SA0/0@1s >A0/0@1s >PA7/7@1s <PA3/3@2s <PA32768/32768@2s <PA7232/7232@2s " +
				"<PA6/32768@3s <PA0/32768@3s <PA0/32768@3s <PA0/1696@3s >FA0/0@4s <PA0/1@5s <FA0/0@6s >A0/0@6s"
			if strings.Join(got, " ") != want {
				t.Errorf("packets\n%s\nwant\n%s", strings.Join(got, " "), want)
			}
			for _, host := range []string{test.from, test.to} {
				if _, err := netip.ParseAddr(host); err != nil && p.names[src.Addr()] != host && p.names[dst.Addr()] != host {
					t.Errorf("names %v", p.names)
				}
			}
			if p.packets[0].comment != "the first" {
				t.Errorf("comment %q", p.packets[0].comment)
			}
		})
	}
}

func flags(b byte) (s string) {
	for i, c := range "FSRPA" {
		if b&(1<<i) != 0 {
			s = string(c) + s
		}
	}
	return strings.NewReplacer("AS", "SA", "AF", "FA", "AP", "PA", "AR", "RA").Replace(s)
}

func TestRefusedAndShort(t *testing.T) {
	_, p := capture(t, func(w *Writer) {
		refused := w.Connect(start, Place{"10.0.0.1", 1}, Place{"10.0.0.2", 2}, "")
		refused.Refuse(start)
		refused.Send(start, Initiator, []byte("x"), 1)
		refused.Close(start)
		again := w.Connect(start, Place{"10.0.0.1", 1}, Place{"10.0.0.2", 2}, "")
		again.Close(start)
		again.Close(start)
		again.End(start, Initiator)
		again.Refuse(start)
		again.Send(start, Initiator, []byte("x"), 1)
	})
	var got []string
	for _, c := range p.packets {
		got = append(got, flags(c.flags))
	}
	if s := strings.Join(got, " "); s != "S RA S SA A FA FA A" {
		t.Error(s)
	}
	if p.packets[0].seq == p.packets[2].seq {
		t.Error("two connections between the same ports begin with the same number")
	}
}

// More names than documentation has addresses of the old kind.
func TestManyNames(t *testing.T) {
	const many = 1000
	_, p := capture(t, func(w *Writer) {
		for i := range many {
			w.Connect(start, Place{"127.0.0.1", 1}, Place{fmt.Sprintf("host-%d", i), 2}, "").Close(start)
			w.Connect(start, Place{"127.0.0.1", 1}, Place{fmt.Sprintf("host-%d", i), 2}, "").Close(start)
		}
	})
	seen := map[netip.Addr]bool{}
	for i, c := range p.packets {
		if c.flags == flagSYN {
			seen[c.dst.Addr()] = true
		}
		if c.flags == flagSYN && p.names[c.dst.Addr()] != fmt.Sprintf("host-%d", i/12) {
			t.Fatalf("packet %d leads to %v, which is %q", i, c.dst, p.names[c.dst.Addr()])
		}
	}
	if len(seen) != many || len(p.names) != many {
		t.Errorf("%d addresses, %d names", len(seen), len(p.names))
	}
}

func TestHostileNames(t *testing.T) {
	name := "evil\x00\x1b[31m\xff" + strings.Repeat("n", 100_000)
	_, p := capture(t, func(w *Writer) {
		w.Connect(start, Place{"", 1}, Place{name, 2}, name).Close(start)
	})
	for _, n := range p.names {
		if len(n) > 1000 || strings.ContainsAny(n, "\x00\x1b") || !utf8.ValidString(n) || n == "" {
			t.Errorf("a name is %q", n)
		}
	}
	if c := p.packets[0].comment; len(c) > 1000 || strings.ContainsAny(c, "\x00\x1b") {
		t.Errorf("the comment is %q", c)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func TestWriteError(t *testing.T) {
	w := NewWriter(broken{}, "")
	conversation(w, Place{"10.0.0.1", 1}, Place{"10.0.0.2", 2})
	if err := w.Close(); err == nil || err.Error() != "disk full" {
		t.Error(err)
	}
}

// Debian's tcpdump reads it, and finds every checksum right that can be computed.
func TestTcpdump(t *testing.T) {
	file, p := capture(t, func(w *Writer) {
		conversation(w, Place{"10.0.0.1", 40000}, Place{"db.internal", 5432})
		conversation(w, Place{"::1", 40001}, Place{"fd00::5", 80})
	})
	program, err := exec.LookPath("tcpdump")
	if err != nil {
		t.Fatal("tcpdump is needed; install it with: apt-get install -y --no-install-recommends tcpdump")
	}
	cmd := exec.Command(program, "-nn", "-vv", "-tt", "-S", "-r", "-")
	cmd.Stdin = bytes.NewReader(file)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	text := string(out)
	count := strings.Count(text, "Flags [")
	truncated := 0
	for _, c := range p.packets {
		if len(c.payload) < c.length {
			truncated++
		}
	}
	if count != len(p.packets) || strings.Count(text, "(correct)") != count-truncated || strings.Contains(text, "incorrect") || strings.Contains(text, "bad cksum") {
		t.Errorf("tcpdump sees %d packets of %d, %d are not there as a whole:\n%s", count, len(p.packets), truncated, text)
	}
	for _, want := range []string{
		"10.0.0.1.40000 > 192.0.2.1.5432: Flags [S]", "192.0.2.1.5432 > 10.0.0.1.40000: Flags [S.]", "::1.40001 > fd00::5.80: Flags [S]",
		"Flags [P.]", "Flags [F.]", "wscale 14", "length 32768", "1793707200.123456", "1793707206.123456",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("tcpdump does not say %q:\n%s", want, text)
		}
	}
}

// Whatever ends and lengths are told, what comes out is a capture.
func FuzzFlow(f *testing.F) {
	f.Add("10.0.0.1", "db.internal", []byte("payload"), uint16(0), uint16(5))
	f.Add("::1", "", []byte{}, uint16(65535), uint16(0))
	f.Fuzz(func(t *testing.T, from, to string, b []byte, more, port uint16) {
		length := len(b) + int(more)
		_, p := capture(t, func(w *Writer) {
			flow := w.Connect(start, Place{from, port}, Place{to, 1}, from)
			flow.Send(start, Initiator, b, length)
			flow.Close(start)
		})
		var got []byte
		total := 0
		for _, c := range p.packets {
			got, total = append(got, c.payload...), total+c.length
		}
		if !bytes.Equal(got, b) || total != length {
			t.Errorf("%d bytes of %d, captured %x of %x", total, length, got, b)
		}
	})
}
