package recorder

import (
	"bytes"
	"crypto/hpke"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"
)

// seeds adds the files of testdata that match; there must be some.
func seeds(f *testing.F, pattern string) {
	f.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(names) == 0 {
		f.Fatalf("no seeds %s: %v", pattern, err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
}

// What parses as a frame encodes to the same bytes.
func FuzzFrame(f *testing.F) {
	f.Add(appendFrame(nil, Frame{Type: TypeHeader, Channel: Global, Data: []byte("{}")}))
	f.Add(appendFrame(nil, Frame{Type: TypeData, Stream: Stderr, At: 1 << 40, Data: []byte("x")}))
	f.Add(appendFrame(nil, Frame{Type: TypeExtent, Stream: Stdin, Data: Extent{File: 1, Offset: 1 << 40, Length: 3, Kept: []byte("abc")}.Marshal()}))
	f.Add(appendFrame(nil, Frame{Type: TypeCompartment, Channel: Global, Data: CompartmentKey{1, "K-0123456789abcdef", make([]byte, encapsulatedSize)}.Marshal()}))
	f.Add(appendFrame(nil, Frame{Type: TypeSealed, Data: Sealed{1, make([]byte, sealedHeader+gcmTag)}.Marshal()}))
	f.Add(bytes.Repeat([]byte{0xff}, frameHead))
	f.Fuzz(func(t *testing.T, b []byte) {
		frame, err := parseFrame(b)
		if err != nil {
			return
		}
		if again := appendFrame(nil, frame); !bytes.Equal(again, b) {
			t.Errorf("%x encodes as %x", b, again)
		}
		for _, parse := range []func() ([]byte, error){
			func() ([]byte, error) { v, err := frame.OpenChannel(); return v.Marshal(), err },
			func() ([]byte, error) { v, err := frame.Request(); return v.Marshal(), err },
			func() ([]byte, error) { v, err := frame.Exit(); return v.Marshal(), err },
			func() ([]byte, error) { v, err := frame.Event(); return v.Marshal(), err },
			func() ([]byte, error) { v, err := frame.Extent(); return v.Marshal(), err },
			func() ([]byte, error) { v, err := frame.CompartmentKey(); return v.Marshal(), err },
			func() ([]byte, error) { v, err := frame.Sealed(); return v.Marshal(), err },
		} {
			if again, err := parse(); err == nil && !bytes.Equal(again, frame.Data) {
				t.Errorf("%x of a %v frame encodes as %x", frame.Data, frame.Type, again)
			}
		}
	})
}

func FuzzRecord(f *testing.F) {
	epoch := [16]byte{1}
	for _, r := range []record{{kind: kindOpening, length: 1}, {kind: kindLast, length: maxRecordBody, frame: 1 << 60, segment: 7}} {
		b := make([]byte, recordHead)
		r.put(b)
		place(b, &epoch, 8192, 4096)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < recordHead {
			return
		}
		b = b[:recordHead]
		for _, sum := range []bool{false, true} { // no fuzzer finds a checksum
			if sum {
				place(b, &epoch, 8192, uint32(b[38])<<8)
			}
			r, ok := parseRecord(b, &epoch, 8192)
			if !ok {
				continue
			}
			again := make([]byte, recordHead)
			r.put(again)
			if place(again, &epoch, 8192, r.batch); !bytes.Equal(again, b) {
				t.Errorf("%x encodes as %x", b, again)
			}
		}
	})
}

func FuzzFileHeader(f *testing.F) {
	f.Add(fileHeader{number: 7, size: 64 << 20, epoch: [16]byte{1}}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := parseFileHeader(b); err == nil && !bytes.Equal(h.marshal(), b) {
			t.Errorf("%x encodes as %x", b, h.marshal())
		}
	})
}

