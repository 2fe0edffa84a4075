package play

import (
	"encoding/json"
	"fmt"
	"io"

	"postern/recorder"
)

// Text writes the standard output and error of a recording as they were, with no timing and nothing filtered: not to
// a terminal. Where bytes are missing because the policy did not keep them, a line of its own says so. Either writer may be nil. A channel of -1
// means all, without those whose bytes are not for people: sftp, forwards and the like.
func Text(r *recorder.Reader, channel int64, stdout, stderr io.Writer) error {
	t := transcript{channels: channels{}, channel: channel, missing: map[lane]uint64{}}
	t.to[recorder.Stdout], t.to[recorder.Stderr] = &lines{out: stdout}, &lines{out: stderr}
	if stdout == stderr {
		t.to[recorder.Stderr] = t.to[recorder.Stdout] // one knows where the other's line ends
	}
	for f, err := range Frames(r) {
		if err == nil {
			t.channels.see(f)
			err = t.frame(f)
		}
		if err != nil {
			return err
		}
	}
	return t.end(func(lane) bool { return true })
}

type transcript struct {
	channels channels
	channel  int64
	to       [3]*lines
	missing  map[lane]uint64 // bytes not kept since the last that were
}

// lane is one direction of a channel.
type lane struct {
	channel uint32
	stream  byte
}

func (t *transcript) frame(f recorder.Frame) error {
	if t.channel >= 0 && uint32(t.channel) != f.Channel {
		return nil
	}
	l := lane{f.Channel, f.Stream}
	switch f.Type {
	case recorder.TypeClose:
		return t.end(func(l lane) bool { return l.channel == f.Channel })
	case recorder.TypeEvent:
		return t.summary(l, f)
	case recorder.TypeData, recorder.TypeExtent:
	default:
		return nil
	}
	if int(f.Stream) >= len(t.to) || t.to[f.Stream] == nil || t.to[f.Stream].out == nil || t.channel < 0 && t.channels.hides(f) {
		return nil
	}
	if f.Type == recorder.TypeData {
		return t.write(l, f.Data)
	}
	return t.extent(l, f)
}

// write writes what is there, after a line about what is not.
func (t *transcript) write(l lane, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if err := t.gap(l); err != nil {
		return err
	}
	return t.to[l.stream].write(b)
}

func (t *transcript) extent(l lane, f recorder.Frame) error {
	e, err := f.Extent()
	if err != nil || e.File != 0 {
		return nil
	}
	if err := t.write(l, e.Kept); err != nil {
		return err
	}
	t.missing[l] += uint64(e.Length) - min(uint64(e.Length), uint64(len(e.Kept)))
	return nil
}

// summary ends a stream: its last gap, and what all of it was.
func (t *transcript) summary(l lane, f recorder.Frame) error {
	e, err := f.Event()
	var s recorder.Stream
	if err != nil || e.Name != recorder.EventStream || json.Unmarshal(e.JSON, &s) != nil {
		return nil
	}
	if err := t.end(func(other lane) bool { return other == l }); err != nil {
		return err
	}
	if s.Kept >= s.Bytes || int(l.stream) >= len(t.to) || t.to[l.stream] == nil || t.channel < 0 && t.channels.hides(f) {
		return nil
	}
	return t.to[l.stream].line(fmt.Sprintf("after the first %d bytes of %d only samples were kept; sha256 of all %s", s.Kept, s.Bytes, printable(s.SHA256)))
}

// end writes what is missing at the end of streams.
func (t *transcript) end(which func(lane) bool) error {
	for l := range t.missing {
		if !which(l) {
			continue
		}
		if err := t.gap(l); err != nil {
			return err
		}
	}
	return nil
}

// gap writes a line where bytes are missing.
func (t *transcript) gap(l lane) error {
	n := t.missing[l]
	delete(t.missing, l)
	if n == 0 {
		return nil
	}
	return t.to[l.stream].line(fmt.Sprintf("%d bytes were not kept here", n))
}

// lines knows whether what was written ends a line.
type lines struct {
	out  io.Writer
	open bool
}

func (w *lines) write(b []byte) error {
	if len(b) == 0 || w.out == nil {
		return nil
	}
	w.open = b[len(b)-1] != '\n'
	_, err := w.out.Write(b)
	return err
}

// line writes a line of ours, on a line of its own.
func (w *lines) line(text string) error {
	if w.open {
		text = "\n[postern: " + text + "]\n"
	} else {
		text = "[postern: " + text + "]\n"
	}
	return w.write([]byte(text))
}
