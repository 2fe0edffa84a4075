package play

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"unicode/utf8"

	"postern/recorder"
)

// Event is one line of the JSON Lines export.
type Event struct {
	At      json.Number           `json:"at"` // seconds since the start
	Type    string                `json:"type"`
	Channel *uint32               `json:"channel,omitempty"` // absent: the connection
	Stream  string                `json:"stream,omitempty"`  // stdin, stdout or stderr
	Text    string                `json:"text,omitempty"`    // data that is UTF-8; notes; the end
	Bytes   []byte                `json:"bytes,omitempty"`   // data that is not, in base64
	Header  *recorder.Header      `json:"header,omitempty"`
	Open    *recorder.OpenChannel `json:"open,omitempty"`
	Request *Detail               `json:"request,omitempty"`
	Exit    *recorder.Exit        `json:"exit,omitempty"`
	Name    string                `json:"name,omitempty"` // of an event
	Event   json.RawMessage       `json:"event,omitempty"`
}

// Events writes every frame as one JSON object a line.
func Events(r *recorder.Reader, out io.Writer) error {
	w := bufio.NewWriter(out)
	lines := json.NewEncoder(w)
	for f, err := range Frames(r) {
		if err == nil {
			err = lines.Encode(event(r, f))
		}
		if err != nil {
			return errors.Join(err, w.Flush())
		}
	}
	return w.Flush()
}

// event describes f. A frame whose content is not what its type says keeps it as bytes.
func event(r *recorder.Reader, f recorder.Frame) Event {
	e := Event{At: json.Number(strconv.FormatFloat(f.At.Seconds(), 'f', 6, 64)), Type: f.Type.String()}
	if f.Channel != recorder.Global {
		e.Channel = &f.Channel
	}
	if !e.content(r, f) {
		if utf8.Valid(f.Data) {
			e.Text = string(f.Data)
		} else {
			e.Bytes = f.Data
		}
	}
	return e
}

func (e *Event) content(r *recorder.Reader, f recorder.Frame) bool {
	switch f.Type {
	case recorder.TypeHeader:
		h := r.Header()
		e.Header = &h
		return true
	case recorder.TypeData, recorder.TypeEOF:
		if int(f.Stream) < len(streams) {
			e.Stream = streams[f.Stream]
		}
	case recorder.TypeOpen:
		c, err := f.OpenChannel()
		e.Open = &c
		return err == nil
	case recorder.TypeRequest:
		d, err := Details(f)
		e.Request = &d
		return err == nil
	case recorder.TypeExit:
		x, err := f.Exit()
		e.Exit = &x
		return err == nil
	case recorder.TypeEvent:
		x, err := f.Event()
		e.Name, e.Event = x.Name, x.JSON
		if !json.Valid(x.JSON) {
			e.Event = nil
			return false
		}
		return err == nil
	}
	return false
}

var streams = [...]string{"stdin", "stdout", "stderr"}
