package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// mentions collects what a rule names that does not exist.
type mentions struct {
	checker
	rule  *rule
	found []problem
}

func (m *mentions) bad(text, format string, args ...any) {
	m.found = append(m.found, problem{line: m.rule.lineOf(text), text: fmt.Sprintf(format, args...)})
}

// entity checks one Person::"alice". Unknown types are the validator's to report.
func (m *mentions) entity(id types.EntityUID) {
	what, ok := map[types.EntityType]string{
		personType: "person", groupType: "group", hostType: "host", accountType: "account",
		systemType: "system", actionType: "action",
	}[id.Type]
	if !ok {
		return
	}
	if _, exists := m.entities[id]; exists {
		return
	}
	plural := map[string]string{"person": "people"}[what]
	if plural == "" {
		plural = what + "s"
	}
	name := string(id.ID)
	m.bad(id.String(), "unknown %s %q%s", what, name, m.hint(id, plural))
}

// hint says what the author may have meant.
func (m *mentions) hint(id types.EntityUID, plural string) string {
	name := string(id.ID)
	if id.Type == accountType {
		account, host, isTarget := strings.Cut(name, "@")
		if h := m.set.host(host); isTarget && h != nil {
			if h.Name != host && h.HasAccount(account) {
				return fmt.Sprintf(" (rules use the name, not an alias: %s)", target(account, h.Name))
			}
			return among("accounts of "+h.Name, h.Accounts)
		}
		if isTarget {
			return fmt.Sprintf(": there is no host %q%s", host, among("hosts", m.known(hostType)))
		}
	}
	if h := m.set.host(name); id.Type == hostType && h != nil {
		return fmt.Sprintf(" (rules use the name, not an alias: %s)", h.Name)
	}
	return among(plural, m.known(id.Type))
}

// node checks one node of a condition: entities, and texts compared with a name or looked for in labels.
func (m *mentions) node(n ast.IsNode) {
	switch n := n.(type) {
	case ast.NodeValue:
		if id, ok := n.Value.(types.EntityUID); ok {
			m.entity(id)
		}
		if set, ok := n.Value.(types.Set); ok {
			for value := range set.All() {
				m.node(ast.NodeValue{Value: value})
			}
		}
	case ast.NodeTypeEquals:
		m.compared(n.Left, n.Right)
	case ast.NodeTypeNotEquals:
		m.compared(n.Left, n.Right)
	case ast.NodeTypeContains:
		m.compared(n.Left, n.Right)
	case ast.NodeTypeContainsAny:
		m.compared(n.Left, n.Right)
	case ast.NodeTypeContainsAll:
		m.compared(n.Left, n.Right)
	}
}

// compared checks literals on one side against what the other side can be.
func (m *mentions) compared(a, b ast.IsNode) {
	for _, sides := range [][2]ast.IsNode{{a, b}, {b, a}} {
		what, plural, possible := m.domain(sides[0])
		if what == "" {
			continue
		}
		for _, literal := range literals(sides[1]) {
			if !slices.Contains(possible, literal) {
				m.bad(`"`+literal+`"`, "unknown %s %q%s", what, literal, among(plural, possible))
			}
		}
	}
}

// domain returns what values principal.name, resource.name, resource.host.name and ….labels can have.
func (m *mentions) domain(n ast.IsNode) (what, plural string, possible []string) {
	access, ok := n.(ast.NodeTypeAccess)
	if !ok {
		return "", "", nil
	}
	switch access.Value {
	case "labels":
		return "label", "labels", m.allLabels()
	case "name":
		switch of := access.Arg.(type) {
		case ast.NodeTypeVariable:
			if of.Name == "principal" {
				return "person", "people", m.known(personType)
			}
			return "account", "accounts", m.accountNames()
		case ast.NodeTypeAccess:
			if of.Value == "host" {
				return "host", "hosts", m.known(hostType)
			}
		}
	}
	return "", "", nil
}

func (m *mentions) allLabels() []string {
	all := slices.Clone(m.labels)
	for _, h := range m.set.hosts {
		all = append(all, h.Labels...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (m *mentions) accountNames() []string {
	var all []string
	for _, h := range m.set.hosts {
		all = append(all, h.Accounts...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func literals(n ast.IsNode) []string {
	switch n := n.(type) {
	case ast.NodeValue:
		switch value := n.Value.(type) {
		case types.String:
			return []string{string(value)}
		case types.Set:
			var all []string
			for v := range value.All() {
				all = append(all, literals(ast.NodeValue{Value: v})...)
			}
			return all
		}
	case ast.NodeTypeSet:
		var all []string
		for _, element := range n.Elements {
			all = append(all, literals(element)...)
		}
		return all
	}
	return nil
}
