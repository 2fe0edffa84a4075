package web

import (
	"context"
	"errors"
	"net/http"
	"slices"

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
	Session string `json:"session,omitempty"` // of the fault
	More    bool   `json:"more,omitempty"`    // there are more hits than a page wants
}

// What is found beyond that helps nobody: the pattern should say more.
const mostHits = 2000

var errEnough = errors.New("enough was found")

// search streams what is found. Recordings that are open here are searched at once; many others are one more view, of its own kind.
func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	q, q0, err := s.asked(r)
	var from Recordings
	if err == nil {
		from, err = s.recordings(r.Context(), q0.Sessions)
	}
	if err != nil {
		answer(func(*http.Request) (any, error) { return nil, err })(w, r)
		return
	}
	if from.Close != nil {
		defer from.Close()
	}
	out, hits := newLines(w), 0
	err = out.write(found{Of: len(q0.Sessions)})
	for i, id := range q0.Sessions {
		if err != nil || r.Context().Err() != nil {
			return
		}
		var archive *recorder.Archive
		if archive, err = from.Open(r.Context(), id); err == nil {
			err = q.Session(r.Context(), archive, func(h search.Hit) error {
				if hits++; hits > mostHits {
					return errEnough
				}
				return out.write(found{Hit: hitOf(id, h)})
			}, func(uint64) error { return nil })
		}
		if errors.Is(err, errEnough) {
			out.write(found{More: true})
			return
		}
		if err != nil { // one that cannot be read does not hide the others
			err = out.write(found{Session: id, Fault: err.Error()})
		}
		if err == nil {
			err = out.write(found{Done: i + 1, Of: len(q0.Sessions)})
		}
	}
}

func (s *Server) asked(r *http.Request) (search.Query, query, error) {
	var asked query
	if err := question(r, &asked); err != nil {
		return search.Query{}, asked, err
	}
	pattern, err := search.Compile(asked.Pattern, asked.Exact)
	if err != nil {
		return search.Query{}, asked, misuse("%v", err)
	}
	for _, kind := range asked.In {
		if !slices.Contains([]string{search.Output, search.Command, search.File}, kind) {
			return search.Query{}, asked, misuse("there is no kind %.40q", kind)
		}
	}
	if len(asked.Sessions) == 0 {
		return search.Query{}, asked, misuse("there is nothing to search")
	}
	for _, id := range asked.Sessions {
		if !sessionID.MatchString(id) {
			return search.Query{}, asked, misuse("%.80q is no session", id)
		}
	}
	return search.Query{Pattern: pattern, In: asked.In}, asked, nil
}

// recordings are those that a search may read: the one that is open, or a new view of many.
func (s *Server) recordings(ctx context.Context, ids []string) (Recordings, error) {
	if len(ids) == 1 {
		if o, err := s.already(ids[0]); err == nil {
			return Recordings{Open: func(context.Context, string) (*recorder.Archive, error) { return o.archive, nil }}, nil
		}
	}
	if s.config.Search == nil {
		return Recordings{}, refusal{http.StatusNotFound, "only a session that is open here can be searched"}
	}
	return s.config.Search(ctx, ids)
}

func hitOf(id string, h search.Hit) *hit {
	begin := min(max(h.Begin, 0), len(h.Text))
	end := min(max(h.End, begin), len(h.Text))
	return &hit{id, seconds(h.At), h.Channel, h.Kind, h.Text[:begin], h.Text[begin:end], h.Text[end:]}
}
