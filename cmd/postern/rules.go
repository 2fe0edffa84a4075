package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/limit"
	"postern/internal/verify"
	"postern/policy"
)

var policyDirsFlag = &cli.StringSliceFlag{Name: "policy", Usage: "a policy directory that you reviewed: what it decided is decided again, and whose keys it names compared; may be repeated: `DIR`"}

// reviewed is a policy directory that the verifier has, so that the log's word for what its rules want need not be taken.
type reviewed struct {
	*policy.Set
	bySource bool // its rules may look at the address that a request came from, which is not in the log
}

func loadReviewed(dirs []string) (map[string]reviewed, error) {
	sets := map[string]reviewed{}
	for _, dir := range dirs {
		set, err := loadPolicy(dir)
		if err != nil {
			return nil, err
		}
		bySource, err := mentionsSource(os.DirFS(dir))
		if err != nil {
			return nil, err
		}
		sets[set.Digest()] = reviewed{set, bySource}
	}
	return sets, nil
}

// source is the attribute of the context; the annotation of that name is something else.
var source = regexp.MustCompile(`(^|[^@\w])source\b`)

func mentionsSource(dir fs.FS) (bool, error) {
	files, err := fs.Glob(dir, "*.cedar")
	for _, name := range files {
		text, rerr := fs.ReadFile(dir, name)
		if rerr != nil {
			return false, rerr
		}
		if source.Match(text) {
			return true, nil
		}
	}
	return false, err
}

// judge decides again what reviewed policies decided, and says how many of the log's were reviewed. leaf gives the entry at an index.
func judge(p *verify.Report, sets map[string]reviewed, leaf func(int64) auditlog.Entry) (compared int) {
	if len(sets) == 0 {
		return 0
	}
	for _, in := range p.Policies {
		set, known := sets[in.Digest]
		if !known {
			p.Notes = append(p.Notes, verify.Failure{Leaf: in.Leaf, Text: fmt.Sprintf("policy %s is in none of the directories you named; it decided %s", in.Digest, count(len(in.Requests), "request"))})
			continue
		}
		compared++
		if e := leaf(in.Leaf); e.Policy == nil || !says(set.Set, *e.Policy) {
			p.Failures = append(p.Failures, verify.Failure{Leaf: in.Leaf, Text: "the policy leaf does not name the people, groups, keys, machines and rules for emergencies of the directory with its digest"})
		}
		for _, asked := range in.Requests {
			again(p, set, asked)
		}
	}
	return compared
}

// says whether a policy leaf is what the directory says of people and machines.
func says(set *policy.Set, leaf auditlog.Policy) bool {
	people, groups, bastions, hosts := map[string][]string{}, map[string][]string{}, map[string]string{}, map[string]string{}
	for _, person := range set.People() {
		for _, k := range person.Keys {
			people[person.Name] = append(people[person.Name], k.Line)
		}
		for _, g := range person.Groups {
			groups[g] = append(groups[g], person.Name)
		}
	}
	for _, b := range set.Bastions() {
		bastions[b.Name] = b.Key.Line
	}
	for _, h := range set.Hosts() {
		hosts[h.Name] = h.HostKey
		if h.HostCA {
			hosts[h.Name] = "host-ca"
		}
	}
	urgent := set.Emergencies()
	sameRule := func(a policy.Review, b auditlog.Emergency) bool {
		return int64(a.Max/time.Second) == b.MaxSeconds && int64(a.Within/time.Second) == b.ReviewSeconds &&
			slices.EqualFunc(a.Needs, b.Needs, func(x policy.Need, y control.Need) bool { return x.Count == y.Count && x.Group == y.Group })
	}
	sameSealed := func(a policy.Sealed, b auditlog.Sealed) bool {
		return int64(a.Valid/time.Second) == b.ValidSeconds && sameRule(a.Review, b.Emergency)
	}
	same := func(a, b []string) bool {
		return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
	}
	return maps.EqualFunc(people, leaf.People, same) && maps.EqualFunc(groups, leaf.Groups, same) &&
		maps.Equal(bastions, leaf.Bastions) && maps.Equal(hosts, leaf.Hosts) && maps.EqualFunc(urgent, leaf.Emergencies, sameRule) &&
		maps.EqualFunc(set.SealedRules(), leaf.Sealed, sameSealed)
}

