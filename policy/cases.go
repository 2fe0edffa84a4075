package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"postern/internal/limit"
)

// Case is a question with the answer that is expected: what somebody asks for, and what a session of it does.
type Case struct {
	Name  string
	Place string // file:line
	Query Query
	Does  limit.Counts

	// What is expected; nil where the case does not say.
	Granted *bool
	Why     *string   // stands in a line of why
	Needs   *[]string // "1 of privacy", exactly these
	Max     *time.Duration
	May     *[]string // capabilities, exactly these
	Rules   *[]string // exactly these
	Limits  *limit.List
	Crosses *limit.List // exactly these
}

// ParseCases reads a file of cases, in YAML or JSON. docs/policy.md has their fields. An error joins one error a line, as that of [Load].
func ParseCases(file string, content []byte) ([]Case, error) {
	ps := &problems{}
	d := data{file, ps}
	var cases []Case
	if top := d.root(content); top != nil {
		list := d.fields(top, "the file", "cases")["cases"]
		if list == nil {
			d.bad(0, "there are no cases")
			return nil, ps.err()
		}
		for _, n := range d.list(list, "cases") {
			cases = append(cases, d.testCase(n))
		}
	}
	return cases, ps.err()
}

var caseFields = []string{"name", "person", "target", "for", "at", "reason", "only", "rule", "source", "does",
	"expect", "why", "needs", "max", "may", "rules", "limits", "crosses"}

func (d data) testCase(n *yaml.Node) Case {
	fields := d.fields(n, "a case", caseFields...)
	c := Case{Place: fmt.Sprintf("%s:%d", d.file, n.Line)}
	said := func(name string) (text string, ok bool) {
		if fields[name] == nil {
			return "", false
		}
		w, ok := d.text(fields[name], name)
		return w.text, ok
	}
	must := func(name string) string {
		if fields[name] == nil {
			d.bad(n.Line, "a case has no %s", name)
		}
		text, _ := said(name)
		return text
	}
	c.Name, c.Query.Person = must("name"), must("person")
	var both bool
	if c.Query.Account, c.Query.Host, both = strings.Cut(must("target"), "@"); !both {
		d.bad(n.Line, "the target of a case is account@host, such as root@phi1")
	}
	c.Query.Reason, _ = said("reason")
	c.Query.Rule, _ = said("rule")
	c.Query.Capabilities = words(d.texts(fields["only"], "only"))
	if text, ok := said("for"); ok {
		c.Query.For = d.span(fields["for"], text)
	}
	if text, ok := said("at"); ok {
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			d.bad(fields["at"].Line, "at: %q is no time such as \"2026-11-21T22:00:00Z\"", text)
		}
		c.Query.At = at
	}
	if text, ok := said("source"); ok {
		var err error
		if c.Query.Source, err = netip.ParseAddr(text); err != nil {
			d.bad(fields["source"].Line, "source: %q is not an IP address", text)
		}
	}
	if fields["does"] != nil {
		c.Does = d.counts(fields["does"])
	}
	d.expectations(&c, fields, said)
	return c
}

func (d data) expectations(c *Case, fields map[string]*yaml.Node, said func(string) (string, bool)) {
	if text, ok := said("expect"); ok {
		granted := text == "granted"
		if c.Granted = &granted; !granted && text != "denied" {
			d.bad(fields["expect"].Line, "expect: %q is neither granted nor denied", text)
		}
	}
	if text, ok := said("why"); ok {
		c.Why = &text
	}
	if text, ok := said("max"); ok {
		span := d.span(fields["max"], text)
		c.Max = &span
	}
	for name, list := range map[string]**[]string{"needs": &c.Needs, "may": &c.May, "rules": &c.Rules} {
		if fields[name] != nil {
			texts := words(d.texts(fields[name], name))
			slices.Sort(texts)
			*list = &texts
		}
	}
	for name, list := range map[string]**limit.List{"limits": &c.Limits, "crosses": &c.Crosses} {
		if fields[name] != nil {
			limits, err := limit.Parse(strings.Join(words(d.texts(fields[name], name)), ";"))
			if err != nil {
				d.bad(fields[name].Line, "%s: %v", name, err)
			}
			*list = &limits
		}
	}
	if c.Granted == nil && c.Why == nil && c.Needs == nil && c.Max == nil && c.May == nil && c.Rules == nil && c.Limits == nil && c.Crosses == nil {
		d.bad(fieldLine(fields), "the case %q expects nothing", c.Name)
	}
}

