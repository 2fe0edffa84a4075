package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Explanation is a decision with everything a person needs to understand it.
type Explanation struct {
	Policy     string              `json:"policy"` // digest
	Person     string              `json:"person"`
	Target     string              `json:"target"`  // account@host, the host by its name
	Granted    bool                `json:"granted"` // whether a request like this gets anywhere
	Allowed    []string            `json:"allowed"`
	NotGranted []Refusal           `json:"not_granted,omitempty"`
	Rules      []Matched           `json:"rules,omitempty"`
	Needs      []Need              `json:"needs,omitempty"`
	Approvers  map[string][]string `json:"approvers,omitempty"` // by group, without the requester
	MaxSeconds int64               `json:"max_seconds,omitempty"`
	Claim      int64               `json:"claim_seconds,omitempty"`
	Idle       int64               `json:"idle_seconds,omitempty"`
	Touch      bool                `json:"touch,omitempty"`
	PIN        bool                `json:"pin,omitempty"`
	PinSource  bool                `json:"pin_source,omitempty"`
	Keystrokes bool                `json:"keystrokes,omitempty"`
	Environ    []string            `json:"environment,omitempty"`
	Kept       *Kept               `json:"kept,omitempty"`
	Leads      []string            `json:"destinations,omitempty"` // of forward-local
	Limits     string              `json:"limits,omitempty"`       // of each session
	Sealed     string              `json:"sealed,omitempty"`       // of a sealed grant: as its rules write it
	Why        []string            `json:"why,omitempty"`
	Turns      []Turn              `json:"turns,omitempty"` // when that becomes another answer; for who asks [Set.Turns]

	decision Decision
}

// Kept says how much is recorded of what passes, as rules write it.
type Kept struct {
	Files    string `json:"files"`
	Streams  string `json:"streams"`
	Forwards string `json:"forwards"`
}

// Matched is a rule that binds, and where it stands.
type Matched struct {
	ID   string `json:"id"`
	File string `json:"file"`
	Line int    `json:"line"`
}

// Explain decides the query and says why.
func (s *Set) Explain(q Query) Explanation {
	d, verdicts := s.decide(q)
	if h := s.host(q.Host); h != nil {
		q.Host = h.Name
	}
	e := Explanation{
		Policy: s.digest, Person: q.Person, Target: target(q.Account, q.Host),
		Granted: len(d.Allowed) > 0 && len(d.Refused) == 0,
		Allowed: d.Allowed, NotGranted: s.refusals(q, verdicts), Needs: d.Needs,
		MaxSeconds: int64(d.Max.Seconds()), Claim: int64(d.Claim.Seconds()), Idle: int64(d.Idle.Seconds()),
		Touch: d.Touch, PIN: d.PIN, PinSource: d.PinSource, Keystrokes: d.Keystrokes,
		Environ: d.Environment, Leads: d.Destinations, Limits: d.Limits.String(), Why: d.Why, decision: d,
	}
	if e.Allowed == nil {
		e.Allowed = []string{}
	} else {
		e.Kept = &Kept{d.Files, Size(d.Streams), Size(d.Forwards)}
	}
	if d.Sealed != nil {
		e.Sealed = d.Sealed.String()
	}
	for _, id := range d.Rules {
		r := s.rules.byID[id]
		e.Rules = append(e.Rules, Matched{r.id, r.file, r.line})
	}
	for _, need := range d.Needs {
		if e.Approvers == nil {
			e.Approvers = map[string][]string{}
		}
		e.Approvers[need.Group] = s.Approvers(need.Group, q.Person, d.Touch)
	}
	return e
}

// String renders the explanation for a terminal.
func (e Explanation) String() string {
	account, host, _ := strings.Cut(e.Target, "@")
	var b strings.Builder
	if len(e.Allowed) == 0 {
		fmt.Fprintf(&b, "%s may not open %s as %s\n", e.Person, host, account)
		e.lines(&b, "why", e.Why)
		e.lines(&b, "hours", turnsText(e.Turns))
		return b.String()
	}
	switch {
	case e.Granted && e.decision.Sealed != nil:
		fmt.Fprintf(&b, "%s may open %s as %s with a sheet, once, for at most %s\n", e.Person, host, account, Brief(e.decision.Max))
	case e.Granted:
		fmt.Fprintf(&b, "%s may open %s as %s for at most %s\n", e.Person, host, account, Brief(e.decision.Max))
	default:
		fmt.Fprintf(&b, "%s may not open %s as %s with all that is asked for\n", e.Person, host, account)
	}
	e.lines(&b, "may", []string{strings.Join(e.Allowed, ", ")})
	var rules []string
	for _, r := range e.Rules {
		rules = append(rules, fmt.Sprintf("%s (%s:%d)", r.ID, r.File, r.Line))
	}
	if len(rules) > 1 {
		rules = append(rules, "of each the strictest binds; --rule ID asks by one of them alone")
	}
	e.lines(&b, "by rule", rules)
	e.lines(&b, "approvals", e.approvals())
	e.lines(&b, "on terms", e.terms())
	e.lines(&b, "hours", turnsText(e.Turns))
	var refused []string
	for _, r := range e.NotGranted {
		refused = append(refused, strings.Join(r.Capabilities, ", ")+": "+r.Why)
	}
	e.lines(&b, "may not", refused)
	return b.String()
}

