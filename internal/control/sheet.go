package control

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/sshsig"
)

// SheetNamespace is the SSHSIG namespace in which bastions sign the key that sheets are sealed to, and each use of a sheet.
const SheetNamespace = "sheet@postern"

// SheetOption is the critical option of a certificate that is good with its sheet alone. No sshd takes a certificate with an option that it
// does not know. Its value is [SheetDigest].
const SheetOption = "sealed@postern"

// What a sheet may be at most.
const (
	MostHolders = 3
	SheetMax    = 90 * 24 * time.Hour // how long it is good
)

// Sheet is what a request asks for when it asks for a sealed grant: emergency access that lies in a drawer until a bastion has lost its CA.
type Sheet struct {
	Bastion       string    `json:"bastion"` // the only one that takes it
	Holders       []Holder  `json:"holders"` // who may use it, with which key; sorted
	TakeBy        time.Time `json:"take_by"` // approved and handed out before this, or expired
	Until         time.Time `json:"until"`
	ReviewSeconds int64     `json:"review_seconds"` // after it was used and the CA heard of it
	ReviewNeeds   []Need    `json:"review_needs"`

	// What came of it.
	Session string    `json:"session,omitempty"` // the one that it opens: its ID is given when the sheet is made
	UsedBy  string    `json:"used_by,omitempty"`
	Used    time.Time `json:"used,omitzero"`
}

// Holder is a person with one of their keys.
type Holder struct {
	Person string `json:"person"`
	Key    string `json:"key"` // fingerprint
}

// String is it as statements and digests have it.
func (s Sheet) String() string {
	var holders, needs []string
	for _, h := range s.Holders {
		holders = append(holders, h.Person+" "+h.Key)
	}
	for _, n := range s.ReviewNeeds {
		needs = append(needs, fmt.Sprintf("%d of %s", n.Count, n.Group))
	}
	return fmt.Sprintf("once, without the CA, at %s until %s, handed out by %s, for %s; review within %s by %s", s.Bastion, s.Until.UTC().Format(time.RFC3339),
		s.TakeBy.UTC().Format(time.RFC3339), strings.Join(holders, ", "), time.Duration(s.ReviewSeconds)*time.Second, strings.Join(needs, ", "))
}

// Holds says whose key it is among the holders.
func (s Sheet) Holds(key string) (person string, ok bool) {
	i := slices.IndexFunc(s.Holders, func(h Holder) bool { return h.Key == key })
	if i < 0 {
		return "", false
	}
	return s.Holders[i].Person, true
}

// ByHolder says whether a person is among the holders.
func (s Sheet) ByHolder(person string) bool {
	return slices.ContainsFunc(s.Holders, func(h Holder) bool { return h.Person == person })
}

// Owing is whose emergency a request is: of a sheet that was used, its user's.
func (r Request) Owing() string {
	if r.Sheet != nil {
		return cmp.Or(r.Sheet.UsedBy, r.Person)
	}
	return r.Person
}

// Terms are everything that a bastion may and must do with a sheet: the CA's answer to a session that is opened when there is no CA to ask. The
// exact bytes are under the digest that the holders' certificates carry.
type Terms struct {
	Version      int       `json:"v"`
	CA           string    `json:"ca"`
	Request      string    `json:"request"`
	Session      string    `json:"session"`
	Bastion      string    `json:"bastion"`
	Reached      string    `json:"reached"` // the bastion's address, host:port
	Target       string    `json:"target"`
	Until        time.Time `json:"until"`
	Seconds      int64     `json:"seconds"`     // how long the session lasts
	Seq          uint64    `json:"seq"`         // the last revocation the CA knew of
	Certificate  string    `json:"certificate"` // over the key in the envelope, for the host; authorized_keys form
	Address      string    `json:"address"`     // of the host
	HostKey      string    `json:"host_key,omitempty"`
	HostName     string    `json:"host_name"`
	Capabilities []string  `json:"capabilities"`
	Destinations []string  `json:"destinations,omitempty"`
	Environment  []string  `json:"environment,omitempty"`
	IdleSeconds  int64     `json:"idle_seconds,omitempty"`
	Record       Record    `json:"record"`
	Limits       string    `json:"limits,omitempty"`
}

// TermsVersion is the one that this program writes and reads.
const TermsVersion = 1

// ParseTerms reads terms, and nothing that [Terms.Text] does not write.
func ParseTerms(text []byte) (Terms, error) {
	var t Terms
	if err := json.Unmarshal(text, &t); err != nil {
		return t, fmt.Errorf("the sheet's terms: %w", err)
	}
	if again, err := t.Text(); err != nil || !bytes.Equal(again, text) || t.Version != TermsVersion {
		return t, errors.New("the sheet's terms are of another version, or are not written as they are")
	}
	return t, nil
}

// Text is the terms as they are signed for.
func (t Terms) Text() ([]byte, error) { return json.Marshal(t) }

