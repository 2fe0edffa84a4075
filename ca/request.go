package ca

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"postern/ca/auditlog"
	"postern/ca/statement"
	"postern/internal/control"
	"postern/internal/limit"
	"postern/internal/store"
	"postern/policy"
)

const (
	maxTargets = 16
	maxReason  = 1000
	// A person with this many requests in flight is a script gone wrong.
	maxLive = 50
	// A revocation names every request it hits, in one leaf and one line of the stream: of so many that is a megabyte.
	maxInFlight = 100_000
)

// Ask is what an admin asks for.
type Ask struct {
	Targets []string // account@host or alias
	For     time.Duration
	Reason  string
	Only    []string // capabilities; nil: all that the rules allow
	Rule    string   // id of the one rule to go by; empty: the strictest of all that match

	Emergency bool      `json:",omitempty"` // by the rules for emergencies
	Sheet     *SheetAsk `json:",omitempty"` // by those for sealed grants
}

// request is the row.
type request struct {
	control.Request
	Asked   Ask      `json:"asked"`
	Source  string   `json:"source"`           // address it was asked from
	Issued  []issued `json:"issued,omitempty"` // every certificate that came of it
	Retired []string `json:"retired,omitempty"`
	Late    bool     `json:"late,omitempty"`   // that its review is overdue was logged
	CutBy   uint64   `json:"cut_by,omitempty"` // the revocation that ended it
}

// issued is one certificate of a request.
type issued struct {
	CA      string    `json:"ca"`
	Serial  uint64    `json:"serial"`
	Until   time.Time `json:"until"`
	Key     string    `json:"key,omitempty"`
	Request string    `json:"request,omitempty"`
	Session string    `json:"session,omitempty"`
	Digest  string    `json:"digest"` // SHA-256 of the certificate
}

// Ask files a request. One that needs nobody's approval is approved at once.
func (ca *CA) Ask(c Caller, ask Ask) (control.Request, error) {
	if c.Kind != "person" {
		return control.Request{}, refuse("only people ask for access; this key belongs to %s %s", c.Kind, c.Name)
	}
	reason, err := cleanReason(ask.Reason)
	if err != nil {
		return control.Request{}, err
	}
	ask.Reason = reason
	var r request
	err = ca.db.Update(func(tx *store.Tx) error {
		if r, err = ca.file(tx, c, ask); err != nil {
			return err
		}
		ca.urgent(tx, r)
		entry := r.Request
		if err := ca.record(tx, auditlog.Entry{Type: auditlog.TypeRequest, Actor: c.Name, Request: &entry}); err != nil {
			return err
		}
		if r.Emergency {
			return ca.become(tx, &r, control.Approved, "an emergency; "+r.Owes.String())
		}
		if len(r.Needs) == 0 {
			return ca.become(tx, &r, control.Approved, "rules ask for nobody's approval")
		}
		return r.save(tx)
	})
	return r.Request, err
}

func (ca *CA) file(tx *store.Tx, c Caller, ask Ask) (request, error) {
	if err := keyAlive(tx, c.Key); err != nil { // it was when the command came
		return request{}, err
	}
	if err := ca.tooMany(tx, c.Name, ask.Emergency); err != nil {
		return request{}, err
	}
	set, now := ca.policy.Load(), ca.now().UTC().Truncate(time.Millisecond)
	targets, err := canonical(set, ask.Targets)
	if err != nil {
		return request{}, err
	}
	ask.Targets = targets
	asked := control.Request{Person: c.Name, Key: c.Key, Targets: targets}
	if ask.Sheet != nil {
		if asked.Sheet, err = ca.prepare(tx, &ask, now); err != nil {
			return request{}, err
		}
	}
	if err := ca.held(tx, asked.Traits()); err != nil {
		return request{}, err
	}
	d, err := decideFor(set, c.Name, ask, c.Address, now)
	if err != nil {
		return request{}, err
	}
	id, err := unused(tx, requestRows, "R-", 6)
	if err != nil {
		return request{}, err
	}
	if ask.For == 0 {
		ask.For = min(d.Max, policy.DefaultMax)
	}
	nonce := make([]byte, 16)
	rand.Read(nonce)
	r := request{Asked: ask, Source: c.Address, Request: control.Request{
		ID: id, State: control.Pending, Person: c.Name, Key: c.Key, Targets: targets, Capabilities: d.Allowed,
		Reason: ask.Reason, ForSeconds: int64(ask.For / time.Second), Rules: d.Rules, Policy: set.Digest(),
		Needs: needs(d.Needs), Touch: d.Touch, PIN: d.PIN, Notes: d.Why,
		// Whole seconds, because a certificate and a statement have no others.
		Created: now.Truncate(time.Second), ClaimBy: now.Add(d.Claim).Truncate(time.Second),
		Nonce: hex.EncodeToString(nonce), Destinations: d.Destinations,
	}}
	kept := record(d)
	r.Record = &kept
	r.Limits = d.Limits.String()
	if ask.Sheet != nil {
		if err := r.seal(asked.Sheet, d); err != nil {
			return request{}, err
		}
	} else if shut := ca.closes(now, now.Add(ask.For), allows(set, c.Name, ask, c.Address)); shut.Before(now.Add(ask.For)) {
		r.Notes = append(r.Notes, "the rules allow this until "+shut.UTC().Format(time.RFC3339)+"; what begins before ends then")
	}
	if r.NotAfter = r.ClaimBy.Add(ask.For); r.Sheet != nil {
		r.NotAfter = r.Sheet.Until
	}
	if d.Review != nil {
		if err := ca.urge(tx, &r, d.Review); err != nil {
			return request{}, err
		}
	}
	r.Digest = statement.Digest(r.Request)
	return r, nil
}

