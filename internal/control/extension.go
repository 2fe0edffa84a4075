package control

import (
	"slices"
	"time"
)

// Extension is more time for a grant that is alive. Its state is [Pending], [Granted], [Denied], or [Withdrawn] when another was asked for instead.
type Extension struct {
	Number     int       `json:"number"` // 1 is the first of its request
	State      string    `json:"state"`
	ForSeconds int64     `json:"for_seconds"` // beyond the end there was
	Ends       time.Time `json:"ends"`        // the new end
	Reason     string    `json:"reason"`
	Needs      []Need    `json:"needs"`
	Touch      bool      `json:"touch,omitempty"`
	PIN        bool      `json:"pin,omitempty"`
	Rules      []string  `json:"rules"`  // ids of the policy rules that permitted it
	Policy     string    `json:"policy"` // sha256: digest of the policy that decided
	Asked      time.Time `json:"asked"`
	Nonce      string    `json:"nonce"`
	Votes      []Vote    `json:"votes,omitempty"`
}

// Extending is the extension that waits for approvals, if one does.
func (r Request) Extending() (Extension, bool) {
	if n := len(r.Extensions); n > 0 && r.State == Granted && r.Extensions[n-1].State == Pending {
		return r.Extensions[n-1], true
	}
	return Extension{}, false
}

// Bare is the extension as it was asked for, without what was decided since.
func (e Extension) Bare() Extension {
	e.Needs = slices.Clone(e.Needs)
	for i := range e.Needs {
		e.Needs[i].Have = nil
	}
	e.State, e.Votes = Pending, nil
	return e
}

// Bound is what nothing outlived when the request was asked. Statements name it, because extensions move NotAfter, and a signed revocation
// must fit before and after.
func (r Request) Bound() time.Time {
	if len(r.Extensions) > 0 {
		return r.ClaimBy.Add(time.Duration(r.ForSeconds) * time.Second)
	}
	return r.NotAfter
}

// AsAsked is the request as its first approvers saw it.
func (r Request) AsAsked() Request {
	r.NotAfter, r.Extensions, r.Halts = r.Bound(), nil, nil
	return r
}
