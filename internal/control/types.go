// Package control is the vocabulary of the CA's control plane, and its client.
//
// The control plane is an SSH server whose operations are commands: text for people, and with --json one JSON
// object a line in the types of this package. ca/PROTOCOL.md describes every command. Start with [Dial].
package control

import "time"

// The states of a request.
const (
	Pending   = "pending"   // approvals are missing
	Approved  = "approved"  // every approval is there; no certificate was taken yet
	Granted   = "granted"   // a certificate was taken; the clock runs
	Ended     = "ended"     // its time passed
	Denied    = "denied"    // an approver said no
	Withdrawn = "withdrawn" // the requester took it back
	Expired   = "expired"   // nobody approved it, or nobody used it, in time
	Revoked   = "revoked"   // cut
)

// The decisions an approval statement can carry.
const (
	Approve  = "approve"
	Deny     = "deny"
	Withdraw = "withdraw"
	Revoke   = "revoke"
	Review   = "review" // of an emergency that is over
	Clear    = "clear"  // of one that was found misused: its person may have another
	Extend   = "extend" // an approval of an [Extension]
	Lift     = "lift"   // an approval of going on after a [Halt]
)

// Namespace is the SSHSIG namespace of every signed decision.
const Namespace = "approval@postern"

// Request is what an admin asked for and what became of it.
type Request struct {
	ID           string    `json:"id"` // R-7K2M4Q
	State        string    `json:"state"`
	Person       string    `json:"person"`
	Key          string    `json:"key"`          // SHA256: fingerprint of the key that asked
	Targets      []string  `json:"targets"`      // account@host, canonical host names, sorted
	Capabilities []string  `json:"capabilities"` // sorted
	Reason       string    `json:"reason"`
	ForSeconds   int64     `json:"for_seconds"`
	Rules        []string  `json:"rules"`  // ids of the policy rules that permitted it
	Policy       string    `json:"policy"` // sha256: digest of the policy that decided
	Needs        []Need    `json:"needs"`
	Touch        bool      `json:"touch,omitempty"` // approvals need a FIDO key and a touch
	PIN          bool      `json:"pin,omitempty"`   // and its PIN
	Created      time.Time `json:"created"`
	ClaimBy      time.Time `json:"claim_by"`  // approved and first used before this, or expired
	NotAfter     time.Time `json:"not_after"` // nothing that comes of it outlives this
	Began        time.Time `json:"began,omitzero"`
	Ends         time.Time `json:"ends,omitzero"`
	Votes        []Vote    `json:"votes,omitempty"`
	Notes        []string  `json:"notes,omitempty"` // what the policy left out, and why
	Digest       string    `json:"digest"`          // sha256: over the request as asked
	Nonce        string    `json:"nonce"`

	// Destinations are where forward-local may lead, sorted; a later policy can only take some away.
	Destinations []string `json:"destinations,omitempty"`
	// Record is how much is kept of its sessions; a later policy can only want more.
	Record *Record `json:"record,omitempty"`

	Emergency bool      `json:"emergency,omitempty"` // granted at once by a rule for emergencies
	Owes      *ReviewOf `json:"review,omitempty"`    // of an emergency: what it owes
	Sheet     *Sheet    `json:"sheet,omitempty"`     // of a sealed grant
	// Limits are the risk thresholds of its sessions, as package limit writes them; a later policy can only add some.
	Limits string `json:"limits,omitempty"`
	// Extensions are every one that was asked for, oldest first. The last may be waiting.
	Extensions []Extension `json:"extensions,omitempty"`
	// Halts are by the limits with hold that its sessions crossed, oldest first.
	Halts []Halt `json:"halts,omitempty"`
}

// Need is one requirement such as "1 of privacy".
type Need struct {
	Count int      `json:"count"`
	Group string   `json:"group"`
	Have  []string `json:"have,omitempty"` // who approved so far
}

