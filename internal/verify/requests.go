package verify

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/destination"
	"postern/internal/sshsig"
)

// longestGrant is the hard maximum of a grant, whatever a policy says.
const longestGrant = time.Hour

// most is how many approvals a request may need: more is a log that wants to use up our memory.
const most = 1000

// request is one request as the leaves so far leave it.
type request struct {
	control.Request
	leaf     int64
	votes    []vote
	more     [][]vote // of each of its extensions
	halts    []halted
	sessions []*session
	retired  []string // approvers who took their approval back
	cut      bool     // a revocation leaf names it
	cutAt    time.Time
	awaits   uint64 // the revocation that ended it, while the leaf of its state is to come
	late     bool   // that its review is overdue was logged
	serials  map[uint64]*ssh.Certificate
	sealed   *sealed // of a sealed grant that was handed out
}

type vote struct {
	decision, verdict, person, key, statement string
	public                                    ssh.PublicKey
}

func (r *request) live() bool {
	return r.State == control.Pending || r.State == control.Approved || r.State == control.Granted
}

func (v *verifier) request(asked control.Request) {
	v.report.Requests++
	r := &request{Request: asked, leaf: v.at, serials: map[uint64]*ssh.Certificate{}}
	if v.requests[asked.ID] != nil {
		v.fail("request %s appears twice", asked.ID)
		return
	}
	v.requests[asked.ID] = r
	if n := len(v.report.Policies); n > 0 {
		in := &v.report.Policies[n-1]
		in.Requests = append(in.Requests, Asked{v.at, asked})
	}
	length := time.Duration(min(asked.ForSeconds, 1<<30)) * time.Second
	places := 0
	for _, need := range asked.Needs {
		places += max(0, min(need.Count, most+1))
	}
	switch {
	case places > most:
		v.fail("request %s needs more than %d approvals", asked.ID, most)
		r.Needs = []control.Need{{Count: 1}} // which nobody meets
	case slices.ContainsFunc(asked.Needs, func(n control.Need) bool { return n.Count <= 0 || n.Group == "" }):
		v.fail("request %s needs approvals that no policy asks for: %+v", asked.ID, asked.Needs)
	case asked.State != control.Pending || len(asked.Votes) > 0 || len(asked.Extensions)+len(asked.Halts) > 0:
		v.fail("request %s begins as %s with %d votes", asked.ID, asked.State, len(asked.Votes))
	case statement.Digest(asked) != asked.Digest:
		v.fail("request %s does not have the digest %s", asked.ID, asked.Digest)
	case v.policy.owner[asked.Key] != asked.Person:
		v.fail("request %s is by a key that is not %s's", asked.ID, asked.Person)
	case v.dead[asked.Key]:
		v.fail("request %s is by key %s, which was revoked", asked.ID, asked.Key)
	case asked.Policy != v.policy.digest:
		v.fail("request %s was decided by policy %s, which was not in force", asked.ID, asked.Policy)
	case length <= 0 || length > longestGrant:
		v.fail("request %s is for %s; nothing longer than %s is ever granted", asked.ID, length, longestGrant)
	case v.sheetAsked(asked) != nil:
		v.fail("request %s: %v", asked.ID, v.sheetAsked(asked))
	case asked.Sheet == nil && asked.NotAfter.After(asked.ClaimBy.Add(length+rounding)):
		v.fail("request %s may live until %s, longer than it was asked for", asked.ID, asked.NotAfter)
	case asked.Sheet == nil && asked.NotAfter.Before(asked.ClaimBy.Add(length)):
		v.fail("request %s may be claimed until %s, longer than the approvers were told", asked.ID, asked.ClaimBy)
	case len(asked.Targets) == 0:
		v.fail("request %s is for nothing", asked.ID)
	case askedLimits(asked) != nil:
		v.fail("request %s: %v", asked.ID, askedLimits(asked))
	case len(asked.Destinations) > 0 && !slices.Contains(asked.Capabilities, "forward-local"):
		v.fail("request %s names destinations without forward-local", asked.ID)
	case v.held(asked.Traits()) != nil:
		v.fail("request %s: %v", asked.ID, v.held(asked.Traits()))
	default:
		v.destinations(asked)
	}
	v.urge(r)
	if r.Sheet != nil {
		sheet := *r.Sheet // the report keeps what was asked
		r.Sheet = &sheet
	}
	r.State, r.Extensions, r.Halts = control.Pending, nil, nil
}

