package evidence

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// What stock OpenSSH reads is copied out of the leaves into files of its own. The checker makes these files again from the leaves and
// compares, so they say nothing that is not in the log.

var odd = regexp.MustCompile(`[^A-Za-z0-9._-]`)

// fileWord makes a name of the log a part of a file name.
func fileWord(text string) string {
	text = odd.ReplaceAllString(text, "_")
	return text[:min(len(text), 40)]
}

// deriver follows the leaves of a bundle.
type deriver struct {
	files   map[string][]byte
	signers []string // lines of allowed_signers, each once
	policy  *auditlog.Policy
	signed  int
}

func derive(entries []auditlog.Entry) map[string][]byte {
	d := &deriver{files: map[string][]byte{}}
	for _, e := range entries {
		switch {
		case e.Policy != nil:
			d.policy = e.Policy
		case e.Vote != nil:
			d.statement(e.Vote.Decision, e.Vote.Person, e.Vote.Statement, e.Vote.Signature)
		case e.Revocation != nil && e.Revocation.Signature != "": // a limit signs nothing
			d.statement("revoke", e.Revocation.By, e.Revocation.Statement, e.Revocation.Signature)
		case e.Certificate != nil:
			d.files[fmt.Sprintf("certificates/%s-%d-cert.pub", fileWord(e.Certificate.CA), e.Certificate.Serial)] = []byte(e.Certificate.Line + "\n")
		}
	}
	d.files["approvals/allowed_signers"] = []byte(strings.Join(d.signers, ""))
	return d.files
}

// statement writes what was signed, the signature, and whose keys may have made it by the policy in force then.
func (d *deriver) statement(decision, person, text, signature string) {
	d.signed++
	name := fmt.Sprintf("approvals/%03d-%s-%s", d.signed, fileWord(decision), fileWord(person))
	d.files[name+".statement"], d.files[name+".sig"] = []byte(text), []byte(signature)
	if d.policy == nil || odd.MatchString(person) {
		return // a name that is a pattern to ssh-keygen gets no line
	}
	for _, line := range d.policy.People[person] {
		key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
		if err != nil {
			continue
		}
		signer := fmt.Sprintf("%s namespaces=\"%s\" %s", person, control.Namespace, ssh.MarshalAuthorizedKey(key))
		if !slices.Contains(d.signers, signer) {
			d.signers = append(d.signers, signer)
		}
	}
}
