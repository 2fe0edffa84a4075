package recorder

import (
	"context"
	"crypto"
	"errors"
	"io"
)

var errUnfinished = errors.New("recorder: not finished yet")

// Store keeps the recordings of one bastion.
type Store struct {
	// Recovered lists the recordings that were open when the process died before: they are sealed now, and the CA
	// must be told.
	Recovered []Progress
}

// OpenStore opens cfg.Dir, reads the journal back, and seals what was open when the process died. No other process
// may have it open.
func OpenStore(cfg Config) (*Store, error) { return nil, errUnfinished }

// Close ends the recordings that are still open, seals everything and closes the store.
func (s *Store) Close() error { return errUnfinished }

// Space reports whether a new session may start: nil, or an [ErrFull] that names the directory and what is free.
func (s *Store) Space() error { return errUnfinished }

// Err is nil while the journal works. After that no frame is acknowledged until the process starts again.
func (s *Store) Err() error { return errUnfinished }

// Create begins the recording of a session, sealed to a recording key. The header is durable when it returns.
func (s *Store) Create(h Header, to PublicKey) (*Writer, error) { return nil, errUnfinished }

// Recordings lists the catalogue, live ones included, by session ID.
func (s *Store) Recordings() ([]Recording, error) { return nil, errUnfinished }

// Recording is one entry of the catalogue, or an [ErrNotFound].
func (s *Store) Recording(session string) (Recording, error) { return Recording{}, errUnfinished }

// Export writes the sealed recording of a session, as far as it is sealed, for [Open] and [Check].
func (s *Store) Export(session string, w io.Writer) error { return errUnfinished }

// Writer records one session. Its methods may be called from several goroutines.
type Writer struct{}

// Append records a frame: it is encrypted and on its way when Append returns, in the order of the calls, and f.Data
// is free again. It is durable once the commit says so. Append waits while too much is on its way or unsealed.
func (w *Writer) Append(f Frame) (*Commit, error) { return nil, errUnfinished }

// Head is the number of durable frames and the chain over them.
func (w *Writer) Head() (frames uint64, head [32]byte) { return }

// Failed is closed when the writer broke and can record nothing any more: the session must end.
func (w *Writer) Failed() <-chan struct{} { return nil }

// Close ends the recording with a reason for people. It returns when the end is durable; sealing follows.
func (w *Writer) Close(reason string) error { return errUnfinished }

// Commit is the fate of a frame, and of those that went to the disk with it.
type Commit struct{}

// Done is closed when the frame is durable or lost.
func (c *Commit) Done() <-chan struct{} { return nil }

// Err is nil if the frame is durable. It must not be asked before Done is closed.
func (c *Commit) Err() error { return errUnfinished }

// Wait waits for Done and returns Err, or the context's error.
func (c *Commit) Wait(ctx context.Context) error { return errUnfinished }

// Reader plays a sealed recording, and verifies all of it as it goes.
type Reader struct{}

// Open reads the beginning of what [Store.Export] wrote. With a nil bastion key signatures are not checked, which
// Summary says.
func Open(r io.Reader, key PrivateKey, bastion crypto.PublicKey) (*Reader, error) {
	return nil, errUnfinished
}

// Header is the first frame's content.
func (r *Reader) Header() Header { return Header{} }

// Expect makes Next compare the chain with what was logged when the recording had that many frames. A recording
// with fewer frames is then cut short.
func (r *Reader) Expect(frames uint64, head [32]byte) {}

// ExpectSealed is Expect for the chain over sealed segments.
func (r *Reader) ExpectSealed(segments uint64, head [32]byte) {}

// Next returns the next frame of a known type, the header's first. Its Data is valid until the next call. It
// returns io.EOF after the last one; any other error is a *[Fault] that says where the recording stops being good.
func (r *Reader) Next() (Frame, error) { return Frame{}, errUnfinished }

// End is the reason the session ended, once Next returned the end frame.
func (r *Reader) End() (reason string, ended bool) { return }

// Summary is what was verified so far.
func (r *Reader) Summary() Summary { return Summary{} }

// Summary is what a recording is, as far as it was read.
type Summary struct {
	Progress
	Live         bool // exported while the session ran, so that more may follow
	Signed       bool // by the bastion's key that was given
	Bastion      string
	RecordingKey string
}

// Fault is where a recording stops being good.
type Fault struct {
	Segment, Frame uint64 // the first that is not good
	Err            error  // wraps [ErrCutShort], [ErrAltered] or [ErrMalformed]
}

func (f *Fault) Error() string { return f.Err.Error() }
func (f *Fault) Unwrap() error { return f.Err }

// Check verifies everything that can be verified without the private half: signatures, the chain of sealed
// segments, the count of frames, and the end.
func Check(r io.Reader, bastion crypto.PublicKey) (Summary, error) { return Summary{}, errUnfinished }