// destinations makes sure that what an approver read is what a bastion reads: one with a space in it would look like two.
func (v *verifier) destinations(asked control.Request) {
	for _, text := range asked.Destinations {
		if p, err := destination.Parse(text); err != nil || p.String() != text {
			v.fail("request %s names the destination %q, which is none as they are written", asked.ID, text)
		}
	}
}

func (v *verifier) vote(cast auditlog.Vote, at time.Time) {
	v.report.Votes++
	r := v.requests[cast.Request]
	if r == nil {
		v.fail("a vote about request %s, which never was", cast.Request)
		return
	}
	what := fmt.Sprintf("%s of %s by %s", cast.Decision, r.ID, cast.Person)
	if cast.Halt != 0 {
		if err := v.haltVote(r, cast, at); err != nil {
			v.fail("%s, halt %d: %v", what, cast.Halt, err)
		}
		return
	}
	if cast.Extension != 0 {
		if err := v.extensionVote(r, cast, at); err != nil {
			v.fail("%s, extension %d: %v", what, cast.Extension, err)
		}
		return
	}
	key, err := v.goodVote(r, cast, at)
	if err != nil {
		// It does not count, so what needed it is found wanting as well.
		v.fail("%s: %v", what, err)
		return
	}
	r.votes = append(r.votes, vote{cast.Decision, cast.Verdict, cast.Person, cast.Key, cast.Statement, key})
	if cast.Decision == control.Review || cast.Decision == control.Clear {
		v.reviewed(r, r.votes[len(r.votes)-1], at)
	}
	if cast.Decision == control.Withdraw && cast.Person != r.Person {
		r.retired = append(r.retired, cast.Person)
	}
}

func (v *verifier) goodVote(r *request, cast auditlog.Vote, at time.Time) (ssh.PublicKey, error) {
	about := r.Request
	if cast.Decision == control.Withdraw { // to give something back is always allowed, with any key that is theirs
		about.Touch, about.PIN = false, false
	}
	key, err := v.goodSignature(r, about, cast, at)
	if err != nil {
		return nil, err
	}
	return key, v.mayVote(r, cast, at)
}

// goodSignature checks that a vote is signed, says this decision about this request, and is by somebody who was not kept away. about says what
// the FIDO token must prove.
func (v *verifier) goodSignature(r *request, about control.Request, cast auditlog.Vote, at time.Time) (ssh.PublicKey, error) {
	key, err := v.signedBy(cast.Person, cast.Statement, cast.Signature, about)
	if err != nil {
		return nil, err
	}
	if fingerprint := ssh.FingerprintSHA256(key); fingerprint != cast.Key {
		return nil, fmt.Errorf("signed by key %s, logged is %s", fingerprint, cast.Key)
	}
	if public, err := parseKey(cast.Public); err != nil || !same(public, key) {
		return nil, fmt.Errorf("the public key beside it is not the one that signed")
	}
	if apart := at.Sub(cast.At); apart < -rounding || apart > rounding {
		return nil, fmt.Errorf("it says that it was made at %s", cast.At.UTC().Format(time.RFC3339))
	}
	if err := v.checkStatement(r, cast); err != nil {
		return nil, err
	}
	if cast.Decision == control.Review || cast.Decision == control.Clear {
		if err := v.held(control.Traits{Person: cast.Person, Keys: []string{cast.Key}, Approvers: []string{cast.Person}}); err != nil {
			return nil, err
		}
	} else if cast.Decision != control.Withdraw {
		if err := v.held(control.Traits{Person: cast.Person, Keys: []string{cast.Key}, Approvers: []string{cast.Person}, Targets: r.Targets}); err != nil {
			return nil, err
		}
	}
	return key, nil
}

