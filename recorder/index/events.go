package index

import (
	"cmp"
	"encoding/json"
	"fmt"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
)

func (x *Indexer) mark(channel uint32, kind, text string) {
	text = tidy(text)
	if x.room.take(&x.room.marks, kind, text) {
		x.entry.Marks = append(x.entry.Marks, Mark{At: x.at, Channel: channel, Kind: kind, Text: text})
	}
}

func (x *Indexer) command(c Command) {
	c.Text = tidy(c.Text)
	if x.room.take(&x.room.commands, c.Text) {
		x.entry.Commands = append(x.entry.Commands, c)
	}
}

func (x *Indexer) request(f *recorder.Frame) {
	r, err := f.Request()
	if err != nil {
		return
	}
	switch r.Name {
	case "exec", "subsystem":
		var p struct{ Text string }
		if ssh.Unmarshal(r.Payload, &p) != nil {
			return
		}
		if r.Name == "subsystem" {
			p.Text = "subsystem " + p.Text
		}
		x.command(Command{At: x.at, Channel: f.Channel, Text: p.Text, Refused: r.Refused})
	case "pty-req", "window-change":
		columns, rows, ok := sizeIn(r)
		if ok && !r.Refused && x.room.take(&x.room.sizes) {
			x.entry.Sizes = append(x.entry.Sizes, Size{At: x.at, Channel: f.Channel, Columns: columns, Rows: rows})
		}
	case "signal":
		var p struct{ Text string }
		if ssh.Unmarshal(r.Payload, &p) == nil {
			x.mark(f.Channel, "signal", p.Text)
		}
	case "env": // is refused all the time
		return
	}
	if r.Refused && r.Name != "exec" && r.Name != "subsystem" {
		x.mark(f.Channel, "denied", r.Name)
	}
}

// exit ends the command of a channel, and is on the timeline.
func (x *Indexer) exit(f *recorder.Frame) {
	e, err := f.Exit()
	if err != nil {
		return
	}
	text := fmt.Sprintf("status %d", e.Status)
	if e.Signal != "" {
		text = "signal " + e.Signal
	}
	x.mark(f.Channel, "exit", text)
	for i := len(x.entry.Commands) - 1; i >= 0 && e.Signal == ""; i-- {
		c := &x.entry.Commands[i]
		if c.Channel == f.Channel && !c.Seen && !c.Refused {
			c.Exit = &e.Status
			return
		}
	}
}

func (x *Indexer) event(f *recorder.Frame) {
	e, err := f.Event()
	if err != nil {
		return
	}
	switch e.Name {
	case recorder.EventFile:
		var v recorder.File
		if json.Unmarshal(e.JSON, &v) == nil {
			x.file(f.Channel, v)
		}
	case recorder.EventStream:
		var v recorder.Stream
		if json.Unmarshal(e.JSON, &v) == nil && v.Kept < v.Bytes && f.Stream != recorder.Stdin {
			x.mark(f.Channel, "partial", fmt.Sprintf("of %d bytes of output the first %d are on record, and samples of the others", v.Bytes, v.Kept))
		}
	case recorder.EventOperation:
		var v recorder.Operation
		if json.Unmarshal(e.JSON, &v) == nil {
			x.operation(f.Channel, v)
		}
	case recorder.EventForward:
		var v recorder.Forward
		if json.Unmarshal(e.JSON, &v) == nil {
			x.forward(f.Channel, v)
		}
	case recorder.EventListen:
		var v recorder.Listen
		if json.Unmarshal(e.JSON, &v) == nil {
			x.listen(f.Channel, v)
		}
	case recorder.EventAgent:
		var v recorder.AgentUse
		if json.Unmarshal(e.JSON, &v) == nil {
			x.agent(f.Channel, v)
		}
	}
}

// file has a line for each direction in which something passed.
func (x *Indexer) file(channel uint32, v recorder.File) {
	base := File{Channel: channel, Protocol: v.Protocol, Number: uint64(v.Number), Path: v.Path, Status: v.Status, Denied: v.Denied, Operation: "open"}
	for _, way := range []struct {
		operation string
		*recorder.Transfer
	}{{"read", v.Read}, {"write", v.Written}} {
		if way.Transfer == nil {
			continue
		}
		f := base
		f.Operation, f.Bytes, f.SHA256 = way.operation, way.Bytes, way.SHA256
		x.addFile(f)
	}
	if v.Read != nil || v.Written != nil {
		return
	}
	if v.Access == "read" || v.Access == "write" {
		base.Operation = v.Access
	}
	x.addFile(base)
}

// looking is what clients ask of every file before they do something.
var looking = map[string]bool{"stat": true, "lstat": true, "fstat": true, "realpath": true, "readdir": true, "statvfs@openssh.com": true, "fstatvfs@openssh.com": true,
	"limits@openssh.com": true, "expand-path@openssh.com": true, "users-groups-by-id@openssh.com": true}

func (x *Indexer) operation(channel uint32, v recorder.Operation) {
	if looking[v.Name] && !v.Denied {
		return
	}
	if v.Status != "" { // it may have been told before
		for i := len(x.entry.Files) - 1; i >= 0; i-- {
			f := &x.entry.Files[i]
			if f.Channel == channel && f.Number == v.Number && f.Operation == v.Name && f.Status == "" {
				f.Status, f.Denied = tidy(v.Status), v.Denied
				return
			}
		}
	}
	x.addFile(File{Channel: channel, Protocol: "sftp", Number: v.Number, Operation: v.Name, Path: v.Path, To: v.To, Status: v.Status, Denied: v.Denied})
}

func (x *Indexer) addFile(f File) {
	f.At = x.at
	for _, s := range []*string{&f.Protocol, &f.Operation, &f.Path, &f.To, &f.SHA256, &f.Status} {
		*s = tidy(*s)
	}
	if f.Denied {
		x.mark(f.Channel, "denied", f.Operation+" "+f.Path)
	}
	if x.room.take(&x.room.files, f.Protocol, f.Operation, f.Path, f.To, f.SHA256, f.Status) {
		x.entry.Files = append(x.entry.Files, f)
	}
}

func (x *Indexer) forward(channel uint32, v recorder.Forward) {
	f := Forward{At: x.at, Channel: channel, Kind: tidy(v.Kind), To: tidy(v.To), From: tidy(v.From), Sent: v.Sent, Received: v.Received, Seconds: v.Seconds,
		Why: tidy(v.Why), Denied: v.Denied, Ended: v.Ended}
	if f.Denied {
		x.mark(channel, "denied", f.Kind+" to "+f.To)
	}
	if x.room.take(&x.room.forwards, f.Kind, f.To, f.From, f.Why) {
		x.entry.Forwards = append(x.entry.Forwards, f)
	}
}

func (x *Indexer) listen(channel uint32, v recorder.Listen) {
	kind, text := "listen", v.Address
	switch {
	case v.Denied:
		kind, text = "denied", "listen on "+v.Address
	case v.Cancel:
		text += " no more"
	case !v.OK:
		text += " refused by the host"
	}
	x.mark(channel, kind, text)
}

func (x *Indexer) agent(channel uint32, v recorder.AgentUse) {
	if v.Pending {
		return
	}
	kind, text := "agent", v.Request
	if v.Denied {
		kind = "denied"
		text = "agent: " + text
	}
	if about := cmp.Or(v.For, v.Key); about != "" {
		text += ": " + about
	}
	if !v.OK && !v.Denied {
		text += " (refused)"
	}
	x.mark(channel, kind, text)
}
