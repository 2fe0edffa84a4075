// Package recorder writes and reads session recordings; FORMAT.md describes them byte by byte.
//
// Start with [OpenStore], [Store.Create] and [Open]. A Writer acknowledges a frame only once it is durable, so what
// is released after the acknowledgement is in the recording whatever happens next. The process that records cannot
// read its recordings back: they are sealed to a public key whose private half only auditors hold. What is typed goes to
// a [Compartment], which takes a second key to open. A recording that was cut short, altered or reordered is reported
// as such, and plays up to that point.
package recorder

import (
	"errors"
	"time"

	"postern/internal/store"
)

// Type says what a frame holds. Readers skip types they do not know; the chain covers them all the same.
type Type byte

const (
	TypeHeader  Type = 1  // first frame: the facts of the session, [Header] as JSON
	TypeOpen    Type = 2  // a channel was opened; Data is an [OpenChannel]
	TypeRequest Type = 3  // a request on a channel, or a global one on channel [Global]; Data is a [Request]
	TypeData    Type = 4  // bytes of a stream
	TypeEOF     Type = 5  // no more data; Stream Stdin: from the client, Stdout: from the host
	TypeExit    Type = 6  // how the remote process ended; Data is an [Exit]
	TypeClose   Type = 7  // the channel is closed
	TypeNote    Type = 8  // Data is a line for people, such as "session revoked"
	TypeEnd     Type = 9  // last frame: Data is the reason the session ended
	TypeEvent   Type = 10 // something a parser understood, such as a file transferred; Data is an [Event]
	TypeExtent  Type = 11 // bytes that passed and are not kept as a whole; Data is an [Extent]

	TypeCompartment Type = 12 // frames are sealed to another key from here on; Data is a [CompartmentKey]
	TypeSealed      Type = 13 // a frame that only that key opens; Data is a [Sealed]
)

// The streams of a channel.
const (
	Stdin  = 0 // from the client
	Stdout = 1 // from the host
	Stderr = 2 // from the host, extended data
)

// Global is the channel number of frames that belong to the connection and not to one channel.
const Global = 0xffffffff

// Limits. A writer refuses what is over them, a reader calls it damage.
const (
	MaxData     = 256 << 10 // bytes of Data in a frame
	MaxIdentity = 64        // bytes of a session ID: letters, digits, '-' and '_'
)

// Frame is one thing that happened.
type Frame struct {
	Type    Type
	Channel uint32 // numbered by the bastion from 0 in each session, never reused; or [Global]
	Stream  byte   // of data and eof frames, 0 in others

	// At is the time since Header.Started. It is kept to the microsecond and never decreases. A Writer sets it when it is 0.
	At time.Duration

	Data []byte
}

// Header is what the first frame says of a session.
type Header struct {
	Session string    `json:"session"` // S-8CHQ2M7KXA
	Request string    `json:"request,omitempty"`
	Person  string    `json:"person,omitempty"`
	Account string    `json:"account,omitempty"`
	Host    string    `json:"host,omitempty"`
	Bastion string    `json:"bastion,omitempty"`
	Client  string    `json:"client,omitempty"` // address the admin came from
	Key     string    `json:"key,omitempty"`    // fingerprint of the admin's key
	Serial  uint64    `json:"serial,omitempty"` // of the admin's certificate
	Started time.Time `json:"started"`          // zero: now; kept to the microsecond, UTC

	// Emergency is not recorded: such a session may use what the disk keeps in reserve.
	Emergency bool `json:"-"`

	// Facts are more of them, by names the bastion chooses.
	Facts map[string]string `json:"facts,omitempty"`
}

// Progress is how much of a recording is sealed. It is what the CA's log keeps.
type Progress struct {
	Session     string
	Frames      uint64   // frames in sealed segments
	Head        [32]byte // chain over them
	Segments    uint64
	SealedHead  [32]byte // chain over the sealed segments
	Sealed      bool     // no segment will follow
	Interrupted bool     // it has no end frame: the bastion or its disk died first
}

// Errors a caller may branch on. Each is wrapped in the error that names the thing.
var (
	ErrFull      = store.ErrFull                               // no new session, and nothing is opened; the text says which directory
	ErrFailed    = errors.New("recording is not possible")     // this writer is broken: end its session
	ErrClosed    = errors.New("recording is closed")           // Append after Close
	ErrExists    = errors.New("recording exists")              // Create of a session ID that was used before
	ErrNotFound  = errors.New("no such recording")             // Export of a session this store does not hold
	ErrDamaged   = errors.New("journal is damaged")            // OpenStore: acknowledged frames cannot be read back
	ErrCutShort  = errors.New("recording is cut short")        // the file ends too early
	ErrShredded  = errors.New("key box was destroyed")         // Open of a recording nobody shall read any more
	ErrDeleted   = errors.New("recording was deleted")         // Export of one of which the outline is left
	ErrAltered   = errors.New("recording was altered")         // something is not what was signed, sealed or logged
	ErrWrongKey  = errors.New("recording is for another key")  // Open with the private half of another key
	ErrMalformed = errors.New("not a recording that we write") // no writer produces this
)
