package web

import (
	"context"
	"encoding/hex"
	"errors"
	"net/http"
	"regexp"
	"sync"
	"time"

	"postern/internal/control"
	"postern/recorder"
	"postern/recorder/index"
)

// opening is a recording that is looked at. What is found out of it in the background is told to every page that listens.
type opening struct {
	archive *recorder.Archive
	session control.Session
	header  recorder.Header
	frames  *shelf

	mu      sync.Mutex
	entries []index.Entry
	indexed bool  // entries are all there
	lost    error // why they are not
	read    int   // segments whose bodies were read
	fault   error // what is wrong with one
	checked bool  // all were read, and are good
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

// look opens a recording once. Two pages that ask for the same at the same time are one view.
func (s *Server) look(ctx context.Context, session control.Session, again bool) (*opening, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.opened[session.ID]; o != nil && !again {
		return o, nil
	}
	archive, err := s.config.Open(ctx, session.ID)
	if err != nil {
		return nil, err
	}
	o := &opening{archive: archive, session: session, frames: newShelf(archive), changed: make(chan struct{})}
	if o.header, err = archive.Header(ctx); err != nil {
		return nil, err
	}
	s.opened[session.ID] = o
	go o.work(s.done)
	return o, nil
}

func (s *Server) already(r *http.Request) (*opening, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.opened[r.PathValue("id")]
	if o == nil {
		return nil, refusal{http.StatusNotFound, "that session is not open here"}
	}
	return o, nil
}

// work finds the index, and reads all bodies, which verifies them.
func (o *opening) work(ctx context.Context) {
	_, err := index.Of(ctx, o.archive, func(e index.Entry) {
		o.change(func() { o.entries = append(o.entries, e) })
	})
	o.change(func() { o.indexed, o.lost = true, err })
	for _, part := range o.archive.Parts() {
		if _, err := o.archive.Frames(ctx, part.Number); err != nil {
			o.change(func() { o.fault = err })
			return
		}
		o.change(func() { o.read++ })
	}
	o.change(func() { o.checked = true })
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
	proof   proof
	changed <-chan struct{}
}

func (o *opening) state() state {
	o.mu.Lock()
	defer o.mu.Unlock()
	p := proof{Read: o.read, Segments: len(o.archive.Parts()), Checked: o.checked}
	if o.fault != nil {
		p.Fault = o.fault.Error()
	}
	return state{o.entries, o.indexed, o.lost, p, o.changed}
}

// proof is how far the verification of a recording is.
type proof struct {
	Read     int    `json:"read"` // segments that were decrypted and are what was signed
	Segments int    `json:"segments"`
	Checked  bool   `json:"checked"` // all of them are good
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
	if err := o.asLogged(); err != nil {
		out.Logged = err.Error()
	}
	return out
}

// asLogged holds the outline against what the CA says was logged. A recording that was not sealed then may have grown since.
func (o *opening) asLogged() error {
	sum, s := o.archive.Summary(), o.session
	if s.SealedHead != "" {
		head, err := hex.DecodeString(s.SealedHead)
		if err != nil || len(head) != 32 {
			return errors.New("the head that was logged is none")
		}
		if err := o.archive.ExpectSealed(s.Segments, [32]byte(head)); err != nil {
			return err
		}
	}
	switch {
	case sum.Session != s.ID:
		return errors.New("it is the recording of another session")
	case s.Bastion != "" && sum.Bastion != s.Bastion:
		return errors.New("it is by another bastion than was logged")
	case s.RecordingKey != "" && sum.RecordingKey != s.RecordingKey:
		return errors.New("it is sealed to another key than was logged")
	case s.Sealed && (sum.Segments != s.Segments || sum.Frames != s.Frames || hex.EncodeToString(sum.Head[:]) != s.Head):
		return errors.New("it is not as long as was logged, or its head is another")
	case s.Sealed && (!sum.Sealed || sum.Interrupted != s.Interrupted):
		return errors.New("it is not as complete as was logged")
	}
	return nil
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
