package policy

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"postern/internal/limit"
)

// Query is a question: may this person open that account? A zero field is unknown: rules that read it deny.
type Query struct {
	Person       string
	Account      string
	Host         string   // name or alias
	Capabilities []string // none: everything the rules allow
	For          time.Duration
	Reason       string
	Rule         string // judge by this permit alone; forbids bind all the same
	Emergency    bool   // judge by the permits for emergencies alone; otherwise they do not count
	Sealed       bool   // judge by the permits for sealed grants alone; otherwise they do not count
	Source       netip.Addr
	At           time.Time
}

// Decision is the answer. When Allowed is empty the answer is no; of the rest only Refused, Why and Max (the longest
// that could have been had, 0 when time was not the matter) are set then.
type Decision struct {
	Allowed      []string      // in the order of Capabilities
	Refused      []string      // asked for by name, and not allowed
	Rules        []string      // ids of the permits whose duties bind, sorted
	Needs        []Need        // approvals, sorted by group; the requester never counts
	Max          time.Duration // never above HardMax
	Claim        time.Duration // how long approvals may be gathered and stay unused
	Touch        bool          // approvals need a FIDO key and a touch
	PIN          bool          // and its PIN
	PinSource    bool          // certificates work from the requester's address only
	Idle         time.Duration // 0: no limit
	Hold         time.Duration // how long a limit holds a session at most; 0: as its bastion will
	Keystrokes   bool          // record what is typed
	Environment  []string      // variables that pass, a trailing * allowed
	Files        string        // how much is kept of the contents of files: FilesFull, FilesHead or FilesHash
	Streams      int64         // bytes that are kept of each stream of a command, or Full
	Forwards     int64         // bytes that are kept of each direction of a forward, or Full
	RetainDays   int64         // how long recordings are kept; 0: for ever
	Review       *Review       // of an emergency: what follows
	Sealed       *Sealed       // of a sealed grant: how long it is good, and what follows
	Destinations []string      // where forward-local may lead, as package destination reads it; sorted, set if that is allowed
	Limits       limit.List    // how much sessions may do before something happens
	Why          []string      // lines for a person: what is missing, what would be needed
}

// Decide answers a query. Each capability is judged by itself, so nothing that is asked for along with it, and no
// forbid of something else, can widen it; what binds is the union of the duties of all that are allowed.
func (s *Set) Decide(q Query) Decision {
	d, _ := s.decide(q)
	return d
}

// verdict is the judgement of one capability.
type verdict struct {
	capability   string
	permits      rules // that bind
	duties       duties
	destinations []string // of forward-local
	why          string   // empty: allowed, or no rule allows it
	allowed      bool
	noRule       bool
	ungiven      bool // forbidden, and no rule would give it otherwise
	tooLong      bool
}

func (s *Set) decide(q Query) (Decision, []verdict) {
	asked, unknown := capabilitiesOf(q.Capabilities)
	request, why := s.request(&q)
	if why != "" {
		return Decision{Refused: refusedOf(q, asked, unknown), Why: []string{why}}, nil
	}
	var verdicts []verdict
	for _, capability := range asked {
		request.Action = uid(actionType, capability)
		verdicts = append(verdicts, s.judge(q, request, capability))
	}
	for _, capability := range unknown {
		verdicts = append(verdicts, verdict{capability: capability, why: "there is no such capability" + among("capabilities", Capabilities())})
	}
	d := unite(verdicts)
	if len(q.Capabilities) > 0 {
		for _, v := range verdicts {
			if !v.allowed {
				d.Refused = append(d.Refused, v.capability)
			}
		}
	}
	d.Why = s.why(q, d, verdicts)
	return d, verdicts
}

// capabilitiesOf returns what is asked for, in our order, and what we do not know.
func capabilitiesOf(named []string) (asked, unknown []string) {
	if len(named) == 0 {
		return Capabilities(), nil
	}
	for _, capability := range Capabilities() {
		if slices.Contains(named, capability) {
			asked = append(asked, capability)
		}
	}
	for _, capability := range named {
		if !slices.Contains(asked, capability) && !slices.Contains(unknown, capability) {
			unknown = append(unknown, capability)
		}
	}
	return asked, unknown
}

func refusedOf(q Query, asked, unknown []string) []string {
	if len(q.Capabilities) == 0 {
		return nil
	}
	return append(asked, unknown...)
}

