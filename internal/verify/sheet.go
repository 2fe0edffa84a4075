package verify

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/limit"
)

// The reasons for which a CA revokes a sealed grant by itself, without a signature: to take one away needs nobody's leave.
const (
	sheetSpent   = "its sheet was used"
	sheetDropped = "the policy in force no longer carries its sheet"
)

// sealed is what the leaves say of a sealed grant that was handed out.
type sealed struct {
	at       time.Time // when
	session  string
	host     *ssh.Certificate // over the key in the envelope
	terms    control.Terms
	logged   bool               // the sheet leaf was there
	uses     []control.SheetUse // in the order of the log; the first has the session
	holders  map[string]string  // key to the digest in its certificate
	expected bool               // the session leaf of the use has to follow
}

// sheetAsked makes sure that a sealed grant is one that the rules it names allow, and that no other request names such a rule: what they grant has
// everything recorded, and opens at a bastion that asks nobody.
func (v *verifier) sheetAsked(asked control.Request) error {
	if asked.Sheet == nil {
		for _, id := range asked.Rules {
			if _, sealed := v.policy.sealed[id]; sealed {
				return fmt.Errorf("it is no sealed grant, and its rule %s is for those", id)
			}
		}
		return nil
	}
	s := asked.Sheet
	switch {
	case asked.Emergency || asked.Owes != nil:
		return errors.New("a sealed grant that is an emergency before it was used")
	case s.Session != "" || s.UsedBy != "" || !s.Used.IsZero():
		return errors.New("a sealed grant that was used before it was asked for")
	case len(asked.Targets) != 1 || len(asked.Rules) == 0 || len(asked.Needs) == 0:
		return errors.New("a sealed grant for more than one account, without a rule or without approvals")
	case asked.Record == nil || asked.Record.Files != "full" || asked.Record.Streams >= 0 || asked.Record.Forwards >= 0:
		return errors.New("a sealed grant of which not everything is recorded")
	case v.policy.bastions[s.Bastion] == nil:
		return fmt.Errorf("a sealed grant for bastion %s, which the policy does not know", s.Bastion)
	case !s.Until.Equal(asked.NotAfter) || !s.TakeBy.Equal(asked.ClaimBy) || s.TakeBy.After(s.Until) || s.Until.After(asked.Created.Add(control.SheetMax+rounding)):
		return fmt.Errorf("a sealed grant until %s, and the request is until %s", s.Until.UTC().Format(time.RFC3339), asked.NotAfter.UTC().Format(time.RFC3339))
	case len(s.Holders) == 0 || len(s.Holders) > control.MostHolders || s.ReviewSeconds <= 0 || len(s.ReviewNeeds) == 0:
		return errors.New("a sealed grant for nobody, for too many people, or without a review")
	}
	for _, h := range s.Holders {
		if v.policy.owner[h.Key] != h.Person || v.dead[h.Key] {
			return fmt.Errorf("a sealed grant for key %s, which was not %s's", h.Key, h.Person)
		}
	}
	for _, id := range asked.Rules {
		if err := v.bySealedRule(asked, id); err != nil {
			return err
		}
	}
	return nil
}

func (v *verifier) bySealedRule(asked control.Request, id string) error {
	rule, known := v.policy.sealed[id]
	s := asked.Sheet
	switch {
	case !known:
		return fmt.Errorf("a sealed grant by rule %.60q, and its policy has no such rule for those", id)
	case asked.ForSeconds > rule.MaxSeconds:
		return fmt.Errorf("for %d seconds; rule %s gives at most %d", asked.ForSeconds, id, rule.MaxSeconds)
	case s.Until.After(asked.Created.Add(time.Duration(rule.ValidSeconds)*time.Second + rounding)):
		return fmt.Errorf("good until %s; rule %s gives at most %d seconds", s.Until.UTC().Format(time.RFC3339), id, rule.ValidSeconds)
	case s.ReviewSeconds > rule.ReviewSeconds:
		return fmt.Errorf("its review is due after %d seconds, and rule %s wants it after %d", s.ReviewSeconds, id, rule.ReviewSeconds)
	}
	for _, need := range rule.Needs {
		if !slices.ContainsFunc(s.ReviewNeeds, func(n control.Need) bool { return n.Group == need.Group && n.Count >= need.Count }) {
			return fmt.Errorf("rule %s wants its review by %d of %s", id, need.Count, need.Group)
		}
	}
	return nil
}