func FuzzOpening(f *testing.F) {
	f.Add(opening{Version: openingVersion, Session: "S-1", Bastion: "b", KeyID: "K-00"}.marshal())
	f.Add(segmentHeader{Version: segmentVersion, Session: "S-1", Form: formPacked, Frames: 1}.marshal())
	f.Add(endStatement{Version: endVersion, Session: "S-1", State: stateLive}.marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := parseOpening(b); err == nil && !bytes.Equal(o.marshal(), b) {
			t.Errorf("%x encodes as %x", b, o.marshal())
		}
		if h, err := parseSegmentHeader(b); err == nil && !bytes.Equal(h.marshal(), b) {
			t.Errorf("%x encodes as %x", b, h.marshal())
		}
		if e, err := parseEnd(b); err == nil && !bytes.Equal(e.marshal(), b) {
			t.Errorf("%x encodes as %x", b, e.marshal())
		}
	})
}

func FuzzTable(f *testing.F) {
	f.Add(appendTable(nil, []Frame{{Type: TypeData, At: 1 << 40, Data: []byte("a")}, {Type: TypeData, Channel: 300, At: 1 << 41}}), 2)
	f.Add([]byte{4, 0x80, 0, 0, 0, 0}, 1) // a channel in more bytes than it needs
	f.Fuzz(func(t *testing.T, b []byte, count int) {
		if count < 0 || count > segmentFrames {
			return
		}
		frames, err := parseTable(nil, b, count)
		if err != nil {
			return
		}
		if again := appendTable(nil, frames); len(frames) != count || !bytes.Equal(again, b) {
			t.Errorf("%x encodes as %x", b, again)
		}
	})
}

func FuzzVerbatim(f *testing.F) {
	f.Add(appendVerbatim(appendVerbatim(nil, make([]byte, frameHead+gcmTag)), make([]byte, 99)))
	f.Fuzz(func(t *testing.T, b []byte) {
		var again []byte
		for rest := b; len(rest) > 0; {
			sealed, after, err := nextVerbatim(rest)
			if err != nil {
				return
			}
			again = appendVerbatim(again, sealed)
			rest = after
		}
		if !bytes.Equal(again, b) {
			t.Errorf("%x encodes as %x", b, again)
		}
	})
}

// A recording is hostile until it is verified: nothing in it may crash a reader, and what is good encodes back.
func FuzzRecording(f *testing.F) {
	seeds(f, "*.recording")
	type keys struct {
		*bench
		keystrokes []PrivateKey
	}
	var all []keys
	for set := range goldens {
		b, keystrokes := golden(f, set)
		all = append(all, keys{b, keystrokes})
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		Check(bytes.NewReader(file), nil)
		for _, k := range all {
			if _, err := Check(bytes.NewReader(file), k.bastion); err == nil && !isGolden(t, file) {
				t.Error("a signed recording that no bastion wrote")
			}
			r, err := Open(bytes.NewReader(file), k.private, nil)
			for _, key := range k.keystrokes {
				if err == nil {
					err = r.OpenCompartment(key)
				}
			}
			for err == nil {
				_, err = r.Next()
			}
		}
	})
}

// Whatever stands in the frames of compartments, a reader takes it for what was sealed, or says that it is damage.
func FuzzCompartment(f *testing.F) {
	f.Add([]byte("\x04\x00typed"), []byte{0, 0, 0, 0}, uint32(7))
	f.Add([]byte("\x09\x00"), Sealed{0, make([]byte, 18)}.Marshal(), uint32(0))
	f.Add([]byte{}, CompartmentKey{0, "K-0123456789abcdef", make([]byte, encapsulatedSize)}.Marshal(), uint32(Global))
	key, public := NewKey()
	f.Fuzz(func(t *testing.T, plain, raw []byte, channel uint32) {
		c := newCompartments("S-1", map[string]PrivateKey{key.ID(): key})
		encapsulated, sender, err := hpke.NewSender(public.hpke, hpke.HKDFSHA256(), hpke.AES256GCM(), ssh.Marshal(compartmentBinding{compartmentVersion, "S-1", key.ID()}))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.uncover(Frame{Type: TypeCompartment, Channel: Global, Data: CompartmentKey{0, key.ID(), encapsulated}.Marshal()}); err != nil {
			t.Fatal(err)
		}
		ciphertext, err := sender.Seal(ssh.Marshal(sealedBinding{sealedVersion, 0, channel}), plain)
		if err != nil {
			t.Fatal(err)
		}
		got, err := c.uncover(Frame{Type: TypeSealed, Channel: channel, Data: Sealed{0, ciphertext}.Marshal()})
		if writable := len(plain) >= sealedHeader && sealable(Type(plain[0])); writable != (err == nil) {
			t.Errorf("%x: %v", plain, err)
		} else if writable && !bytes.Equal(append([]byte{byte(got.Type), got.Stream}, got.Data...), plain) {
			t.Errorf("%x is %v %d %x", plain, got.Type, got.Stream, got.Data)
		}
		for _, typ := range []Type{TypeSealed, TypeCompartment} {
			got, err := c.uncover(Frame{Type: typ, Channel: channel, Data: raw})
			if err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrAltered) || err == nil && got.Type != typ {
				t.Errorf("%v frame %x: %v, %v", typ, raw, got.Type, err)
			}
		}
	})
}

