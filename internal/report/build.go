package report

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"postern/internal/verify"
)

// Options say which report.
type Options struct {
	From, To time.Time // the period: From up to but not including To
	User     string    // empty: everybody; a pattern as of path.Match
	Host     string    // empty: every host; likewise
	Group    string    // person, host, day or request
	By       string    // who makes it
	Reason   string
	Made     time.Time
	Share    int // of how many hundredths of a person's requests one approver is worth a line; 0: 80
}

// Groups are the ways in which sessions stand in a report.
var Groups = []string{"person", "host", "day", "request"}

const (
	// fewest requests of which it says something that one person approved most.
	fewest = 3
	// reserve is how long before its month a recording key should be there: who is ill, or away, has so long.
	reserve = 3 * 24 * time.Hour
	// sealing is how long after a session its recording may take to be sealed and told.
	sealing = 10 * time.Minute
)

type span struct{ from, to time.Time }

// Report is the report of a period, without what recordings say: [Report.Take] adds that.
func (l *Ledger) Report(o Options, p Proof) *Report {
	o.From, o.To = o.From.UTC(), o.To.UTC()
	r := &Report{
		Format: Format, CA: l.ca, Made: o.Made.UTC(), By: o.By, Reason: o.Reason, From: o.From, To: o.To, User: o.User, Host: o.Host,
		Group: cmp.Or(o.Group, Groups[0]), Proof: p,
		Sessions: []*Session{}, Requests: []*Request{}, Hands: []Hands{}, OneSided: []Hands{}, Mutual: []Mutual{},
		Revocations: []Revocation{}, Views: []View{}, Recordings: []Gap{}, Keys: []Key{}, Custody: []Custody{},
	}
	r.Proof.Latest = l.latest
	l.doubt(p.Failures)
	if r.Proof.Failures == nil {
		r.Proof.Failures = []verify.Failure{}
	}
	l.addSessions(r, o)
	l.addRequests(r, o)
	l.addHands(r, cmp.Or(o.Share, 80))
	l.addEvents(r, o)
	l.addKeys(r, o)
	r.Total()
	return r
}

// doubt notes on what the verifier says against a decision or a session where a reader meets it.
func (l *Ledger) doubt(failures []verify.Failure) {
	if len(failures) == 0 {
		return
	}
	l.doubts = map[int64]string{}
	for _, f := range failures {
		if l.doubts[f.Leaf] == "" {
			l.doubts[f.Leaf] = f.Text
		}
	}
	for _, asked := range l.asked {
		for i := range asked.Approvals {
			asked.Approvals[i].Doubt = l.doubts[asked.Approvals[i].Leaf]
		}
	}
}

// matches says whether a name is of a pattern; every one is of none.
func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return pattern == "" || err == nil && ok
}

func (l *Ledger) addSessions(r *Report, o Options) {
	for _, asked := range l.asked {
		asked.Sessions, asked.spans = []string{}, nil
	}
	for _, s := range l.opened {
		asked := l.requests[s.Request]
		if asked != nil {
			asked.Sessions = append(asked.Sessions, s.ID)
			asked.spans = append(asked.spans, span{s.Started, l.until(s)})
		}
		if !l.inside(s, o) {
			continue
		}
		r.Sessions = append(r.Sessions, l.sessionOf(s, asked, o))
	}
	slices.SortStableFunc(r.Sessions, func(a, b *Session) int {
		return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID))
	})
}

