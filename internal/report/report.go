// Package report answers what an auditor is asked: who reached which host as which account and why, who approved it, for how long, what ran
// and what moved, what was cut, and what nobody used.
//
// Start with a [Ledger], which is told every leaf of an audit log that the caller proves meanwhile, and [Ledger.Report], which makes the
// [Report] of a period; [Report.Take] adds what a session's recording says. A Report is written as text, as one HTML page, as CSV or as
// JSON, whose names are those of the types here and stay what they are.
//
// Everything in it was said by somebody: requesters write reasons, hosts and clients make up commands and names of files, bastions write the
// indexes these come from. So all text goes through [Visible] before a person sees it, in whatever form.
package report

import (
	"time"

	"postern/internal/control"
	"postern/internal/verify"
)

// Format is the first member of the JSON document.
const Format = "postern report 1"

// Report is what happened in a period. Times are UTC.
type Report struct {
	Format string    `json:"format"`
	CA     string    `json:"ca"`
	Made   time.Time `json:"made"`
	By     string    `json:"by"`     // whose command it was
	Reason string    `json:"reason"` // why it was made
	From   time.Time `json:"from"`
	To     time.Time `json:"to"`             // the first moment that is no longer in it
	User   string    `json:"user,omitempty"` // of nobody else; a * stands for anything
	Host   string    `json:"host,omitempty"` // of no other host; likewise
	Group  string    `json:"group"`          // person, host, day or request: what sessions stand under

	Proof  Proof    `json:"proof"`
	Totals Totals   `json:"totals"`
	People []Totals `json:"people"`
	Hosts  []Totals `json:"hosts"`
	Days   []Totals `json:"days"`

	Sessions    []*Session   `json:"sessions"`
	Requests    []*Request   `json:"requests"`
	Emergencies []Emergency  `json:"emergencies,omitempty"`
	Hands       []Hands      `json:"hands"`       // who approved whom how often
	OneSided    []Hands      `json:"one_sided"`   // of them: nearly all of a person's requests by the same approver
	Mutual      []Mutual     `json:"mutual"`      // pairs who approve each other
	Revocations []Revocation `json:"revocations"` // what cut
	Views       []View       `json:"views"`       // who looked at recordings, and why
	Recordings  []Gap        `json:"recordings"`  // those that are not whole, or were not read
	Keys        []Key        `json:"keys"`        // the recording keys of the months
	Custody     []Custody    `json:"custody"`     // what was held, released and destroyed
	Other       []Count      `json:"other,omitempty"`
	Limits      []string     `json:"limits,omitempty"` // what was left out because there was too much of it

	details int // that it holds
}

// Proof says what stands behind the report.
type Proof struct {
	Leaves     int64            `json:"leaves"`
	Root       string           `json:"root"`                // base64, of the signed checkpoint
	Latest     time.Time        `json:"latest"`              // of the last leaf
	Before     int64            `json:"before"`              // leaves when this machine last looked; 0: never
	Witnesses  []Witness        `json:"witnesses,omitempty"` // who cosigned it, as far as was asked
	Failures   []verify.Failure `json:"failures"`
	Notes      []verify.Failure `json:"notes,omitempty"`
	Recordings string           `json:"recordings"` // how commands and files were found: not read, index or frames
	Read       int              `json:"read"`       // recordings of which they were
}

// Witness is a machine of somebody else's that saw the same log grow.
type Witness struct {
	Name   string    `json:"name"`
	Leaves int64     `json:"leaves"` // how far
	At     time.Time `json:"at"`     // when
}

// Good says that nothing failed.
func (p Proof) Good() bool { return len(p.Failures) == 0 }

// Totals are sums over sessions in the period.
type Totals struct {
	Name      string `json:"name,omitempty"` // of the person, host or day
	Requests  int    `json:"requests"`
	Sessions  int    `json:"sessions"`
	Seconds   int64  `json:"seconds"` // within the period
	Commands  int    `json:"commands"`
	FilesFrom int    `json:"files_from"` // read from hosts
	FilesTo   int    `json:"files_to"`   // written to hosts
	BytesFrom uint64 `json:"bytes_from"`
	BytesTo   uint64 `json:"bytes_to"`
	Forwards  int    `json:"forwards"`
	Denied    int    `json:"denied"` // attempts that the grant did not include
	Cut       int    `json:"cut"`    // sessions that did not end by themselves
}

