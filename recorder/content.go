package recorder

import (
	"bytes"
	"fmt"

	"golang.org/x/crypto/ssh"
)

// OpenChannel is the Data of a [TypeOpen] frame.
type OpenChannel struct {
	Kind     string `json:"kind"`                         // session, direct-tcpip …
	FromHost bool   `json:"from_host,omitempty"`          // the host opened it (forwarded-tcpip, auth-agent@openssh.com, x11)
	Payload  []byte `json:"payload,omitempty" ssh:"rest"` // the type-specific data of SSH_MSG_CHANNEL_OPEN
}

// Request is the Data of a [TypeRequest] frame.
type Request struct {
	Name     string // pty-req, shell, exec, subsystem, env, window-change, signal …
	FromHost bool
	Refused  bool   // the bastion did not pass it on, or the host said no
	Payload  []byte `ssh:"rest"` // the type-specific data of SSH_MSG_CHANNEL_REQUEST
}

// Exit is the Data of a [TypeExit] frame.
type Exit struct {
	Status  uint32 `json:"status"`           // when Signal is empty
	Signal  string `json:"signal,omitempty"` // without "SIG"
	Core    bool   `json:"core,omitempty"`
	Message string `json:"message,omitempty"`
}

// Event is the Data of a [TypeEvent] frame.
type Event struct {
	Name string // file, forward, command …
	JSON []byte `ssh:"rest"` // one object
}

// Marshal returns the Data of a frame.
func (c OpenChannel) Marshal() []byte { return ssh.Marshal(c) }

// Marshal returns the Data of a frame.
func (r Request) Marshal() []byte { return ssh.Marshal(r) }

// Marshal returns the Data of a frame.
func (e Exit) Marshal() []byte { return ssh.Marshal(e) }

// Marshal returns the Data of a frame.
func (e Event) Marshal() []byte { return ssh.Marshal(e) }

// Marshal returns the Data of a frame.
func (e Extent) Marshal() []byte { return ssh.Marshal(e) }

// Marshal returns the Data of a frame.
func (k CompartmentKey) Marshal() []byte { return ssh.Marshal(k) }

// Marshal returns the Data of a frame.
func (s Sealed) Marshal() []byte { return ssh.Marshal(s) }

// OpenChannel parses the Data of a [TypeOpen] frame.
func (f Frame) OpenChannel() (OpenChannel, error) { return content[OpenChannel](f, TypeOpen) }

// Request parses the Data of a [TypeRequest] frame.
func (f Frame) Request() (Request, error) { return content[Request](f, TypeRequest) }

// Exit parses the Data of a [TypeExit] frame.
func (f Frame) Exit() (Exit, error) { return content[Exit](f, TypeExit) }

// Event parses the Data of a [TypeEvent] frame.
func (f Frame) Event() (Event, error) { return content[Event](f, TypeEvent) }

// Extent parses the Data of a [TypeExtent] frame.
func (f Frame) Extent() (Extent, error) { return content[Extent](f, TypeExtent) }

// CompartmentKey parses the Data of a [TypeCompartment] frame.
func (f Frame) CompartmentKey() (CompartmentKey, error) {
	return content[CompartmentKey](f, TypeCompartment)
}

// Sealed parses the Data of a [TypeSealed] frame.
func (f Frame) Sealed() (Sealed, error) { return content[Sealed](f, TypeSealed) }

func content[T any](f Frame, want Type) (T, error) {
	var v T
	if f.Type != want {
		return v, fmt.Errorf("%v frame asked for the content of a %v frame", f.Type, want)
	}
	if err := ssh.Unmarshal(f.Data, &v); err != nil {
		return v, fmt.Errorf("%w: %v frame: %w", ErrMalformed, f.Type, err)
	}
	// ssh.Unmarshal takes any byte but 0 for true.
	if !bytes.Equal(ssh.Marshal(v), f.Data) {
		return v, fmt.Errorf("%w: %v frame", ErrMalformed, f.Type)
	}
	return v, nil
}

// String names the type as FORMAT.md does.
func (t Type) String() string {
	names := [...]string{"", "header", "open", "request", "data", "eof", "exit", "close", "note", "end", "event", "extent", "compartment", "sealed"}
	if t == 0 || int(t) >= len(names) {
		return fmt.Sprintf("type %d", byte(t))
	}
	return names[t]
}
