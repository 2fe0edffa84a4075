package web

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"

	"postern/internal/search"
	"postern/recorder"
)

// Recordings are those that may be searched, for as long as they are open.
type Recordings struct {
	Open  func(ctx context.Context, session string) (*recorder.Archive, error)
	Close func() error
}

// query is what a page searches for.
type query struct {
	Pattern  string   `json:"pattern"` // a regular expression
	Exact    bool     `json:"exact"`   // small letters are not capitals
	Sessions []string `json:"sessions"`
	In       []string `json:"in"` // output, command, file; none: all
}

// hit is a place where it was found. Text is what a host or a client said.
type hit struct {
	Session string  `json:"session"`
	At      float64 `json:"at"` // seconds
	Channel uint32  `json:"channel"`
	Kind    string  `json:"kind"`
	Before  string  `json:"before,omitempty"` // on the same line
	Text    string  `json:"text"`
	After   string  `json:"after,omitempty"`
}

// found is a line of the answer: one of these.
type found struct {
	Hit     *hit   `json:"hit,omitempty"`
	Done    int    `json:"done,omitempty"` // sessions
	Of      int    `json:"of,omitempty"`
	Fault   string `json:"fault,omitempty"`
	Partial string `json:"partial,omitempty"` // what passed and is not on record, so nobody searched it
	Session string `json:"session,omitempty"` // of the fault, or of what is not on record
	More    bool   `json:"more,omitempty"`    // there are more hits than a page wants
}

// What is found beyond that helps nobody: the pattern should say more.
const mostHits = 2000

var errEnough = errors.New("enough was found")

// search streams what is found. Recordings that are open here are searched at once; many others are one more view, of its own kind.
func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	q, ids, err := s.asked(r)
	var from Recordings
	if err == nil {
		from, err = s.recordings(r.Context(), ids, &q)
	}
	if err != nil {
		answer(func(*http.Request) (any, error) { return nil, err })(w, r)
		return
	}
	if from.Close != nil {
		defer from.Close()
	}
	var sessions []search.Session
	for _, id := range ids {
		sessions = append(sessions, search.Session{ID: id, Open: func(ctx context.Context) (*recorder.Archive, error) { return from.Open(ctx, id) }})
	}
	t := &finder{lines: newLines(w), of: len(ids)}
	q.Partial = t.partial
	if err := q.Sessions(r.Context(), sessions, search.Teller{Hit: t.hit, Done: t.over}); errors.Is(err, errEnough) {
		_ = t.say(found{More: true})
	}
}

// finder tells a page of a search.
type finder struct {
	lines
	mu         sync.Mutex // one line at a time
	hits, done int
	of         int
}

func (t *finder) say(line found) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.write(line)
}

func (t *finder) hit(h search.Hit) error {
	if t.hits++; t.hits > mostHits {
		return errEnough
	}
	return t.say(found{Hit: hitOf(h)})
}

// over says that a session was searched; one that cannot be read does not hide the others.
func (t *finder) over(id string, err error) error {
	t.done++
	line := found{Done: t.done, Of: t.of}
	if err != nil {
		line.Session, line.Fault = id, err.Error()
	}
	return t.say(line)
}

func (t *finder) partial(session, text string) { _ = t.say(found{Session: session, Partial: text}) }

func (s *Server) asked(r *http.Request) (search.Query, []string, error) {
	var asked query
	if err := question(r, &asked); err != nil {
		return search.Query{}, nil, err
	}
	pattern, err := search.Compile(asked.Pattern, asked.Exact)
	if err != nil {
		return search.Query{}, nil, misuse("%v", err)
	}
	for _, kind := range asked.In {
		if !slices.Contains([]string{search.Output, search.Command, search.File}, kind) {
			return search.Query{}, nil, misuse("there is no kind %.40q", kind)
		}
	}
	if len(asked.Sessions) == 0 {
		return search.Query{}, nil, misuse("there is nothing to search")
	}
	for _, id := range asked.Sessions {
		if !sessionID.MatchString(id) {
			return search.Query{}, nil, misuse("%.80q is no session", id)
		}
	}
	return search.Query{Pattern: pattern, In: asked.In}, asked.Sessions, nil
}

// recordings are those that a search may read: the one that is open, or a new view of many. An index that was found out is not believed.
func (s *Server) recordings(ctx context.Context, ids []string, q *search.Query) (Recordings, error) {
	if len(ids) == 1 {
		if o, err := s.already(ids[0]); err == nil {
			q.Thorough = len(o.state().differ) > 0
			return Recordings{Open: func(context.Context, string) (*recorder.Archive, error) { return o.archive, nil }}, nil
		}
	}
	if s.config.Search == nil {
		return Recordings{}, refusal{http.StatusNotFound, "only a session that is open here can be searched"}
	}
	return s.config.Search(ctx, ids)
}

func hitOf(h search.Hit) *hit {
	begin := min(max(h.Begin, 0), len(h.Text))
	end := min(max(h.End, begin), len(h.Text))
	return &hit{h.Session, seconds(h.At), h.Channel, h.Kind, h.Text[:begin], h.Text[begin:end], h.Text[end:]}
}
