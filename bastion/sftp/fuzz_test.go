package sftp

import (
	"bytes"
	"encoding/binary"
	"testing"

	"postern/recorder"
)

// A fuzzed conversation is what each side says, and in which order: uint16s, the top bit for the host, the rest how many bytes come next.
func seeds(f *testing.F) {
	f.Helper()
	for _, c := range conversations(f) {
		var user, host, order []byte
		for _, p := range c {
			n := uint16(len(p.b))
			if p.host {
				n |= 1 << 15
				host = append(host, p.b...)
			} else {
				user = append(user, p.b...)
			}
			order = binary.BigEndian.AppendUint16(order, n)
		}
		for grants := range byte(3) {
			f.Add(grants, user, host, order)
		}
	}
	for _, request := range mutating(7) {
		user := append(bytes.Clone(hello), packet(typeOpen, 1, "a", openRead, 0)...)
		f.Add(byte(1), append(user, request...), append(bytes.Clone(helloBack), handleIs(1, "h")...), []byte{0, 9, 0x80, 9})
	}
}

func fuzzed(user, host, order []byte) (c conversation) {
	for len(order) >= 2 {
		turn := binary.BigEndian.Uint16(order)
		order = order[2:]
		from := &user
		if turn>>15 != 0 {
			from = &host
		}
		n := min(int(turn&0x7fff), len(*from))
		if n > 0 {
			c = append(c, part{turn>>15 != 0, (*from)[:n]})
			*from = (*from)[n:]
		}
	}
	return append(c, part{false, user}, part{true, host})
}

// Whatever both sides send: what passes is what was sent, but for what was answered; all of it is on record; nothing is held beyond the bounds;
// how it is cut makes no difference.
func FuzzBothSides(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, grants byte, user, host, order []byte) {
		g := []Config{both, readOnly, writeOnly}[grants%3]
		k := newTalk(t, g)
		said := 0
		for _, p := range fuzzed(user, host, order) {
			said += len(p.b)
			k.say(p.host, p.b)
			if k.err == nil {
				k.accounted()
			}
			if cap(k.d.client.buf)+cap(k.d.host.buf) > 2*(maxPacket+8192) {
				t.Fatal("too much is held")
			}
		}
		k.close()
		k.unchanged(user, host)
		k.boundedEvents(said)
		if files := k.files(); uint32(len(files)) != k.d.files {
			t.Fatalf("%d files, %d told", k.d.files, len(files))
		}
		if len(user)+len(host) < 2000 {
			pieces := newTalk(t, g)
			for _, p := range fuzzed(user, host, order) {
				for i := range p.b {
					pieces.say(p.host, p.b[i:i+1])
				}
			}
			pieces.close()
			same(t, "byte by byte", k, pieces)
		}
	})
}

// unchanged checks what passed against what was said.
func (k *talk) unchanged(user, host []byte) {
	k.t.Helper()
	heard := k.heard(user, k.toHost, k.answers)
	recorded, missing := replayed(k.t, k.frames, recorder.Stdin)
	if len(recorded)+missing != len(heard) || missing == 0 && !bytes.Equal(recorded, heard) {
		k.t.Fatalf("the client's record is %d bytes and %d of denied contents, for %d", len(recorded), missing, len(heard))
	}
	k.heard(host, k.fromHost, nil)
	recorded, missing = replayed(k.t, k.frames, recorder.Stdout)
	if missing != 0 || !bytes.Equal(recorded, k.toUser) {
		k.t.Fatalf("the host's record is not what the client got")
	}
}

// heard is the beginning of what was said that was passed on or answered. Passed and answers must be made of it, in order.
func (k *talk) heard(said, passed, answers []byte) []byte {
	k.t.Helper()
	whole := said
	out, rest := packets(passed)
	replies, more := packets(answers)
	if len(rest)+len(more) > 0 {
		k.t.Fatal("half a packet passes")
	}
	for len(out)+len(replies) > 0 {
		if len(said) < 4 || len(said) < 4+int(binary.BigEndian.Uint32(said)) {
			k.t.Fatalf("more passes than was said: %x %x", out, replies)
		}
		p := said[:4+int(binary.BigEndian.Uint32(said))]
		switch {
		case len(out) > 0 && bytes.Equal(out[0], p):
			out = out[1:]
		case len(said) == len(whole) && p[4] == typeInit && len(out[0]) == len(p) && out[0][8] <= version:
			out = out[1:]
		case len(said) == len(whole) && p[4] == typeVersion && len(out[0]) < len(p):
			out = out[1:]
		case len(replies) > 0 && bytes.Equal(p[5:9], replies[0][5:9]):
			replies = replies[1:]
		default:
			k.t.Fatalf("%x is lost or changed", p)
		}
		said = said[len(p):]
	}
	return whole[:len(whole)-len(said)]
}

func (k *talk) boundedEvents(said int) {
	k.t.Helper()
	told := 0
	for _, f := range k.frames {
		if f.Type == recorder.TypeEvent {
			told += len(f.Data)
		}
	}
	if told > 128*said {
		k.t.Fatalf("%d bytes of events for %d", told, said)
	}
}

// Who may only read changes nothing: judged here as OpenSSH's server reads packets, not as the decoder does.
func FuzzReadOnly(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, _ byte, user, host, order []byte) {
		k := newTalk(t, readOnly)
		said := 0
		for _, p := range fuzzed(user, host, order) {
			said += len(p.b)
			k.say(p.host, p.b)
		}
		k.close()
		all, _ := packets(k.toHost)
		for i, p := range all {
			if !harmless(i, p) {
				t.Fatalf("reaches the host: %x", p)
			}
		}
		k.boundedEvents(said)
	})
}

// harmless says whether the packet with number i changes nothing, and has every field that the server takes from it.
func harmless(i int, p []byte) bool {
	p = p[4:]
	short := false
	bytesOf := func(n int) []byte {
		if n > len(p) {
			short = true
			return make([]byte, 8)
		}
		b := p[:n]
		p = p[n:]
		return b
	}
	number := func() int { return int(binary.BigEndian.Uint32(bytesOf(4))) }
	text := func() string { return string(bytesOf(number())) }
	kind := bytesOf(1)[0]
	first := number() // of INIT the version, else the id
	switch kind {
	case 1:
		return i == 0 && first <= 3 && !short
	case 3: // open
		text()
		flags := number()
		switch attrs := number(); {
		case attrs>>31 != 0:
			for range number() {
				text()
				if text(); short {
					break
				}
			}
			fallthrough
		default:
			for bit, size := range []int{8, 8, 4, 8} {
				if attrs>>bit&1 != 0 {
					bytesOf(size)
				}
			}
		}
		return flags&^1 == 0 && !short
	case 4, 7, 8, 11, 12, 16, 17, 19: // close, lstat, fstat, opendir, readdir, realpath, stat, readlink
		text()
		return !short
	case 5: // read
		text()
		bytesOf(12)
		return !short
	case 200:
		switch text() {
		case "limits@openssh.com":
			return !short
		case "users-groups-by-id@openssh.com":
			text()
			text()
			return !short
		case "statvfs@openssh.com", "fstatvfs@openssh.com", "expand-path@openssh.com", "home-directory":
			text()
			return !short
		}
	}
	return false
}
