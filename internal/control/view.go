package control

import "strings"

// ViewNamespace is the SSHSIG namespace in which an auditor signs what they are about to look at.
const ViewNamespace = "view@postern"

// MaxView is how many sessions one view may name. A certificate with as many IDs is 14 kB; what a client sends to log in may be 256 KiB.
const MaxView = 1000

// The kinds of a view: what is done with the recordings.
const (
	ViewReplay   = "replay"   // on a terminal
	ViewWeb      = "web"      // in a browser
	ViewWatch    = "watch"    // while the session goes on
	ViewSearch   = "search"   // across recordings
	ViewExport   = "export"   // for other programs
	ViewVerify   = "verify"   // against the log
	ViewReport   = "report"   // of what was done
	ViewEvidence = "evidence" // for a stranger
)

// ViewKinds lists them.
var ViewKinds = []string{ViewReplay, ViewWeb, ViewWatch, ViewSearch, ViewExport, ViewVerify, ViewReport, ViewEvidence}

// Logged shows that a leaf is in the log: the one at Index of the tree that Checkpoint signs.
type Logged struct {
	Index      int64  `json:"index"`
	Leaf       []byte `json:"leaf"`
	Proof      string `json:"proof"` // of inclusion: a hash a line, in base64
	Checkpoint string `json:"checkpoint"`
}

// Session returns the one with that ID.
func (a Audit) Session(id string) (Session, bool) {
	for _, s := range a.Sessions {
		if strings.EqualFold(s.ID, id) {
			return s, true
		}
	}
	return Session{}, false
}

// Key returns the recording key with that ID.
func (a Audit) Key(id string) (RecordingKey, bool) {
	for _, k := range a.Keys {
		if k.ID == id {
			return k, true
		}
	}
	return RecordingKey{}, false
}
