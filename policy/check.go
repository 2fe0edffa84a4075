package policy

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// checker finds what is wrong with a rule beyond its grammar: types against the schema, and every person, group,
// host, account and label it mentions against the data. A forbid with a misspelt host forbids nothing and nobody
// would notice.
type checker struct {
	*loader
	schema    *resolved.Schema
	validator *validate.Validator
	entities  cedar.EntityMap
}

func (c checker) rule(r *rule) {
	mentions := c.mentions(r)
	for _, m := range mentions {
		c.ps.add(r.file, m.line, "%s", m.text)
	}
	c.types(r, len(mentions) > 0)
	if r.permits() {
		c.scope(r)
		c.approvers(r)
	}
}

// types runs Cedar's own validator. What it says about unknown actions was said better by mentions already.
func (c checker) types(r *rule, mentioned bool) {
	for _, text := range validatorErrors(c.validator.Policy("", r.tree)) {
		if strings.HasPrefix(text, "unrecognized action") || mentioned && strings.HasPrefix(text, noAction) {
			continue
		}
		c.ps.add(r.file, r.lineOf(firstQuoted(text)), "%s", c.plainly(text))
	}
}

func validatorErrors(err error) []string {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []string
		for _, e := range joined.Unwrap() {
			all = append(all, validatorErrors(e)...)
		}
		return all
	}
	return []string{err.Error()}
}

const noAction = "unable to find an applicable action given the policy scope constraints"

var (
	quoted          = regexp.MustCompile("`([^`]*)`")
	contextMissing  = regexp.MustCompile("^attribute `(.*)` in context for (Action::.*) not found$")
	attributeLost   = regexp.MustCompile("^attribute `(.*)` on entity type `(.*)` not found$")
	unknownTypeForm = regexp.MustCompile("^unrecognized entity type `(.*)`$")
)

func firstQuoted(text string) string {
	if m := quoted.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return text // found nowhere: the line of the rule
}

// plainly says for a person what the validator says for a programmer, with the possibilities.
func (c checker) plainly(text string) string {
	if text == noAction {
		return "the rule can never apply: for connect the principal is a Person or in a Group and the resource an Account " +
			"or in a Host, for administer the resource is System::\"postern\""
	}
	if m := contextMissing.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("unknown attribute context.%s%s", m[1], c.contextFields(m[2]))
	}
	if m := attributeLost.FindStringSubmatch(text); m != nil {
		shape := c.schema.Entities[types.EntityType(m[2])].Shape
		return fmt.Sprintf("unknown attribute %q of %s%s", m[1], m[2], among("attributes", attributeNames(shape)))
	}
	if m := unknownTypeForm.FindStringSubmatch(text); m != nil {
		return fmt.Sprintf("unknown entity type %q%s", m[1], among("types", []string{"Person", "Group", "Account", "Host", "System", "Action"}))
	}
	return strings.ReplaceAll(text, "`", "'")
}

func (c checker) contextFields(action string) string {
	for id, a := range c.schema.Actions {
		if id.String() == action && a.AppliesTo != nil {
			if len(a.AppliesTo.Context) == 0 {
				return fmt.Sprintf(" (there is no context for %s)", id.ID)
			}
			return among("attributes", attributeNames(a.AppliesTo.Context))
		}
	}
	return ""
}

func attributeNames(record resolved.RecordType) []string {
	var names []string
	for name := range record {
		names = append(names, string(name))
	}
	return names
}

// scope refuses permits that are for everything at once: duties belong to connect, and a rule that was meant for
// sessions must not also hand out the audit.
func (c checker) scope(r *rule) {
	connect := covers(c.entities, r.tree.Action, uid(actionType, Shell)) || c.covered(r, Capabilities())
	administer := c.covered(r, AdministrativeActions())
	switch {
	case connect && administer:
		c.ps.add(r.file, r.line, "a permit must say what it is for: action in Action::\"connect\", "+
			"one of its capabilities, or administrative actions, not both")
	case administer && len(r.tree.Annotations) > 1:
		c.ps.add(r.file, r.line, "annotations other than @id have no meaning on a permit of administrative actions")
	case len(r.duties.destinations) > 0 && !c.covered(r, []string{ForwardLocal}):
		c.ps.add(r.file, r.lineOf("@destinations"), "@destinations has no meaning on a permit without forward-local")
	}
}

func (c checker) covered(r *rule, actions []string) bool {
	return slices.ContainsFunc(actions, func(a string) bool { return covers(c.entities, r.tree.Action, uid(actionType, a)) })
}

