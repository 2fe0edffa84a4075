package play

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"postern/recorder"
)

// ErrNoTerminal is what Asciicast says of a recording, or a channel of it, that had no terminal.
var ErrNoTerminal = errors.New("no terminal in this recording")

// Asciicast writes the terminal of a channel in the format of asciinema, version 2. A channel of -1 means the first
// one with a terminal. What players would make a terminal do beyond painting is filtered.
func Asciicast(r *recorder.Reader, channel int64, out io.Writer) error {
	c := &cast{out: bufio.NewWriter(out), channel: channel}
	for f, err := range Frames(r) {
		if err == nil {
			err = c.frame(r.Header(), f)
		}
		if err != nil {
			return errors.Join(err, c.out.Flush())
		}
	}
	if !c.begun {
		return ErrNoTerminal
	}
	return c.out.Flush()
}

type cast struct {
	out     *bufio.Writer
	channel int64
	begun   bool
	filter  Filter
	shown   []byte
}

type castHeader struct {
	Version   int               `json:"version"`
	Width     uint32            `json:"width"`
	Height    uint32            `json:"height"`
	Timestamp int64             `json:"timestamp"`
	Title     string            `json:"title"`
	Env       map[string]string `json:"env,omitempty"`
}

func (c *cast) frame(h recorder.Header, f recorder.Frame) error {
	if c.channel >= 0 && f.Channel != uint32(c.channel) {
		return nil
	}
	switch f.Type {
	case recorder.TypeRequest:
		d, err := Details(f)
		if err != nil || d.Refused {
			return err
		}
		return c.request(h, f, d)
	case recorder.TypeData:
		if !c.begun || f.Stream == recorder.Stdin {
			return nil
		}
		c.shown = c.filter.Append(c.shown[:0], f.Data)
		return c.event(f, "o", string(c.shown))
	}
	return nil
}

func (c *cast) request(h recorder.Header, f recorder.Frame, d Detail) error {
	switch {
	case d.Name == "pty-req" && !c.begun:
		c.begun, c.channel = true, int64(f.Channel)
		return c.line(castHeader{
			Version: 2, Width: max(d.Columns, 1), Height: max(d.Rows, 1), Timestamp: h.Started.Unix(),
			Title: fmt.Sprintf("%s: %s as %s@%s", h.Session, h.Person, h.Account, h.Host),
			Env:   map[string]string{"TERM": d.Term},
		})
	case d.Name == "window-change" && c.begun:
		return c.event(f, "r", fmt.Sprintf("%dx%d", max(d.Columns, 1), max(d.Rows, 1)))
	}
	return nil
}

func (c *cast) event(f recorder.Frame, kind, data string) error {
	if data == "" {
		return nil
	}
	at := strconv.FormatFloat(f.At.Seconds(), 'f', 6, 64)
	return c.line([]any{json.Number(at), kind, data})
}

func (c *cast) line(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = c.out.Write(append(b, '\n'))
	return err
}