// EnvelopeSum names an envelope without telling what is in it.
func EnvelopeSum(envelope []byte) string {
	sum := sha256.Sum256(envelope)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// SheetDigest binds terms and envelope. It is made of the envelope's sum, so that the log can prove it and holds no envelope.
func SheetDigest(terms []byte, envelopeSum string) string {
	sum := sha256.Sum256(terms)
	all := sha256.Sum256([]byte("postern sheet 1\n" + hex.EncodeToString(sum[:]) + "\n" + envelopeSum + "\n"))
	return hex.EncodeToString(all[:])
}

// Made answers sheet: all of a sheet, once. Who has it, and its passphrase when it has got one, still lacks a holder's key and the bastion.
type Made struct {
	Terms        []byte   `json:"terms"`
	Envelope     []byte   `json:"envelope"`     // the host key's private half, sealed to the bastion
	Certificates [][]byte `json:"certificates"` // the holders', in wire form
}

// SheetKey is the key of a bastion that sheets are sealed to, signed with its identity.
type SheetKey struct {
	CA        string `json:"ca"`
	Bastion   string `json:"bastion"`
	Public    []byte `json:"public"`
	Signature string `json:"signature"`
}

// Statement is what the bastion signs.
func (k SheetKey) Statement() string {
	return "postern sheet key 1\nca: " + oneLine(k.CA) + "\nbastion: " + oneLine(k.Bastion) + "\npublic: " + base64.StdEncoding.EncodeToString(k.Public) + "\n"
}

// Sign completes a key.
func (k SheetKey) Sign(signer ssh.Signer) (SheetKey, error) {
	signature, err := sshsig.Sign(signer, SheetNamespace, []byte(k.Statement()))
	k.Signature = string(signature)
	return k, err
}

// Verify checks that the bastion with that key signed.
func (k SheetKey) Verify(bastion ssh.PublicKey) error {
	return bySheet(k.Signature, k.Statement(), bastion, "the key for sheets of "+k.Bastion)
}

func bySheet(signature, statement string, bastion ssh.PublicKey, what string) error {
	if bastion == nil {
		return fmt.Errorf("%s is by a bastion that is not known", what)
	}
	signed, err := sshsig.Verify([]byte(signature), SheetNamespace, []byte(statement))
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if !bytes.Equal(signed.Key.Marshal(), bastion.Marshal()) {
		return fmt.Errorf("%s is signed by another key than the bastion's", what)
	}
	return nil
}

// Ready answers sheet-key: what a bastion has to know before its CA is gone.
type Ready struct {
	RecordingKey RecordingKey  `json:"recording_key"`
	KeystrokeKey *RecordingKey `json:"keystroke_key,omitempty"`
}

// SheetUse is what a bastion wrote down before it used a sheet, and tells the CA when there is one again.
type SheetUse struct {
	CA           string    `json:"ca"`
	Request      string    `json:"request"`
	Session      string    `json:"session"`
	Bastion      string    `json:"bastion"`
	Target       string    `json:"target"`
	Person       string    `json:"person"`
	Key          string    `json:"key"`    // fingerprint of the one that logged in
	Serial       uint64    `json:"serial"` // of its certificate
	Client       string    `json:"client"` // host:port
	Started      time.Time `json:"started"`
	Deadline     time.Time `json:"deadline"`
	RecordingKey string    `json:"recording_key"`
	KeystrokeKey string    `json:"keystroke_key,omitempty"`
	Nonce        string    `json:"nonce"` // 32 hex digits: two uses are never the same
	Signature    string    `json:"signature"`

	// The CA's word.
	Again    bool      `json:"again,omitempty"`    // another use of it is in the log already
	ReviewBy time.Time `json:"review_by,omitzero"` // of the first
}

// Statement is what the bastion signs.
func (u SheetUse) Statement() string {
	lines := []string{
		"postern sheet use 1", "ca: " + oneLine(u.CA), "request: " + oneLine(u.Request), "session: " + oneLine(u.Session), "bastion: " + oneLine(u.Bastion),
		"target: " + oneLine(u.Target), "person: " + oneLine(u.Person), "key: " + oneLine(u.Key), "serial: " + strconv.FormatUint(u.Serial, 10),
		"client: " + oneLine(u.Client), "started: " + u.Started.UTC().Format(time.RFC3339), "deadline: " + u.Deadline.UTC().Format(time.RFC3339),
		"recording-key: " + oneLine(u.RecordingKey), "keystroke-key: " + oneLine(u.KeystrokeKey), "nonce: " + oneLine(u.Nonce),
	}
	return strings.Join(lines, "\n") + "\n"
}

// Sign completes a use.
func (u SheetUse) Sign(signer ssh.Signer) (SheetUse, error) {
	signature, err := sshsig.Sign(signer, SheetNamespace, []byte(u.Statement()))
	u.Signature = string(signature)
	return u, err
}

// Verify checks that the use is whole, and that the bastion with that key signed it.
func (u SheetUse) Verify(bastion ssh.PublicKey) error {
	if !nonceForm().MatchString(u.Nonce) || u.Started.IsZero() || u.Started != u.Started.Truncate(time.Second) || u.Deadline != u.Deadline.Truncate(time.Second) {
		return fmt.Errorf("the use of %s has no nonce, or times that no bastion writes", u.Request)
	}
	return bySheet(u.Signature, u.Statement(), bastion, "the use of "+u.Request)
}
