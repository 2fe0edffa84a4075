// Package web shows recordings in a browser on the auditor's own machine.
//
// Start with [Server]. It listens on 127.0.0.1 only and lets in the one browser that opens its link, which works once. Recordings are decrypted in
// this process; what leaves it has passed [play.Filter], and the page takes all of it for text. The page is plain files of package page, the
// terminal in it is asciinema-player, which `make player` fetches. Nothing is loaded from anywhere else, and the browser is told to refuse it.
package web

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"postern/internal/control"
	"postern/recorder"
)

// Config is what the server asks and tells. All functions but Requests and Search must be there, and all may be called from many goroutines.
type Config struct {
	Who    string // the auditor, for the page
	Reason string // why they look, as it stands in the log
	First  string // session to begin with; empty: the list

	Sessions func(context.Context) ([]control.Session, error)
	Request  func(ctx context.Context, id string) (control.Request, error)
	// Requests are all there ever were, so that the list can say why; nil: it does not.
	Requests func(context.Context) ([]control.Request, error)
	// Open gives a recording whose outline was verified and held against what was logged. That it is looked at is in the log before it returns. With an error
	// may come what is good of the recording: the page shows it, and says first what is wrong.
	Open func(ctx context.Context, session string) (*recorder.Archive, error)
	// Search gives many recordings, to be searched, which is a view of its own; nil: the page does not offer it.
	Search func(ctx context.Context, sessions []string) (Recordings, error)

	Keystrokes bool          // what was typed, where Open can read it, goes to the page too
	Idle       time.Duration // the server ends when nobody asked for that long; 0: an hour
}

// Server is one page for one browser. It is used once.
type Server struct {
	config Config
	guard  guard
	page   map[string]asset
	done   context.Context // of everything that goes on in the background
	last   stamp

	mu    sync.Mutex
	slots map[string]*slot // by session
}

// ErrNoPlayer says that this program was built without the terminal of the page.
var ErrNoPlayer = errors.New("this program was built without the player; run: make build")

// ErrIdle is why [Server.Serve] ended when nobody looked at the page any more.
var ErrIdle = errors.New("nobody looked at the page for a while, so it was closed")

// New makes a server that is not running yet.
func New(c Config) (*Server, error) {
	page, err := assets()
	if err != nil {
		return nil, err
	}
	if c.Idle == 0 {
		c.Idle = time.Hour
	}
	return &Server{config: c, page: page, slots: map[string]*slot{}}, nil
}

// Serve listens on a port of 127.0.0.1 and serves until ctx ends. ready hears of the link that lets a browser in, once.
func (s *Server) Serve(ctx context.Context, ready func(link string)) error {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.done = ctx
	s.guard = newGuard(listener.Addr().String(), s.config.First)
	server := &http.Server{
		Handler:           s.last.keep(s.guard.protect(s.routes())),
		ReadHeaderTimeout: 10 * time.Second,
		MaxHeaderBytes:    16 << 10,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	ready(s.guard.link())
	select {
	case err = <-ended:
	case <-s.last.quiet(ctx, s.config.Idle):
		err = ErrIdle
	case <-ctx.Done():
	}
	cancel()
	server.Close()
	return err
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.file)
	mux.HandleFunc("GET /page/{name}", s.file)
	mux.HandleFunc("GET /api/about", answer(s.about))
	mux.HandleFunc("GET /api/sessions", answer(s.sessions))
	mux.HandleFunc("POST /api/open", answer(s.open))
	mux.HandleFunc("GET /api/session/{id}/events", s.events)
	mux.HandleFunc("GET /api/session/{id}/output", answer(s.output))
	mux.HandleFunc("POST /api/search", s.search)
	return mux
}

// stamp is when somebody last asked for something, and how many still wait.
type stamp struct {
	mu      sync.Mutex
	waiting int
	at      time.Time
}

func (s *stamp) add(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting += n
	s.at = time.Now()
}

func (s *stamp) keep(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.add(1)
		defer s.add(-1)
		next.ServeHTTP(w, r)
	})
}

// left is how long it may still be quiet.
func (s *stamp) left(idle time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting > 0 || s.at.IsZero() {
		return idle
	}
	return idle - time.Since(s.at)
}

// quiet is closed when nobody asked for anything for that long.
func (s *stamp) quiet(ctx context.Context, idle time.Duration) <-chan struct{} {
	over := make(chan struct{})
	s.add(0)
	go func() {
		for left := s.left(idle); ; left = s.left(idle) {
			if left <= 0 {
				close(over)
				return
			}
			select {
			case <-time.After(left):
			case <-ctx.Done():
				return
			}
		}
	}()
	return over
}

// about is what the page says of itself.
func (s *Server) about(*http.Request) (any, error) {
	return struct {
		Who        string    `json:"who"`
		Reason     string    `json:"reason"`
		Now        time.Time `json:"now"`
		Search     bool      `json:"search"`
		Keystrokes bool      `json:"keystrokes"`
	}{s.config.Who, s.config.Reason, time.Now(), s.config.Search != nil, s.config.Keystrokes}, nil
}

func (s *Server) sessions(r *http.Request) (any, error) {
	list, err := s.config.Sessions(r.Context())
	if err != nil {
		return nil, err
	}
	if list == nil {
		list = []control.Session{}
	}
	return struct {
		Now      time.Time         `json:"now"`
		Sessions []control.Session `json:"sessions"`
		Reasons  map[string]string `json:"reasons"` // by request
	}{time.Now(), list, s.reasons(r.Context())}, nil
}

// reasons help to find a session. Without them the list is still good.
func (s *Server) reasons(ctx context.Context) map[string]string {
	if s.config.Requests == nil {
		return nil
	}
	requests, err := s.config.Requests(ctx)
	if err != nil {
		return nil
	}
	reasons := map[string]string{}
	for _, r := range requests {
		reasons[r.ID] = r.Reason
	}
	return reasons
}

// find is the session that the CA knows by that ID.
func (s *Server) find(ctx context.Context, id string) (control.Session, error) {
	list, err := s.config.Sessions(ctx)
	if err != nil {
		return control.Session{}, err
	}
	for _, session := range list {
		if session.ID == id {
			return session, nil
		}
	}
	return control.Session{}, refusal{http.StatusNotFound, fmt.Sprintf("there is no session %.80q", id)}
}