func (l *Ledger) sessionOf(s *entered, asked *Request, o Options) *Session {
	account, host, _ := strings.Cut(s.Target, "@")
	out := &Session{
		ID: s.ID, Request: s.Request, Person: s.Person, Account: account, Host: host, Bastion: s.Bastion, Client: s.Client,
		Started: s.Started.UTC(), Ended: s.Ended.UTC(), Deadline: s.Deadline.UTC(), End: s.End, Leaf: s.leaf, Doubt: l.doubts[s.leaf],
		Commands: []Command{}, Files: []File{}, Forwards: []Forward{}, Denied: []Mark{}, Approvals: []Approval{},
	}
	if asked != nil {
		out.Reason, out.Asked, out.Granted = asked.Reason, asked.Asked, asked.Granted
		for _, a := range asked.Approvals {
			if a.Decision == approve {
				out.Approvals = append(out.Approvals, a)
			}
		}
	}
	end := l.until(s)
	from, to := s.Started, end
	if out.Before = from.Before(o.From); out.Before {
		from = o.From
	}
	if out.After = to.After(o.To); out.After {
		to = o.To
	}
	out.Seconds = seconds(to.Sub(from))
	out.Cut = l.why(s)
	out.Recording = Recording{State: l.recordingState(s), Frames: s.Frames, Head: s.Head}
	return out
}

func (l *Ledger) recordingState(s *entered) string {
	switch {
	case l.shredded[s.ID]:
		return "shredded"
	case s.Interrupted:
		return "interrupted"
	case s.Sealed:
		return "sealed"
	}
	return "open"
}

// why says what ended a session that did not end by itself, and on whose word.
func (l *Ledger) why(s *entered) string {
	switch s.End {
	case "", "closed":
		return ""
	case "deadline":
		return "its time was over"
	case "idle":
		return "nothing was done in it for as long as its rule allows"
	case "held":
		return "a limit held it, and nobody let it go on"
	case "bastion":
		return "the bastion was stopped"
	case "interrupted":
		return "the bastion or its disk died"
	case "host":
		return "the host ended it"
	case "lost":
		return "the bastion lost the CA, or was lost itself"
	case "recorder":
		return "what passed could not be recorded"
	}
	text := s.End
	for _, cut := range l.cuts {
		if slices.Contains(cut.Requests, s.Request) && cut.At.Before(s.Ended.Add(time.Second)) {
			text = fmt.Sprintf("%s by %s: %s", s.End, cut.By, cut.Reason)
		}
	}
	return text
}

// addRequests takes those that were made, decided or used in the period.
func (l *Ledger) addRequests(r *Report, o Options) {
	in := func(t time.Time) bool { return !t.Before(o.From) && t.Before(o.To) }
	used := map[string]bool{}
	for _, s := range r.Sessions {
		used[s.Request] = true
	}
	for _, asked := range l.asked {
		asked.Used = union(asked.spans)
		mine := matches(o.User, asked.Person) && (o.Host == "" || slices.ContainsFunc(asked.Targets, func(t string) bool {
			_, host, _ := strings.Cut(t, "@")
			return matches(o.Host, host)
		}))
		decided := slices.ContainsFunc(asked.Approvals, func(a Approval) bool { return in(a.At) })
		if !mine || !used[asked.ID] && !in(asked.Created) && !decided {
			// What an emergency owes is owed, however long ago it was.
			if e := l.emergency(asked); mine && asked.Emergency && asked.Created.Before(o.To) && e.Owes() {
				r.Emergencies = append(r.Emergencies, e)
			}
			continue
		}
		if asked.Approvals == nil {
			asked.Approvals = []Approval{}
		}
		r.Requests = append(r.Requests, asked)
		if asked.Emergency {
			r.Emergencies = append(r.Emergencies, l.emergency(asked))
		}
	}
}

// union is the time that at least one of the spans covers.
func union(spans []span) int64 {
	slices.SortFunc(spans, func(a, b span) int { return a.from.Compare(b.from) })
	var total time.Duration
	var end time.Time
	for _, s := range spans {
		if s.from.Before(end) {
			s.from = end
		}
		if s.to.After(s.from) {
			total += s.to.Sub(s.from)
			end = s.to
		}
	}
	return seconds(total)
}

