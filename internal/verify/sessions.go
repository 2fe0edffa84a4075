package verify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/statement"
	"postern/internal/control"
)

type session struct {
	Session
	hostSerial uint64  // of the certificate with which it logged in to the host
	overran    []int64 // leaves that tell of it when it should have been over
	overranWhy string
}

func (v *verifier) session(opened control.Session, at time.Time) {
	if v.sessions[opened.ID] != nil {
		v.fail("session %s appears twice", opened.ID)
		return
	}
	s := &session{Session: Session{Leaf: v.at, Session: opened, BastionKey: v.policy.bastions[opened.Bastion]}}
	v.sessions[opened.ID], v.order = s, append(v.order, s)
	if r := v.requests[opened.Request]; r != nil {
		r.sessions = append(r.sessions, s)
	}
	if err := v.mayOpen(s, at); err != nil {
		v.fail("session %s: %v", opened.ID, err)
	}
}

func (v *verifier) mayOpen(s *session, at time.Time) error {
	if r := v.requests[s.Request]; r != nil && r.Sheet != nil {
		return v.sheetSession(s, r)
	}
	certificate := v.unclaimed[s.ID]
	delete(v.unclaimed, s.ID)
	if certificate == nil || certificate.request != s.Request || certificate.target != s.Target {
		return fmt.Errorf("no session certificate was signed for it")
	}
	s.hostSerial = certificate.serial
	r := v.requests[s.Request]
	if r == nil {
		return fmt.Errorf("request %s never was", s.Request)
	}
	if err := v.grantHolds(r, at); err != nil {
		return err
	}
	traits := r.traits()
	traits.Targets, traits.Bastion = []string{s.Target}, s.Bastion
	if err := v.held(traits); err != nil {
		return err
	}
	user := r.serials[s.Serial]
	opened := control.Session{Ended: s.Ended, End: s.End, Frames: s.Frames, Head: s.Head, Segments: s.Segments, SealedHead: s.SealedHead, Sealed: s.Sealed, Interrupted: s.Interrupted}
	switch {
	case user == nil:
		return fmt.Errorf("user certificate %d is none of %s", s.Serial, r.ID)
	case ssh.FingerprintSHA256(user.Key) != s.Key:
		return fmt.Errorf("user certificate %d is over another key than %s", s.Serial, s.Key)
	case !at.Before(moment(user.ValidBefore).Add(rounding)):
		return fmt.Errorf("user certificate %d was over, %s", s.Serial, moment(user.ValidBefore).UTC().Format(time.RFC3339))
	case s.Person != r.Person:
		return fmt.Errorf("it is %s's, the grant is %s's", s.Person, r.Person)
	case opened != (control.Session{}):
		return fmt.Errorf("it begins with a recording, or with an end")
	case !s.Deadline.Equal(r.Ends):
		return fmt.Errorf("it may last until %s, the grant ends %s", s.Deadline.UTC().Format(time.RFC3339), r.Ends.UTC().Format(time.RFC3339))
	case s.BastionKey == nil:
		return fmt.Errorf("the policy knows no bastion %s", s.Bastion)
	case v.dead[ssh.FingerprintSHA256(s.BastionKey)]:
		return fmt.Errorf("the key of bastion %s was revoked before", s.Bastion)
	case v.dead[s.Key] || !v.policy.owns(s.Person, user.Key):
		return fmt.Errorf("key %s was no longer %s's", s.Key, s.Person)
	case s.Started.Before(at.Add(-skew)) || s.Started.After(at.Add(skew)):
		return fmt.Errorf("it began at %s, as it says", s.Started.UTC().Format(time.RFC3339))
	}
	if _, host, _ := strings.Cut(s.Target, "@"); v.policy.hosts[host] == "" {
		return fmt.Errorf("the policy knows no host %s", host)
	}
	if err := v.limited(s, r); err != nil {
		return err
	}
	if err := v.sealedTo(s, r); err != nil {
		return err
	}
	return v.toCurrent(s, at)
}

