package control

import "time"

// HostState is what postern-host says of its host: at once when something changed, and every twenty seconds.
type HostState struct {
	Host            string    `json:"host"`
	At              time.Time `json:"at,omitzero"`               // when the CA heard, by its clock
	KRLVersion      uint64    `json:"krl_version"`               // of the list that sshd reads there; the last revocation that it knows of
	KRLMissing      bool      `json:"krl_missing,omitempty"`     // there is none that is whole
	KRLWritten      time.Time `json:"krl_written,omitzero"`      // by the host's clock
	CertificateEnds time.Time `json:"certificate_ends,omitzero"` // of the host key; zero: there is none
}

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
