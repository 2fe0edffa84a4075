package play

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"postern/recorder"
	"postern/recorder/index"
)

// ErrNoTerminal is what Asciicast says of a recording, or a channel of it, that had no terminal.
var ErrNoTerminal = errors.New("no terminal in this recording")

// Asciicast writes the terminal of a channel in the format of asciinema, version 2: output, what was typed as far as the reader can open it, sizes, and a marker for
// each command that was seen. A channel of -1 means the first one with a terminal. What players would make a terminal do beyond painting is filtered.
func Asciicast(r *recorder.Reader, channel int64, out io.Writer) error {
	return writeCast(r, &cast{version: 2, channel: channel, out: bufio.NewWriter(out)})
}

// Asciicast3 is Asciicast in version 3 of the format, with times between events in place of times, and the exit status.
// See https://docs.asciinema.org/manual/asciicast/v3/.
func Asciicast3(r *recorder.Reader, channel int64, out io.Writer) error {
	return writeCast(r, &cast{version: 3, channel: channel, out: bufio.NewWriter(out)})
}

func writeCast(r *recorder.Reader, c *cast) error {
	for f, err := range Frames(r) {
		if err == nil {
			c.header = r.Header()
			err = c.take(f)
		}
		if err != nil {
			return errors.Join(err, c.flush(), c.out.Flush())
		}
	}
	if err := c.flush(); err != nil {
		return err
	}
	if !c.begun {
		return ErrNoTerminal
	}
	return c.out.Flush()
}

type cast struct {
	version int
	out     *bufio.Writer
	channel int64
	header  recorder.Header
	begun   bool
	last    time.Duration // of the last event
	output  Filter
	typed   joiner
	shown   []byte

	indexer index.Indexer // sees which commands are run
	frames  []recorder.Frame
	bytes   int
	number  uint64
}

// take gathers frames, so that the index has a piece to look at before its events are written.
func (c *cast) take(f recorder.Frame) error {
	f.Data = slices.Clone(f.Data)
	c.frames = append(c.frames, f)
	if c.bytes += len(f.Data) + 64; c.bytes < 1<<20 {
		return nil
	}
	return c.flush()
}

// flush writes the events of what was gathered, and of its commands.
func (c *cast) flush() error {
	e, err := index.Parse(c.indexer.Segment(c.number, c.frames))
	if err != nil {
		return err
	}
	slices.SortStableFunc(e.Commands, func(a, b index.Command) int { return cmp.Compare(a.At, b.At) })
	for _, f := range c.frames {
		for len(e.Commands) > 0 && e.Commands[0].At < f.At {
			if err := c.command(e.Commands[0]); err != nil {
				return err
			}
			e.Commands = e.Commands[1:]
		}
		if err := c.frame(f); err != nil {
			return err
		}
	}
	for _, command := range e.Commands {
		if err := c.command(command); err != nil {
			return err
		}
	}
	c.number += uint64(len(c.frames))
	c.frames, c.bytes = c.frames[:0], 0
	return nil
}

func (c *cast) command(command index.Command) error {
	if !c.begun || int64(command.Channel) != c.channel {
		return nil
	}
	return c.event(max(command.At, c.last), "m", short(printable(command.Text)))
}

func (c *cast) frame(f recorder.Frame) error {
	if c.channel >= 0 && f.Channel != uint32(c.channel) {
		return nil
	}
	switch {
	case f.Type == recorder.TypeRequest:
		d, err := Details(f)
		if err != nil || d.Refused {
			return err
		}
		return c.request(f, d)
	case !c.begun:
		return nil
	case f.Type == recorder.TypeData && f.Stream == recorder.Stdin:
		return c.some(f.At, "i", c.typed.join(f.Data))
	case f.Type == recorder.TypeData:
		c.shown = c.output.Append(c.shown[:0], f.Data)
		return c.some(f.At, "o", string(c.shown))
	case f.Type == recorder.TypeExit && c.version >= 3:
		e, err := f.Exit()
		if err != nil {
			return err
		}
		return c.event(f.At, "x", exitStatus(e))
	}
	return nil
}

// exitStatus is that of a shell that saw the process end.
func exitStatus(e recorder.Exit) string {
	if e.Signal == "" {
		return strconv.FormatUint(uint64(e.Status), 10)
	}
	number, known := map[string]int{"HUP": 1, "INT": 2, "QUIT": 3, "ILL": 4, "ABRT": 6, "FPE": 8, "KILL": 9, "USR1": 10, "SEGV": 11, "USR2": 12, "PIPE": 13, "ALRM": 14, "TERM": 15}[e.Signal]
	if !known {
		return "255"
	}
	return strconv.Itoa(128 + number)
}

func (c *cast) request(f recorder.Frame, d Detail) error {
	switch {
	case d.Name == "pty-req" && !c.begun:
		c.begun, c.channel = true, int64(f.Channel)
		return c.line(c.head(d))
	case d.Name == "window-change" && c.begun:
		return c.event(f.At, "r", fmt.Sprintf("%dx%d", cells(d.Columns), cells(d.Rows)))
	}
	return nil
}

// cells keeps sizes to what players take: 16 bits.
func cells(n uint32) uint32 { return min(max(n, 1), 1<<16-1) }

type castHead struct {
	Version   int               `json:"version"`
	Width     uint32            `json:"width,omitempty"`
	Height    uint32            `json:"height,omitempty"`
	Term      *castTerm         `json:"term,omitempty"`
	Timestamp int64             `json:"timestamp"`
	Title     string            `json:"title"`
	Env       map[string]string `json:"env,omitempty"`
}

type castTerm struct {
	Columns uint32 `json:"cols"`
	Rows    uint32 `json:"rows"`
	Type    string `json:"type,omitempty"`
}

func (c *cast) head(d Detail) castHead {
	h := castHead{
		Version: c.version, Timestamp: c.header.Started.Unix(),
		Title: fmt.Sprintf("%s: %s as %s@%s", c.header.Session, c.header.Person, c.header.Account, c.header.Host),
	}
	if c.version >= 3 {
		h.Term = &castTerm{cells(d.Columns), cells(d.Rows), printable(d.Term)}
		return h
	}
	h.Width, h.Height, h.Env = cells(d.Columns), cells(d.Rows), map[string]string{"TERM": d.Term}
	return h
}

// joiner puts characters together that came in pieces.
type joiner struct{ part []byte }

func (j *joiner) join(b []byte) string {
	b = append(j.part, b...)
	end := len(b)
	for i := max(end-utf8.UTFMax+1, 0); i < end; i++ {
		if utf8.RuneStart(b[i]) && !utf8.FullRune(b[i:]) {
			end = i
		}
	}
	j.part = slices.Clone(b[end:])
	return strings.ToValidUTF8(string(b[:end]), "\ufffd")
}

// some is an event with data, or none: half a character is nothing yet.
func (c *cast) some(at time.Duration, kind, data string) error {
	if data == "" {
		return nil
	}
	return c.event(at, kind, data)
}

func (c *cast) event(at time.Duration, kind, data string) error {
	since := at
	if c.version >= 3 {
		since = at - c.last
	}
	c.last = at
	return c.line([]any{json.Number(strconv.FormatFloat(since.Seconds(), 'f', 6, 64)), kind, data})
}

func (c *cast) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = c.out.Write(append(b, '\n'))
	return err
}