// signedBy verifies a signature over a statement and returns its key, which must be a living key of person. about says
// what the FIDO token must prove.
func (v *verifier) signedBy(person, text, signature string, about control.Request) (ssh.PublicKey, error) {
	s, err := sshsig.Verify([]byte(signature), control.Namespace, []byte(text))
	if err != nil {
		return nil, err
	}
	fingerprint := ssh.FingerprintSHA256(s.Key)
	if !v.policy.owns(person, s.Key) {
		return nil, fmt.Errorf("signed by key %s, which the policy in force did not give to %s", fingerprint, person)
	}
	if v.dead[fingerprint] {
		return nil, fmt.Errorf("signed by key %s, which was revoked", fingerprint)
	}
	token := strings.HasPrefix(s.Key.Type(), "sk-")
	if (about.Touch || about.PIN) && (!token || !s.Presence) || about.PIN && !s.Verified {
		return nil, fmt.Errorf("the policy wanted a FIDO key's touch or PIN, and key %s does not prove it", fingerprint)
	}
	return s.Key, nil
}

// checkStatement makes sure that what was signed is this decision about this request and says all of it.
func (v *verifier) checkStatement(r *request, cast auditlog.Vote) error {
	s, err := statement.Parse(cast.Statement)
	if err != nil {
		return err
	}
	if cast.Verdict != s.Verdict {
		return fmt.Errorf("the verdict %q was signed, and logged is %q", s.Verdict, cast.Verdict)
	}
	if cast.Halt != 0 {
		if cast.Statement != v.saysHalt(r, cast, s.Because) {
			return fmt.Errorf("the signed statement does not say what holds the request")
		}
		return nil
	}
	if cast.Statement != statement.About(r.Request, v.ca, cast.Decision, cast.Person, s.Because).Finding(s.Verdict).Text() {
		return fmt.Errorf("the signed statement does not say what the request says")
	}
	return nil
}

func (v *verifier) mayVote(r *request, cast auditlog.Vote, at time.Time) error {
	before := slices.ContainsFunc(r.votes, func(o vote) bool { return o.person == cast.Person })
	carried := before || slices.ContainsFunc(r.carriers(), func(o vote) bool { return o.person == cast.Person })
	switch cast.Decision {
	case control.Withdraw:
		if !r.live() {
			return fmt.Errorf("the request was %s already", r.State)
		}
		if cast.Person != r.Person && !carried {
			return fmt.Errorf("they neither asked for it nor approved it")
		}
		return nil
	case control.Review:
		if slices.ContainsFunc(r.votes, func(o vote) bool { return o.decision == control.Review && o.person == cast.Person }) {
			return fmt.Errorf("they had reviewed it already")
		}
		return v.reviews(r, cast.Person)
	case control.Clear:
		return v.clears(r, cast.Person)
	case control.Approve, control.Deny:
	default:
		return fmt.Errorf("no such decision")
	}
	switch {
	case cast.Person == r.Person || r.Sheet != nil && r.Sheet.ByHolder(cast.Person):
		return fmt.Errorf("nobody decides about their own request")
	case before:
		return fmt.Errorf("they had decided already")
	case r.State != control.Pending:
		return fmt.Errorf("the request was %s already", r.State)
	case !at.Before(r.ClaimBy):
		return fmt.Errorf("it came after %s, too late", r.ClaimBy.UTC().Format(time.RFC3339))
	}
	return nil
}

// needsMet says whether the approvals, by the groups of the policy in force, fill every place that the request needs.
func (v *verifier) needsMet(r *request) bool { return v.filled(r.Needs, r.approvers()) }

// filled says whether people fill every place. Nobody stands for two: places and people are matched by augmenting paths.
func (v *verifier) filled(needs []control.Need, people []string) bool {
	var places []string // the group each place wants
	for _, need := range needs {
		for range need.Count {
			places = append(places, need.Group)
		}
	}
	holder := map[int]string{}
	var seat func(person string, tried map[int]bool) bool
	seat = func(person string, tried map[int]bool) bool {
		for i, group := range places {
			if tried[i] || !v.policy.in(person, group) {
				continue
			}
			tried[i] = true
			if held, taken := holder[i]; !taken || seat(held, tried) {
				holder[i] = person
				return true
			}
		}
		return false
	}
	for _, person := range people {
		seat(person, map[int]bool{})
	}
	return len(holder) == len(places)
}

// approvalsLive says whether every approval that counts is by a key that is still its person's and was not revoked: what is signed or
// opened on the strength of it is decided then, not when they signed.
func (v *verifier) approvalsLive(r *request) error {
	for _, vote := range r.carriers() {
		switch {
		case slices.Contains(r.retired, vote.person):
		case v.dead[vote.key]:
			return fmt.Errorf("the key with which %s approved %s was revoked before", vote.person, r.ID)
		case !v.policy.owns(vote.person, vote.public):
			return fmt.Errorf("the key with which %s approved %s was no longer theirs", vote.person, r.ID)
		}
	}
	return nil
}

