package web

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"postern/internal/control"
	"postern/internal/verify"
	"postern/recorder"
	"postern/recorder/index"
)

// opening is a recording that is looked at. What is found out of it in the background is told to every page that listens.
type opening struct {
	archive *recorder.Archive
	damage  error // why it is only a part of the recording, or not what was logged
	session control.Session
	header  recorder.Header
	frames  *shelf
	stop    context.CancelFunc // of the background

	mu      sync.Mutex
	entries []index.Entry // never changed in place
	indexed bool          // entries are all there
	lost    error         // why they are not
	read    int           // segments whose bodies were read
	differ  []int         // of them, those in which the frames say something else than the bastion's index
	fault   error         // what is wrong with one
	checked bool          // all were read, and are good
	changed chan struct{}
}

var sessionID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// open is the view: that somebody looks is in the log before anything of the recording is shown.
func (s *Server) open(r *http.Request) (any, error) {
	var asked struct {
		Session string `json:"session"`
		Again   bool   `json:"again"` // a running session may have grown
	}
	if err := question(r, &asked); err != nil {
		return nil, err
	}
	if !sessionID.MatchString(asked.Session) {
		return nil, misuse("%.80q is no session", asked.Session)
	}
	session, err := s.find(r.Context(), asked.Session)
	if err != nil {
		return nil, err
	}
	o, err := s.look(r.Context(), session, asked.Again)
	if err != nil {
		return nil, err
	}
	return s.describe(r.Context(), o)
}

// slot has a recording once it is open. Who asks for it meanwhile waits, and nobody else does.
type slot struct {
	opening sync.Mutex
	is      atomic.Pointer[opening]
}

func (s *Server) slot(id string) *slot {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.slots[id] == nil {
		s.slots[id] = new(slot)
	}
	return s.slots[id]
}

// look opens a recording once. Two pages that ask for the same at the same time are one view.
func (s *Server) look(ctx context.Context, session control.Session, again bool) (*opening, error) {
	at := s.slot(session.ID)
	at.opening.Lock()
	defer at.opening.Unlock()
	before := at.is.Load()
	if before != nil && !again {
		return before, nil
	}
	archive, damage := s.config.Open(ctx, session.ID)
	if archive == nil {
		return nil, damage
	}
	o := &opening{archive: archive, damage: damage, session: session, changed: make(chan struct{})}
	o.frames = newShelf(archive, o.spoilt)
	var err error
	if o.header, err = archive.Header(ctx); err != nil {
		return nil, cmp.Or(damage, err)
	}
	if before != nil {
		before.stop()
	}
	background, stop := context.WithCancel(s.done)
	o.stop = stop
	at.is.Store(o)
	go o.work(background)
	return o, nil
}

func (s *Server) already(id string) (*opening, error) {
	s.mu.Lock()
	at := s.slots[id]
	s.mu.Unlock()
	if at == nil || at.is.Load() == nil {
		return nil, refusal{http.StatusNotFound, "that session is not open here"}
	}
	return at.is.Load(), nil
}

// work finds the index, and then reads everything.
func (o *opening) work(ctx context.Context) {
	_, err := index.Of(ctx, o.archive, func(e index.Entry) {
		o.change(func() { o.entries = append(o.entries, e) })
	})
	o.change(func() { o.indexed, o.lost = true, err })
	if err := o.verify(ctx); err != nil {
		o.spoilt(err)
		return
	}
	o.change(func() { o.checked = true })
}

// spoilt keeps the first fault that was found.
func (o *opening) spoilt(err error) {
	o.change(func() { o.fault = cmp.Or(o.fault, err) })
}

// verify reads all frames, which holds them against what was signed. The bastion's index is only what it says they are, so it is made again.
func (o *opening) verify(ctx context.Context) error {
	var all []uint64
	for _, part := range o.archive.Parts() {
		all = append(all, part.Number)
	}
	mine := new(index.Indexer)
	return index.Fetch(ctx, o.archive, all, func(n uint64, frames []recorder.Frame) error {
		if err := o.typed(frames); err != nil {
			return err
		}
		e, err := index.Parse(mine.Segment(o.archive.Parts()[n].First, frames))
		if err != nil {
			return err
		}
		e.Segment = n
		o.change(func() {
			o.read++
			if int(n) < len(o.entries) && !alike(o.entries[n], e) {
				o.entries = slices.Clone(o.entries)
				o.entries[n] = e
				o.differ = append(o.differ, int(n))
			}
		})
		return nil
	})
}