// addHands counts who approved whom among the requests of the report.
func (l *Ledger) addHands(r *Report, share int) {
	type pair struct{ approver, requester string }
	pairs, of := map[pair]*Hands{}, map[string]int{}
	for _, asked := range r.Requests {
		var seen []string
		for _, a := range asked.Approvals {
			if a.Decision != approve || slices.Contains(seen, a.Person) {
				continue
			}
			seen = append(seen, a.Person)
			p := pair{a.Person, asked.Person}
			if pairs[p] == nil {
				pairs[p] = &Hands{Approver: a.Person, Requester: asked.Person, Requests: []string{}}
			}
			pairs[p].Approved++
			pairs[p].Requests = append(pairs[p].Requests, asked.ID)
		}
		if len(seen) > 0 {
			of[asked.Person]++
		}
	}
	for p, h := range pairs {
		h.Of = of[p.requester]
		r.Hands = append(r.Hands, *h)
		if back := pairs[pair{p.requester, p.approver}]; back != nil && p.approver < p.requester {
			r.Mutual = append(r.Mutual, Mutual{A: p.approver, B: p.requester, AForB: h.Approved, BForA: back.Approved})
		}
	}
	slices.SortFunc(r.Hands, func(a, b Hands) int {
		return cmp.Or(-cmp.Compare(a.Approved, b.Approved), cmp.Compare(a.Approver, b.Approver), cmp.Compare(a.Requester, b.Requester))
	})
	slices.SortFunc(r.Mutual, func(a, b Mutual) int { return cmp.Or(cmp.Compare(a.A, b.A), cmp.Compare(a.B, b.B)) })
	for _, h := range r.Hands {
		if h.Of >= fewest && h.Share() > share {
			r.OneSided = append(r.OneSided, h)
		}
	}
}