// sealedRules finds rules for sealed grants that no policy directory can hold.
func (v *verifier) sealedRules(p auditlog.Policy) {
	for _, id := range sortedKeys(p.Sealed) {
		rule := p.Sealed[id]
		bad := rule.ValidSeconds <= 0 || rule.ValidSeconds > int64(control.SheetMax/time.Second) || rule.MaxSeconds <= 0 ||
			rule.MaxSeconds > int64(longestGrant/time.Second) || rule.ReviewSeconds <= rule.MaxSeconds || len(rule.Needs) == 0
		for _, need := range rule.Needs {
			bad = bad || need.Count <= 0 || need.Count > most || strings.TrimSpace(need.Group) == ""
		}
		if bad {
			v.fail("policy: rule %s allows sealed grants in a way that none can", id)
		}
	}
}

// handed is a sealed grant that becomes granted: its sheet is handed out.
func (v *verifier) handed(r *request, s auditlog.State, at time.Time) error {
	switch {
	case r.State == control.Granted:
		return errors.New("a second time")
	case !v.needsMet(r):
		return errors.New("approvals are missing")
	case !at.Before(r.ClaimBy):
		return errors.New("after it expired")
	case !s.Ends.Equal(r.Sheet.Until):
		return fmt.Errorf("until %s, its sheet is good until %s", s.Ends.UTC().Format(time.RFC3339), r.Sheet.Until.UTC().Format(time.RFC3339))
	}
	for _, h := range r.Sheet.Holders {
		if v.policy.owner[h.Key] != h.Person || v.dead[h.Key] {
			return fmt.Errorf("key %s was no longer %s's", h.Key, h.Person)
		}
	}
	r.Ends, r.sealed = s.Ends, &sealed{at: at, holders: map[string]string{}}
	return nil
}

// ofSheet says whether a critical option for sealed grants is where it may be.
func (v *verifier) ofSheet(issued auditlog.Certificate, cert *ssh.Certificate) error {
	r := v.requests[issued.Request]
	if _, is := cert.CriticalOptions[control.SheetOption]; is && (issued.CA != userCA || r == nil || r.Sheet == nil) {
		return errors.New("it is of a sealed grant that never was")
	}
	return nil
}

// sheetCertificate checks a certificate of a sealed grant: one for the host, over a key that nobody has, and one for each holder.
func (v *verifier) sheetCertificate(r *request, issued auditlog.Certificate, cert *ssh.Certificate, at time.Time) error {
	s := r.sealed
	switch {
	case s == nil || s.logged:
		return errors.New("its sheet was not handed out then")
	case !slices.Equal(cert.ValidPrincipals, r.Targets):
		return fmt.Errorf("it is for %s, asked was %s", strings.Join(cert.ValidPrincipals, " "), strings.Join(r.Targets, " "))
	case moment(cert.ValidAfter).Before(s.at.Add(-skew - rounding)):
		return errors.New("it begins before the grant")
	}
	if issued.CA == sessionCA {
		switch {
		case s.host != nil || issued.Session == "" || v.sessions[issued.Session] != nil:
			return errors.New("a sheet has one certificate for the host and one session")
		case len(cert.CriticalOptions) != 1 || cert.CriticalOptions["source-address"] == "":
			return errors.New("it is good from every address")
		case !strings.HasSuffix(cert.KeyId, " "+r.ID+" "+issued.Session):
			return fmt.Errorf("its key ID is %q", cert.KeyId)
		}
		s.host, s.session = cert, issued.Session
		return nil
	}
	fingerprint := ssh.FingerprintSHA256(cert.Key)
	person, held := r.Sheet.Holds(fingerprint)
	_, again := s.holders[fingerprint]
	switch {
	case !held || again:
		return fmt.Errorf("it is over key %s, which is no holder's or has one already", fingerprint)
	case cert.KeyId != person+" "+r.ID:
		return fmt.Errorf("its key ID is %q", cert.KeyId)
	case len(cert.CriticalOptions) != 1 || cert.CriticalOptions[control.SheetOption] == "":
		return errors.New("it opens without its sheet")
	case cert.Extensions["request@postern"] == "" || cert.Extensions["approvals@postern"] == "":
		return errors.New("it does not point to its request and approvals")
	}
	s.holders[fingerprint] = cert.CriticalOptions[control.SheetOption]
	r.serials[cert.Serial] = cert
	return v.held(r.traits())
}

