package verify

import (
	"fmt"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/internal/control"
)

// cutReceipt checks what a bastion said of a revocation: that it was one, and that the sessions were that bastion's and were to be cut.
func (v *verifier) cutReceipt(r control.CutReceipt, actor string) {
	what := fmt.Sprintf("receipt of %s for revocation %d", r.Bastion, r.Seq)
	cut, known := v.cuts[r.Seq]
	switch {
	case r.Bastion != actor || v.policy.bastions[r.Bastion] == nil:
		v.fail("%s: it is by %s", what, actor)
	case !known && !v.partial:
		v.fail("%s: there was no such revocation", what)
	case r.Part < 0 || r.Part >= r.Parts:
		v.fail("%s: it is part %d of %d", what, r.Part, r.Parts)
	}
	if !known {
		return
	}
	for _, told := range r.Sessions {
		s := v.sessions[told.Session]
		switch {
		case s == nil && v.partial:
		case s == nil:
			v.fail("%s: it tells of session %s, which never was", what, told.Session)
		case s.Bastion != r.Bastion:
			v.fail("%s: it tells of session %s of %s", what, told.Session, s.Bastion)
		case !cut.of(s):
			v.fail("%s: it tells of session %s, which the revocation does not hit", what, told.Session)
		case told.Left > 0 && told.Left < max(told.Closed, told.Signalled):
			v.fail("%s: it says that session %s left its host before it was cut", what, told.Session)
		}
	}
}

// lasting remembers what a revocation leaves behind: a dead key, a dead bastion, or a time in which nothing that it hits is given.
func (v *verifier) lasting(cut control.Revocation) {
	t := cut.Target()
	switch {
	case !cut.Holds.IsZero():
		v.holding = append(v.holding, cut)
	case len(t) != 1:
	case t.Names("key"):
		v.dead[cut.Value] = true
	case t.Names("bastion"):
		if key := v.policy.bastions[cut.Value]; key != nil {
			v.dead[ssh.FingerprintSHA256(key)] = true
		}
	}
}

// held says whether something was given that a revocation kept away then.
func (v *verifier) held(t control.Traits) error {
	for _, cut := range v.holding {
		if v.clock.Before(cut.Holds.Add(-rounding)) && cut.Target().Hits(t) {
			return fmt.Errorf("revocation %d kept %s away until %s", cut.Seq, cut.Target(), cut.Holds.UTC().Format(time.RFC3339))
		}
	}
	return nil
}