// toCurrent makes sure that a recording is for whoever opens the keys of its month now, and not for somebody who once opened others.
func (v *verifier) toCurrent(s *session, at time.Time) error {
	if v.partial {
		return nil // the newest key may be left out
	}
	for _, kept := range []struct{ purpose, key string }{{"", s.RecordingKey}, {control.Keystrokes, s.KeystrokeKey}} {
		month := func(at time.Time) string { return v.custody.current[at.UTC().Format("2006-01")+"/"+kept.purpose] }
		if kept.key != "" && kept.key != month(at) && kept.key != month(at.Add(-rounding)) {
			return fmt.Errorf("it is recorded to key %s, which is not the newest of its month", kept.key)
		}
	}
	return nil
}

// sealedTo checks whom a recording is for.
func (v *verifier) sealedTo(s *session, r *request) error {
	if err := v.kept(s, r); err != nil {
		return err
	}
	if purpose, signed := v.recordingKeys[s.RecordingKey]; !signed || purpose != "" {
		return fmt.Errorf("it is recorded to key %s, which no auditor signed for sessions", s.RecordingKey)
	}
	if s.KeystrokeKey == "" {
		if r.Record != nil && r.Record.Keystrokes {
			return fmt.Errorf("the approvers of %s were told that keystrokes are recorded, and they are not", r.ID)
		}
		return nil
	}
	if v.recordingKeys[s.KeystrokeKey] != control.Keystrokes {
		return fmt.Errorf("its keystrokes are sealed to key %s, which no auditor signed for that", s.KeystrokeKey)
	}
	return nil
}

// progress follows the head of a recording, which only grows.
func (v *verifier) progress(p control.Progress, actor string, at time.Time) {
	s := v.sessions[p.Session]
	switch {
	case s == nil:
		v.fail("a recording of session %s, which never was", p.Session)
		return
	case actor != s.Bastion && (actor != clockwork || p.End != "lost"):
		v.fail("%s tells of the recording of %s, which %s makes", actor, p.Session, s.Bastion)
	case s.Sealed:
		v.fail("the recording of %s changed after it was sealed", p.Session)
		return
	case p.Frames < s.Frames || p.Segments < s.Segments:
		v.fail("the recording of %s shrank from %d frames and %d segments to %d and %d", p.Session, s.Frames, s.Segments, p.Frames, p.Segments)
	case p.Frames == s.Frames && s.Head != "" && p.Head != s.Head, p.Segments == s.Segments && s.SealedHead != "" && p.SealedHead != s.SealedHead:
		v.fail("the recording of %s has another head than before at the same length", p.Session)
	}
	v.counted(s, p)
	v.late(s, p, at)
	s.Heads = append(s.Heads, Head{v.at, p.Frames, p.Segments, p.Head, p.SealedHead})
	s.Frames, s.Head, s.Segments, s.SealedHead = p.Frames, p.Head, p.Segments, p.SealedHead
	s.Sealed, s.Interrupted = p.Sealed, s.Interrupted || p.Interrupted
	if p.End != "" && s.Ended.IsZero() {
		s.Ended, s.End = at, p.End
	}
}

// tardy is how long after the deadline, or after a revocation, what a bastion tells may still come: it ends what it cannot ask about, and
// tells when it can.
const tardy = 2 * time.Minute

// late counts what was recorded of a session when it should have been over. One such leaf can be a message that was on its way.
func (v *verifier) late(s *session, p control.Progress, at time.Time) {
	over, why := s.Deadline, "its deadline"
	if r := v.requests[s.Request]; r != nil && !r.cutAt.IsZero() && r.cutAt.Before(over) {
		over, why = r.cutAt, "the revocation of its request"
	}
	if p.End == "" && !p.Sealed && p.Frames > s.Frames && at.After(over.Add(tardy)) {
		s.overran, s.overranWhy = append(s.overran, v.at), why
	}
}