// Vote is one signed decision about a request, kept with its exact bytes.
type Vote struct {
	Decision  string    `json:"decision"`
	Verdict   string    `json:"verdict,omitempty"` // of a review
	Person    string    `json:"person"`
	Key       string    `json:"key"`    // fingerprint
	Public    string    `json:"public"` // authorized_keys form
	At        time.Time `json:"at"`
	Statement string    `json:"statement"`
	Signature string    `json:"signature"` // armoured SSHSIG
}

// Identity answers whoami.
type Identity struct {
	Kind   string   `json:"kind"` // person, bastion or host
	Name   string   `json:"name"`
	Groups []string `json:"groups,omitempty"`
	Key    string   `json:"key"`
	CA     string   `json:"ca"`
	Policy string   `json:"policy"`
}

// Certificate answers certificate, host-certificate and bastion-certificates (one a line).
type Certificate struct {
	Request     string    `json:"request,omitempty"`
	Host        string    `json:"host,omitempty"` // gateway certificates: the name it stands for
	Certificate string    `json:"certificate"`    // authorized_keys form
	Serial      uint64    `json:"serial"`
	NotAfter    time.Time `json:"not_after"`
}

// Session is one SSH session through a bastion, as the CA knows it.
type Session struct {
	ID           string    `json:"id"` // S-8CHQ2M7KXA
	Request      string    `json:"request"`
	Person       string    `json:"person"`
	Key          string    `json:"key"`
	Serial       uint64    `json:"serial"` // of the user certificate
	Target       string    `json:"target"` // account@host
	Bastion      string    `json:"bastion"`
	Client       string    `json:"client"` // address the admin came from
	Started      time.Time `json:"started"`
	Deadline     time.Time `json:"deadline"`
	Ended        time.Time `json:"ended,omitzero"`
	End          string    `json:"end,omitempty"` // how it ended: closed, deadline, revoked, recorder, host, lost …
	Frames       uint64    `json:"frames"`
	Head         string    `json:"head,omitempty"` // hex: chain head over the frames so far
	Segments     uint64    `json:"segments"`
	SealedHead   string    `json:"sealed_head,omitempty"` // hex: chain head over the sealed segments so far
	Sealed       bool      `json:"sealed,omitempty"`      // no segment will follow
	Interrupted  bool      `json:"interrupted,omitempty"` // the bastion died before the session ended
	RecordingKey string    `json:"recording_key"`
	KeystrokeKey string    `json:"keystroke_key,omitempty"` // what is typed is sealed to this one; empty: it is not recorded
	RetainDays   int64     `json:"retain_days,omitempty"`   // how long its recording is kept after its end; 0: until somebody destroys it
	Limits       string    `json:"limits,omitempty"`        // its risk thresholds, as package limit writes them
}

// OpenRequest is how a bastion asks to open a session.
type OpenRequest struct {
	Certificate string `json:"certificate"` // the admin's, authorized_keys form
	Target      string `json:"target"`      // account@host as the admin named it
	SessionKey  string `json:"session_key"` // public half of the bastion's ephemeral key, authorized_keys form
	Client      string `json:"client"`      // host:port
}

