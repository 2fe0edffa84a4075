package play

import (
	"bufio"
	"encoding/hex"
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
	Extent  *Extent               `json:"extent,omitempty"` // what is kept of it is in text or bytes

	Compartment *Compartment `json:"compartment,omitempty"`
	Sealed      *Sealed      `json:"sealed,omitempty"`
}

// Extent is a [recorder.Extent] without what is kept.
type Extent struct {
	File   uint32 `json:"file,omitempty"`
	Offset uint64 `json:"offset"`
	Length uint32 `json:"length"`
	SHA256 string `json:"sha256,omitempty"` // of all that passed up to its end
	Kept   int    `json:"kept"`             // bytes
}

// Compartment says that frames are sealed to a key of their own from here on.
type Compartment struct {
	Number uint32 `json:"number"`
	Key    string `json:"key"`
}

// Sealed is a frame that the key of a compartment opens, and that was not given.
type Sealed struct {
	Compartment uint32 `json:"compartment"`
	Bytes       int    `json:"bytes"` // of the ciphertext
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
		e.data(f.Data)
	}
	return e
}

func (e *Event) data(b []byte) {
	if utf8.Valid(b) {
		e.Text = string(b)
	} else {
		e.Bytes = b
	}
}

func (e *Event) content(r *recorder.Reader, f recorder.Frame) bool {
	if streamed(f) && int(f.Stream) < len(streams) {
		e.Stream = streams[f.Stream]
	}
	switch f.Type {
	case recorder.TypeHeader:
		h := r.Header()
		e.Header = &h
		return true
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
	case recorder.TypeExtent:
		return e.extent(f)
	case recorder.TypeCompartment:
		k, err := f.CompartmentKey()
		e.Compartment = &Compartment{k.Number, k.Key}
		return err == nil
	case recorder.TypeSealed:
		s, err := f.Sealed()
		e.Sealed = &Sealed{s.Compartment, len(s.Ciphertext)}
		return err == nil
	}
	return false
}

func (e *Event) extent(f recorder.Frame) bool {
	x, err := f.Extent()
	if err != nil {
		return false
	}
	e.Extent = &Extent{File: x.File, Offset: x.Offset, Length: x.Length, Kept: len(x.Kept)}
	if x.Sum != [32]byte{} {
		e.Extent.SHA256 = hex.EncodeToString(x.Sum[:])
	}
	e.data(x.Kept)
	return true
}

// streamed says whether the stream of a frame means something.
func streamed(f recorder.Frame) bool {
	switch f.Type {
	case recorder.TypeData, recorder.TypeEOF, recorder.TypeExtent:
		return true
	case recorder.TypeEvent:
		e, err := f.Event()
		return err == nil && e.Name == recorder.EventStream
	}
	return false
}

var streams = [...]string{"stdin", "stdout", "stderr"}