// approvers refuses a permit whose approvals nobody it is for could ever gather.
func (c checker) approvers(r *rule) {
	d := r.duties
	line := r.lineOf("@approve")
	if d.review != nil {
		c.reviewers(r)
	} else if d.fido() && len(d.needs) == 0 {
		c.ps.add(r.file, r.line, "@touch and @pin are about the keys of approvers, and the rule has no @approve")
	}
	before := len(c.ps.list)
	for _, need := range d.needs {
		if !slices.Contains(c.set.groups, need.Group) {
			c.ps.add(r.file, line, "@approve: unknown group %q%s", need.Group, among("groups", c.set.groups))
		} else if able := c.set.Approvers(need.Group, "", d.fido()); len(able) < need.Count {
			c.ps.add(r.file, line, "@approve: %s can never be had: %s", need, c.few(need.Group, able))
		}
	}
	if len(c.ps.list) == before && !c.attainable(r) {
		c.ps.add(r.file, line, "@approve: %s can never be had: nobody approves their own request or stands for two, "+
			"and without those the rule is for there are not enough people", needsText(d.needs))
	}
}

// reviewers refuses an emergency that nobody could ever review, so that its person would be locked out of the next one.
func (c checker) reviewers(r *rule) {
	d := r.duties
	line := r.lineOf("@emergency")
	for _, need := range d.review.Needs {
		if !slices.Contains(c.set.groups, need.Group) {
			c.ps.add(r.file, line, "@emergency: unknown group %q%s", need.Group, among("groups", c.set.groups))
			return
		}
	}
	for name := range c.set.people {
		if covers(c.entities, r.tree.Principal, uid(personType, name)) && c.set.reviewable(d.review, name, d.fido()) {
			return
		}
	}
	c.ps.add(r.file, line, "@emergency: the review by %s can never be had: nobody reviews their own emergency or stands for two, "+
		"and without those the rule is for there are not enough people", needsText(d.review.Needs))
}

func (c checker) few(group string, able []string) string {
	if total := len(c.set.members[group]); len(able) < total {
		return fmt.Sprintf("of %s in group %s %d have a FIDO (sk-) key", count(total, "person", "people"), group, len(able))
	}
	return fmt.Sprintf("group %s has %s", group, count(len(able), "person", "people"))
}

// attainable reports whether somebody the rule is for could gather its approvals. Nobody yet: nothing to complain about.
func (c checker) attainable(r *rule) bool {
	anybody := false
	for name := range c.set.people {
		if !covers(c.entities, r.tree.Principal, uid(personType, name)) {
			continue
		}
		anybody = true
		if c.set.attainable(r.duties, name) {
			return true
		}
	}
	return !anybody
}

// mentions returns a problem for every entity and name in the rule that the data does not have.
func (c checker) mentions(r *rule) []problem {
	m := mentions{checker: c, rule: r}
	for _, scope := range []ast.IsScopeNode{r.tree.Principal, r.tree.Action, r.tree.Resource} {
		for _, id := range scopeEntities(scope) {
			m.entity(id)
		}
	}
	for _, condition := range r.tree.Conditions {
		ast.Inspect(ast.NewNode(condition.Body), func(n ast.IsNode) bool {
			m.node(n)
			return true
		})
	}
	return m.found
}

func scopeEntities(scope ast.IsScopeNode) []types.EntityUID {
	switch scope := scope.(type) {
	case ast.ScopeTypeEq:
		return []types.EntityUID{scope.Entity}
	case ast.ScopeTypeIn:
		return []types.EntityUID{scope.Entity}
	case ast.ScopeTypeInSet:
		return scope.Entities
	case ast.ScopeTypeIsIn:
		return []types.EntityUID{scope.Entity}
	}
	return nil
}

// known returns what there is of a kind, by the name its entities have.
func (c checker) known(kind types.EntityType) []string {
	switch kind {
	case personType:
		return slices.Collect(maps.Keys(c.set.people))
	case groupType:
		return c.set.groups
	case hostType:
		return slices.Collect(maps.Keys(c.set.hosts))
	case systemType:
		return []string{"postern"}
	case actionType:
		return slices.Concat([]string{"connect", "administer"}, Capabilities(), AdministrativeActions())
	case accountType:
		var all []string
		for _, h := range c.set.hosts {
			for _, account := range h.Accounts {
				all = append(all, target(account, h.Name))
			}
		}
		return all
	}
	return nil
}