// request builds the Cedar request, lacking its action, or says why there is none. It makes q.Host canonical.
func (s *Set) request(q *Query) (cedar.Request, string) {
	person, host := s.people[q.Person], s.host(q.Host)
	switch {
	case person == nil:
		return cedar.Request{}, fmt.Sprintf("%q is not a known person", q.Person)
	case host == nil:
		return cedar.Request{}, fmt.Sprintf("host %q is unknown%s", q.Host, cmp.Or(among("hosts", slices.Collect(maps.Keys(s.hosts))), "; postern trust lists the hosts"))
	case !host.HasAccount(q.Account):
		return cedar.Request{}, fmt.Sprintf("%s has no account %q%s", host.Name, q.Account, among("accounts", host.Accounts))
	case q.For < 0:
		return cedar.Request{}, fmt.Sprintf("%s is not a duration", q.For)
	case q.Rule != "" && (s.rules.byID[q.Rule] == nil || !s.rules.byID[q.Rule].permits()):
		return cedar.Request{}, fmt.Sprintf("there is no rule %q that permits anything", q.Rule)
	}
	q.Host = host.Name
	return cedar.Request{
		Principal: uid(personType, person.Name),
		Resource:  uid(accountType, target(q.Account, host.Name)),
		Context:   types.NewRecord(q.context()),
	}, ""
}

// context leaves out what is not known: reading it is an evaluation error then, which denies.
func (q *Query) context() types.RecordMap {
	context := types.RecordMap{"emergency": types.Boolean(q.Emergency)}
	if q.Reason != "" {
		context["reason"] = types.String(q.Reason)
	}
	if q.For > 0 {
		// Rounded up: half a second more than ten minutes is not ten minutes.
		context["for_seconds"] = types.Long((q.For + time.Second - 1) / time.Second)
	}
	if q.Source.IsValid() {
		source := q.Source.Unmap().WithZone("")
		context["source"] = types.IPAddr(netip.PrefixFrom(source, source.BitLen()))
	}
	if !q.At.IsZero() {
		at := q.At.UTC()
		context["now"] = types.NewDatetime(at)
		context["hour"] = types.Long(at.Hour())
		context["weekday"] = types.Long((int(at.Weekday())+6)%7 + 1)
	}
	return context
}

// judge answers for one capability.
func (s *Set) judge(q Query, request cedar.Request, capability string) verdict {
	v := verdict{capability: capability}
	decision, diagnostic := cedar.Authorize(s.rules.byAction[request.Action], s.rules.entities, request)
	named := func(id cedar.PolicyID) *rule { return s.rules.byID[string(id)] }
	switch {
	case len(diagnostic.Errors) > 0:
		failed := diagnostic.Errors[0]
		v.why = named(failed.PolicyID).place() + " cannot be judged: " + unknownField(failed.Message)
		return v
	case decision != cedar.Allow && len(diagnostic.Reasons) > 0:
		v.why = named(diagnostic.Reasons[0].PolicyID).place() + " forbids it"
		v.ungiven = !s.given(q, request)
		return v
	case decision != cedar.Allow:
		v.noRule = true
		return v
	}
	for _, reason := range diagnostic.Reasons {
		v.permits = append(v.permits, named(reason.PolicyID))
	}
	all := v.permits
	v.permits = q.applies(all)
	if q.Rule != "" && (len(v.permits) > 0 || all.has(q.Rule)) {
		if v.permits = v.permits.only(q.Rule); len(v.permits) == 0 {
			v.why = q.elsewhere(all)
			return v
		}
	}
	if len(v.permits) == 0 {
		v.noRule = true
		return v
	}
	if capability != ForwardLocal {
		return s.bind(q, v)
	}
	nowhere := v.lead()
	v = s.bind(q, v)
	if nowhere != "" && v.allowed {
		v.allowed, v.why = false, nowhere
	}
	return v
}

// given says whether a rule would allow it if none forbade it.
func (s *Set) given(q Query, request cedar.Request) bool {
	permits := slices.DeleteFunc(slices.Clone(s.rules.byAction[request.Action]), func(r *rule) bool { return !r.permits() || !q.kind(r) })
	decision, diagnostic := cedar.Authorize(permits, s.rules.entities, request)
	return decision == cedar.Allow || len(diagnostic.Errors) > 0
}

