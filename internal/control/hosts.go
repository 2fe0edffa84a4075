package control

import (
	"fmt"
	"time"
)

// HostState is what postern-host says of its host: at once when something changed, and every twenty seconds.
type HostState struct {
	Host            string    `json:"host"`
	At              time.Time `json:"at,omitzero"`               // when the CA heard, by its clock
	KRLVersion      uint64    `json:"krl_version"`               // of the list that sshd reads there; the last revocation that it knows of
	KRLMissing      bool      `json:"krl_missing,omitempty"`     // there is none that is whole
	KRLWritten      time.Time `json:"krl_written,omitzero"`      // by the host's clock
	CertificateEnds time.Time `json:"certificate_ends,omitzero"` // of the host key; zero: there is none

	Ends      bool     `json:"ends,omitempty"`       // it ends what runs for revoked sessions
	CannotEnd string   `json:"cannot_end,omitempty"` // but cannot, and why
	Logins    []uint64 `json:"logins,omitempty"`     // serials of the session certificates whose logins it follows
}

// MaxHostLogins is how many logins one message tells of.
const MaxHostLogins = 20000

// HostOrders answers host-state.
type HostOrders struct {
	End []EndOrder `json:"end,omitempty"`
}

// EndOrder tells a host to end what runs there for a revoked session.
type EndOrder struct {
	Serial  uint64 `json:"serial"`  // of the session certificate
	Session string `json:"session"` // S-8CHQ2M7KXA
	Seq     uint64 `json:"seq"`     // of the revocation
}

// HostEnded is what a host did about an order: how many processes of the session ran there, and what became of them.
type HostEnded struct {
	Seq      uint64    `json:"seq"`
	Session  string    `json:"session"`
	Serial   uint64    `json:"serial"`             // of the session certificate
	Host     string    `json:"host"`               // the CA fills it in
	By       string    `json:"by"`                 // how they were told from others: audit, scope (both with what detached itself) or tree
	Found    int64     `json:"found"`              // sshd's own included
	Detached int64     `json:"detached,omitempty"` // of them had left the connection: nohup, setsid, tmux
	Killed   int64     `json:"killed,omitempty"`   // of them did not end when asked to
	Left     int64     `json:"left,omitempty"`     // of them run on
	Took     int64     `json:"took_us"`            // microseconds since the order
	At       time.Time `json:"at,omitzero"`        // when the CA heard
}

// String is a line for people.
func (e HostEnded) String() string {
	words := fmt.Sprintf("%s on %s: %s", e.Session, e.Host, plural(e.Found, "process", "processes"))
	if e.Found == 0 {
		words = fmt.Sprintf("%s on %s: nothing was left", e.Session, e.Host)
	}
	if e.Detached > 0 {
		words += fmt.Sprintf(", %d of them detached", e.Detached)
	}
	switch {
	case e.Left > 0:
		words += fmt.Sprintf("; %s STILL RUN", plural(e.Left, "process", "processes"))
	case e.Found > 0:
		words += fmt.Sprintf(", ended within %s", (time.Duration(e.Took) * time.Microsecond).Round(time.Millisecond))
	}
	if e.By == ByTree {
		words += "; what detached itself there cannot be found: sshd does not use PAM with pam_loginuid"
	}
	return words
}

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// The ways in which a host tells the processes of a login from others.
const (
	ByTree  = "tree"  // what its sshd started; what detached itself is not found
	ByScope = "scope" // the cgroup of the login as well
	ByAudit = "audit" // its audit session as well
)

// How a host stands, as the CA judges it.
const (
	HostOK          = "ok"
	HostOld         = "old"         // its list is behind the CA's, or there is none
	HostSilent      = "silent"      // nothing is known of it
	HostCertificate = "certificate" // its host certificate ends
	HostUnmanaged   = "unmanaged"   // the policy names no agent for it
)

// HostStatus answers hosts.
type HostStatus struct {
	HostState
	CAVersion uint64 `json:"ca_version"` // the last revocation
	State     string `json:"state"`
	Why       string `json:"why,omitempty"`
}
