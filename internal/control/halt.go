package control

import (
	"fmt"
	"slices"
	"time"
)

// Halt is a limit that keeps a session from going on, or a grant from opening one. Its state is [Pending], [Granted] when approvers lifted it, or [Denied]; it waits for as long
// as the grant is alive, though the session does not.
type Halt struct {
	Number  int       `json:"number"` // 1 is the first of its request
	State   string    `json:"state"`
	Session string    `json:"session,omitempty"` // empty: it did not open
	Target  string    `json:"target,omitempty"`  // of the session
	Limit   string    `json:"limit"`             // that was crossed
	Count   uint64    `json:"count"`
	Lifted  uint64    `json:"lifted,omitempty"` // how often that limit of the session was released before
	At      time.Time `json:"at"`               // when it was crossed
	Needs   []Need    `json:"needs"`
	Touch   bool      `json:"touch,omitempty"`
	PIN     bool      `json:"pin,omitempty"`
	Nonce   string    `json:"nonce"`
	Votes   []Vote    `json:"votes,omitempty"`
}

// Held is the oldest halt that waits for approvals, if one does.
func (r Request) Held() (Halt, bool) {
	if r.State != Granted {
		return Halt{}, false
	}
	i := slices.IndexFunc(r.Halts, func(h Halt) bool { return h.State == Pending })
	if i < 0 {
		return Halt{}, false
	}
	return r.Halts[i], true
}

// Bare is the halt as it began, without what was decided since.
func (h Halt) Bare() Halt {
	h.Needs = slices.Clone(h.Needs)
	for i := range h.Needs {
		h.Needs[i].Have = nil
	}
	h.State, h.Votes = Pending, nil
	return h
}

// What says what is held and why.
func (h Halt) What() string {
	if h.Session == "" {
		return fmt.Sprintf("the grant is held: limit %s was crossed (%d)", h.Limit, h.Count)
	}
	return fmt.Sprintf("session %s is held: limit %s was crossed (%d)", h.Session, h.Limit, h.Count)
}

// Lifted is what approvers decided about a [Halt] of a session. It is for that one and no later one: Before counts them.
type Lifted struct {
	Session string   `json:"session"`
	Limit   string   `json:"limit"`
	Before  uint64   `json:"before,omitempty"` // releases of that limit of the session before this one
	Denied  bool     `json:"denied,omitempty"`
	By      []string `json:"by"`
}