// elsewhere says why the rule that was named does not count among the permits that matched.
func (q Query) elsewhere(matched rules) string {
	switch {
	case !matched.has(q.Rule):
	case matched.only(q.Rule)[0].duties.sealed != nil:
		return fmt.Sprintf("rule %s is for sealed grants: postern prepare", q.Rule)
	case q.Sealed:
		return fmt.Sprintf("rule %s is not for sealed grants", q.Rule)
	case q.Emergency:
		return fmt.Sprintf("rule %s is not for emergencies: ask without --emergency", q.Rule)
	default:
		return fmt.Sprintf("rule %s is for emergencies: ask with --emergency", q.Rule)
	}
	var others []string
	for _, r := range q.applies(matched) {
		others = append(others, r.id)
	}
	return fmt.Sprintf("rule %s does not allow it (those that do: %s)", q.Rule, strings.Join(others, ", "))
}

// bind finds what the permits oblige to, and whether that can be met.
func (s *Set) bind(q Query, v verdict) verdict {
	v.duties = v.permits[0].duties
	for _, r := range v.permits[1:] {
		v.duties = v.duties.stricter(r.duties)
	}
	v.duties.max = min(v.duties.max, HardMax)
	if q.For > v.duties.max {
		v.tooLong = true
		v.why = fmt.Sprintf("asked for %s, at most %s (%s)", Brief(q.For), Brief(v.duties.max), v.permits.place())
		return v
	}
	if !s.attainable(v.duties, q.Person) {
		v.why = fmt.Sprintf("it needs %s, and besides %s there are not as many who could approve (%s)",
			needsText(v.duties.needs), q.Person, v.permits.place())
		return v
	}
	if !s.reviewable(v.duties.reviewed(), q.Person, v.duties.fido()) {
		v.why = fmt.Sprintf("its review needs %s, and besides %s there are not as many who could sign it (%s)",
			needsText(v.duties.reviewed().Needs), q.Person, v.permits.place())
		return v
	}
	v.allowed = true
	return v
}

func (rs rules) has(id string) bool {
	return slices.ContainsFunc(rs, func(r *rule) bool { return r.id == id })
}

func (rs rules) only(id string) rules {
	return slices.DeleteFunc(slices.Clone(rs), func(r *rule) bool { return r.id != id })
}

func (rs rules) place() string {
	if len(rs) == 1 {
		return rs[0].place()
	}
	names := make([]string, 0, len(rs))
	for _, r := range rs {
		names = append(names, r.id)
	}
	return "rules " + strings.Join(names, ", ")
}

// unite puts together what is allowed.
func unite(verdicts []verdict) Decision {
	var d Decision
	var all *duties
	for _, v := range verdicts {
		if !v.allowed {
			continue
		}
		d.Allowed = append(d.Allowed, v.capability)
		if v.capability == ForwardLocal {
			d.Destinations = slices.Clone(v.destinations)
		}
		for _, r := range v.permits {
			d.Rules = append(d.Rules, r.id)
		}
		if all == nil {
			all = &v.duties
		} else {
			*all = all.stricter(v.duties)
		}
	}
	if all == nil {
		for _, v := range verdicts {
			if v.tooLong {
				d.Max = max(d.Max, v.duties.max)
			}
		}
		return d
	}
	slices.Sort(d.Rules)
	d.Rules = slices.Compact(d.Rules)
	d.Needs, d.Max, d.Claim, d.Idle, d.Hold = slices.Clone(all.needs), all.max, all.claim, all.idle, all.hold
	d.Touch, d.PIN, d.PinSource = all.touch || all.pin, all.pin, all.pinSource
	d.Keystrokes, d.Environment = all.keystrokes, slices.Clone(all.environment)
	d.RetainDays, d.Review, d.Limits = all.retain, all.review, slices.Clone(all.limits)
	k := keepOf(verdicts)
	d.Files, d.Streams, d.Forwards = k.files, k.streams, k.forwards
	d.Sealed = all.sealed
	if d.Review != nil || d.Sealed != nil { // whatever may pass
		d.Files, d.Streams, d.Forwards = FilesFull, Full, Full
	}
	return d
}

// May reports whether the person may do an administrative action: revoke, audit, recording-key, custody or operate.
func (s *Set) May(person, action string) bool {
	if s.people[person] == nil || !slices.Contains(AdministrativeActions(), action) {
		return false
	}
	id := uid(actionType, action)
	decision, diagnostic := cedar.Authorize(s.rules.byAction[id], s.rules.entities, cedar.Request{
		Principal: uid(personType, person), Action: id, Resource: system, Context: types.NewRecord(nil),
	})
	return decision == cedar.Allow && len(diagnostic.Errors) == 0
}
