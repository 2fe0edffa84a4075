package control

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The kinds of what can be revoked, in the order in which a target names them.
var targetKinds = []string{"request", "serial", "person", "key", "account", "host", "approver", "bastion", "all"}

// Selector names one thing that a grant, a session or a certificate has.
type Selector struct {
	Kind  string // one of request, serial (of a user certificate), person, key, account (account@host), host, approver, bastion, all
	Value string
}

func (s Selector) String() string { return s.Kind + ":" + s.Value }

// Target is what a revocation is of: that which all of its selectors name.
type Target []Selector

// String is the canonical form: the selectors in the order of their kinds, separated by a space.
func (t Target) String() string {
	words := make([]string, len(t))
	for i, s := range t {
		words[i] = s.String()
	}
	return strings.Join(words, " ")
}

const targetForms = "R-…, person:NAME, key:SHA256:…, host:NAME, account:ACCOUNT@HOST, approver:NAME, serial:NUMBER of a user certificate, bastion:NAME or all:"

// ParseTarget reads selectors separated by spaces, in any order. A word that begins with R- is a request. Each kind may stand once, and
// "all:" only alone.
func ParseTarget(text string) (Target, error) {
	var t Target
	for word := range strings.FieldsSeq(text) {
		s, err := parseSelector(word)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(t, func(o Selector) bool { return o.Kind == s.Kind }) {
			return nil, fmt.Errorf("%q names two of one kind; revoke one after the other", text)
		}
		t = append(t, s)
	}
	if len(t) == 0 {
		return nil, fmt.Errorf("nothing to revoke is named; name %s", targetForms)
	}
	if len(t) > 1 && slices.ContainsFunc(t, func(s Selector) bool { return s.Kind == "all" || s.Kind == "request" }) {
		return nil, fmt.Errorf("%q: all: and a request stand alone", text)
	}
	slices.SortFunc(t, func(a, b Selector) int {
		return slices.Index(targetKinds, a.Kind) - slices.Index(targetKinds, b.Kind)
	})
	return t, nil
}

func parseSelector(word string) (Selector, error) {
	if strings.HasPrefix(strings.ToUpper(word), "R-") {
		word = "request:" + word
	}
	if strings.HasPrefix(strings.ToUpper(word), "S-") {
		return Selector{}, fmt.Errorf("a session is cut with its request, which postern sessions names beside %.40s: postern revoke R-…", word)
	}
	kind, value, _ := strings.Cut(word, ":")
	if kind == "request" {
		value = strings.ToUpper(value)
	}
	if !slices.Contains(targetKinds, kind) || !validSelector(kind, value) {
		return Selector{}, fmt.Errorf("cannot revoke %.100q; name %s", word, targetForms)
	}
	return Selector{kind, value}, nil
}

func validSelector(kind, value string) bool {
	switch kind {
	case "all":
		return value == ""
	case "key":
		hash, ok := strings.CutPrefix(value, "SHA256:")
		sum, err := base64.RawStdEncoding.Strict().DecodeString(hash)
		return ok && err == nil && len(sum) == sha256.Size
	case "serial":
		n, err := strconv.ParseUint(value, 10, 64)
		return err == nil && n > 0 && strconv.FormatUint(n, 10) == value
	case "account":
		account, host, ok := strings.Cut(value, "@")
		return ok && plainName(account) && plainName(host)
	}
	return plainName(value)
}

func plainName(s string) bool {
	return s != "" && len(s) <= 255 && !strings.ContainsAny(s, " \t\r\n:@")
}

// Traits is everything about a grant or a session that a selector can name. What is not known is empty, and nothing names that.
type Traits struct {
	Request   string
	Serials   []uint64 // of user certificates
	Person    string
	Keys      []string // fingerprints: of the person, and of who approved
	Targets   []string // account@host
	Approvers []string
	Bastion   string
	Holders   []string // people beside Person who may use it
}