// sheet is a sheet that was handed out: its terms are those that were approved, the certificates are of it, and it was sealed to its bastion.
func (v *verifier) sheet(given auditlog.Sheet, actor string) {
	r := v.requests[given.Request]
	if r == nil || r.Sheet == nil || r.sealed == nil || r.sealed.logged {
		v.fail("a sheet of %.40q, which was not handed out or was before", given.Request)
		return
	}
	s := r.sealed
	s.logged = true
	if actor != r.Person {
		v.fail("the sheet of %s: %.60q has it, and it is %s's", r.ID, actor, r.Person)
	}
	if err := v.goodSheet(r, given); err != nil {
		v.fail("the sheet of %s: %v", r.ID, err)
	}
}

func (v *verifier) goodSheet(r *request, given auditlog.Sheet) error {
	s := r.sealed
	t, err := control.ParseTerms([]byte(given.Terms))
	if err != nil {
		return err
	}
	s.terms = t
	for _, h := range r.Sheet.Holders {
		if s.holders[h.Key] != control.SheetDigest([]byte(given.Terms), given.Envelope) {
			return fmt.Errorf("the certificate of %s is of another sheet, or there is none", h.Person)
		}
	}
	if given.To.CA != v.ca || given.To.Bastion != r.Sheet.Bastion {
		return fmt.Errorf("it is sealed to bastion %.60q", given.To.Bastion)
	}
	bastion := v.policy.bastions[r.Sheet.Bastion]
	if err := given.To.Verify(bastion); err != nil {
		return err
	}
	if v.dead[ssh.FingerprintSHA256(bastion)] {
		return fmt.Errorf("it is sealed to bastion %s, whose key was revoked before", r.Sheet.Bastion)
	}
	return v.goodTerms(r, t)
}

func (v *verifier) goodTerms(r *request, t control.Terms) error {
	s := r.sealed
	_, host, _ := strings.Cut(r.Targets[0], "@")
	trust, known := v.policy.hosts[host]
	asked, _ := limit.Parse(r.Limits)
	limits, err := limit.Parse(t.Limits)
	subset := func(some, all []string) bool {
		return !slices.ContainsFunc(some, func(x string) bool { return !slices.Contains(all, x) })
	}
	switch {
	case t.CA != v.ca || t.Request != r.ID || t.Bastion != r.Sheet.Bastion || t.Target != r.Targets[0] || t.HostName != host:
		return errors.New("its terms are of another grant")
	case s.host == nil || t.Session != s.session || t.Certificate != strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.host))):
		return errors.New("its terms name another session or another certificate for the host")
	case !t.Until.Equal(r.Sheet.Until) || t.Seconds != r.ForSeconds:
		return fmt.Errorf("its terms are for %d seconds until %s", t.Seconds, t.Until.UTC().Format(time.RFC3339))
	case !subset(t.Capabilities, r.Capabilities) || !subset(t.Destinations, r.Destinations):
		return errors.New("its terms give more than was granted")
	case !known || (t.HostKey == "") != (trust == "host-ca") || t.HostKey != "" && t.HostKey != trust:
		return errors.New("its terms name another host key than the policy")
	case t.Record.Files != "full" || t.Record.Streams >= 0 || t.Record.Forwards >= 0 || r.Record.Keystrokes && !t.Record.Keystrokes:
		return errors.New("its terms leave out what was to be recorded")
	case t.Record.RetainDays != 0 && (r.Record.RetainDays == 0 || t.Record.RetainDays < r.Record.RetainDays):
		return errors.New("its terms keep the recording for less long than was said")
	case err != nil || !limits.Covers(asked):
		return fmt.Errorf("its terms limit it to %.200q, the request was to %.200q", t.Limits, r.Limits)
	case t.Seq > uint64(v.report.Revocations) && !v.partial:
		return errors.New("its terms know revocations that there were not")
	}
	return nil
}

