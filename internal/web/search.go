package web

import (
	"context"
	"net/http"
	"strconv"
)

// Query is what is searched for.
type Query struct {
	Pattern  string   `json:"pattern"`  // a regular expression, in any case of letters unless it has a capital
	Sessions []string `json:"sessions"` // in which
	In       []string `json:"in"`       // output, command, file; none: all
}

// Hit is a place where it was found.
type Hit struct {
	Session string  `json:"session"`
	At      float64 `json:"at"` // seconds
	Channel uint32  `json:"channel"`
	Kind    string  `json:"kind"` // output, command or file
	Text    string  `json:"text"`
	Before  string  `json:"before,omitempty"` // what stands around it
	After   string  `json:"after,omitempty"`
}

// Results hears of what a search finds, from one goroutine.
type Results struct {
	Found    func(Hit)
	Progress func(done, of int)              // sessions
	Fault    func(session string, err error) // one that could not be searched
}

func (s *Server) search(w http.ResponseWriter, r *http.Request) {
	answer(func(r *http.Request) (any, error) { return nil, refusal{http.StatusNotImplemented, "not yet"} })(w, r)
	_ = context.Background
}

func itoa(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
