package play

import (
	"fmt"
	"strings"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

// Size is that of a terminal, in characters.
type Size struct{ Columns, Rows uint32 }

// Detail is what a request frame says, as far as its name is known.
type Detail struct {
	Name      string `json:"name"`
	FromHost  bool   `json:"from_host,omitempty"`
	Refused   bool   `json:"refused,omitempty"`
	Command   string `json:"command,omitempty"`   // exec
	Subsystem string `json:"subsystem,omitempty"` // subsystem
	Term      string `json:"term,omitempty"`      // pty-req
	Columns   uint32 `json:"columns,omitempty"`   // pty-req, window-change
	Rows      uint32 `json:"rows,omitempty"`
	Variable  string `json:"variable,omitempty"` // env
	Value     string `json:"value,omitempty"`
	Signal    string `json:"signal,omitempty"`
	Payload   []byte `json:"payload,omitempty"` // of other names, and of a payload that is not what its name says
}

// Details parses a request frame.
func Details(f recorder.Frame) (Detail, error) {
	r, err := f.Request()
	if err != nil {
		return Detail{}, err
	}
	d := Detail{Name: r.Name, FromHost: r.FromHost, Refused: r.Refused}
	if !d.payload(r.Payload) && len(r.Payload) > 0 {
		d.Payload = r.Payload
	}
	return d, nil
}

// payload reads the type-specific data of sections 6.2 to 6.10 of RFC 4254.
func (d *Detail) payload(b []byte) bool {
	switch d.Name {
	case "pty-req":
		var p struct {
			Term                         string
			Columns, Rows, Width, Height uint32
			Modes                        string
		}
		if ssh.Unmarshal(b, &p) != nil {
			return false
		}
		d.Term, d.Columns, d.Rows = p.Term, p.Columns, p.Rows
	case "window-change":
		var p struct{ Columns, Rows, Width, Height uint32 }
		if ssh.Unmarshal(b, &p) != nil {
			return false
		}
		d.Columns, d.Rows = p.Columns, p.Rows
	case "env":
		var p struct{ Name, Value string }
		if ssh.Unmarshal(b, &p) != nil {
			return false
		}
		d.Variable, d.Value = p.Name, p.Value
	case "exec", "subsystem", "signal":
		var p struct{ Text string }
		if ssh.Unmarshal(b, &p) != nil {
			return false
		}
		*d.text() = p.Text
	default:
		return false
	}
	return true
}

func (d *Detail) text() *string {
	switch d.Name {
	case "exec":
		return &d.Command
	case "subsystem":
		return &d.Subsystem
	}
	return &d.Signal
}

// plainLine is what a frame says by itself.
func plainLine(f recorder.Frame) string {
	switch f.Type {
	case recorder.TypeRequest:
		return requestLine(f)
	case recorder.TypeExit:
		e, err := f.Exit()
		switch {
		case err != nil:
			return ""
		case e.Signal != "":
			return fmt.Sprintf("[%s: killed by signal %s]", at(f), printable(e.Signal))
		}
		return fmt.Sprintf("[%s: exit %d]", at(f), e.Status)
	case recorder.TypeNote:
		return fmt.Sprintf("[%s: %s]", at(f), printable(string(f.Data)))
	}
	return ""
}

func requestLine(f recorder.Frame) string {
	d, err := Details(f)
	if err != nil {
		return ""
	}
	refused := ""
	if d.Refused {
		refused = " (refused)"
	}
	switch d.Name {
	case "exec":
		return fmt.Sprintf("[%s: command %s%s]", at(f), printable(d.Command), refused)
	case "subsystem":
		return fmt.Sprintf("[%s: subsystem %s%s]", at(f), printable(d.Subsystem), refused)
	case "shell":
		return fmt.Sprintf("[%s: shell%s]", at(f), refused)
	case "signal":
		return fmt.Sprintf("[%s: signal %s%s]", at(f), printable(d.Signal), refused)
	}
	return ""
}

func at(f recorder.Frame) string {
	s := int(f.At.Seconds())
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// printable has controls and what is not UTF-8 as question marks.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r <= 0x9f || r == '\ufffd' || r == '\u061c' || r >= '\u200b' && r <= '\u200f' || r == '\ufeff' || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '?'
		}
		return r
	}, s)
}
