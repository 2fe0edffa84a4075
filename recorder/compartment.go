package recorder

import (
	"crypto/hpke"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"
)

// CompartmentKey is the Data of a [TypeCompartment] frame: from here on frames are sealed to a key of their own.
type CompartmentKey struct {
	Number       uint32 // counts the compartments of the recording from 0
	Key          string // ID
	Encapsulated []byte `ssh:"rest"`
}

// Sealed is the Data of a [TypeSealed] frame.
type Sealed struct {
	Compartment uint32
	Ciphertext  []byte `ssh:"rest"` // of the frame's type, stream and data
}

const (
	compartmentVersion = "postern-compartment-v1"
	sealedVersion      = "postern-sealed-v1"

	encapsulatedSize = 1120
	sealedHeader     = 2 // type and stream, before the data
	maxSealed        = MaxData - 4 - sealedHeader - gcmTag
)

// compartmentBinding is the HPKE info of a compartment.
type compartmentBinding struct {
	Version string
	Session string
	KeyID   string
}

// sealedBinding is the associated data of a sealed frame: it does not open in another compartment or on another channel.
type sealedBinding struct {
	Version     string
	Compartment uint32
	Channel     uint32
}

// Compartment is a place in a recording that another key opens than that of the recording. Its methods may be called from several goroutines.
type Compartment struct {
	w  *Writer
	to PublicKey

	// Under w.mu.
	sender *hpke.Sender // nil: the next frame begins a context
	number uint32
	born   time.Time
	plain  []byte
}

// Compartment returns one whose frames only the private half of to opens. Nothing of it is in the recording before its first frame.
func (w *Writer) Compartment(to PublicKey) (*Compartment, error) {
	if to.hpke == nil {
		return nil, w.wrap(errors.New("a compartment needs a key"))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, w.wrap(ErrClosed)
	}
	c := &Compartment{w: w, to: to}
	w.compartments = append(w.compartments, c)
	return c, nil
}

// Append is [Writer.Append] for a frame that only the key of the compartment opens. Its data has 22 bytes less room.
func (c *Compartment) Append(f Frame) (*Commit, error) {
	w := c.w
	if !sealable(f.Type) {
		return nil, w.wrap(fmt.Errorf("a %v frame is not for a compartment", f.Type))
	}
	if len(f.Data) > maxSealed {
		return nil, w.wrap(fmt.Errorf("frame of %d bytes is over the limit of %d of a compartment", len(f.Data), maxSealed))
	}
	w.store.files.admit()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, w.wrap(ErrClosed)
	}
	if err := c.begin(f.At); err != nil {
		return nil, err
	}
	c.plain = append(append(c.plain[:0], byte(f.Type), f.Stream), f.Data...)
	defer clear(c.plain)
	// What is sealed must be written, or the sequence has a hole that no reader gets over: append only fails for good.
	ciphertext, err := c.sender.Seal(ssh.Marshal(sealedBinding{sealedVersion, c.number, f.Channel}), c.plain)
	if err != nil {
		return nil, w.wrap(err)
	}
	f.Type, f.Stream, f.Data = TypeSealed, 0, Sealed{c.number, ciphertext}.Marshal()
	return w.append(f, kindFrame)
}

// begin sees to it that there is a context that is young enough, for a frame of this time. w.mu is held.
func (c *Compartment) begin(at time.Duration) error {
	w := c.w
	if c.sender != nil && w.store.now().Sub(c.born) < w.store.cfg.SegmentAge {
		return nil
	}
	info := ssh.Marshal(compartmentBinding{compartmentVersion, w.opening.Session, c.to.ID()})
	encapsulated, sender, err := hpke.NewSender(c.to.hpke, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return w.wrap(fmt.Errorf("key %s: %w", c.to.ID(), err))
	}
	begin := CompartmentKey{w.contexts, c.to.ID(), encapsulated}
	if _, err := w.append(Frame{Type: TypeCompartment, Channel: Global, At: at, Data: begin.Marshal()}, kindFrame); err != nil {
		return err
	}
	c.sender, c.number, c.born = sender, w.contexts, w.store.now()
	w.contexts++
	return nil
}

// forget drops the contexts that began before a time. Those in use end by themselves; what is dropped here is that of a person who typed and then
// only looks.
func (w *Writer) forget(before time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.compartments {
		if !c.born.After(before) {
			c.sender = nil
		}
	}
}

func sealable(t Type) bool {
	switch t {
	case 0, TypeHeader, TypeEnd, TypeCompartment, TypeSealed:
		return false
	}
	return true
}

// compartments are those that a reader came across.
type compartments struct {
	session string
	keys    map[string]PrivateKey
	open    map[uint32]*hpke.Recipient // nil: for another key
	next    uint32                     // number of the one that begins next
	part    bool                       // reading did not begin with the recording, so there may be others
}

func newCompartments(session string, keys map[string]PrivateKey) *compartments {
	return &compartments{session: session, keys: keys, open: map[uint32]*hpke.Recipient{}}
}

// uncover returns the frame that f stands for, which is f itself unless it is sealed to a key that was given.
func (c *compartments) uncover(f Frame) (Frame, error) {
	switch f.Type {
	case TypeCompartment:
		return f, c.begin(f)
	case TypeSealed:
		return c.unseal(f)
	}
	return f, nil
}

func (c *compartments) begin(f Frame) error {
	k, err := f.CompartmentKey()
	switch {
	case err != nil:
		return err
	case k.Number < c.next || k.Number > c.next && !c.part || f.Channel != Global || f.Stream != 0 || len(k.Key) > 64 || len(k.Encapsulated) != encapsulatedSize:
		return fmt.Errorf("%w: compartment %d for key %.80q where compartment %d begins", ErrMalformed, k.Number, k.Key, c.next)
	}
	c.next = k.Number + 1
	key, mine := c.keys[k.Key]
	if !mine {
		c.open[k.Number] = nil
		return nil
	}
	info := ssh.Marshal(compartmentBinding{compartmentVersion, c.session, k.Key})
	recipient, err := hpke.NewRecipient(k.Encapsulated, key.hpke, hpke.HKDFSHA256(), hpke.AES256GCM(), info)
	if err != nil {
		return fmt.Errorf("%w: compartment %d does not open with key %s: %w", ErrAltered, k.Number, k.Key, err)
	}
	c.open[k.Number] = recipient
	return nil
}

func (c *compartments) unseal(f Frame) (Frame, error) {
	s, err := f.Sealed()
	if err != nil {
		return f, err
	}
	recipient, begun := c.open[s.Compartment]
	if !begun || len(s.Ciphertext) < sealedHeader+gcmTag || f.Stream != 0 {
		return f, fmt.Errorf("%w: a frame sealed in compartment %d, which has not begun", ErrMalformed, s.Compartment)
	}
	if recipient == nil {
		return f, nil
	}
	plain, err := recipient.Open(ssh.Marshal(sealedBinding{sealedVersion, s.Compartment, f.Channel}), s.Ciphertext)
	if err != nil {
		return f, fmt.Errorf("%w: a frame of compartment %d does not open in its place; without the key of the compartment what follows can be read", ErrAltered, s.Compartment)
	}
	f.Type, f.Stream, f.Data = Type(plain[0]), plain[1], plain[sealedHeader:]
	if !sealable(f.Type) {
		return f, fmt.Errorf("%w: a %v frame in a compartment", ErrMalformed, f.Type)
	}
	return f, nil
}
