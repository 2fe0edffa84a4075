// Package verify proves, from an audit log alone, that a postern CA did what it promises: nothing was removed or
// reordered, every approval was signed by the approver's own key, and every certificate came of a request that had all
// its approvals.
//
// Start with [Checker], which checks what the leaves say against the CA keys one trusts, while [auditlog.Walk] proves that they are the log. Both are pure: the
// caller fetches, and remembers.
package verify

import (
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// Keys is what the verifier trusts: the keys its operator handed out, never those the server tells.
type Keys struct {
	User, Session, Host, Gateway ssh.PublicKey
	Log                          string // verifier key of the checkpoints
}

// Failure is one thing that is wrong.
type Failure struct {
	Leaf int64  `json:"leaf"` // index; -1 when it is about no leaf
	Text string `json:"text"` // for a person
}

func (f Failure) String() string {
	if f.Leaf < 0 {
		return f.Text
	}
	return fmt.Sprintf("leaf %d: %s", f.Leaf, f.Text)
}

// Report is what the leaves say and what is wrong with it.
type Report struct {
	Requests     int               `json:"requests"`
	Votes        int               `json:"votes"`
	Revocations  int               `json:"revocations"`
	Certificates map[string]uint64 `json:"certificates"` // CA to the last serial
	Policies     []InForce         `json:"policies"`
	Sessions     []Session         `json:"sessions"`
	Views        []View            `json:"-"` // by auditors, of recordings; oldest first
	Failures     []Failure         `json:"failures"`
	Notes        []Failure         `json:"notes,omitempty"` // nothing wrong, but somebody should know
}

// InForce is a policy and since when it decided. The leaf binds the rules by their digest: that they are the ones that were reviewed is
// for who reviewed them to say.
type InForce struct {
	Leaf     int64     `json:"leaf"`
	Digest   string    `json:"digest"`
	Since    time.Time `json:"since"`
	Requests []Asked   `json:"-"` // that it decided
}

// Asked is a request as it was filed.
type Asked struct {
	Leaf int64
	control.Request
}

// Session is a session of the log with the last that was said of its recording.
type Session struct {
	control.Session
	Leaf       int64         `json:"leaf"`
	BastionKey ssh.PublicKey `json:"-"` // what signs its recording
	Heads      []Head        `json:"-"` // every head that was logged while it grew: a recording must pass through each
	Destroyed  *Destroyed    `json:"destroyed,omitempty"`
}

// Leaves checks what the leaves say. That they are all there, and in this order, proves [auditlog.Walk].
func Leaves(leaves [][]byte, keys Keys) Report {
	c := NewChecker(keys)
	for _, leaf := range leaves {
		c.Add(leaf)
	}
	return c.Report()
}

// Checker checks leaves one after the other, so that a log need not fit into memory.
type Checker struct {
	v *verifier
	n int64
}

// NewChecker begins with the first leaf of a log.
func NewChecker(keys Keys) *Checker {
	return &Checker{v: &verifier{
		keys: keys, requests: map[string]*request{}, sessions: map[string]*session{}, recordingKeys: map[string]string{},
		dead: map[string]bool{}, unclaimed: map[string]*claim{}, views: map[string]uint64{}, owing: map[string][]*request{}, custody: newCustody(), crossings: map[string]bool{}, heldBack: map[string]int{}, revoked: map[string]uint64{},
		report: Report{Certificates: map[string]uint64{}},
	}}
}

// NewPartial begins with the first of some leaves, which are handed to [Checker.AddAt]. What only the whole log shows is not
// looked for: that nothing was left out.
func NewPartial(keys Keys) *Checker {
	c := NewChecker(keys)
	c.v.partial = true
	return c
}

// AddAt checks a leaf of a log that has been left out up to there.
func (c *Checker) AddAt(index int64, leaf []byte) auditlog.Entry {
	c.n = index
	return c.Add(leaf)
}

// Add checks the next leaf and returns what it says. What is wrong with it is in the report.
func (c *Checker) Add(leaf []byte) auditlog.Entry {
	c.v.at = c.n
	c.n++
	entry, err := auditlog.Decode(leaf)
	if err != nil {
		c.v.fail("%v", err)
		return entry
	}
	c.v.entry(entry)
	return entry
}

// Report is what was found. No leaf may follow it.
func (c *Checker) Report() Report {
	c.v.end()
	return c.v.report
}
