package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// why explains a decision: first what is allowed but still needs somebody, then what is not allowed and the reason.
func (s *Set) why(q Query, d Decision, verdicts []verdict) []string {
	var lines []string
	if len(d.Allowed) > 0 && len(d.Refused) == 0 && len(d.Needs) > 0 {
		lines = append(lines, "needs "+s.whoApproves(q.Person, d))
	}
	for _, r := range s.refusals(q, verdicts) {
		if len(d.Allowed) == 0 && len(r.Capabilities) == len(verdicts) {
			lines = append(lines, r.Why)
		} else {
			lines = append(lines, strings.Join(r.Capabilities, ", ")+": "+r.Why)
		}
	}
	return lines
}

// whoApproves is "1 of privacy (bob), 1 of ehr-owners (dana)".
func (s *Set) whoApproves(requester string, d Decision) string {
	var parts []string
	for _, need := range d.Needs {
		able := s.Approvers(need.Group, requester, d.Touch || d.PIN)
		if len(able) > 8 {
			able = append(able[:8:8], "…")
		}
		parts = append(parts, fmt.Sprintf("%s (%s)", need, strings.Join(able, ", ")))
	}
	switch text := strings.Join(parts, ", "); {
	case d.PIN:
		return text + ", with a FIDO key, its PIN and a touch"
	case d.Touch:
		return text + ", with a FIDO key and a touch"
	default:
		return text
	}
}

// Refusal says why some capabilities are not granted.
type Refusal struct {
	Capabilities []string `json:"capabilities"`
	Why          string   `json:"why"`
}

// refusals groups what is not allowed by the reason.
func (s *Set) refusals(q Query, verdicts []verdict) []Refusal {
	var all []Refusal
	var unruled []string
	for _, v := range verdicts {
		switch {
		case v.allowed:
		case v.noRule:
			unruled = append(unruled, v.capability)
		default:
			i := slices.IndexFunc(all, func(r Refusal) bool { return r.Why == v.why })
			if i < 0 {
				all = append(all, Refusal{Why: v.why})
				i = len(all) - 1
			}
			all[i].Capabilities = append(all[i].Capabilities, v.capability)
		}
	}
	if len(unruled) > 0 {
		whole := len(unruled) == len(verdicts)
		all = append(all, Refusal{unruled, s.noRule(q, unruled, whole)})
	}
	return all
}

// noRule explains the default denial by the rules that come closest.
func (s *Set) noRule(q Query, capabilities []string, whole bool) string {
	rule := "no rule"
	if q.Emergency {
		rule = "no rule for emergencies"
	}
	if q.Sealed {
		rule = "no rule for sealed grants"
	}
	text := fmt.Sprintf("%s allows %s this on %s", rule, q.Person, target(q.Account, q.Host))
	if whole {
		text = fmt.Sprintf("%s allows %s to open %s as %s", rule, q.Person, q.Host, q.Account)
	}
	var unmet, audiences []string
	for _, capability := range capabilities {
		for _, r := range s.rules.byAction[uid(actionType, capability)] {
			switch near, audience := s.nearness(q, r, capability); {
			case near == conditionsFail && !slices.Contains(unmet, r.place()):
				unmet = append(unmet, r.place())
			case near == forOthers && !slices.Contains(audiences, audience):
				audiences = append(audiences, audience)
			}
		}
	}
	switch {
	case len(unmet) > 0:
		return text + ": the conditions of " + strings.Join(unmet, " and of ") + " do not hold"
	case len(audiences) > 0:
		return fmt.Sprintf("%s: rules for %s are for %s", text, q.Host, strings.Join(audiences, " and "))
	}
	return text
}

type nearness int

const (
	beside nearness = iota // the rule is about something else
	forOthers
	conditionsFail
)

// nearness says how a permit that did not match missed, and for forOthers who it is for.
func (s *Set) nearness(q Query, r *rule, capability string) (nearness, string) {
	request, why := s.request(&q)
	if why != "" || !r.permits() || !covers(s.rules.entities, r.tree.Resource, request.Resource) {
		return beside, ""
	}
	if !q.kind(r) {
		return beside, ""
	}
	if covers(s.rules.entities, r.tree.Principal, request.Principal) {
		return conditionsFail, ""
	}
	request.Action = uid(actionType, capability)
	decision, diagnostic := cedar.Authorize(cedar.PolicyMap{"": r.anyone}, s.rules.entities, request)
	if decision == cedar.Allow || len(diagnostic.Errors) > 0 {
		return forOthers, audienceOf(r.tree.Principal)
	}
	return beside, ""
}

// audienceOf says who a rule is for.
func audienceOf(scope ast.IsPrincipalScopeNode) string {
	var id types.EntityUID
	switch scope := scope.(type) {
	case ast.ScopeTypeEq:
		id = scope.Entity
	case ast.ScopeTypeIn:
		id = scope.Entity
	case ast.ScopeTypeIsIn:
		id = scope.Entity
	default:
		return "everybody"
	}
	if id.Type == groupType {
		return "group " + string(id.ID)
	}
	return string(id.ID)
}

// unknownField turns Cedar's complaint about an absent attribute of the context into what to do about it.
func unknownField(message string) string {
	for field, remedy := range map[string]string{
		"reason":      "no reason was given",
		"for_seconds": "it is not known for how long",
		"source":      "it is not known from which address",
		"now":         "it is not known when",
		"hour":        "it is not known when",
		"weekday":     "it is not known when",
	} {
		if strings.Contains(message, "`"+field+"`") || strings.HasSuffix(message, " "+field) {
			return remedy
		}
	}
	return message
}
