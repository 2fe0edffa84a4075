package notify

import (
	"fmt"
	"strings"
	"time"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
)

// Events are what can be told.
var Events = []string{
	"request.waiting", "request.approved", "request.granted", "request.denied", "request.withdrawn", "request.expired", "request.ended", "request.revoked",
	"emergency", "review.waiting", "review.overdue", "review.misused", "review.cleared", "sheet", "extension.waiting", "extension.granted", "extension.denied",
	"held.waiting", "held.granted", "held.denied",
	"session.began", "session.ended", "revocation", "cut", "host.ended", "risk", "recording.viewed", "recording.key", "recording.custody", "policy", "test",
}

// Message is what a webhook or a command gets. It says what the audit log says, so nothing of a recording.
type Message struct {
	ID      string    `json:"id"` // CA and number of the leaf: the same when it is told again
	Event   string    `json:"event"`
	At      time.Time `json:"at"`
	CA      string    `json:"ca"`
	Text    string    `json:"text"`            // a line for people
	Actor   string    `json:"actor,omitempty"` // who did it: a person, bastion or host, or "ca" for the clock
	Request string    `json:"request,omitempty"`
	Session string    `json:"session,omitempty"`
	Person  string    `json:"person,omitempty"`
	Targets []string  `json:"targets,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Needs   []string  `json:"needs,omitempty"` // approvals that are missing: "1 of privacy"
	Why     string    `json:"why,omitempty"`
}

// mostKnown bounds the requests that are remembered, so that what becomes of one can be told with its reason.
const mostKnown = 10000

// teller makes messages of leaves, in their order.
type teller struct {
	ca    string
	asked func(id string) (control.Request, bool)
	known map[string]control.Request
}

// tell is the message of a leaf; false: nobody is told of such.
func (t *teller) tell(index int64, e auditlog.Entry) (Message, bool) {
	m := Message{ID: fmt.Sprintf("%s/%d", t.ca, index), At: e.At, CA: t.ca, Actor: e.Actor}
	switch {
	case e.Request != nil:
		t.remember(*e.Request)
		t.request(&m, e.Request.ID)
		if e.Request.Emergency && e.Request.Owes != nil {
			m.Event, m.Why = "emergency", e.Request.Owes.String()
			m.Text = fmt.Sprintf("EMERGENCY: %s has %s for %s, approved by nobody: %s. It owes a %s", m.Person, strings.Join(m.Targets, ", "),
				time.Duration(e.Request.ForSeconds)*time.Second, m.Reason, m.Why)
			return m, true
		}
		if len(e.Request.Needs) == 0 {
			return m, false // the state that follows says that it is approved
		}
		m.Event = "request.waiting"
		for _, n := range e.Request.Needs {
			m.Needs = append(m.Needs, fmt.Sprintf("%d of %s", n.Count, n.Group))
		}
		m.Text = fmt.Sprintf("%s asks for %s for %s: %s. It waits for %s: postern approve %s", m.Person, strings.Join(m.Targets, ", "),
			time.Duration(e.Request.ForSeconds)*time.Second, m.Reason, strings.Join(m.Needs, ", "), m.Request)
	case e.State != nil:
		t.request(&m, e.State.Request)
		m.Event, m.Why = "request."+e.State.State, e.State.Why
		m.Text = fmt.Sprintf("%s of %s for %s is %s: %s", m.Request, m.Person, strings.Join(m.Targets, ", "), e.State.State, m.Why)
		if e.State.Review != "" {
			m.Event, m.Why = "review.waiting", e.State.Review
			m.Text = fmt.Sprintf("%s, an emergency of %s on %s, is over (%s). It owes a %s: postern review %s", m.Request, m.Person, strings.Join(m.Targets, ", "),
				e.State.State, m.Why, m.Request)
		}
	case e.Overdue != nil:
		t.request(&m, e.Overdue.Request)
		m.Event, m.Person, m.Why = "review.overdue", e.Overdue.Person, "due "+e.Overdue.By.UTC().Format(time.RFC3339)
		m.Text = fmt.Sprintf("the review of %s, an emergency of %s, is overdue (%s); until it is signed they have no other one: postern review %s", m.Request, m.Person, m.Why, m.Request)
	case e.Sheet != nil:
		t.request(&m, e.Sheet.Request)
		m.Event = "sheet"
		m.Text = fmt.Sprintf("the sheet of %s for %s was handed out to %s: %s", m.Request, strings.Join(m.Targets, ", "), m.Person, m.Reason)
	case e.SheetUse != nil:
		t.sheetUse(&m, *e.SheetUse)
	case e.Vote != nil:
		told := t.finding(&m, *e.Vote)
		return m, told
	case e.Halt != nil:
		t.halt(&m, *e.Halt)
	case e.Extension != nil:
		t.extension(&m, *e.Extension)
	case e.Session != nil:
		m.Event, m.Session, m.Request, m.Person, m.Targets = "session.began", e.Session.ID, e.Session.Request, e.Session.Person, []string{e.Session.Target}
		m.Text = fmt.Sprintf("%s is on %s (session %s, %s)", m.Person, e.Session.Target, m.Session, m.Request)
	case e.Progress != nil && e.Progress.End != "":
		m.Event, m.Session, m.Why = "session.ended", e.Progress.Session, e.Progress.End
		m.Text = fmt.Sprintf("session %s ended: %s", m.Session, m.Why)
	case e.Revocation != nil:
		m.Event, m.Reason = "revocation", e.Revocation.Reason
		m.Text = fmt.Sprintf("%s revoked %s: %s (%d grants)", e.Revocation.By, e.Revocation.Target(), m.Reason, len(e.Revocation.Requests))
	case e.Risk != nil && (e.Risk.Action == "log" || e.Risk.Action == "warn"):
		return m, false // the rule asks for nobody to be told
	case e.Risk != nil:
		m.Event, m.Session, m.Request, m.Person, m.Why = "risk", e.Risk.Session, e.Risk.Request, e.Risk.Person, e.Risk.Action
		m.Text = fmt.Sprintf("%s: %s (%d): %s", m.Person, e.Risk.Reason(), e.Risk.Count, m.Why)
	case e.Cut != nil:
		m.Event = "cut"
		m.Text = fmt.Sprintf("%s ended %d sessions for revocation %d", e.Cut.Bastion, len(e.Cut.Sessions), e.Cut.Seq)
	case e.HostEnded != nil:
		m.Event, m.Session, m.Text = "host.ended", e.HostEnded.Session, e.HostEnded.String()
	case e.View != nil:
		m.Event, m.Reason = "recording.viewed", e.View.Reason
		m.Text = fmt.Sprintf("%s looks at %d recordings (%s): %s", e.Actor, len(e.View.Sessions), e.View.Kind, m.Reason)
	case e.RecordingKey != nil:
		m.Event, m.Text = "recording.key", fmt.Sprintf("%s made recording key %s for %s", e.Actor, e.RecordingKey.ID, e.RecordingKey.Month)
	case e.Custody != nil:
		m.Event, m.Reason = "recording.custody", e.Custody.Reason
		m.Text = fmt.Sprintf("%s: %s %s: %s", e.Actor, e.Custody.Act, e.Custody.Scope, m.Reason)
	case e.Policy != nil:
		m.Event, m.Text = "policy", "the policy in force is "+e.Policy.Digest
	default:
		return m, false
	}
	return m, true
}

// finding is that somebody misused an emergency, or was cleared of it. Other votes are told by the states that come of them.
func (t *teller) finding(m *Message, v auditlog.Vote) bool {
	t.request(m, v.Request)
	if s, err := statement.Parse(v.Statement); err == nil {
		m.Why = s.Because
	}
	switch {
	case v.Decision == control.Review && v.Verdict == control.Misused:
		m.Event = "review.misused"
		m.Text = fmt.Sprintf("%s found that %s misused an emergency, %s on %s: %s. %s gets no other one until somebody else says: postern clear %s", v.Person, m.Person, m.Request,
			strings.Join(m.Targets, ", "), m.Why, m.Person, m.Request)
	case v.Decision == control.Clear:
		m.Event = "review.cleared"
		m.Text = fmt.Sprintf("%s cleared %s, who may have emergencies again after %s: %s", v.Person, m.Person, m.Request, m.Why)
	default:
		return false
	}
	return true
}

// extension is more time that is asked for, given or denied.
func (t *teller) extension(m *Message, x auditlog.Extension) {
	t.request(m, x.Request)
	m.Reason = x.Reason
	if x.State != control.Pending {
		m.Event = "extension." + x.State
		m.Text = fmt.Sprintf("the extension of %s of %s for %s is %s", m.Request, m.Person, strings.Join(m.Targets, ", "), x.State)
		return
	}
	m.Event = "extension.waiting"
	for _, n := range x.Needs {
		m.Needs = append(m.Needs, fmt.Sprintf("%d of %s", n.Count, n.Group))
	}
	m.Text = fmt.Sprintf("%s asks to extend %s for %s by %s: %s. It waits for %s: postern approve %s", m.Person, m.Request, strings.Join(m.Targets, ", "),
		time.Duration(x.ForSeconds)*time.Second, m.Reason, strings.Join(m.Needs, ", "), m.Request)
}

// sheetUse is an emergency that took place while there was no CA to tell of it.
func (t *teller) sheetUse(m *Message, u control.SheetUse) {
	if r, known := t.known[u.Request]; known && !u.Again {
		r.Person = u.Person // what follows is about who used it
		t.remember(r)
	}
	t.request(m, u.Request)
	m.Event, m.Session, m.Person, m.Targets = "emergency", u.Session, u.Person, []string{u.Target}
	m.Text = fmt.Sprintf("EMERGENCY: %s used the sheet of %s on %s at %s, while the CA was away, from %s. Its review is due %s: postern review %s", u.Person, u.Request,
		u.Target, u.Started.UTC().Format(time.RFC3339), u.Client, u.ReviewBy.UTC().Format(time.RFC3339), u.Request)
	if u.Again {
		m.Why = "the bastion forgot the first use: it was restored from a backup, or it lies"
		m.Text = fmt.Sprintf("EMERGENCY: THE SHEET OF %s WAS USED TWICE, again by %s on %s at %s: %s", u.Request, u.Person, u.Target, u.Started.UTC().Format(time.RFC3339), m.Why)
	}
}

// halt is what a limit holds, until approvers release it or do not.
func (t *teller) halt(m *Message, x auditlog.Halt) {
	t.request(m, x.Request)
	m.Session, m.Why = x.Session, x.What()
	if x.State != control.Pending {
		m.Event = "held." + x.State
		m.Text = fmt.Sprintf("%s of %s was held, and to go on is %s: %s", m.Request, m.Person, x.State, m.Why)
		return
	}
	m.Event = "held.waiting"
	for _, n := range x.Needs {
		m.Needs = append(m.Needs, fmt.Sprintf("%d of %s", n.Count, n.Group))
	}
	m.Text = fmt.Sprintf("%s of %s: %s. It waits for %s: postern approve %s", m.Request, m.Person, m.Why, strings.Join(m.Needs, ", "), m.Request)
}

func (t *teller) remember(r control.Request) {
	if t.known == nil || len(t.known) >= mostKnown {
		t.known = map[string]control.Request{}
	}
	t.known[r.ID] = r
}

// request fills in what is known of one.
func (t *teller) request(m *Message, id string) {
	r, known := t.known[id]
	if !known && t.asked != nil {
		if r, known = t.asked(id); known {
			t.remember(r)
		}
	}
	m.Request, m.Person, m.Targets, m.Reason = id, r.Person, r.Targets, r.Reason
}