// typed makes sure that what was typed is sealed to the key that was logged, and to no other.
func (o *opening) typed(frames []recorder.Frame) error {
	for _, f := range frames {
		if f.Type != recorder.TypeCompartment {
			continue
		}
		k, err := f.CompartmentKey()
		if err != nil {
			return err
		}
		if k.Key != o.session.KeystrokeKey {
			return fmt.Errorf("what was typed is sealed to key %.40q, logged is %.40q", k.Key, o.session.KeystrokeKey)
		}
	}
	return nil
}

// alike says whether a page would show the same of two entries.
func alike(a, b index.Entry) bool {
	one, err := json.Marshal(entryOf(a))
	other, err2 := json.Marshal(entryOf(b))
	return err == nil && err2 == nil && bytes.Equal(one, other)
}

func (o *opening) change(fn func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fn()
	close(o.changed)
	o.changed = make(chan struct{})
}

// state is what is known by now.
type state struct {
	entries []index.Entry
	indexed bool
	lost    error
	differ  []int
	proof   proof
	changed <-chan struct{}
}

func (o *opening) state() state {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := proof{Read: o.read, Segments: len(o.archive.Parts()), Checked: o.checked, Differ: len(o.differ)}
	if o.fault != nil {
		p.Fault = o.fault.Error()
	}
	return state{o.entries, o.indexed, o.lost, o.differ, p, o.changed}
}

// proof is how far the verification of a recording is.
type proof struct {
	Read     int    `json:"read"` // segments that were decrypted and are what was signed
	Segments int    `json:"segments"`
	Checked  bool   `json:"checked"` // all of them are good
	Differ   int    `json:"differ"`  // of which the bastion's index said something else than their frames
	Fault    string `json:"fault,omitempty"`
}

// outline is what the beginning of the verification says, which is all but the bodies.
type outline struct {
	Signed       bool   `json:"signed"` // every segment and the end, by the bastion's key
	Sealed       bool   `json:"sealed"` // to its end
	Interrupted  bool   `json:"interrupted"`
	Live         bool   `json:"live"`
	Frames       uint64 `json:"frames"`
	Segments     uint64 `json:"segments"`
	Bytes        int64  `json:"bytes"`
	Bastion      string `json:"bastion"`
	RecordingKey string `json:"recording_key"`
	Head         string `json:"head"`
	SealedHead   string `json:"sealed_head"`
	Damage       string `json:"damage,omitempty"` // why what is here is not the recording, or not all of it
	Logged       string `json:"logged,omitempty"` // why it is not what the CA logged
	LoggedFrames uint64 `json:"logged_frames"`
	LoggedHead   string `json:"logged_head,omitempty"`
	LoggedSealed string `json:"logged_sealed_head,omitempty"`
}

func (o *opening) outline() outline {
	sum, s := o.archive.Summary(), o.session
	out := outline{
		Signed: sum.Signed, Sealed: sum.Sealed, Interrupted: sum.Interrupted, Live: sum.Live, Frames: sum.Frames, Segments: sum.Segments,
		Bytes: sum.Bytes, Bastion: sum.Bastion, RecordingKey: sum.RecordingKey, Head: hex.EncodeToString(sum.Head[:]),
		SealedHead:   hex.EncodeToString(sum.SealedHead[:]),
		LoggedFrames: s.Frames, LoggedHead: s.Head, LoggedSealed: s.SealedHead,
	}
	if o.damage != nil {
		out.Damage = o.damage.Error()
	}
	if err := verify.Archive(o.archive, verify.Session{Session: s}); err != nil {
		out.Logged = err.Error()
	}
	return out
}

// length is how long the session took, as far as anybody knows.
func (o *opening) length() time.Duration {
	var length time.Duration
	for _, part := range o.archive.Parts() {
		length = max(length, part.End)
	}
	for _, e := range o.state().entries {
		length = max(length, e.End)
	}
	if !o.session.Ended.IsZero() {
		length = max(length, o.session.Ended.Sub(o.session.Started))
	}
	return length
}