// Request is one request that was made, decided or used in the period.
type Request struct {
	ID           string     `json:"id"`
	Person       string     `json:"person"`
	Targets      []string   `json:"targets"`
	Capabilities []string   `json:"capabilities"`
	Reason       string     `json:"reason"`
	Rules        []string   `json:"rules"`
	State        string     `json:"state"` // now, by the log
	Why          string     `json:"why,omitempty"`
	Created      time.Time  `json:"created"`
	Asked        int64      `json:"asked_seconds"`
	Granted      int64      `json:"granted_seconds"` // 0: it never was
	Used         int64      `json:"used_seconds"`    // time with at least one session open, in the period or not
	Began        time.Time  `json:"began,omitzero"`
	Ends         time.Time  `json:"ends,omitzero"`
	Sessions     []string   `json:"sessions"`
	Approvals    []Approval `json:"approvals"`
	Emergency    bool       `json:"emergency,omitempty"`
	Sheet        bool       `json:"sheet,omitempty"` // a sealed grant; once it was used an emergency, of who used it
	Leaf         int64      `json:"leaf"`

	spans []span
	owes  control.ReviewOf // of an emergency

	reviewed bool // what it owes was signed
}

// Unused says that it was approved and nobody opened a session with it.
func (r *Request) Unused() bool { return len(r.Sessions) == 0 && r.approved() }

func (r *Request) approved() bool {
	for _, a := range r.Approvals {
		if a.Decision == approve {
			return r.State != denied && r.State != pending
		}
	}
	return !r.Began.IsZero()
}

// Approval is one signed decision, and how it was signed as far as the signature shows.
type Approval struct {
	Decision string    `json:"decision"`
	Person   string    `json:"person"`
	At       time.Time `json:"at"`
	Key      string    `json:"key"`
	Verdict  string    `json:"verdict,omitempty"` // of a review
	Because  string    `json:"because,omitempty"`
	FIDO     bool      `json:"fido"`
	Touch    bool      `json:"touch"`           // somebody touched the token
	PIN      bool      `json:"pin"`             // and gave it a PIN or a finger
	Doubt    string    `json:"doubt,omitempty"` // what the verifier says against it: it does not count
	Leaf     int64     `json:"leaf"`
}

// How is the same for people.
func (a Approval) How() string {
	switch {
	case a.Doubt != "":
		return "NOT PROVEN"
	case a.FIDO && a.PIN:
		return "FIDO key, touched, with its PIN"
	case a.FIDO && a.Touch:
		return "FIDO key, touched"
	case a.FIDO:
		return "FIDO key, no touch shown"
	}
	return "key without touch"
}

// Session is one session, cut to the period.
type Session struct {
	ID        string     `json:"id"`
	Request   string     `json:"request"`
	Person    string     `json:"person"`
	Account   string     `json:"account"`
	Host      string     `json:"host"`
	Bastion   string     `json:"bastion"`
	Client    string     `json:"client"`
	Reason    string     `json:"reason"`
	Approvals []Approval `json:"approvals"`
	Asked     int64      `json:"asked_seconds"`
	Granted   int64      `json:"granted_seconds"`
	Started   time.Time  `json:"started"`
	Ended     time.Time  `json:"ended,omitzero"`
	Deadline  time.Time  `json:"deadline"`
	Before    bool       `json:"began_before"` // the period
	After     bool       `json:"goes_on"`      // beyond it
	Seconds   int64      `json:"seconds"`      // in the period
	End       string     `json:"end"`
	Cut       string     `json:"cut"` // why, if it did not end by itself
	Recording Recording  `json:"recording"`
	Commands  []Command  `json:"commands"`
	Files     []File     `json:"files"`
	Forwards  []Forward  `json:"forwards"`
	Denied    []Mark     `json:"denied"`
	Notes     []Mark     `json:"notes,omitempty"`
	Outside   int        `json:"outside,omitempty"` // things that happened in the session but not in the period
	Omitted   int        `json:"omitted,omitempty"` // and those that were too many for the report
	Doubt     string     `json:"doubt,omitempty"`   // what the verifier says against it
	Leaf      int64      `json:"leaf"`

	totals Totals
}

// Recording is what is known of a session's recording.
type Recording struct {
	State   string `json:"state"`             // sealed, open, interrupted or shredded, by the log
	Read    bool   `json:"read"`              // the report has what is in it
	Problem string `json:"problem,omitempty"` // why not, or what is wrong with it
	Frames  uint64 `json:"frames"`
	Head    string `json:"head,omitempty"`
}

