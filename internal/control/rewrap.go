package control

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/sshsig"
)

// Rewrap is the private half of a recording key sealed anew, to other recipients. The public half and every recording stay as they are.
type Rewrap struct {
	Key        string      `json:"key"`    // K-…
	Before     string      `json:"before"` // sha256: of the box that goes
	After      string      `json:"after"`  // and of the one that comes
	Recipients []Recipient `json:"recipients"`
	Reason     string      `json:"reason"`
	Auditor    string      `json:"auditor"`
	AuditKey   string      `json:"audit_key"`
	Signature  string      `json:"signature"`     // armoured SSHSIG over [Rewrap.Statement], in the namespace of recording keys
	Box        []byte      `json:"box,omitempty"` // never in the log
	At         time.Time   `json:"at,omitzero"`
}

// BoxSum is how statements name a box.
func BoxSum(box []byte) string {
	sum := sha256.Sum256(box)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Statement is what the auditor signs.
func (r Rewrap) Statement() string {
	lines := []string{
		"postern recording key rewrap 1",
		"id: " + oneLine(r.Key),
		"before: " + oneLine(r.Before),
		"after: " + oneLine(r.After),
	}
	for _, to := range r.Recipients {
		lines = append(lines, "recipient: "+to.line())
	}
	lines = append(lines, fmt.Sprintf("reason: %q", r.Reason), "auditor: "+oneLine(r.Auditor))
	return strings.Join(lines, "\n") + "\n"
}

// Sign completes a rewrap.
func (r Rewrap) Sign(auditor string, signer ssh.Signer) (Rewrap, error) {
	r.Auditor, r.AuditKey = auditor, strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	signature, err := sshsig.Sign(signer, RecordingKeyNamespace, []byte(r.Statement()))
	if err != nil {
		return r, err
	}
	r.Signature = string(signature)
	_, err = r.Verify()
	return r, err
}

// Verify checks that r is whole and returns the key that signed it, which is AuditKey. Whether that is an auditor's, and whether
// the box before is the one that was there, is the caller's to say.
func (r Rewrap) Verify() (ssh.PublicKey, error) {
	switch {
	case !sumForm().MatchString(r.Before) || !sumForm().MatchString(r.After):
		return nil, fmt.Errorf("rewrap of %s: it names no box before and after", oneLine(r.Key))
	case len(r.Box) > 0 && BoxSum(r.Box) != r.After:
		return nil, fmt.Errorf("rewrap of %s: the box is not the one that was signed", oneLine(r.Key))
	case r.Auditor == "" || len(r.Recipients) == 0:
		return nil, fmt.Errorf("rewrap of %s: it names no auditor, or nobody the box is for", oneLine(r.Key))
	}
	if err := checkRecipients(r.Recipients); err != nil {
		return nil, fmt.Errorf("rewrap of %s: %w", oneLine(r.Key), err)
	}
	signed, err := sshsig.Verify([]byte(r.Signature), RecordingKeyNamespace, []byte(r.Statement()))
	if err != nil {
		return nil, fmt.Errorf("rewrap of %s: %w", oneLine(r.Key), err)
	}
	key, _, _, rest, err := ssh.ParseAuthorizedKey([]byte(r.AuditKey))
	if err != nil || len(rest) > 0 || !bytes.Equal(key.Marshal(), signed.Key.Marshal()) {
		return nil, fmt.Errorf("rewrap of %s: signed by another key than its audit_key", oneLine(r.Key))
	}
	return key, nil
}

// checkRecipients finds the names and strings that do not belong to the IDs, which are what is signed.
func checkRecipients(list []Recipient) error {
	for i, r := range list {
		switch {
		case r.Name != "" && !nameForm().MatchString(r.Name):
			return fmt.Errorf("recipient %q: such a name nobody has", r.Name)
		case r.Public != "" && r.ID != RecipientID(r.Public):
			return fmt.Errorf("recipient %s: the ID is that of another", r.Label())
		case slices.ContainsFunc(list[:i], func(o Recipient) bool { return o.ID == r.ID }):
			return fmt.Errorf("recipient %s stands twice", r.Label())
		case len(r.ID) != 34:
			return errors.New("a recipient without an ID")
		}
	}
	return nil
}

// Logged is the rewrap as the log keeps it: without the box, which can then be destroyed, and without what recipients are.
func (r Rewrap) Logged() Rewrap {
	r.Box, r.Recipients = nil, unspelled(r.Recipients)
	return r
}

// Logged is the key as the log keeps it.
func (k RecordingKey) Logged() RecordingKey {
	k.Box, k.Rewrap, k.Recipients = nil, nil, unspelled(k.Recipients)
	return k
}

// Bare is the key as a bastion needs it.
func (k RecordingKey) Bare() RecordingKey {
	k.Box, k.Rewrap = nil, nil
	return k
}

func unspelled(list []Recipient) []Recipient {
	list = slices.Clone(list)
	for i := range list {
		list[i].Public = ""
	}
	return list
}

// CurrentSum is the hash of the box that there is now.
func (k RecordingKey) CurrentSum() string {
	if k.Rewrap != nil {
		return k.Rewrap.After
	}
	return k.BoxSum
}

// Openers are those whom the box is sealed to, as far as the auditor who sealed it said.
func (k RecordingKey) Openers() []Recipient {
	if k.Rewrap != nil {
		return k.Rewrap.Recipients
	}
	return k.Recipients
}