// again decides a request anew. What the rules want must be what it was filed with, or less.
func again(p *verify.Report, set reviewed, asked verify.Asked) {
	r := asked.Request
	rule := ""
	if len(r.Rules) == 1 {
		rule = r.Rules[0] // it may have been asked for by name; its duties bind either way
	}
	fail := func(format string, args ...any) {
		p.Failures = append(p.Failures, verify.Failure{Leaf: asked.Leaf, Text: r.ID + ": " + fmt.Sprintf(format, args...)})
	}
	for _, by := range usersOf(r) {
		account, host, _ := strings.Cut(by.target, "@")
		target := by.target
		d := set.Decide(policy.Query{Person: by.person, Account: account, Host: host, Capabilities: r.Capabilities,
			For: time.Duration(r.ForSeconds) * time.Second, Reason: r.Reason, Rule: rule, At: r.Created, Emergency: r.Emergency, Sealed: r.Sheet != nil})
		if len(d.Allowed) == 0 || len(d.Refused) > 0 {
			if set.bySource {
				p.Notes = append(p.Notes, verify.Failure{Leaf: asked.Leaf, Text: fmt.Sprintf("%s: the rules may look at the address it came from, so they cannot be asked again", r.ID)})
				return
			}
			fail("the rules of its policy do not allow %s: %s", target, strings.Join(d.Why, "; "))
			continue
		}
		if text := lacks(r, d); text != "" {
			fail("the rules of its policy want %s for %s, and it was filed without", text, target)
		}
	}
}

// letIn is somebody whom a request lets in somewhere.
type letIn struct{ person, target string }

// usersOf are whom a request is for: who asked, or the holders of a sealed grant.
func usersOf(r control.Request) (list []letIn) {
	people := []string{r.Person}
	if r.Sheet != nil {
		people = nil
		for _, h := range r.Sheet.Holders {
			people = append(people, h.Person)
		}
	}
	for _, target := range r.Targets {
		for _, person := range people {
			list = append(list, letIn{person, target})
		}
	}
	return list
}

// lacks is what a decision demands and the request was not filed with.
func lacks(r control.Request, d policy.Decision) string {
	for _, need := range d.Needs {
		if !slices.ContainsFunc(r.Needs, func(n control.Need) bool { return n.Group == need.Group && n.Count >= need.Count }) {
			return fmt.Sprintf("%d of %s", need.Count, need.Group)
		}
	}
	switch {
	case r.Sheet != nil && (d.Sealed == nil || r.Sheet.Until.After(r.Created.Add(d.Sealed.Valid).Add(time.Second))):
		return "a sheet that is good for less long"
	case !limitedAsMuch(r, d):
		return "the limits " + d.Limits.String()
	case d.Touch && !r.Touch:
		return "the touch of a FIDO key"
	case d.PIN && !r.PIN:
		return "the PIN of a FIDO key"
	case d.Keystrokes && (r.Record == nil || !r.Record.Keystrokes):
		return "what is typed recorded"
	case time.Duration(r.ForSeconds)*time.Second > d.Max:
		return fmt.Sprintf("at most %s", d.Max)
	case r.ClaimBy.After(r.Created.Add(d.Claim).Add(time.Second)):
		return fmt.Sprintf("an end within %s", d.Claim)
	}
	return ""
}

// limitedAsMuch says whether a request was filed with the limits that a decision demands, or stricter ones.
func limitedAsMuch(r control.Request, d policy.Decision) bool {
	filed, err := limit.Parse(r.Limits)
	return err == nil && filed.Covers(d.Limits)
}