// sheetUse is a bastion's word that a sheet was used. It must be signed by it, and have been good: once, in its time, by one of its holders.
func (v *verifier) sheetUse(u control.SheetUse, at time.Time) {
	r := v.requests[u.Request]
	if r == nil || r.sealed == nil || !r.sealed.logged {
		v.fail("the sheet of %.40q was used, and none was handed out", u.Request)
		return
	}
	if err := v.goodUse(r, u, at); err != nil {
		v.fail("the use of the sheet of %s: %v", r.ID, err)
	}
	s := r.sealed
	s.uses = append(s.uses, u)
	if u.Again != (len(s.uses) > 1) {
		v.fail("the use of the sheet of %s: it is number %d, and says otherwise", r.ID, len(s.uses))
	}
	if len(s.uses) > 1 {
		v.fail("the sheet of %s was used twice, at %s and at %s: %s forgot the first, because it was restored from a backup or because it lies", r.ID,
			s.uses[0].Started.UTC().Format(time.RFC3339), u.Started.UTC().Format(time.RFC3339), u.Bastion)
		return
	}
	s.expected = true
	r.Sheet.Used, r.Sheet.UsedBy, r.Began = u.Started, u.Person, u.Started
	r.Owes = &control.ReviewOf{By: u.ReviewBy, Needs: r.Sheet.ReviewNeeds}
	v.owing[u.Person] = append(v.owing[u.Person], r)
	if !r.cutAt.IsZero() && r.cutAt.Before(u.Started) {
		v.note(v.at, "the sheet of %s was used after it was revoked: %s had no CA to hear it from", r.ID, u.Bastion)
	}
}

func (v *verifier) goodUse(r *request, u control.SheetUse, at time.Time) error {
	bastion := v.policy.bastions[u.Bastion]
	if err := u.Verify(bastion); err != nil {
		return err
	}
	if v.dead[ssh.FingerprintSHA256(bastion)] {
		return fmt.Errorf("the key of bastion %s was revoked before", u.Bastion)
	}
	s := r.sealed
	person, held := r.Sheet.Holds(u.Key)
	cert := r.serials[u.Serial]
	due := at.Add(time.Duration(r.Sheet.ReviewSeconds) * time.Second)
	switch {
	case u.CA != v.ca || u.Bastion != r.Sheet.Bastion || u.Session != s.session || u.Target != r.Targets[0]:
		return errors.New("it is of another bastion, session or target")
	case !held || person != u.Person || cert == nil || ssh.FingerprintSHA256(cert.Key) != u.Key:
		return fmt.Errorf("key %s with certificate %d is no holder's", u.Key, u.Serial)
	case u.Started.Before(s.at.Add(-skew)) || !u.Started.Before(r.Sheet.Until) || u.Started.After(at.Add(skew)):
		return fmt.Errorf("it was at %s, when the sheet was not good", u.Started.UTC().Format(time.RFC3339))
	case !u.Deadline.After(u.Started) || u.Deadline.After(u.Started.Add(time.Duration(s.terms.Seconds)*time.Second)) || u.Deadline.After(r.Sheet.Until):
		return fmt.Errorf("it may last until %s, longer than its terms say", u.Deadline.UTC().Format(time.RFC3339))
	case !u.Again && (u.ReviewBy.After(due.Add(rounding)) || u.ReviewBy.Before(due.Add(-rounding))):
		return fmt.Errorf("its review is due %s, and the rules want it by %s", u.ReviewBy.UTC().Format(time.RFC3339), due.UTC().Format(time.RFC3339))
	}
	return nil
}