// Traits are what is known of a request as it was asked: of a sealed grant also everybody who holds it, and the bastion that takes it.
func (r Request) Traits() Traits {
	t := Traits{Request: r.ID, Person: r.Person, Keys: []string{r.Key}, Targets: r.Targets}
	if r.Sheet != nil {
		t.Bastion = r.Sheet.Bastion
		for _, h := range r.Sheet.Holders {
			t.Holders, t.Keys = append(t.Holders, h.Person), append(t.Keys, h.Key)
		}
	}
	return t
}

// Hits reports whether every selector names something of the subject. A target without selectors hits nothing.
func (t Target) Hits(s Traits) bool {
	return len(t) > 0 && !slices.ContainsFunc(t, func(x Selector) bool { return !x.hits(s) }) && t.Together()
}

func (x Selector) hits(s Traits) bool {
	switch x.Kind {
	case "all":
		return true
	case "request":
		return s.Request == x.Value
	case "person":
		return s.Person == x.Value || slices.Contains(s.Holders, x.Value)
	case "bastion":
		return s.Bastion == x.Value
	case "key":
		return slices.Contains(s.Keys, x.Value)
	case "approver":
		return slices.Contains(s.Approvers, x.Value)
	case "account":
		return slices.Contains(s.Targets, x.Value)
	case "host":
		return slices.ContainsFunc(s.Targets, func(t string) bool { return strings.HasSuffix(t, "@"+x.Value) })
	case "serial":
		return slices.ContainsFunc(s.Serials, func(n uint64) bool { return strconv.FormatUint(n, 10) == x.Value })
	}
	return false
}

// Together makes sure that account and host are of the same target: root on one host and postgres on another are not root on the other.
func (t Target) Together() bool {
	account, host := t.value("account"), t.value("host")
	return account == "" || host == "" || strings.HasSuffix(account, "@"+host)
}

func (t Target) value(kind string) string {
	for _, s := range t {
		if s.Kind == kind {
			return s.Value
		}
	}
	return ""
}

// Names reports whether the target has a selector of that kind.
func (t Target) Names(kind string) bool {
	return slices.ContainsFunc(t, func(s Selector) bool { return s.Kind == kind })
}

// TraitsOf is what a session is known by. Who approved it is known of its request.
func TraitsOf(s Session) Traits {
	return Traits{Request: s.Request, Serials: []uint64{s.Serial}, Person: s.Person, Keys: []string{s.Key}, Targets: []string{s.Target}, Bastion: s.Bastion}
}

// Name puts the target into a revocation: the first selector as its kind and value, the others as its scope.
func (r *Revocation) Name(t Target) {
	r.Kind, r.Value, r.Scope = t[0].Kind, t[0].Value, t[1:].String()
}

// Target is what the revocation is of. One that nobody could have made hits nothing.
func (r Revocation) Target() Target {
	t, err := ParseTarget(r.Kind + ":" + r.Value + " " + r.Scope)
	if err != nil {
		return nil
	}
	return t
}

// MaxReach is how many grants and how many sessions a [Reach] lists. A revocation of all there is in a large installation hits tens of thousands.
const MaxReach = 1000

// Reach is what a revocation would hit.
type Reach struct {
	Target       string         `json:"target"`
	Grants       int            `json:"grants"`
	Requests     []Request      `json:"requests,omitempty"` // of these grants, at most MaxReach
	Hosts        []string       `json:"hosts,omitempty"`    // that all of these grants are for, sorted
	Certificates int            `json:"certificates"`       // that are still valid, of users and sessions
	Live         map[string]int `json:"live,omitempty"`     // how many live sessions, by bastion
	Sessions     []Session      `json:"sessions,omitempty"` // of these, at most MaxReach
	Followed     []string       `json:"followed,omitempty"` // sessions, live or over, of which hosts end what still runs
}

// LiveSessions is how many there are.
func (r Reach) LiveSessions() (n int) {
	for _, on := range r.Live {
		n += on
	}
	return n
}
