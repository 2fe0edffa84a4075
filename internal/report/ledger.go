package report

import (
	"cmp"
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

const (
	approve = control.Approve
	denied  = control.Denied
	pending = control.Pending

	// review is the decision that closes a request whose access was given before anybody approved it.
	review  = control.Review
	misused = control.Misused
)

// Ledger is what the leaves of a log say, without their proofs: a few hundred bytes for a request and a session. Its zero value is empty.
type Ledger struct {
	ca       string
	requests map[string]*Request
	asked    []*Request // in the order of the log
	sessions map[string]*entered
	opened   []*entered
	cuts     []Revocation
	views    []View
	keys     map[string]Key // month to the first key for sessions
	shredded map[string]bool
	custody  []Custody
	other    map[string]int
	latest   time.Time
	doubts   map[int64]string    // leaf to what is wrong with it
	groups   map[string][]string // of the policy in force
}

// entered is a session and where its recording stands.
type entered struct {
	control.Session
	leaf int64
}

// Add takes the next leaf. Leaves that contradict each other are the verifier's to tell; here the first one counts.
func (l *Ledger) Add(index int64, e auditlog.Entry) {
	if l.requests == nil {
		l.requests, l.sessions, l.keys = map[string]*Request{}, map[string]*entered{}, map[string]Key{}
		l.other, l.shredded = map[string]int{}, map[string]bool{}
	}
	if e.At.After(l.latest) {
		l.latest = e.At.UTC()
	}
	switch {
	case e.Genesis != nil:
		l.ca = e.Genesis.Name
	case e.Request != nil:
		l.request(index, *e.Request)
	case e.Vote != nil:
		l.vote(index, *e.Vote, e.At)
	case e.State != nil:
		l.state(*e.State, e.At)
	case e.Extension != nil:
		l.extension(*e.Extension)
	case e.Session != nil:
		l.session(index, *e.Session)
	case e.Progress != nil:
		l.progress(*e.Progress, e.At)
	case e.Revocation != nil:
		r := e.Revocation
		l.revoked(*r)
		l.cuts = append(l.cuts, Revocation{Seq: r.Seq, At: e.At.UTC(), By: r.By, Target: r.Target().String(), Reason: r.Reason, Requests: r.Requests, Leaf: index})
	case e.RecordingKey != nil:
		l.key(*e.RecordingKey, e.At)
	case e.View != nil:
		l.view(index, e)
	case e.Custody != nil:
		l.keeping(index, e.At, e.Custody.Auditor, e.Custody.Act+" "+e.Custody.Scope, e.Custody.Reason)
	case e.Rewrap != nil:
		l.keeping(index, e.At, e.Rewrap.Auditor, "rewrap "+e.Rewrap.Key+" to "+recipients(e.Rewrap.Recipients), e.Rewrap.Reason)
	case e.Deletion != nil:
		l.keeping(index, e.At, e.Actor, "order to destroy the key of "+cmp.Or(e.Deletion.Session, e.Deletion.Key), reasonOf(*e.Deletion))
	case e.Receipt != nil:
		l.receipt(index, *e.Receipt, e.At)
	case e.SheetUse != nil:
		l.sheetUse(*e.SheetUse)
	case e.Policy != nil:
		l.groups = e.Policy.Groups
	case e.Certificate != nil, e.Overdue != nil, e.Sheet != nil, e.Halt != nil: // who released it is among the decisions
	default:
		l.other[e.Type]++
	}
}

func (l *Ledger) request(index int64, r control.Request) {
	if l.requests[r.ID] != nil {
		return
	}
	asked := &Request{
		ID: r.ID, Person: r.Person, Targets: r.Targets, Capabilities: r.Capabilities, Reason: r.Reason, Rules: r.Rules, State: pending,
		Created: r.Created.UTC(), Asked: r.ForSeconds, Emergency: r.Emergency, Leaf: index,
	}
	if r.Emergency && r.Owes != nil {
		asked.owes = *r.Owes
	}
	if r.Sheet != nil {
		asked.Sheet, asked.owes = true, control.ReviewOf{Needs: r.Sheet.ReviewNeeds}
	}
	l.requests[r.ID] = asked
	l.asked = append(l.asked, asked)
}

func (l *Ledger) vote(index int64, v auditlog.Vote, at time.Time) {
	r := l.requests[v.Request]
	if r == nil {
		return
	}
	a := Approval{Decision: v.Decision, Verdict: v.Verdict, Person: v.Person, At: at.UTC(), Key: v.Key, Leaf: index}
	if s, err := statement.Parse(v.Statement); err == nil {
		a.Because = s.Because
	}
	a.FIDO, a.Touch, a.PIN = token(v.Vote)
	r.Approvals = append(r.Approvals, a)
	if v.Decision == review && !r.reviewed && len(r.Approvals) <= 10*mostPlaces { // a forged log may have more
		r.reviewed = l.complete(r)
	}
}

// token says what a signature shows of a FIDO token. Whether it is good is the verifier's to say, so others are not looked at again: of ten
// thousand that takes seconds.
func token(v control.Vote) (fido, touch, pin bool) {
	if !strings.HasPrefix(v.Public, "sk-") {
		return false, false, false
	}
	s, err := sshsig.Verify([]byte(v.Signature), control.Namespace, []byte(v.Statement))
	if err != nil || ssh.FingerprintSHA256(s.Key) != v.Key || !strings.HasPrefix(s.Key.Type(), "sk-") {
		return false, false, false
	}
	return true, s.Presence, s.Verified
}

// revoked ends what a revocation names: of many the leaves of their states follow later.
func (l *Ledger) revoked(rev control.Revocation) {
	for _, id := range rev.Requests {
		if r := l.requests[id]; r != nil && (r.State == control.Pending || r.State == control.Approved || r.State == control.Granted) {
			r.State, r.Why = control.Revoked, rev.Reason
		}
	}
}

func (l *Ledger) state(s auditlog.State, at time.Time) {
	r := l.requests[s.Request]
	if r == nil {
		return
	}
	r.State, r.Why = s.State, s.Why
	if s.State == control.Granted && r.Began.IsZero() && !r.Sheet {
		r.Began, r.Ends = at.UTC(), s.Ends.UTC()
		r.Granted = seconds(r.Ends.Sub(r.Began.Truncate(time.Second))) // ends are on the second
	}
}

// extension moves the end of a grant, and the deadline of what is open of it.
func (l *Ledger) extension(x auditlog.Extension) {
	r := l.requests[x.Request]
	if r == nil || x.State != control.Granted || r.Began.IsZero() {
		return
	}
	r.Ends = x.Ends.UTC()
	r.Granted = seconds(r.Ends.Sub(r.Began.Truncate(time.Second)))
}

// sheetUse begins a sealed grant: it is an emergency from then on. Of two uses the first counts; the verifier tells of the other.
func (l *Ledger) sheetUse(u control.SheetUse) {
	r := l.requests[u.Request]
	if r == nil || !r.Sheet || r.Emergency {
		return
	}
	r.Emergency, r.Person, r.Began, r.Ends = true, u.Person, u.Started.UTC(), u.Deadline.UTC()
	r.Granted = seconds(r.Ends.Sub(r.Began))
	r.owes.By = u.ReviewBy
}

func (l *Ledger) session(index int64, s control.Session) {
	if l.sessions[s.ID] != nil {
		return
	}
	opened := &entered{s, index}
	l.sessions[s.ID] = opened
	l.opened = append(l.opened, opened)
}

// progress follows a recording as the CA does: a bastion that comes back says better how a session ended than "lost".
func (l *Ledger) progress(p control.Progress, at time.Time) {
	s := l.sessions[p.Session]
	if s == nil {
		return
	}
	s.Frames, s.Head, s.Segments, s.SealedHead = p.Frames, p.Head, p.Segments, p.SealedHead
	s.Sealed, s.Interrupted = p.Sealed, s.Interrupted || p.Interrupted
	if p.End != "" && (s.Ended.IsZero() || s.End == "lost") {
		s.Ended, s.End = at.UTC(), p.End
	}
}

func (l *Ledger) key(k control.RecordingKey, at time.Time) {
	if _, known := l.keys[k.Month]; !known && k.Purpose == "" {
		l.keys[k.Month] = Key{Month: k.Month, ID: k.ID, Auditor: k.Auditor, Added: at.UTC()}
	}
}

func (l *Ledger) view(index int64, e auditlog.Entry) {
	v := View{At: e.At.UTC(), Auditor: e.Actor, Kind: e.View.Kind, Sessions: e.View.Sessions, Reason: e.View.Reason, Key: e.View.Key, Leaf: index}
	if e.View.Keystrokes {
		v.Reason = "with what was typed: " + v.Reason
	}
	l.views = append(l.views, v)
}

func (l *Ledger) keeping(index int64, at time.Time, by, what, reason string) {
	l.custody = append(l.custody, Custody{At: at.UTC(), By: by, What: what, Reason: reason, Leaf: index})
}

func (l *Ledger) receipt(index int64, r control.Receipt, at time.Time) {
	what := "the key of " + cmp.Or(r.Session, r.Key) + " is destroyed"
	if r.Everything {
		what += ", and the recording with it"
	}
	if r.Declined != "" {
		what = "the key of " + cmp.Or(r.Session, r.Key) + " was not destroyed"
	} else if r.Session != "" {
		l.shredded[r.Session] = true
	}
	l.keeping(index, at, cmp.Or(r.Bastion, "ca"), what, r.Declined)
}

func reasonOf(d control.Deletion) string {
	if d.RetainDays > 0 {
		return fmt.Sprintf("the policy keeps it %d days", d.RetainDays)
	}
	return strings.Join(d.Because, " ")
}

func recipients(list []control.Recipient) string {
	var labels []string
	for _, to := range list {
		labels = append(labels, to.Label())
	}
	return strings.Join(labels, ", ")
}

// Sessions are those that overlap a period, with what the log says of their recordings, in the order in which they began.
func (l *Ledger) Sessions(o Options) (list []control.Session) {
	for _, s := range l.opened {
		if l.inside(s, o) {
			list = append(list, s.Session)
		}
	}
	slices.SortStableFunc(list, func(a, b control.Session) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// inside says whether a session overlaps the period and is of the person and the host that are asked for.
func (l *Ledger) inside(s *entered, o Options) bool {
	_, host, _ := strings.Cut(s.Target, "@")
	return s.Started.Before(o.To) && (l.until(s).After(o.From) || !s.Started.Before(o.From)) && matches(o.User, s.Person) && matches(o.Host, host)
}

// until is when a session ended; one of which nobody says that it ended lasted to its deadline at most.
func (l *Ledger) until(s *entered) time.Time {
	end := s.Ended
	if end.IsZero() {
		end = s.Deadline
		if l.latest.Before(end) {
			end = l.latest
		}
	}
	if end.Before(s.Started) {
		return s.Started
	}
	return end
}

func seconds(d time.Duration) int64 { return int64(max(0, d) / time.Second) }
