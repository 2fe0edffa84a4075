package control

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/sshsig"
)

// CustodyNamespace is the SSHSIG namespace of what auditors decide about keeping and destroying recordings, and in which bastions
// sign what they destroyed.
const CustodyNamespace = "custody@postern"

// What an auditor can decide in a [Custody].
const (
	Hold    = "hold"    // nothing within the scope is destroyed
	Release = "release" // the hold that is named ends
	Shred   = "shred"   // the key boxes of a session or a month are destroyed
	Enrol   = "enrol"   // a recipient gets a name, and keys may be sealed to it
	Retire  = "retire"  // the recipient that is named gets no more keys
)

// Custody is one signed decision. It is kept with its exact content, so that bastions and verifiers judge it by themselves.
type Custody struct {
	ID        string     `json:"id"` // C- and 16 hex digits of the SHA-256 of the statement
	CA        string     `json:"ca"`
	Act       string     `json:"act"`
	Scope     string     `json:"scope"` // session:S-…, request:R-…, person:NAME, host:NAME, month:2026-11 or all; of enrol and retire: recipient:A-…
	Hold      string     `json:"hold,omitempty"`
	Recipient *Recipient `json:"recipient,omitempty"`
	Reason    string     `json:"reason"`
	Auditor   string     `json:"auditor"`
	AuditKey  string     `json:"audit_key"` // authorized_keys form
	Signed    time.Time  `json:"signed"`    // by the auditor's clock, in seconds
	Nonce     string     `json:"nonce"`     // 32 hex digits: no two decisions are the same
	Signature string     `json:"signature"` // armoured SSHSIG over [Custody.Statement]
	At        time.Time  `json:"at,omitzero"`
}

// Recipient is one whom the private half of a recording key can be sealed to.
type Recipient struct {
	Name     string `json:"name,omitempty"`
	ID       string `json:"id"`                 // A- and 32 hex digits of the SHA-256 of Public
	Recovery bool   `json:"recovery,omitempty"` // kept away, for the day when an auditor's is lost: every key is sealed to it
	Public   string `json:"public,omitempty"`   // the age recipient; left out of keys in the log
}

// RecipientID names an age recipient. It is long because a dishonest CA might look for another of the same name.
func RecipientID(public string) string {
	sum := sha256.Sum256([]byte(public))
	return "A-" + hex.EncodeToString(sum[:16])
}

// Label is how a recipient is shown: by its name, and without one by the beginning of its ID.
func (r Recipient) Label() string {
	if r.Name == "" {
		return r.ID[:min(len(r.ID), 10)] + "…"
	}
	if r.Recovery {
		return r.Name + " (recovery)"
	}
	return r.Name
}

// NewCustody begins a decision that only wants a signature.
func NewCustody(ca, act, scope, reason string) Custody {
	nonce := make([]byte, 16)
	rand.Read(nonce)
	return Custody{CA: ca, Act: act, Scope: scope, Reason: reason, Signed: time.Now().UTC().Truncate(time.Second), Nonce: hex.EncodeToString(nonce)}
}

// Statement is what the auditor signs.
func (c Custody) Statement() string {
	lines := []string{
		"postern custody 1",
		"ca: " + oneLine(c.CA),
		"act: " + oneLine(c.Act),
		"scope: " + oneLine(c.Scope),
	}
	if c.Hold != "" {
		lines = append(lines, "hold: "+oneLine(c.Hold))
	}
	if c.Recipient != nil {
		lines = append(lines, "recipient: "+c.Recipient.line())
	}
	lines = append(lines,
		"reason: "+strconv.Quote(c.Reason),
		"auditor: "+oneLine(c.Auditor),
		"signed: "+c.Signed.UTC().Format(time.RFC3339),
		"nonce: "+oneLine(c.Nonce))
	return strings.Join(lines, "\n") + "\n"
}

func (r Recipient) line() string {
	words := []string{r.ID, strconv.Quote(r.Name)}
	if r.Recovery {
		words = append(words, "recovery")
	}
	return strings.Join(words, " ")
}

// Sign completes a decision.
func (c Custody) Sign(auditor string, signer ssh.Signer) (Custody, error) {
	c.Auditor, c.AuditKey = auditor, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	signature, err := sshsig.Sign(signer, CustodyNamespace, []byte(c.Statement()))
	if err != nil {
		return c, err
	}
	c.Signature, c.ID = string(signature), custodyID(c.Statement())
	_, err = c.Verify()
	return c, err
}

func custodyID(statement string) string {
	sum := sha256.Sum256([]byte(statement))
	return "C-" + hex.EncodeToString(sum[:8])
}

