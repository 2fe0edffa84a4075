package recorder

import (
	"encoding/json"
	"fmt"
)

// The names of events, which say what their JSON is.
const (
	EventFile      = "file"      // a [File]
	EventOperation = "operation" // an [Operation]
	EventProtocol  = "protocol"  // a [Protocol]
	EventStream    = "stream"    // a [Stream]
	EventForward   = "forward"   // a [Forward]
	EventListen    = "listen"    // a [Listen]
	EventAgent     = "agent"     // an [AgentUse]
)

// Extent is the Data of a [TypeExtent] frame: these bytes of a file or a stream passed, and the first of them are kept.
// The frame's stream says in which direction: [Stdin] to the host, [Stdout] from it.
type Extent struct {
	File   uint32   // the number of a file in its channel, as in [File]; 0: the stream itself
	Offset uint64   // of the first byte
	Length uint32   // bytes that passed
	Sum    [32]byte // SHA-256 of all that passed up to here, if it passed in order and without a gap; else zeros
	Kept   []byte   `ssh:"rest"`
}

// File is one file that was transferred, told when it was closed, or when its channel ended.
type File struct {
	Number    uint32    `json:"number"`   // in its channel, from 1
	Protocol  string    `json:"protocol"` // sftp or scp
	Path      string    `json:"path"`
	PathBytes []byte    `json:"path_bytes,omitempty"` // when the path is not UTF-8, or was cut
	Access    string    `json:"access"`               // read; write create truncate …
	Mode      uint32    `json:"mode,omitempty"`       // permissions it was made with
	Size      *uint64   `json:"size,omitempty"`       // as announced by the sender (scp)
	Read      *Transfer `json:"read,omitempty"`       // from the host
	Written   *Transfer `json:"written,omitempty"`    // to the host
	Keep      string    `json:"keep"`                 // how much of the content is on record: full, head or hash
	Status    string    `json:"status"`               // ok; what the host said; interrupted
	Denied    bool      `json:"denied,omitempty"`     // by the bastion: the grant does not include it
}

// Transfer is what passed of a file in one direction.
type Transfer struct {
	Bytes  uint64  `json:"bytes"`            // repeats included
	SHA256 string  `json:"sha256,omitempty"` // hex, of what passed, if it passed in order and without a gap
	End    bool    `json:"end,omitempty"`    // the reader saw the end of the file, so this is all of it
	Ranges []Range `json:"ranges,omitempty"` // if it did not, or not from the beginning: sorted, joined where they meet
	More   bool    `json:"more,omitempty"`   // and further ones that were not kept
}

// Range is the bytes from From up to but not including To.
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}

// Operation is one request of a file protocol other than reading, writing and closing. One that changes something is told when it is asked,
// without a status, and again with the same number when it is answered.
type Operation struct {
	Number    uint64 `json:"number"` // in its channel
	Name      string `json:"name"`   // stat, opendir, rename, setstat, posix-rename@openssh.com …
	Path      string `json:"path,omitempty"`
	PathBytes []byte `json:"path_bytes,omitempty"` // when the path is not UTF-8, or was cut
	To        string `json:"to,omitempty"`         // second path of rename, link, symlink
	ToBytes   []byte `json:"to_bytes,omitempty"`
	Detail    string `json:"detail,omitempty"`  // such as: mode 0644, size 0
	Entries   uint64 `json:"entries,omitempty"` // names that a directory listing gave out
	Status    string `json:"status,omitempty"`  // ok; what the host said; empty: not answered yet
	Denied    bool   `json:"denied,omitempty"`  // by the bastion
}

// Protocol says what the data frames of a channel are from here on. Without it whoever shows a recording takes them for text.
type Protocol struct {
	Name string `json:"name,omitempty"` // sftp, scp, agent; empty: bytes that nobody parses
}

// Stream says, when a stream of a command or a forward ended, what all of it was. The frame's stream says which.
type Stream struct {
	Bytes  uint64 `json:"bytes"`
	SHA256 string `json:"sha256,omitempty"` // hex; absent: everything was kept
	Kept   uint64 `json:"kept"`             // of its beginning, in data frames; of the rest there are extents with samples
}

// Forward is a connection carried through the session, told when it opens and again, with its counts, when it ends.
type Forward struct {
	Kind     string  `json:"kind"`           // the channel's type: direct-tcpip, forwarded-tcpip, x11 …
	To       string  `json:"to,omitempty"`   // host:port or path it leads to; of forwarded ones where the host listens
	From     string  `json:"from,omitempty"` // the originator as it says
	Ended    bool    `json:"ended,omitempty"`
	Sent     uint64  `json:"sent"`     // bytes from the client to the host
	Received uint64  `json:"received"` // and back
	Seconds  float64 `json:"seconds,omitempty"`
	Why      string  `json:"why,omitempty"` // it was refused
	Denied   bool    `json:"denied,omitempty"`
}

// Listen is a request that the host listen for connections to be forwarded to the client, or stop to.
type Listen struct {
	Address string `json:"address"` // host:port or path
	Cancel  bool   `json:"cancel,omitempty"`
	OK      bool   `json:"ok"`
	Denied  bool   `json:"denied,omitempty"`
}

// AgentUse is one request to a forwarded agent, told when it is answered. One to sign is told before it goes to the agent, too, as pending
// and with the same number.
type AgentUse struct {
	Number  uint64 `json:"number,omitempty"`  // in its channel, from 1
	Request string `json:"request"`           // list, sign, the name of an extension …
	Key     string `json:"key,omitempty"`     // fingerprint
	For     string `json:"for,omitempty"`     // what is signed, where it says so: login as bob, signature for git
	Pending bool   `json:"pending,omitempty"` // not answered yet, or never
	OK      bool   `json:"ok"`
	Denied  bool   `json:"denied,omitempty"` // the bastion answered for the agent
}

// EventFrame is an event as a frame; v is one of the types of this file. It cannot fail for them.
func EventFrame(name string, v any) Frame {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("event %s: %v", name, err))
	}
	return Frame{Type: TypeEvent, Data: Event{Name: name, JSON: b}.Marshal()}
}
