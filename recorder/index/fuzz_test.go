package index

import (
	"bytes"
	"testing"
	"time"
	"unicode/utf8"

	"postern/recorder"
)

// FuzzWords cuts hostile output into frames and segments. Whatever it is, entries are small and read back, and none denies what is in the text of its segment, also
// when it began in the one before.
func FuzzWords(f *testing.F) {
	f.Add([]byte("one two three\r\nfour \x1b[31mfive\x1b[m \x1b]0;title\x07six seven"), uint64(0x1234567), true)
	f.Add([]byte("\x1b[?2004h$ ls\b\b\x1b[K\x1b[1Pcat\r\n\x1b[?2004l\r\x1b[?1049h\x1b[2J\x1b[5;5Hx\x1b[?1049l"), uint64(0x9999999999), true)
	f.Add(bytes.Repeat([]byte("long line without end "), 60), uint64(0xfedcba9876543210), false)
	f.Add([]byte("\xe2\x84\xaaelvin Übermut \xc2\x9b\xff\xfe\x00\x08\x08日本語\x1bPabc\x1b\\def"), uint64(77777), false)
	f.Add([]byte("\x00\x00\x00word\x00\x80other Wort\x00\x00\xe2\x84\xaaelvin \x00\x00\x00\x00kelvin\rover\bx\x1b[3\x00Cx\x00"), uint64(0xffffffffffff), false)
	f.Fuzz(func(t *testing.T, data []byte, cuts uint64, terminal bool) {
		data = data[:min(len(data), 4096)]
		x, whole := new(Indexer), Text{Terminal: terminal}
		frames := []recorder.Frame{open(0, "session")}
		if terminal {
			frames = append(frames, pty(0))
			whole.Rows = 24
		}
		first, n := uint64(0), 0
		var text []byte // of all segments
		begin := 0
		for len(data) > 0 {
			size := min(1+int(cuts>>(n%57)&0x3f), len(data))
			frames = append(frames, out(0, time.Duration(n)*time.Millisecond, string(data[:size])))
			text = whole.Append(text, data[:size])
			data = data[size:]
			if n++; n%3 == 0 || len(data) == 0 {
				check(t, parsed(t, x, first, frames...), text, begin)
				first, begin, frames = first+uint64(len(frames)), len(text), nil
			}
		}
	})
}

// check holds an entry against the text up to the end of its segment.
func check(t *testing.T, e Entry, text []byte, begin int) {
	line := bytes.LastIndexByte(text[:begin], '\n') + 1
	lane := e.Lanes[0]
	if !lane.Long {
		if got := text[line:begin]; !bytes.Equal(lane.Line, got) {
			t.Fatalf("line before %q, want %q", lane.Line, got)
		}
	} else {
		line = begin - len(lane.Line)
	}
	if e.Drawn {
		if e.Words != nil {
			t.Fatal("drawn, with words")
		}
		return
	}
	for _, line := range bytes.Split(text[line:], []byte{'\n'}) {
		for i := 0; i+3 <= len(line); i++ {
			for _, n := range []int{3, 4, 9, 17} {
				if i+n > len(line) || !utf8.RuneStart(line[i]) {
					continue
				}
				if word := string(line[i : i+n]); utf8.ValidString(word) && !e.Words.May(word) {
					t.Fatalf("%q is denied", word)
				}
			}
		}
	}
}

// FuzzFrames gives the indexer frames of every type with hostile data, and Parse bytes that nobody wrote.
func FuzzFrames(f *testing.F) {
	for _, g := range goldenFrames() {
		f.Add([]byte{byte(g.Type), byte(g.Channel), g.Stream}, g.Data)
	}
	entry := new(Indexer).Segment(0, goldenFrames())
	f.Add([]byte{1}, entry)
	f.Fuzz(func(t *testing.T, kinds, data []byte) {
		x := new(Indexer)
		var frames []recorder.Frame
		for i, k := range kinds {
			frames = append(frames, recorder.Frame{Type: recorder.Type(k), Channel: uint32(k >> 4), Stream: byte(i), At: time.Duration(i) * time.Hour, Data: data})
		}
		e := parsed(t, x, 0, frames...)
		Resume(e)
		parsed(t, x, uint64(len(frames)), goldenFrames()...)
		if e, err := Parse(data); err == nil {
			b := e.encode()
			if again, err := Parse(b); err != nil || again.Output != e.Output || !bytes.Equal(again.Words, e.Words) {
				t.Fatalf("%v", err)
			}
		}
	})
}