func (e Explanation) lines(b *strings.Builder, label string, lines []string) {
	for _, line := range lines {
		fmt.Fprintf(b, "  %-10s %s\n", label, line)
		label = ""
	}
}

func (e Explanation) approvals() []string {
	if r := e.decision.Review; r != nil {
		return []string{"none needed in an emergency; it is reviewed within " + Brief(r.Within) + " by " + needsText(r.Needs)}
	}
	if len(e.Needs) == 0 {
		return []string{"none needed"}
	}
	lines := make([]string, 0, len(e.Needs)+1)
	for _, need := range e.Needs {
		lines = append(lines, fmt.Sprintf("%s: %s", need, strings.Join(e.Approvers[need.Group], ", ")))
	}
	switch {
	case e.PIN:
		lines = append(lines, "each with a FIDO key, its PIN and a touch")
	case e.Touch:
		lines = append(lines, "each with a FIDO key and a touch")
	}
	return lines
}

// terms are the other duties, where they differ from the ordinary.
func (e Explanation) terms() []string {
	var terms []string
	if sealed := e.decision.Sealed; sealed != nil {
		terms = append(terms, "approved and handed out within "+Brief(e.decision.Claim),
			fmt.Sprintf("a sheet is good for %d days, at one bastion, while that has no CA", int(sealed.Valid/(24*time.Hour))),
			"its use is reviewed within "+Brief(sealed.Review.Within)+" by "+needsText(sealed.Review.Needs))
	} else if len(e.Needs) > 0 {
		terms = append(terms, "approved and first used within "+Brief(e.decision.Claim))
	} else {
		terms = append(terms, "first used within "+Brief(e.decision.Claim))
	}
	if e.PinSource {
		terms = append(terms, "the certificate works from the requester's address only")
	}
	if e.decision.Hold > 0 {
		terms = append(terms, "what a limit holds ends after "+Brief(e.decision.Hold))
	}
	if e.decision.Idle > 0 {
		terms = append(terms, "ends after "+Brief(e.decision.Idle)+" in which nothing is typed, or without a terminal nothing passes")
	}
	if e.Keystrokes {
		terms = append(terms, "keystrokes are recorded")
	}
	if days := e.decision.RetainDays; days > 0 {
		terms = append(terms, fmt.Sprintf("recordings are kept %d days", days))
	}
	terms = append(terms, keep{e.decision.Files, e.decision.Streams, e.decision.Forwards}.terms()...)
	if len(e.Leads) > 0 {
		terms = append(terms, "forward-local leads to "+strings.Join(e.Leads, ", "))
	}
	for _, l := range e.decision.Limits {
		terms = append(terms, "limit: "+l.String())
	}
	if len(e.Environ) > 0 {
		terms = append(terms, "variables that pass: "+strings.Join(e.Environ, ", "))
	}
	return terms
}

// Summary is one line about the whole policy.
func (s *Set) Summary() string {
	permits := 0
	for _, r := range s.rules.byID {
		if r.permits() {
			permits++
		}
	}
	return fmt.Sprintf("%s: %s, %s; %s in %s; %s, %s", s.digest,
		count(permits, "permit", "permits"), count(len(s.rules.byID)-permits, "forbid", "forbids"),
		count(len(s.people), "person", "people"), count(len(s.groups), "group", "groups"),
		count(len(s.hosts), "host", "hosts"), count(len(s.bastions), "bastion", "bastions"))
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// Rules returns the ids of all rules, sorted.
func (s *Set) Rules() []string {
	all := make([]string, 0, len(s.rules.byID))
	for id := range s.rules.byID {
		all = append(all, id)
	}
	slices.Sort(all)
	return all
}