// approvers are the people whose approval stands.
func (r *request) approvers() []string {
	var people []string
	for _, vote := range r.votes {
		if vote.decision == control.Approve && vote.person != r.Person && (r.Sheet == nil || !r.Sheet.ByHolder(vote.person)) &&
			!slices.Contains(r.retired, vote.person) && !slices.Contains(people, vote.person) {
			people = append(people, vote.person)
		}
	}
	return people
}

// approvalsDigest is what a certificate says of the approvals it came of; ca/PROTOCOL.md defines it.
func (r *request) approvalsDigest() string {
	h := sha256.New()
	for _, vote := range r.votes {
		if vote.decision == control.Approve && !slices.Contains(r.retired, vote.person) {
			fmt.Fprintf(h, "%d %s %s\n", len(vote.statement), vote.key, vote.statement)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

func (v *verifier) state(s auditlog.State, at time.Time) {
	r := v.requests[s.Request]
	if r == nil {
		v.fail("a state of request %s, which never was", s.Request)
		return
	}
	if err := v.becomes(r, s, at); err != nil {
		v.fail("%s becomes %s: %v", r.ID, s.State, err)
	} else if !s.Ends.Equal(r.Ends) {
		v.fail("%s becomes %s: it says that it ends %s, and it does %s", r.ID, s.State, s.Ends.UTC().Format(time.RFC3339), r.Ends.UTC().Format(time.RFC3339))
	}
	r.State = s.State
	owed := ""
	if r.Owes != nil && !r.Began.IsZero() && !r.live() {
		owed = r.Owes.String()
	}
	if s.Review != owed {
		v.fail("%s becomes %s: it says that it owes %q, and it does %q", r.ID, s.State, s.Review, owed)
	}
}

func (v *verifier) becomes(r *request, s auditlog.State, at time.Time) error {
	if r.awaits > 0 && s.State == control.Revoked {
		r.awaits = 0
		return nil
	}
	if !r.live() {
		return fmt.Errorf("it was %s, which is final", r.State)
	}
	decided := func(decision string) bool {
		return slices.ContainsFunc(r.votes, func(o vote) bool { return o.decision == decision })
	}
	switch s.State {
	case control.Approved:
		if !v.needsMet(r) {
			return fmt.Errorf("approvals are missing")
		}
	case control.Granted:
		if r.Sheet != nil {
			return v.handed(r, s, at)
		}
		return v.granted(r, s, at)
	case control.Denied:
		if !decided(control.Deny) {
			return fmt.Errorf("nobody denied it")
		}
	case control.Withdrawn:
		if !decided(control.Withdraw) {
			return fmt.Errorf("nobody withdrew it")
		}
	case control.Expired:
		if at.Before(r.ClaimBy) {
			return fmt.Errorf("before its time, %s", r.ClaimBy.UTC().Format(time.RFC3339))
		}
	case control.Ended:
		if r.State != control.Granted || at.Before(r.Ends) {
			return fmt.Errorf("before its time, %s", r.Ends.UTC().Format(time.RFC3339))
		}
	case control.Revoked: // the revocation follows; end makes sure of it
	default:
		return fmt.Errorf("no such state")
	}
	return nil
}

// granted starts the clock of the grant, once.
func (v *verifier) granted(r *request, s auditlog.State, at time.Time) error {
	length := time.Duration(r.ForSeconds) * time.Second
	switch {
	case r.State == control.Granted:
		return fmt.Errorf("a second time")
	case !v.needsMet(r):
		return fmt.Errorf("approvals are missing")
	case !at.Before(r.ClaimBy):
		return fmt.Errorf("after it expired")
	case s.Ends.IsZero() || s.Ends.After(at.Add(length)) || s.Ends.After(r.NotAfter):
		return fmt.Errorf("until %s, longer than it was asked for", s.Ends.UTC().Format(time.RFC3339))
	}
	if r.Emergency {
		if err := v.owesNothing(r.Person, at); err != nil {
			return err
		}
	}
	r.Began, r.Ends = at, s.Ends
	return nil
}
