package control

import (
	"fmt"
	"time"
)

// ByPolicy is by whom a revocation is that a limit of the rules made, without a signature: the risk leaf before it says why.
const ByPolicy = "policy"

// Risk is a limit of a session that was crossed: told by its bastion while it runs, or found by the CA when it opens, and then Session is empty if it
// did not. It says how often, and nothing of what: no path, no command.
type Risk struct {
	Session string    `json:"session,omitempty"`
	Request string    `json:"request"` // the CA fills in the rest
	Person  string    `json:"person"`
	Bastion string    `json:"bastion"`
	Limit   string    `json:"limit"`           // one of the session's
	Count   uint64    `json:"count"`           // with what was too much
	Lifted  uint64    `json:"lifted,omitzero"` // how often that limit of the session was released before
	Action  string    `json:"action"`          // what the limit says
	Passed  bool      `json:"passed,omitzero"` // a hold that a fresh approval had lifted before
	At      time.Time `json:"at,omitzero"`     // when the bastion saw it
}

// Cuts is what the crossing revokes: nothing, the grant or everything of the person.
func (r Risk) Cuts() Target {
	switch r.Action {
	case "revoke":
		return Target{{"request", r.Request}}
	case "revoke-person":
		return Target{{"person", r.Person}}
	}
	return nil
}

// Reason is what the revocation says that comes of it.
func (r Risk) Reason() string {
	if r.Session == "" {
		return fmt.Sprintf("limit %s was crossed by %s", r.Limit, r.Request)
	}
	return fmt.Sprintf("limit %s was crossed in %s", r.Limit, r.Session)
}
