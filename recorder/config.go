package recorder

import (
	"crypto"
	"log/slog"
	"time"
)

// Config says where recordings are kept and how. Dir and Signer must be set; the zero of everything else is the
// value a bastion wants.
type Config struct {
	Dir      string        // made if missing; holds journal/ and store/
	Signer   crypto.Signer // the bastion's identity, Ed25519 or ECDSA P-256: signs every sealed segment
	StoreKey []byte        // 32 bytes: encrypts the index too; nil: only recordings are encrypted

	FileSize int64 // bytes of a journal file, preallocated; 0: 64 MiB
	Capacity int64 // bytes of journal not yet sealed at which Append waits; 0: 4 GiB, but at most a quarter of what is free
	LowSpace int64 // free bytes in Dir under which no session starts; 0: 512 MiB, negative: never refuse

	Reserve int64 // free bytes in Dir under which ordinary sessions end, so that emergencies can be recorded; 0: half of LowSpace
	Sealing int64 // free bytes in Dir under which nothing is sealed: it stays in the journal until there is room; at least half of Reserve, and [store.Room]

	SegmentAge time.Duration // a segment is sealed when its first frame is this old; 0: 60 s

	// AcceptDamage opens a damaged journal all the same: each recording is sealed up to its first frame that cannot be
	// read, as interrupted, and the damaged files are kept aside. Without it OpenStore refuses with [ErrDamaged].
	AcceptDamage bool

	// Index begins the index of one recording; what it returns is given each segment once, in order, when it is sealed, with the number of its first frame. The frames
	// and their data are only good until it returns. What it says is sealed beside the segment, for [Part]; over 256 KiB it is dropped. What it reads is hostile: when it
	// panics, or when the journal fills faster than it is sealed, the recording goes on without. Nil: nothing is said but times and sizes.
	Index func(Header) func(first uint64, frames []Frame) []byte

	// Sealed is called from one goroutine, in order, when segments of a recording became durable in the store.
	Sealed func(Progress)

	Log *slog.Logger // hears of what an operator must mend; nil: slog.Default

	Now  func() time.Time // nil: time.Now
	Disk Disk             // zero: the real one
}

// Recording is one entry of the catalogue.
type Recording struct {
	Progress
	Started      time.Time
	Bastion      string
	RecordingKey string // ID of the key it is sealed to
	Live         bool   // a Writer is open
	Bytes        int64  // of sealed segments
}