var (
	nonceForm = form(`^[0-9a-f]{32}$`)
	nameForm  = form(`^[a-z0-9_@][a-z0-9._@-]{0,63}$`)
	scopeForm = form(`^(all|(session|request|person|host|recipient):[A-Za-z0-9._-]{1,64}|month:[0-9]{4}-(0[1-9]|1[0-2]))$`)
)

// form is made when it is first asked for: every program has this package, and one of them starts twice at each login of a host.
func form(expression string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expression) })
}

const (
	maxCustodyReason = 1000
	maxRecipient     = 8 << 10
)

// Verify checks that c is whole and returns the key that signed it, which is AuditKey. Whether that is an auditor's is the
// caller's to say.
func (c Custody) Verify() (ssh.PublicKey, error) {
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s %s: %w", oneLine(c.Act), oneLine(c.Scope), err)
	}
	return signedWith(c.AuditKey, c.Signature, c.Statement())
}

// Form says what is wrong with what is to be decided, before anybody signs it: a scope that was mistyped would hold nothing.
func (c Custody) Form() error {
	acts := []string{Hold, Release, Shred, Enrol, Retire}
	enrolment := c.Act == Enrol || c.Act == Retire
	switch {
	case !slices.Contains(acts, c.Act):
		return errors.New("there is no such decision")
	case !scopeForm().MatchString(c.Scope) || strings.HasPrefix(c.Scope, "recipient:") != enrolment:
		return errors.New("there is no such scope (they are session:S-…, request:R-…, person:NAME, host:NAME, month:2026-11 and all)")
	case c.Act == Shred && c.Session() == "" && c.Month() == "":
		return errors.New("what is shredded is a session or a month, and nothing else")
	}
	return nil
}

func (c Custody) check() error {
	enrolment := c.Act == Enrol || c.Act == Retire
	if err := c.Form(); err != nil {
		return err
	}
	switch {
	case c.Auditor == "" || c.Reason == "" || len(c.Reason) > maxCustodyReason || !nonceForm().MatchString(c.Nonce):
		return fmt.Errorf("it names no auditor, no reason of up to %d bytes or no nonce", maxCustodyReason)
	case (c.Hold != "") != (c.Act == Release):
		return errors.New("a release names its hold, and nothing else does")
	case (c.Recipient != nil) != enrolment:
		return errors.New("a recipient belongs to enrol and retire")
	case c.ID != custodyID(c.Statement()):
		return fmt.Errorf("its ID is not %s", custodyID(c.Statement()))
	}
	if enrolment {
		return c.Recipient.check(c.Scope)
	}
	return nil
}

func (r Recipient) check(scope string) error {
	switch {
	case !nameForm().MatchString(r.Name):
		return fmt.Errorf("the recipient's name %q is not one of lower case letters, digits, '.', '_' and '-'", r.Name)
	case len(r.Public) > maxRecipient:
		return fmt.Errorf("recipient %s has %d bytes; at most %d fit", r.Name, len(r.Public), maxRecipient)
	case r.ID != RecipientID(r.Public) || scope != "recipient:"+r.ID:
		return fmt.Errorf("the ID of recipient %s is not that of what it stands for", r.Name)
	}
	return nil
}

