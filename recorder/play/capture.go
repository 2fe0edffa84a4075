package play

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/recorder"
	"postern/recorder/pcapng"
)

// Pcapng writes the connections that were forwarded through a session, and what is kept of their bytes, as a capture for Wireshark. It returns how many
// there were.
func Pcapng(r *recorder.Reader, out io.Writer) (connections int, err error) {
	h := r.Header()
	c := &capture{
		started: h.Started, flows: map[uint32]*flow{},
		out: pcapng.NewWriter(out, fmt.Sprintf("forwards of session %s, by postern; addresses of documentation stand for names and sockets", h.Session)),
	}
	for f, ferr := range Frames(r) {
		if ferr != nil {
			err = ferr
			break
		}
		c.frame(f)
	}
	return c.count, errors.Join(err, c.out.Close())
}

type capture struct {
	out     *pcapng.Writer
	started time.Time
	flows   map[uint32]*flow // by channel
	count   int
}

type flow struct {
	*pcapng.Flow
	sides [2]int // by stream
}

func (c *capture) frame(f recorder.Frame) {
	if f.Type == recorder.TypeOpen {
		c.open(f)
		return
	}
	flow, at := c.flows[f.Channel], c.started.Add(f.At)
	if flow == nil || int(f.Stream) >= len(flow.sides) {
		return
	}
	switch side := flow.sides[f.Stream]; f.Type {
	case recorder.TypeData:
		flow.Send(at, side, f.Data, len(f.Data))
	case recorder.TypeExtent:
		if e, err := f.Extent(); err == nil && e.File == 0 && len(e.Kept) <= int(e.Length) {
			flow.Send(at, side, e.Kept, int(e.Length))
		}
	case recorder.TypeEOF:
		flow.End(at, side)
	case recorder.TypeEvent:
		if refused(f) {
			flow.Refuse(at)
		}
	case recorder.TypeClose:
		flow.Close(at)
		delete(c.flows, f.Channel)
	}
}

// refused says whether an event tells that a connection did not come about.
func refused(f recorder.Frame) bool {
	e, err := f.Event()
	var v recorder.Forward
	return err == nil && e.Name == recorder.EventForward && json.Unmarshal(e.JSON, &v) == nil && v.Why != ""
}

func (c *capture) open(f recorder.Frame) {
	o, err := f.OpenChannel()
	if err != nil {
		return
	}
	from, to, what, ok := endpoints(o.Kind, o.Payload, f.Channel)
	if !ok {
		return
	}
	c.count++
	sides := [2]int{recorder.Stdin: pcapng.Initiator, recorder.Stdout: pcapng.Responder}
	if o.FromHost {
		sides = [2]int{recorder.Stdin: pcapng.Responder, recorder.Stdout: pcapng.Initiator}
	}
	comment := fmt.Sprintf("channel %d, %s %s", f.Channel, o.Kind, what)
	c.flows[f.Channel] = &flow{c.out.Connect(c.started.Add(f.At), from, to, comment), sides}
}

// endpoints reads who connected to what out of a channel's type and payload. Ends that have no port get one of their own for each channel.
func endpoints(kind string, payload []byte, channel uint32) (from, to pcapng.Place, what string, ok bool) {
	own := uint16(1024 + channel%64000)
	var tcp struct {
		Host     string
		Port     uint32
		From     string
		FromPort uint32
	}
	var socket struct {
		Path string
		Rest []byte `ssh:"rest"`
	}
	var display struct {
		From string
		Port uint32
	}
	switch kind {
	case "direct-tcpip", "forwarded-tcpip":
		if ssh.Unmarshal(payload, &tcp) != nil {
			return from, to, "with a payload that says nothing", true
		}
		from, to = place(tcp.From, tcp.FromPort), place(tcp.Host, tcp.Port)
		what = fmt.Sprintf("to %s from %s", name(tcp.Host, tcp.Port), name(tcp.From, tcp.FromPort))
	case "direct-streamlocal@openssh.com", "forwarded-streamlocal@openssh.com":
		ssh.Unmarshal(payload, &socket) // an empty path says as much
		from, to, what = pcapng.Place{Host: "who connects to a socket", Port: own}, pcapng.Place{Host: socket.Path}, "to the socket "+socket.Path
	case "x11":
		ssh.Unmarshal(payload, &display)
		from, to, what = place(display.From, display.Port), pcapng.Place{Host: "display", Port: 6000}, "to the display from "+name(display.From, display.Port)
	default:
		return from, to, "", false
	}
	return from, to, what, true
}

// place is an end of a connection. A number that is no port is in the comment.
func place(host string, port uint32) pcapng.Place {
	if port > 65535 {
		port = 0
	}
	return pcapng.Place{Host: host, Port: uint16(port)}
}

func name(host string, port uint32) string {
	return host + " port " + strconv.FormatUint(uint64(port), 10)
}