// OpenReply is what the bastion may and must do in that session.
type OpenReply struct {
	Session      Session      `json:"session"` // Target is canonical here
	Certificate  string       `json:"certificate"`
	Address      string       `json:"address"`            // host:port of the PHI host
	HostKey      string       `json:"host_key,omitempty"` // pinned; empty: a certificate of the host CA for the host's name
	HostName     string       `json:"host_name"`
	Capabilities []string     `json:"capabilities"`
	IdleSeconds  int64        `json:"idle_seconds,omitempty"`
	HoldSeconds  int64        `json:"hold_seconds,omitempty"` // how long a limit holds it at most; 0: as the bastion will
	Environment  []string     `json:"environment,omitempty"`  // names, a trailing * allowed
	Record       Record       `json:"record"`
	RecordingKey RecordingKey `json:"recording_key"`
	Emergency    bool         `json:"emergency,omitempty"` // it may be recorded in what a full disk has in reserve

	// Destinations are where forward-local may lead: host:port, address range:port or an absolute path of a socket; port * is any.
	Destinations []string `json:"destinations,omitempty"`

	// Used is what sessions of the grant that ended have counted, by limit.
	Used map[string]uint64 `json:"used,omitempty"`

	// Warnings are for the person: limits that were crossed when the session opened.
	Warnings []string `json:"warnings,omitempty"`

	// KeystrokeKey is what keystrokes are sealed to. It is there whenever Record.Keystrokes is true.
	KeystrokeKey *RecordingKey `json:"keystroke_key,omitempty"`
	// Seq is the last revocation the CA knew of when it decided: every later one that hits the request cuts
	// the session, in whatever order the two messages arrive.
	Seq uint64 `json:"seq"`
}

// Record says how much is kept of a session. Without Files it says nothing, and everything is kept but keystrokes.
type Record struct {
	Keystrokes bool   `json:"keystrokes,omitempty"`
	Files      string `json:"files,omitempty"`       // contents of files: full, head (the first 64 KiB of each) or hash
	Streams    int64  `json:"streams,omitempty"`     // bytes kept of each stream of a command; -1: all. What follows is hashed and sampled
	Forwards   int64  `json:"forwards,omitempty"`    // bytes kept of each direction of a forward; -1: all
	RetainDays int64  `json:"retain_days,omitempty"` // how long the recording is kept; 0: until somebody destroys it
}

// Progress is what a bastion tells about a running or finished recording.
type Progress struct {
	Session    string `json:"session"`
	Frames     uint64 `json:"frames"`
	Head       string `json:"head"`
	Segments   uint64 `json:"segments"`
	SealedHead string `json:"sealed_head,omitempty"`
	End        string `json:"end,omitempty"` // set once, when the session ended

	// Counts are of the session's limits, by their text, with the end: since each was released last.
	Counts map[string]uint64 `json:"counts,omitempty"`

	Sealed      bool `json:"sealed,omitempty"`
	Interrupted bool `json:"interrupted,omitempty"`
}

// Keystrokes is the purpose of a recording key that what is typed is sealed to.
const Keystrokes = "keystrokes"

// RecordingKey is the public half of a month's key, and what auditors need to open the private half.
type RecordingKey struct {
	ID        string    `json:"id"`                // K- and 16 hex digits of the SHA-256 of Public
	Month     string    `json:"month"`             // 2026-11
	Purpose   string    `json:"purpose,omitempty"` // empty: sessions; or Keystrokes
	Public    []byte    `json:"public"`            // HPKE MLKEM768-X25519
	Auditor   string    `json:"auditor"`
	AuditKey  string    `json:"audit_key"` // the auditor's SSH key, authorized_keys form
	Signature string    `json:"signature"` // armoured SSHSIG over [RecordingKey.Statement]
	BoxSum    string    `json:"box_sum"`   // sha256: of the box that the auditor made
	Added     time.Time `json:"added,omitzero"`

	// Recipients are whom that box was sealed to, as the auditor says.
	Recipients []Recipient `json:"recipients,omitempty"`
	// Box is the private half, an age file to the recipients. It is never in the log, so that it can be destroyed, and only auditors get it.
	Box []byte `json:"box,omitempty"`
	// Rewrap is the last time that it was sealed anew; Box is what came of that.
	Rewrap *Rewrap `json:"rewrap,omitempty"`
	// Shredded is when the box was destroyed, and with it every recording of this key.
	Shredded time.Time `json:"shredded,omitzero"`
}