func (l *Ledger) addEvents(r *Report, o Options) {
	in := func(t time.Time) bool { return !t.Before(o.From) && t.Before(o.To) }
	for _, cut := range l.cuts {
		if in(cut.At) {
			if cut.Requests == nil {
				cut.Requests = []string{}
			}
			r.Revocations = append(r.Revocations, cut)
		}
	}
	for _, v := range l.views {
		if in(v.At) {
			r.Views = append(r.Views, v)
		}
	}
	for _, c := range l.custody {
		if in(c.At) {
			r.Custody = append(r.Custody, c)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(l.other)) {
		r.Other = append(r.Other, Count{name, l.other[name]})
	}
}

// addKeys says of every month of the period, and of the one after it, whether its key came in time.
func (l *Ledger) addKeys(r *Report, o Options) {
	const month = "2006-01"
	last := o.To
	if o.Made.Before(last) {
		last = o.Made
	}
	begin := time.Date(o.From.Year(), o.From.Month(), 1, 0, 0, 0, 0, time.UTC)
	for ; !begin.After(last) && len(r.Keys) < 1200; begin = begin.AddDate(0, 1, 0) {
		name := begin.Format(month)
		k, there := l.keys[name]
		k.Month = name
		late := k.Added.Sub(begin)
		switch {
		case !there && name < r.firstMonth(l):
			continue
		case !there:
			k.Problem = "there is none, so there were no sessions"
		case late > 0 && name != r.firstMonth(l):
			k.Problem = fmt.Sprintf("it came %s into the month; until then there were no sessions", days(late))
		case late > -reserve && name != r.firstMonth(l):
			k.Problem = fmt.Sprintf("it came only %s before the month", days(-late))
		}
		r.Keys = append(r.Keys, k)
	}
	next := time.Date(o.Made.UTC().Year(), o.Made.UTC().Month()+1, 1, 0, 0, 0, 0, time.UTC)
	if _, there := l.keys[next.Format(month)]; !there && next.Sub(o.Made) < reserve && !next.After(last.AddDate(0, 1, 0)) {
		r.Keys = append(r.Keys, Key{Month: next.Format(month), Problem: fmt.Sprintf("it begins in %s and has no key; make one with: postern recording-key", days(next.Sub(o.Made)))})
	}
}

// firstMonth is the first that has a key: before it there was no postern.
func (r *Report) firstMonth(l *Ledger) string {
	months := slices.Sorted(maps.Keys(l.keys))
	if len(months) == 0 {
		return r.From.Format("2006-01")
	}
	return months[0]
}

func days(d time.Duration) string {
	if d < 48*time.Hour {
		return fmt.Sprintf("%d hours", d/time.Hour)
	}
	return fmt.Sprintf("%d days", d/(24*time.Hour))
}

// Total adds up what the sessions hold. Call it when the last recording was taken.
func (r *Report) Total() {
	people, hosts, daily := map[string]*Totals{}, map[string]*Totals{}, map[string]*Totals{}
	r.Totals = Totals{Requests: len(r.Requests)}
	at := func(of map[string]*Totals, name string) *Totals {
		if of[name] == nil {
			of[name] = &Totals{Name: name}
		}
		return of[name]
	}
	for _, asked := range r.Requests {
		at(people, asked.Person).Requests++
		var seen []string
		for _, t := range asked.Targets {
			if _, host, _ := strings.Cut(t, "@"); !slices.Contains(seen, host) && matches(r.Host, host) {
				seen = append(seen, host)
				at(hosts, host).Requests++
			}
		}
		if !asked.Created.Before(r.From) && asked.Created.Before(r.To) {
			at(daily, asked.Created.Format(time.DateOnly)).Requests++
		}
	}
	for _, s := range r.Sessions {
		t := s.sum()
		for _, of := range []*Totals{&r.Totals, at(people, s.Person), at(hosts, s.Host), at(daily, s.day(r))} {
			of.add(t)
		}
	}
	r.People, r.Hosts, r.Days = listed(people), listed(hosts), listed(daily)
	r.gaps()
}

// day is the one under which a session stands: that on which it began, or the first of the period.
func (s *Session) day(r *Report) string {
	if s.Before {
		return r.From.Format(time.DateOnly)
	}
	return s.Started.Format(time.DateOnly)
}

func (s *Session) sum() Totals {
	t := s.totals
	t.Sessions, t.Seconds = 1, s.Seconds
	if s.Cut != "" {
		t.Cut = 1
	}
	return t
}

// add never wraps around: sizes are what a bastion says they are.
func (t *Totals) add(o Totals) {
	t.Sessions += o.Sessions
	t.Seconds += o.Seconds
	t.Commands += o.Commands
	t.FilesFrom += o.FilesFrom
	t.FilesTo += o.FilesTo
	t.BytesFrom, t.BytesTo = saturated(t.BytesFrom, o.BytesFrom), saturated(t.BytesTo, o.BytesTo)
	t.Forwards += o.Forwards
	t.Denied += o.Denied
	t.Cut += o.Cut
}

func saturated(a, b uint64) uint64 {
	if a+b < a {
		return ^uint64(0)
	}
	return a + b
}

func listed(of map[string]*Totals) []Totals {
	list := []Totals{}
	for _, name := range slices.Sorted(maps.Keys(of)) {
		list = append(list, *of[name])
	}
	return list
}

// gaps lists the recordings that are not whole or were not read.
func (r *Report) gaps() {
	r.Recordings = []Gap{}
	for _, s := range r.Sessions {
		rec := s.Recording
		switch {
		case rec.Problem != "":
			r.Recordings = append(r.Recordings, Gap{s.ID, rec.Problem, true})
		case rec.State == "interrupted":
			r.Recordings = append(r.Recordings, Gap{s.ID, "interrupted: the bastion died before the session ended; it is whole up to there", true})
		case rec.State == "open" && !s.Ended.IsZero() && r.Made.Sub(s.Ended) < sealing:
			r.Recordings = append(r.Recordings, Gap{s.ID, "the session has just ended, and its recording is not sealed yet", false})
		case rec.State == "open" && !s.Ended.IsZero():
			r.Recordings = append(r.Recordings, Gap{s.ID, "the session ended and its recording is not sealed", true})
		case rec.State == "open":
			r.Recordings = append(r.Recordings, Gap{s.ID, "the session goes on", false})
		case rec.State == "shredded":
			r.Recordings = append(r.Recordings, Gap{s.ID, "its key was destroyed as the policy or an auditor wanted; nobody can read it", false})
		}
	}
}
