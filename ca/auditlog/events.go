package auditlog

import (
	"encoding/json"
	"fmt"
	"time"

	"postern/internal/control"
)

// The types of an entry. Each fills the field of the same name.
const (
	TypeGenesis      = "genesis"       // first leaf: whose log this is
	TypePolicy       = "policy"        // a policy came into force
	TypeRequest      = "request"       // somebody asked
	TypeVote         = "vote"          // a signed decision, with its exact bytes
	TypeState        = "state"         // what became of a request
	TypeExtension    = "extension"     // more time was asked for, given or denied
	TypeHalt         = "halt"          // what a limit holds waits for its approvers, or they decided
	TypeCertificate  = "certificate"   // a CA key signed
	TypeRevocation   = "revocation"    // something was cut
	TypeCut          = "cut"           // what a bastion did about a revocation
	TypeHostEnded    = "host-ended"    // what a host ended that ran of a revoked session
	TypeRisk         = "risk"          // a limit of a session was crossed
	TypeSession      = "session"       // a bastion opened a session
	TypeProgress     = "progress"      // the head of a recording, running or ended
	TypeRecordingKey = "recording-key" // auditors' key that sessions are recorded to
	TypeView         = "view"          // an auditor was let at a recording
	TypeRewrap       = "rewrap"        // the private half of a recording key was sealed to other recipients
	TypeCustody      = "custody"       // an auditor's signed decision to hold, release, shred, enrol or retire
	TypeDeletion     = "deletion"      // a bastion was ordered to destroy a recording
	TypeReceipt      = "receipt"       // and what it answered, signed with its key
	TypeSheet        = "sheet"         // a sealed grant was handed out
	TypeSheetUse     = "sheet-use"     // and used, at a bastion that had no CA
	TypeOverdue      = "overdue"       // the review of an emergency did not come in time
)

// Entry is one leaf: a JSON object without PHI. Actor is the person, bastion or host that caused it, "ca" for
// the clock.
type Entry struct {
	Type         string                `json:"type"`
	At           time.Time             `json:"at"`
	Actor        string                `json:"actor"`
	Genesis      *Genesis              `json:"genesis,omitempty"`
	Policy       *Policy               `json:"policy,omitempty"`
	Request      *control.Request      `json:"request,omitempty"`
	Vote         *Vote                 `json:"vote,omitempty"`
	State        *State                `json:"state,omitempty"`
	Extension    *Extension            `json:"extension,omitempty"`
	Halt         *Halt                 `json:"halt,omitempty"`
	Certificate  *Certificate          `json:"certificate,omitempty"`
	Revocation   *control.Revocation   `json:"revocation,omitempty"`
	Cut          *control.CutReceipt   `json:"cut,omitempty"`
	HostEnded    *control.HostEnded    `json:"host_ended,omitempty"`
	Risk         *control.Risk         `json:"risk,omitempty"`
	Session      *control.Session      `json:"session,omitempty"`
	Progress     *control.Progress     `json:"progress,omitempty"`
	RecordingKey *control.RecordingKey `json:"recording_key,omitempty"`
	View         *View                 `json:"view,omitempty"`
	Rewrap       *control.Rewrap       `json:"rewrap,omitempty"`
	Custody      *control.Custody      `json:"custody,omitempty"`
	Deletion     *control.Deletion     `json:"deletion,omitempty"`
	Receipt      *control.Receipt      `json:"receipt,omitempty"`
	Overdue      *control.Overdue      `json:"overdue,omitempty"`
	Sheet        *Sheet                `json:"sheet,omitempty"`
	SheetUse     *control.SheetUse     `json:"sheet_use,omitempty"`
}

// Genesis names the CA and its keys, in authorized_keys form.
type Genesis struct {
	Name      string `json:"name"`
	UserCA    string `json:"user_ca"`
	SessionCA string `json:"session_ca"`
	HostCA    string `json:"host_ca"`
	GatewayCA string `json:"gateway_ca"`
}

// Policy is what a verifier needs of a policy: whose keys are whose, who is in which group, and the keys of
// machines. The rules themselves are bound by the digest.
type Policy struct {
	Digest   string              `json:"digest"`
	People   map[string][]string `json:"people"` // name to authorized_keys lines
	Groups   map[string][]string `json:"groups"` // name to people
	Bastions map[string]string   `json:"bastions"`
	Hosts    map[string]string   `json:"hosts"` // name to pinned host key, or "host-ca"

	Emergencies map[string]Emergency `json:"emergencies,omitempty"` // ids of the rules that grant at once
	Sealed      map[string]Sealed    `json:"sealed,omitempty"`      // ids of the rules that allow sealed grants
}

// Sealed is what a rule for sealed grants allows, and what it wants after a use.
type Sealed struct {
	ValidSeconds int64 `json:"valid_seconds"`
	Emergency
}

// Sheet is a sealed grant as it was handed out, but for what is secret of it. The certificates of the same transaction come before.
type Sheet struct {
	Request  string           `json:"request"`
	Terms    string           `json:"terms"`    // exact bytes of control.Terms
	Envelope string           `json:"envelope"` // sha256: of the sealed private half
	To       control.SheetKey `json:"to"`       // what that was sealed to
}

// Emergency is what a rule for emergencies grants, and what it wants afterwards.
type Emergency struct {
	MaxSeconds    int64          `json:"max_seconds"`
	ReviewSeconds int64          `json:"review_seconds"`
	Needs         []control.Need `json:"needs"`
}

// Vote is a signed decision about a request, about an extension of it, or about what holds it.
type Vote struct {
	Request   string `json:"request"`
	Extension int    `json:"extension,omitempty"`
	Halt      int    `json:"halt,omitempty"`
	control.Vote
}

// Extension is what became of one: all of it each time, without its votes.
type Extension struct {
	Request string `json:"request"`
	control.Extension
}

// Halt is what became of one: all of it each time, without its votes.
type Halt struct {
	Request string `json:"request"`
	control.Halt
}

// State is a request's new state and, where it matters, the time that bounds it.
type State struct {
	Request string    `json:"request"`
	State   string    `json:"state"`
	Why     string    `json:"why,omitempty"`
	Ends    time.Time `json:"ends,omitzero"`
	Review  string    `json:"review,omitempty"` // of an emergency that was used and is over: what it owes
}

// Certificate is what one of the CA's keys signed.
type Certificate struct {
	CA      string `json:"ca"` // user, session, host or gateway
	Serial  uint64 `json:"serial"`
	Request string `json:"request,omitempty"`
	Session string `json:"session,omitempty"`
	Line    string `json:"line"` // authorized_keys form
}

// View is what an auditor was let at, and the signed statement of why. The certificates for it follow at once.
type View struct {
	Kind       string   `json:"kind"`
	Sessions   []string `json:"sessions"` // sorted
	Keystrokes bool     `json:"keystrokes,omitempty"`
	Sequence   uint64   `json:"sequence"` // how many views of the auditor came before
	Reason     string   `json:"reason"`
	Key        string   `json:"key"`       // fingerprint of the one the certificates are for
	Public     string   `json:"public"`    // the auditor's key that signed, authorized_keys form
	Statement  string   `json:"statement"` // what was signed; it says all of the above
	Signature  string   `json:"signature"` // armoured SSHSIG
}

// Decode reads a leaf. Fields that this version does not know are ignored; an unknown type is no error.
func Decode(leaf []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(leaf, &e); err != nil {
		return e, fmt.Errorf("leaf: %w", err)
	}
	return e, nil
}