// Revocation is one entry of the revocation set.
type Revocation struct {
	Seq       uint64    `json:"seq"`
	Kind      string    `json:"kind"` // the first selector of its [Target]
	Value     string    `json:"value"`
	Scope     string    `json:"scope,omitempty"` // the others
	Reason    string    `json:"reason"`
	By        string    `json:"by"`
	At        time.Time `json:"at"`
	Holds     time.Time `json:"holds,omitzero"`     // until then nothing that it hits is given anew
	Until     time.Time `json:"until,omitzero"`     // nothing it hits lives longer, so it leaves the set then; zero: never
	Requests  []string  `json:"requests,omitempty"` // the requests it hits: every grant alive when it was made
	Statement string    `json:"statement"`
	Signature string    `json:"signature"`
}

// Moved tells that the deadline of a grant moved, and with it that of its sessions.
type Moved struct {
	Request string    `json:"request"`
	Ends    time.Time `json:"ends"`
}

// Event is one line of the revocation stream. Seq rises by one with each revocation; a client that missed one
// resumes with --from. Every line is proof of life; Pong answers the client's own ping and renews its leases.
type Event struct {
	Seq          uint64      `json:"seq"`
	Revocation   *Revocation `json:"revocation,omitempty"`
	Pong         uint64      `json:"pong,omitempty"`
	AdmitSeconds float64     `json:"admit_seconds,omitempty"` // how long after it sent the answered ping a bastion may admit
	KeepSeconds  float64     `json:"keep_seconds,omitempty"`  // and how long it may keep alive what it admitted
	Policy       string      `json:"policy,omitempty"`        // the policy in force, when it changed
	Extended     *Moved      `json:"extended,omitempty"`      // to bastions: every extended grant that is alive, first and whenever it is extended
	Lifted       *Lifted     `json:"lifted,omitempty"`        // to bastions: every decided halt of a live session of theirs, first and whenever one is decided
	Custody      uint64      `json:"custody,omitempty"`       // the last number of deletions, when it changed: there may be something to ask for
}

// Ping is what a client writes to the revocation stream to renew its leases.
type Ping struct {
	Ping uint64 `json:"ping"`
}

// Leaf is one entry of the audit log as the log command prints it.
type Leaf struct {
	Index int64  `json:"index"`
	Data  []byte `json:"data"` // the exact bytes under the leaf hash: one JSON object
}

// Trust is what everybody may know: public keys and the lines that make stock clients trust them.
type Trust struct {
	Name       string   `json:"name"`    // of the CA
	Version    string   `json:"version"` // of the protocol
	UserCA     string   `json:"user_ca"`
	SessionCA  string   `json:"session_ca"`
	HostCA     string   `json:"host_ca"`
	GatewayCA  string   `json:"gateway_ca"`
	Log        string   `json:"log"` // verifier key of the checkpoints
	KnownHosts []string `json:"known_hosts"`
	Bastions   []Place  `json:"bastions"`
	Hosts      []string `json:"hosts"` // every name and alias a person who asks may see

	// Aliases maps each alias among Hosts to the name that certificates speak of.
	Aliases map[string]string `json:"aliases,omitempty"`
}

// Place is where a bastion is reached.
type Place struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Key     string `json:"key,omitempty"` // what signs its recordings, and what it shows clients that know no host certificates; authorized_keys form
}

// Audit answers audit: what an auditor who said what for may read of recordings, and with what.
type Audit struct {
	Sessions []Session      `json:"sessions"` // sorted by ID
	Keys     []RecordingKey `json:"keys"`     // that the sessions name; those of keystrokes only when the view is with them
	Passes   []Pass         `json:"passes"`   // one a bastion; a session of a bastion that left the policy is in none
	Logged   Logged         `json:"logged"`   // the view, which is in the log by now
}

// Pass is the certificate for the recordings of a view that one bastion keeps.
type Pass struct {
	Bastion     Place     `json:"bastion"`
	Sessions    []string  `json:"sessions"`
	Certificate string    `json:"certificate"` // authorized_keys form, over the key that the view names
	NotAfter    time.Time `json:"not_after"`
}