func isGolden(t *testing.T, file []byte) bool {
	names, err := filepath.Glob(filepath.Join("testdata", "*.recording"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if b, err := os.ReadFile(name); err == nil && bytes.Equal(b, file) {
			return true
		}
	}
	return false
}

// A journal found on a disk crashes nobody either, and a scan ends.
func FuzzJournal(f *testing.F) {
	seeds(f, "*.journal")
	dir := f.TempDir()
	name := filepath.Join(dir, journalName+"0000000000000001")
	f.Fuzz(func(t *testing.T, records []byte) {
		h := fileHeader{number: 1, size: minFile, epoch: [16]byte{9}}
		if err := os.WriteFile(name, append(h.marshal(), resum(records, h.epoch)...), 0o600); err != nil {
			t.Fatal(err)
		}
		var again []byte
		s := scan{each: func(f found) error {
			if f.kind == kindOpening {
				opened(f.body)
			}
			space := make([]byte, padded(len(f.body)))
			copy(space[recordHead:], f.body)
			f.put(space)
			place(space, &h.epoch, int64(f.at.offset)-recordHead, f.batch)
			again = append(again, space...)
			return nil
		}}
		defer s.close()
		if err := s.run(dir); err == nil && s.files[0].end > fileHead {
			link := padded(linkBody)
			written := resum(records, h.epoch)[link : s.files[0].end-fileHead]
			if !bytes.Equal(again, written) {
				t.Errorf("%x encodes as %x", written, again)
			}
		}
	})
}

// resum gives the records their checksums, where they are long enough to have any.
func resum(b []byte, epoch [16]byte) []byte {
	b = bytes.Clone(b)
	for at := 0; len(b)-at >= recordHead; {
		n := int(b[at+2])<<8 | int(b[at+3])
		if n+recordHead > len(b)-at {
			break
		}
		r := record{length: uint32(n), kind: b[at+4], bodySum: bodySum(b[at+recordHead : at+recordHead+n])}
		copy(r.recording[:], b[at+8:])
		r.frame, r.segment = uint64(b[at+31]), uint32(b[at+35])
		batch := uint32(fileHead) + uint32(b[at+38])<<8
		r.put(b[at:])
		place(b[at:], &epoch, int64(fileHead+at), batch)
		at += padded(n)
	}
	return b
}

// Whatever a key holder puts into a segment, a reader neither crashes nor takes more memory than a segment may.
func FuzzUnpack(f *testing.F) {
	frames := []Frame{{Type: TypeData, Data: bytes.Repeat([]byte("text "), 50)}}
	f.Add(bytes.Clone(newPacker().pack(frames, false)), 1)
	f.Add([]byte{storedRaw, 0, 0, 0, 5, 4, 0, 0, 0, 0}, 1)
	u, err := newUnpacker()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, count int) {
		if count < 1 || count > segmentFrames {
			return
		}
		frames, err := u.unpack(b, count)
		if err == nil && len(frames) != count {
			t.Errorf("%d frames of %d", len(frames), count)
		}
		if cap(u.raw) > 2*maxRaw {
			t.Errorf("%d bytes of memory", cap(u.raw))
		}
	})
}