// sheetSession is the session of a sheet's use, which comes right before it in the log.
func (v *verifier) sheetSession(s *session, r *request) error {
	if r.sealed == nil || !r.sealed.expected {
		return errors.New("it is of a sealed grant, and no use of its sheet comes before it")
	}
	r.sealed.expected = false
	if r.sealed.host != nil { // with it the bastion logs in, so the host tells of it
		s.hostSerial = r.sealed.host.Serial
	}
	u := r.sealed.uses[0]
	want := control.Session{
		ID: u.Session, Request: r.ID, Person: u.Person, Key: u.Key, Serial: u.Serial, Target: u.Target, Bastion: u.Bastion, Client: u.Client,
		Started: u.Started, Deadline: u.Deadline, RecordingKey: u.RecordingKey, KeystrokeKey: u.KeystrokeKey,
		RetainDays: r.sealed.terms.Record.RetainDays, Limits: r.sealed.terms.Limits,
	}
	got := s.Session.Session
	if !got.Started.Equal(want.Started) || !got.Deadline.Equal(want.Deadline) {
		return errors.New("it has other times than the use of its sheet")
	}
	got.Started, got.Deadline = want.Started, want.Deadline
	if got != want {
		return errors.New("it is another one than the use of its sheet says")
	}
	if s.BastionKey == nil {
		return fmt.Errorf("the policy knows no bastion %s", s.Bastion)
	}
	return v.sealedTo(s, r)
}

// bySheet is byPolicy for a sealed grant that the CA took away by itself; is: that is what it is.
func (v *verifier) bySheet(cut control.Revocation) (is bool, err error) {
	t := cut.Target()
	if v.crossed != nil || len(t) != 1 || !t.Names("request") {
		return false, nil
	}
	r := v.requests[t[0].Value]
	if r == nil || r.Sheet == nil {
		return false, nil
	}
	switch {
	case !cut.Holds.IsZero() || cut.Statement != "" || !slices.Equal(cut.Requests, []string{r.ID}):
		return true, errors.New("what the CA takes away by itself neither holds for a time nor hits others")
	case cut.Reason == sheetSpent && (r.sealed == nil || len(r.sealed.uses) == 0):
		return true, errors.New("its sheet was not used")
	case cut.Reason != sheetSpent && cut.Reason != sheetDropped:
		return true, fmt.Errorf("nobody signed it, and %.200q is no reason for that", cut.Reason)
	}
	return true, nil
}

// unspent looks for sealed grants whose leaves are not all there, and for used ones whose key for the host was left good.
func (v *verifier) unspent() {
	for _, r := range v.requests {
		s := r.sealed
		if s == nil {
			continue
		}
		v.at = r.leaf
		if !s.logged && !v.partial {
			v.fail("%s was granted, and its sheet was not logged", r.ID)
		}
		if s.expected {
			v.fail("the sheet of %s was used, and its session was not logged", r.ID)
		}
		if len(s.uses) > 0 && r.State == control.Granted && v.clock.After(s.uses[0].Deadline.Add(lost)) && v.clock.Before(r.Ends) {
			v.note(r.leaf, "the sheet of %s was used, and its certificate for the host is still good", r.ID)
		}
	}
}