// Command is one that was run, or seen to be run.
type Command struct {
	At      time.Time `json:"at"`
	Text    string    `json:"text"`
	Seen    bool      `json:"seen,omitempty"` // read off the terminal; a host may have made it up
	Refused bool      `json:"refused,omitempty"`
	Exit    *uint32   `json:"exit,omitempty"`
}

// File is one transfer, or one change to a file.
type File struct {
	At        time.Time `json:"at"`
	Protocol  string    `json:"protocol"`
	Direction string    `json:"direction"` // from or to the host; empty: neither
	Operation string    `json:"operation"`
	Path      string    `json:"path"`
	To        string    `json:"to,omitempty"`
	Bytes     uint64    `json:"bytes"`
	SHA256    string    `json:"sha256,omitempty"`
	Status    string    `json:"status,omitempty"`
	Denied    bool      `json:"denied,omitempty"`
}

// Forward is a connection carried through the session.
type Forward struct {
	At       time.Time `json:"at"`
	Kind     string    `json:"kind"`
	To       string    `json:"to,omitempty"`
	From     string    `json:"from,omitempty"`
	Sent     uint64    `json:"sent"`
	Received uint64    `json:"received"`
	Seconds  float64   `json:"seconds"`
	Ended    bool      `json:"ended"`
	Denied   bool      `json:"denied,omitempty"`
	Why      string    `json:"why,omitempty"`

	channel uint32
}

// Mark is something else that happened in a session.
type Mark struct {
	At   time.Time `json:"at"`
	Kind string    `json:"kind"`
	Text string    `json:"text"`
}

// Emergency is access that was given first and is to be reviewed afterwards.
type Emergency struct {
	Request  string    `json:"request"`
	Person   string    `json:"person"`
	Created  time.Time `json:"created"`
	Reviewed []string  `json:"reviewed"` // by whom
	Due      time.Time `json:"due,omitzero"`
	State    string    `json:"state"`             // unused, reviewed, misused, cleared, open or overdue, by the log
	Verdict  string    `json:"verdict,omitempty"` // justified, or misused as soon as one reviewer said so
	Cleared  []string  `json:"cleared,omitempty"` // by whom, after it was misused
}

// Hands is who decided about whose requests.
type Hands struct {
	Approver  string   `json:"approver"`
	Requester string   `json:"requester"`
	Approved  int      `json:"approved"`
	Of        int      `json:"of"` // approved requests of that person
	Requests  []string `json:"requests"`
}

// Share is Approved in hundredths of Of.
func (h Hands) Share() int { return h.Approved * 100 / max(1, h.Of) }

// Mutual is a pair of people who approve each other.
type Mutual struct {
	A     string `json:"a"`
	B     string `json:"b"`
	AForB int    `json:"a_for_b"`
	BForA int    `json:"b_for_a"`
}

// Revocation is one that was made in the period.
type Revocation struct {
	Seq      uint64    `json:"seq"`
	At       time.Time `json:"at"`
	By       string    `json:"by"`
	Target   string    `json:"target"`
	Reason   string    `json:"reason"`
	Requests []string  `json:"requests"`
	Leaf     int64     `json:"leaf"`
}

// View is an auditor's look at recordings, or what was made of them.
type View struct {
	At       time.Time `json:"at"`
	Auditor  string    `json:"auditor"`
	Kind     string    `json:"kind,omitempty"`
	Sessions []string  `json:"sessions"`
	Reason   string    `json:"reason"`
	Key      string    `json:"key"`
	Leaf     int64     `json:"leaf"`
}

// Gap is a recording that is missing, damaged, not whole, or was not read.
type Gap struct {
	Session string `json:"session"`
	Problem string `json:"problem"`
	Bad     bool   `json:"bad"` // somebody should ask why; else it is as it should be, such as a session that goes on
}

// Key says whether a month had its recording key in time: without one there are no sessions.
type Key struct {
	Month   string    `json:"month"`
	ID      string    `json:"id,omitempty"`
	Auditor string    `json:"auditor,omitempty"`
	Added   time.Time `json:"added,omitzero"`
	Problem string    `json:"problem,omitempty"`
}

// Custody is a decision about keeping or destroying recordings, or what came of one.
type Custody struct {
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	What   string    `json:"what"`
	Reason string    `json:"reason,omitempty"`
	Leaf   int64     `json:"leaf"`
}

// Count is how many leaves there were of a type that the report says nothing else about.
type Count struct {
	Type  string `json:"type"`
	Count int    `json:"count"`
}