func cleanReason(s string) (string, error) {
	s = strings.TrimSpace(s)
	switch {
	case s == "":
		return "", refuse(`a reason is missing; say why with: --reason "INC-4412 restore failed"`)
	case len(s) > maxReason:
		return "", refuse("the reason has %d bytes, at most %d fit; put the rest into the ticket", len(s), maxReason)
	case !utf8.ValidString(s):
		return "", refuse("the reason is not valid UTF-8")
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }):
		// It is shown on approvers' terminals.
		return "", refuse("the reason holds control or invisible characters; write it in plain words on one line")
	}
	return s, nil
}

// canonical replaces aliases by names, sorts, and drops doubles. An unknown host stays as it is: the policy
// answers for it as for one that is not granted.
func canonical(set *policy.Set, targets []string) ([]string, error) {
	if len(targets) == 0 {
		return nil, refuse("no target; name at least one, such as root@phi1")
	}
	if len(targets) > maxTargets {
		return nil, refuse("%d targets, at most %d fit in a request", len(targets), maxTargets)
	}
	var out []string
	for _, t := range targets {
		account, host, ok := strings.Cut(t, "@")
		if !ok || account == "" || host == "" || strings.Contains(host, "@") {
			return nil, refuse("target %q is not of the form account@host", t)
		}
		if h, known := set.Host(host); known {
			host = h.Name
		}
		out = append(out, account+"@"+host)
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// decide asks the policy about every target and unites the obligations: the strictest bind.
func decide(set *policy.Set, person string, ask Ask, source string, at time.Time) (policy.Decision, error) {
	var all policy.Decision
	for i, t := range ask.Targets {
		account, host, _ := strings.Cut(t, "@")
		q := policy.Query{
			Person: person, Account: account, Host: host, Capabilities: ask.Only, For: ask.For,
			Reason: ask.Reason, Rule: ask.Rule, At: at, Emergency: ask.Emergency, Sealed: ask.Sheet != nil,
		}
		q.Source, _ = netip.ParseAddr(source)
		d := set.Decide(q)
		if len(d.Allowed) == 0 || len(d.Refused) > 0 {
			remedy := ""
			if d.Max > 0 && ask.For > d.Max && len(d.Allowed) == 0 {
				remedy = "; ask again with: --for " + policy.Brief(d.Max)
			}
			return d, refuse("%s may not open %s: %s%s", person, t, strings.Join(d.Why, "; "), remedy)
		}
		if i == 0 {
			all = d
			continue
		}
		unite(&all, d)
	}
	switch {
	case len(all.Allowed) == 0:
		return all, refuse("%s has no capability that all of these targets allow; ask for them one by one", person)
	case slices.Contains(ask.Only, policy.ForwardLocal) && len(all.Destinations) == 0:
		return all, refuse("these targets have no destination in common where forward-local could lead; ask for them one by one")
	}
	return all, nil
}

func unite(all *policy.Decision, d policy.Decision) {
	all.Allowed = common(all.Allowed, d.Allowed)
	all.Rules = append(all.Rules, d.Rules...)
	slices.Sort(all.Rules)
	all.Rules = slices.Compact(all.Rules)
	all.Why = append(all.Why, d.Why...)
	all.Max, all.Claim = min(all.Max, d.Max), min(all.Claim, d.Claim)
	all.Touch, all.PIN = all.Touch || d.Touch, all.PIN || d.PIN
	all.PinSource, all.Keystrokes = all.PinSource || d.PinSource, all.Keystrokes || d.Keystrokes
	if d.Hold > 0 && (all.Hold == 0 || d.Hold < all.Hold) {
		all.Hold = d.Hold
	}
	if d.Idle > 0 && (all.Idle == 0 || d.Idle < all.Idle) {
		all.Idle = d.Idle
	}
	all.Environment = common(all.Environment, d.Environment)
	all.Files, all.Streams, all.Forwards = policy.MoreFiles(all.Files, d.Files), policy.MoreOf(all.Streams, d.Streams), policy.MoreOf(all.Forwards, d.Forwards)
	all.RetainDays, all.Review, all.Sealed = policy.Longer(all.RetainDays, d.RetainDays), all.Review.Stricter(d.Review), all.Sealed.Stricter(d.Sealed)
	all.Limits = limit.Unite(all.Limits, d.Limits)
	all.Destinations = common(all.Destinations, d.Destinations)
	if i := slices.Index(all.Allowed, policy.ForwardLocal); i >= 0 && len(all.Destinations) == 0 {
		all.Allowed = slices.Delete(all.Allowed, i, i+1)
		all.Why = append(all.Why, policy.ForwardLocal+": these targets have no destination in common")
	}
	for _, n := range d.Needs {
		i := slices.IndexFunc(all.Needs, func(m policy.Need) bool { return m.Group == n.Group })
		if i < 0 {
			all.Needs = append(all.Needs, n)
		} else {
			all.Needs[i].Count = max(all.Needs[i].Count, n.Count)
		}
	}
}

// common returns what both lists hold, in the order of the first.
func common(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(s string) bool { return !slices.Contains(b, s) })
}

// record is how much is kept under a decision.
func record(d policy.Decision) control.Record {
	return control.Record{Keystrokes: d.Keystrokes, Files: d.Files, Streams: d.Streams, Forwards: d.Forwards, RetainDays: d.RetainDays}
}

func needs(in []policy.Need) []control.Need {
	out := make([]control.Need, len(in))
	for i, n := range in {
		out[i] = control.Need{Count: n.Count, Group: n.Group}
	}
	return out
}

// unused draws an identifier that no row has: letters and digits without those that are mistaken for others.
func unused(tx *store.Tx, rows, prefix string, n int) (string, error) {
	const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
	for range 100 {
		b := make([]byte, n)
		rand.Read(b)
		for i := range b {
			b[i] = alphabet[b[i]%32]
		}
		id := prefix + string(b)
		if taken, err := tx.Has(key(rows, id)); err != nil || !taken {
			return id, err
		}
	}
	return "", errors.New("no identifier is free")
}

// passed is the state that the clock alone has brought the request to, "" if none.
func (r *request) passed(now time.Time) string {
	switch {
	case (r.State == control.Pending || r.State == control.Approved) && !now.Before(r.ClaimBy):
		return control.Expired
	case r.State == control.Granted && !now.Before(r.Ends):
		return control.Ended
	}
	return ""
}

func (r *request) live() bool {
	return r.State == control.Pending || r.State == control.Approved || r.State == control.Granted
}

func (r *request) save(tx *store.Tx) error {
	if err := write(tx, key(requestRows, r.ID), r); err != nil {
		return err
	}
	if err := r.enter(tx); err != nil || r.live() {
		return err
	}
	for _, rows := range []string{movedRows, usedRows} {
		if err := tx.Delete(key(rows, r.ID)); err != nil {
			return err
		}
	}
	return nil
}

// become moves the request to a state and logs it.
func (ca *CA) become(tx *store.Tx, r *request, state, why string) error {
	r.State = state
	if err := r.save(tx); err != nil {
		return err
	}
	moved := auditlog.State{Request: r.ID, State: state, Why: why, Ends: r.Ends}
	if r.Owes != nil && !r.Began.IsZero() && !r.live() {
		moved.Review = r.Owes.String()
	}
	return ca.record(tx, auditlog.Entry{Type: auditlog.TypeState, Actor: "ca", State: &moved})
}

// sweep gives requests whose time has passed their last state, and sessions nobody reported the end of theirs.
func (ca *CA) sweep() error {
	var due []string
	now := ca.now()
	err := ca.db.View(func(tx *store.Tx) (err error) {
		due, err = dueBy(tx, now)
		return err
	})
	for _, id := range due {
		if err == nil {
			err = ca.db.Update(func(tx *store.Tx) error { return ca.expire(tx, id) })
		}
	}
	if err == nil {
		err = ca.sweepSessions(now)
	}
	if err == nil {
		err = ca.pruneRevocations(now)
	}
	if err == nil {
		err = ca.sweepReviews(now)
	}
	if err == nil {
		err = ca.sweepSheets(now)
	}
	return err
}

func (ca *CA) expire(tx *store.Tx, id string) error {
	if err := ca.overtake(tx, id); err != nil {
		return err
	}
	r, err := load(tx, id)
	if err != nil || !r.live() {
		return err
	}
	state := r.passed(ca.now())
	if state == "" {
		return nil
	}
	return ca.become(tx, &r, state, "its time passed")
}