func fieldLine(fields map[string]*yaml.Node) int {
	line := 0
	for _, n := range fields {
		if line == 0 || n.Line < line {
			line = n.Line
		}
	}
	return line
}

// counts reads what a session does.
func (d data) counts(n *yaml.Node) limit.Counts {
	c := limit.Counts{Counted: map[string]uint64{}}
	for name, value := range d.fields(n, "does", append(limit.Counted(), limit.Paths, limit.Commands)...) {
		switch name {
		case limit.Paths:
			c.Paths = words(d.texts(value, name))
		case limit.Commands:
			for _, element := range d.list(value, name) {
				if w, ok := d.text(element, "a command"); ok {
					c.Commands = append(c.Commands, w.text) // one may come twice
				}
			}
		default:
			count, err := limit.Amount(name, value.Value)
			if value.Kind != yaml.ScalarNode || err != nil {
				d.bad(value.Line, "%s: %q is no such count", name, value.Value)
			}
			c.Counted[name] = count
		}
	}
	return c
}

func (d data) span(n *yaml.Node, text string) time.Duration {
	span, err := time.ParseDuration(text)
	if err != nil || span <= 0 {
		d.bad(n.Line, "%q is not a duration such as 30m", text)
	}
	return span
}

func words(list []word) []string {
	texts := make([]string, len(list))
	for i, w := range list {
		texts[i] = w.text
	}
	return texts
}

// Test decides a case and says how the answer differs from what is expected, a line each; nothing: it does not.
func (s *Set) Test(c Case) (differs []string) {
	d := s.Decide(c.Query)
	differ := func(format string, args ...any) { differs = append(differs, fmt.Sprintf(format, args...)) }
	granted := len(d.Allowed) > 0 && len(d.Refused) == 0
	if c.Granted != nil && granted != *c.Granted {
		differ("%s, expected %s: %s", answerWord(granted), answerWord(*c.Granted), strings.Join(d.Why, "; "))
	}
	if c.Why != nil && !slices.ContainsFunc(d.Why, func(line string) bool { return strings.Contains(line, *c.Why) }) {
		differ("why is %q, expected to say %q", strings.Join(d.Why, "; "), *c.Why)
	}
	var needs []string
	for _, n := range d.Needs {
		needs = append(needs, n.String())
	}
	differing(differ, "needs", needs, c.Needs)
	if c.Max != nil && d.Max != *c.Max {
		differ("max is %s, expected %s", Brief(d.Max), Brief(*c.Max))
	}
	differing(differ, "may", d.Allowed, c.May)
	differing(differ, "rules", d.Rules, c.Rules)
	if c.Limits != nil && d.Limits.String() != c.Limits.String() {
		differ("limits are %q, expected %q", d.Limits, c.Limits)
	}
	if c.Crosses != nil {
		crossed, err := d.Limits.Crossed(c.Does)
		if err != nil || crossed.String() != c.Crosses.String() {
			differ("crosses %q, expected %q", crossed, c.Crosses)
		}
	}
	return differs
}

func differing(differ func(string, ...any), what string, got []string, want *[]string) {
	if got = slices.Sorted(slices.Values(got)); want != nil && !slices.Equal(got, *want) {
		differ("%s: %s, expected %s", what, listed(got), listed(*want))
	}
}

func listed(texts []string) string {
	if len(texts) == 0 {
		return "nothing"
	}
	return strings.Join(texts, ", ")
}

func answerWord(granted bool) string {
	if granted {
		return "granted"
	}
	return "denied"
}
