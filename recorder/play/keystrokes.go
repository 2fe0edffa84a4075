package play

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"postern/recorder"
)

// Keystrokes writes what was typed on terminals, a line for each line that was typed or each pause, safe for a terminal. The reader must have been
// given the key of the compartments that [Compartments] names: what it cannot open is counted.
func Keystrokes(r *recorder.Reader, out io.Writer) error {
	w := bufio.NewWriter(out)
	seen := channels{}
	typed := newTypist(seen)
	for f, err := range Frames(r) {
		if err != nil {
			return errors.Join(err, w.Flush())
		}
		seen.see(f)
		for _, line := range typed.lines(f) {
			w.WriteString(line + "\n") // a bufio.Writer keeps its error
		}
	}
	return w.Flush()
}

// Compartments are the IDs of the keys that parts of a recording are sealed to.
func Compartments(r *recorder.Reader) (keys []string, err error) {
	seen := map[string]bool{}
	for f, err := range Frames(r) {
		if err != nil {
			return keys, err
		}
		if f.Type != recorder.TypeCompartment {
			continue
		}
		if k, err := f.CompartmentKey(); err == nil && !seen[k.Key] {
			seen[k.Key] = true
			keys = append(keys, k.Key)
		}
	}
	return keys, nil
}

const (
	typingPause = 2 * time.Second // a longer one begins another line
	typingMost  = 512             // bytes in a line
)

// typist gathers what is typed on each channel that has a terminal into lines.
type typist struct {
	channels channels
	typed    map[uint32]*typing
	sealed   uint64 // frames that nobody opened
}

type typing struct {
	begin, last time.Duration
	bytes       []byte
}

func newTypist(seen channels) *typist { return &typist{channels: seen, typed: map[uint32]*typing{}} }

// lines are those that f completes.
func (t *typist) lines(f recorder.Frame) (lines []string) {
	for _, id := range sorted(t.typed) {
		if p := t.typed[id]; f.At-p.last > typingPause || f.Type == recorder.TypeEnd || f.Type == recorder.TypeClose && f.Channel == id {
			lines = t.flush(lines, id)
		}
	}
	switch {
	case f.Type == recorder.TypeSealed:
		t.sealed++
	case f.Type == recorder.TypeEnd && t.sealed > 0:
		lines = append(lines, fmt.Sprintf("[%s: %d pieces of what was typed are sealed to a key that was not given]", at(f), t.sealed))
	case f.Type == recorder.TypeData && f.Stream == recorder.Stdin && t.channels.of(f).pty:
		for _, c := range f.Data {
			lines = t.key(lines, f, c)
		}
	}
	return lines
}

func (t *typist) key(lines []string, f recorder.Frame, c byte) []string {
	p := t.typed[f.Channel]
	if p == nil {
		p = &typing{begin: f.At}
		t.typed[f.Channel] = p
	}
	p.last = f.At
	p.bytes = append(p.bytes, c)
	if c == '\r' || c == '\n' || len(p.bytes) >= typingMost {
		return t.flush(lines, f.Channel)
	}
	return lines
}

func (t *typist) flush(lines []string, id uint32) []string {
	p := t.typed[id]
	delete(t.typed, id)
	return append(lines, fmt.Sprintf("[%s: typed on channel %d: %s]", at(recorder.Frame{At: p.begin}), id, keys(p.bytes)))
}

// keys shows what was typed: controls by the names of their keys.
func keys(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		b = b[n:]
		switch name := keyNames[r]; {
		case name != "":
			s.WriteString("<" + name + ">")
		case r < ' ':
			fmt.Fprintf(&s, "<C-%c>", r+0x60)
		default:
			s.WriteString(printable(string(r)))
		}
	}
	return s.String()
}

var keyNames = map[rune]string{'\r': "Enter", '\n': "Enter", '\t': "Tab", 0x1b: "Esc", 0x7f: "Backspace", '\b': "Backspace", 0: "C-@", '<': "lt"}