func signedWith(line, signature, statement string) (ssh.PublicKey, error) {
	signed, err := sshsig.Verify([]byte(signature), CustodyNamespace, []byte(statement))
	if err != nil {
		return nil, err
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil || len(rest) > 0 {
		return nil, errors.New("the key it is signed with is not one key")
	}
	if !bytes.Equal(key.Marshal(), signed.Key.Marshal()) {
		return nil, errors.New("it is signed by another key than it names")
	}
	return key, nil
}

// Session is the one that the scope names, if it names one.
func (c Custody) Session() string { return c.of("session:") }

// Month is the one that the scope names, if it names one.
func (c Custody) Month() string { return c.of("month:") }

func (c Custody) of(kind string) string {
	if id, ok := strings.CutPrefix(c.Scope, kind); ok {
		return id
	}
	return ""
}

// Subject is what scopes are about.
type Subject struct {
	Session string `json:"session"`
	Request string `json:"request"`
	Person  string `json:"person"`
	Host    string `json:"host"`
	Month   string `json:"month"` // of the recording key
}

// SubjectOf is what the CA, and a verifier, know of a session; the month is that in which it began, as is that of its key.
func SubjectOf(s Session) Subject {
	_, host, _ := strings.Cut(s.Target, "@")
	return Subject{Session: s.ID, Request: s.Request, Person: s.Person, Host: host, Month: s.Started.UTC().Format("2006-01")}
}

// Covers says whether the scope takes in a session. Of what is not known (empty) it is taken to.
func (c Custody) Covers(s Subject) bool {
	kind, value, _ := strings.Cut(c.Scope, ":")
	known := map[string]string{"session": s.Session, "request": s.Request, "person": s.Person, "host": s.Host, "month": s.Month}
	is, ok := known[kind]
	return kind == "all" || ok && (is == "" || is == value)
}

// The states of a deletion.
const (
	Ordered   = "ordered"   // the bastion has not answered
	Destroyed = "destroyed" // its receipt is in the log
	Declined  = "declined"  // it will not, and says why
)

// Deletion is an order to the bastion that keeps a recording to destroy its key box, and with Everything also what the box opened.
type Deletion struct {
	ID         string    `json:"id"` // D-7K2M4Q9XAB
	Session    string    `json:"session,omitempty"`
	Bastion    string    `json:"bastion,omitempty"`
	Key        string    `json:"key,omitempty"` // instead of a session: the box of this recording key goes, at the CA, when all its sessions' have gone
	Everything bool      `json:"everything,omitempty"`
	RetainDays int64     `json:"retain_days,omitempty"` // the policy said so many, and they have passed; 0: auditors ordered it
	Because    []string  `json:"because,omitempty"`     // C-… of what the auditors signed, about the session or its month
	At         time.Time `json:"at"`

	Orders  []Custody `json:"orders,omitempty"` // those, for the bastion to judge
	State   string    `json:"state,omitempty"`
	Receipt *Receipt  `json:"receipt,omitempty"`
	Held    string    `json:"held,omitempty"` // of one that is only due: the hold that keeps it
}

// Decided answers custody: the decision as it was logged, and what comes of it.
type Decided struct {
	Custody   Custody    `json:"custody"`
	Deletions []Deletion `json:"deletions,omitempty"`
	Signers   int        `json:"signers,omitempty"` // auditors who ordered the same
}

// Receipt is a bastion's answer to a [Deletion]; of the box of a recording key it is the CA's, and has no signature but the log's.
type Receipt struct {
	Order      string    `json:"order"` // D-…
	CA         string    `json:"ca"`
	Session    string    `json:"session,omitempty"`
	Key        string    `json:"key,omitempty"`
	Bastion    string    `json:"bastion,omitempty"`
	Box        string    `json:"box,omitempty"` // sha256: of the key box that is no more, as in the opening of the recording
	Segments   uint64    `json:"segments,omitempty"`
	Everything bool      `json:"everything,omitempty"` // the segments and the index are gone, too
	Declined   string    `json:"declined,omitempty"`   // why nothing was destroyed
	At         time.Time `json:"at"`
	Signature  string    `json:"signature,omitempty"` // armoured SSHSIG of the bastion's identity over [Receipt.Statement]
}

// Statement is what the bastion signs.
func (r Receipt) Statement() string {
	what := "box"
	if r.Everything {
		what = "everything"
	}
	lines := []string{
		"postern custody receipt 1",
		"ca: " + oneLine(r.CA),
		"order: " + oneLine(r.Order),
		"session: " + oneLine(r.Session),
		"bastion: " + oneLine(r.Bastion),
	}
	if r.Declined != "" {
		lines = append(lines, "declined: "+strconv.Quote(r.Declined))
	} else {
		lines = append(lines, "destroyed: "+what, "box: "+oneLine(r.Box), "segments: "+strconv.FormatUint(r.Segments, 10))
	}
	return strings.Join(append(lines, "at: "+r.At.UTC().Format(time.RFC3339)), "\n") + "\n"
}

// Sign completes a receipt.
func (r Receipt) Sign(signer ssh.Signer) (Receipt, error) {
	signature, err := sshsig.Sign(signer, CustodyNamespace, []byte(r.Statement()))
	r.Signature = string(signature)
	return r, err
}

var sumForm = form(`^sha256:[0-9a-f]{64}$`)

// Verify checks that the bastion with that key signed the receipt.
func (r Receipt) Verify(bastion ssh.PublicKey) error {
	if bastion == nil {
		return fmt.Errorf("the receipt for %s is by bastion %s, which is not known", r.Session, r.Bastion)
	}
	if r.Declined == "" && !sumForm().MatchString(r.Box) {
		return fmt.Errorf("the receipt for %s names no key box", r.Session)
	}
	signed, err := sshsig.Verify([]byte(r.Signature), CustodyNamespace, []byte(r.Statement()))
	if err != nil {
		return fmt.Errorf("the receipt for %s: %w", r.Session, err)
	}
	if !bytes.Equal(signed.Key.Marshal(), bastion.Marshal()) {
		return fmt.Errorf("the receipt for %s is signed by another key than that of bastion %s", r.Session, r.Bastion)
	}
	return nil
}

// Deletions answers deletions: what a bastion has to know, holds and releases first.
type Deletions struct {
	Custody []Custody  `json:"custody,omitempty"` // holds and releases from the number asked for on, in order
	Next    uint64     `json:"next"`              // the number to ask for next time
	Orders  []Deletion `json:"orders,omitempty"`  // of that bastion, not answered yet
}
