package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/sshsig"
)

// View is one look of an auditor at recordings.
type View struct {
	auditlog.View
	Leaf    int64     `json:"leaf"`
	At      time.Time `json:"at"`
	Auditor string    `json:"auditor"`
}

// looking is a view whose certificates may follow: they are leaves of the same transaction, so they come at once.
type looking struct {
	statement.View
	viewer string              // what the certificates say of who signed
	kept   map[string][]string // bastion to the sessions of the view that it keeps
}

func (v *verifier) view(seen auditlog.View, actor string, at time.Time) {
	v.report.Views = append(v.report.Views, View{View: seen, Leaf: v.at, At: at, Auditor: actor})
	now, err := v.goodView(seen, actor)
	if err != nil {
		v.fail("view by %s: %v", actor, err)
		return
	}
	v.views[actor]++
	v.looking = now
}

// goodView checks the signature, that the leaf says what was signed, and that it was signed for this once.
func (v *verifier) goodView(seen auditlog.View, actor string) (*looking, error) {
	sig, err := sshsig.Verify([]byte(seen.Signature), control.ViewNamespace, []byte(seen.Statement))
	if err != nil {
		return nil, err
	}
	s, err := statement.ParseView(seen.Statement)
	if err != nil {
		return nil, err
	}
	fingerprint := ssh.FingerprintSHA256(sig.Key)
	public, err := parseKey(seen.Public)
	switch {
	case err != nil:
		return nil, err
	case !v.policy.owns(s.Person, sig.Key):
		return nil, fmt.Errorf("signed by key %s, which the policy in force did not give to %s", fingerprint, s.Person)
	case v.dead[fingerprint]:
		return nil, fmt.Errorf("signed by key %s, which was revoked", fingerprint)
	case v.held(control.Traits{Person: s.Person, Keys: []string{fingerprint}}) != nil:
		return nil, v.held(control.Traits{Person: s.Person, Keys: []string{fingerprint}})
	case s.CA != v.ca:
		return nil, fmt.Errorf("signed for the CA %s", s.CA)
	case !same(public, sig.Key), s.Person != actor, s.Kind != seen.Kind, !slices.Equal(s.Sessions, seen.Sessions), s.Keystrokes != seen.Keystrokes,
		s.Sequence != seen.Sequence, s.Reason != seen.Reason, s.Key != seen.Key:
		return nil, errors.New("the signed statement does not say what was logged")
	case !slices.Contains(control.ViewKinds, s.Kind):
		return nil, fmt.Errorf("there is no kind %q", s.Kind)
	case strings.TrimSpace(s.Reason) == "":
		return nil, errors.New("it does not say why")
	case len(s.Sessions) > control.MaxView:
		return nil, fmt.Errorf("it is of %d sessions, and %d is the most", len(s.Sessions), control.MaxView)
	case s.Sequence != v.views[actor]:
		return nil, fmt.Errorf("it is number %d, and %d came before: one was used again, or left out", s.Sequence, v.views[actor])
	}
	now := &looking{View: s, viewer: fmt.Sprintf("%s %d", fingerprint, v.report.Revocations), kept: map[string][]string{}}
	for _, id := range s.Sessions {
		session := v.sessions[id]
		if session == nil {
			return nil, fmt.Errorf("session %s never was", id)
		}
		now.kept[session.Bastion] = append(now.kept[session.Bastion], id)
	}
	return now, nil
}

// auditCertificate opens the recordings of the view before it that one bastion keeps, and nothing else.
func (v *verifier) auditCertificate(issued auditlog.Certificate, cert *ssh.Certificate, at time.Time) error {
	now := v.looking
	if now == nil {
		return errors.New("it is for no request, and no view that holds was logged right before it")
	}
	name, _ := strings.CutPrefix(cert.ValidPrincipals[0], "recordings@")
	kept := now.kept[name]
	if len(cert.ValidPrincipals) != 1 || cert.ValidPrincipals[0] != "recordings@"+name || len(kept) == 0 {
		return fmt.Errorf("it is for no request, and for %s", strings.Join(cert.ValidPrincipals, " "))
	}
	delete(now.kept, name) // one for each bastion
	fingerprint := ssh.FingerprintSHA256(cert.Key)
	switch {
	case v.policy.bastions[name] == nil:
		return fmt.Errorf("the policy knows no bastion %s", name)
	case cert.Extensions["audit@postern"] != strings.Join(kept, ","):
		return errors.New("it opens other recordings than the view is of")
	case cert.Extensions["viewer@postern"] != now.viewer || len(cert.Extensions) != 2 || len(cert.CriticalOptions) != 0:
		return errors.New("it opens more than the view is of, or names another signer")
	case fingerprint != now.Key:
		return fmt.Errorf("it is over key %s, and the view names %s", fingerprint, now.Key)
	case cert.KeyId != fmt.Sprintf("%s audit %d", now.Person, now.Sequence):
		return fmt.Errorf("its key ID is %q", cert.KeyId)
	case moment(cert.ValidBefore).After(at.Add(auditLife + rounding)):
		return fmt.Errorf("it lives longer than %s", auditLife)
	case issued.Session != "":
		return fmt.Errorf("it is logged for session %s alone", issued.Session)
	}
	return nil
}
