package control

import "time"

// MaxCutSessions is how many sessions one receipt tells of; of more there are several.
const MaxCutSessions = 500

// CutReceipt is what one bastion did about a revocation, told when the last connection was closed.
type CutReceipt struct {
	Seq      uint64       `json:"seq"`     // of the revocation
	Bastion  string       `json:"bastion"` // the CA fills it in
	Part     int          `json:"part"`    // from 0
	Parts    int          `json:"parts"`
	Heard    time.Time    `json:"heard"` // when the revocation came, by the bastion's clock
	Sessions []CutSession `json:"sessions,omitempty"`
	At       time.Time    `json:"at,omitzero"` // when the CA had the receipt
}

// CutSession is one session that a revocation ended. Times are microseconds since the bastion heard of the revocation.
type CutSession struct {
	Session   string   `json:"session"`
	Signalled int64    `json:"signalled_us,omitempty"` // the host was asked to kill what ran; 0: nothing ran
	Closed    int64    `json:"closed_us"`              // the connection to the admin was closed; nothing had passed since it was heard
	Left      int64    `json:"left_us,omitempty"`      // the connection to the host was closed; 0: a bastion that does not say
	Survivors []string `json:"survivors,omitempty"`    // what may run on, and why
}

// Told is a line of receipts: what a bastion did about a revocation, or what a host did.
type Told struct {
	CutReceipt
	HostEnded *HostEnded `json:"host_ended,omitempty"`
}