func (v *verifier) recordingKey(k control.RecordingKey) {
	key, err := k.Verify()
	if err != nil {
		v.fail("%v", err)
		return
	}
	if err := v.mayDecide(k.Auditor, key); err != nil {
		v.fail("recording key %s: %v", k.ID, err)
		return
	}
	if _, again := v.recordingKeys[k.ID]; again {
		v.fail("recording key %s appears twice", k.ID)
		return
	}
	v.recordingKeys[k.ID] = k.Purpose
	v.custody.current[k.Month+"/"+k.Purpose] = k.ID
	v.boxed(k)
}

// revocation checks the signature of what cut, and that it says what was cut.
func (v *verifier) revocation(cut control.Revocation, at time.Time) {
	v.report.Revocations++
	what := fmt.Sprintf("revocation %d of %s:%s by %s", cut.Seq, cut.Kind, cut.Value, cut.By)
	if cut.Seq != uint64(v.report.Revocations) && !v.partial {
		v.fail("%s: it should be number %d", what, v.report.Revocations)
	}
	if cut.By == control.ByPolicy && cut.Signature == "" {
		if err := v.byPolicy(cut); err != nil {
			v.fail("%s: %v", what, err)
		}
	} else if _, err := v.signedBy(cut.By, cut.Statement, cut.Signature, control.Request{}); err != nil {
		v.fail("%s: %v", what, err)
	}
	if apart := at.Sub(cut.At); apart < -rounding || apart > rounding {
		v.fail("%s: it says that it was made at %s", what, cut.At.UTC().Format(time.RFC3339))
	}
	if err := v.saysCut(cut); err != nil {
		v.fail("%s: %v", what, err)
	}
	v.revoked[cut.Target().String()]++
	if v.crossed != nil {
		v.fail("%s: a limit was crossed right before, and this is not what it cuts", what)
		v.crossed = nil
	}
	for _, id := range cut.Requests {
		if r := v.requests[id]; r != nil {
			v.strikes(what, cut, r)
		} else if !v.partial {
			v.fail("%s: it hits request %s, which never was", what, id)
		}
	}
	v.lasting(cut)
	v.spared(what, cut)
	if v.cuts == nil {
		v.cuts = map[uint64]struck{}
	}
	v.cuts[cut.Seq] = newStruck(cut)
}

// struck is a revocation, and the requests it hits.
type struck struct {
	control.Revocation
	hit map[string]bool
}

func newStruck(rev control.Revocation) struck {
	c := struck{rev, make(map[string]bool, len(rev.Requests))}
	for _, id := range rev.Requests {
		c.hit[id] = true
	}
	return c
}

// of says whether the revocation is of a session.
func (c struck) of(s *session) bool {
	return c.hit[s.Request] || c.Target().Hits(control.TraitsOf(s.Session.Session))
}

// strikes ends a request that a revocation names. The leaf of its state was before, or it is one of many and that leaf follows: it is revoked from here.
func (v *verifier) strikes(what string, cut control.Revocation, r *request) {
	if !v.partial && !cut.Target().Hits(r.traits()) {
		v.fail("%s: it ends %s, which is nothing that it names", what, r.ID)
	}
	if r.live() {
		r.State, r.awaits = control.Revoked, cut.Seq
	}
	r.cut, r.cutAt = true, v.clock
}

func (v *verifier) saysCut(cut control.Revocation) error {
	if cut.By == control.ByPolicy && cut.Signature == "" {
		return nil // the crossing says it
	}
	s, err := statement.Parse(cut.Statement)
	if err != nil {
		return err
	}
	about := s.Target
	if s.Request != "" {
		about = "request:" + s.Request
	}
	if s.CA != v.ca || s.Person != cut.By || about != cut.Target().String() || (s.Decision != control.Revoke && s.Decision != control.Withdraw) {
		return fmt.Errorf("the signed statement is about something else")
	}
	if before := v.revoked[about]; s.Request == "" && s.Sequence != before && !v.partial {
		return fmt.Errorf("it was signed as number %d of that target, and %d came before: one was used again, or left out", s.Sequence, before)
	}
	if holds := cut.Holds.Sub(cut.At); s.Request == "" && (cut.Holds.IsZero() != (s.For == 0) || s.For > 0 && (holds > s.For || holds < s.For-rounding)) {
		return fmt.Errorf("it holds until %s, signed was %s", cut.Holds.UTC().Format(time.RFC3339), s.For)
	}
	// An approver or requester who takes it back may give no reason of their own; then the CA says what they did.
	if s.Decision == control.Revoke && cut.Reason != s.Because || s.Decision == control.Withdraw && s.Because != "" && !strings.HasSuffix(cut.Reason, ": "+s.Because) {
		return fmt.Errorf("it was signed for another reason: %.200q", s.Because)
	}
	if r := v.requests[s.Request]; s.Request != "" && (r == nil || cut.Statement != statement.About(r.Request, v.ca, s.Decision, cut.By, s.Because).Text()) {
		return fmt.Errorf("the signed statement does not say what the request says")
	}
	return nil
}

// spared looks for requests that a revocation should have cut and left alive.
func (v *verifier) spared(what string, cut control.Revocation) {
	for id, r := range v.requests {
		if r.live() && cut.Target().Hits(r.traits()) {
			v.fail("%s: it left %s alive", what, id)
		}
	}
}

// traits are what a revocation can name of a request.
func (r *request) traits() control.Traits {
	t := r.Request.Traits()
	for _, o := range r.carriers() {
		t.Approvers, t.Keys = append(t.Approvers, o.person), append(t.Keys, o.key)
	}
	for serial, cert := range r.serials {
		t.Serials, t.Keys = append(t.Serials, serial), append(t.Keys, ssh.FingerprintSHA256(cert.Key))
	}
	return t
}

// lost is how long after its deadline a session without an end is worth a note.
const lost = 10 * time.Minute

// overran tells of sessions that went on. What a bastion found on its disk after it had died is told late, and is no such session.
func (v *verifier) overran(s *session) {
	switch n := len(s.overran); {
	case n == 0:
	case n == 1 || s.Interrupted:
		v.note(s.overran[0], "the recording of %s grew after %s", s.ID, s.overranWhy)
	default:
		v.at = s.overran[0]
		v.fail("session %s went on after %s: its recording grew %d times", s.ID, s.overranWhy, n)
	}
}

// unmarked tells of requests that a revocation hit and of which no leaf says so themselves, though there was time. They are revoked all the same.
func (v *verifier) unmarked() {
	missing := map[uint64]int{}
	for _, r := range v.requests {
		if r.awaits > 0 && v.clock.After(r.cutAt.Add(lost)) && !v.partial {
			missing[r.awaits]++
		}
	}
	for seq, n := range missing {
		v.note(v.at, "%d of the requests that revocation %d hit have no leaf that says so; is the CA running?", n, seq)
	}
}

// end checks what only shows when everything was read.
func (v *verifier) end() {
	v.followed(false, false)
	v.unspent()
	for id, certificate := range v.unclaimed {
		v.at = certificate.leaf
		v.fail("a session certificate for %s, and no such session was logged", id)
	}
	for _, r := range v.requests {
		if r.State == control.Revoked && !r.cut {
			v.at = r.leaf
			v.fail("%s was revoked, and no revocation says by whom", r.ID)
		}
	}
	v.unmarked()
	for _, s := range v.order {
		v.overran(s)
		if s.Ended.IsZero() && v.clock.After(s.Deadline.Add(lost)) {
			v.note(s.Leaf, "session %s never ended", s.ID)
		}
		v.report.Sessions = append(v.report.Sessions, s.Session)
	}
	slices.SortFunc(v.report.Failures, func(a, b Failure) int {
		if a.Leaf != b.Leaf {
			return int(a.Leaf - b.Leaf)
		}
		return strings.Compare(a.Text, b.Text)
	})
}
