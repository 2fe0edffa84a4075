package policy

import (
	"cmp"
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/schema/resolved"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"
)

// rule is one permit or forbid.
type rule struct {
	id     string
	file   string
	line   int
	policy *cedar.Policy
	tree   *ast.Policy
	anyone *cedar.Policy // the same rule for every principal, to explain denials with
	source string        // its text, comments blanked out, for finding lines
	duties duties
}

func (r *rule) permits() bool { return r.tree.Effect == ast.EffectPermit }

// place is how a rule is named to a person: rule dba-phi (rules.cedar:12).
func (r *rule) place() string { return fmt.Sprintf("rule %s (%s:%d)", r.id, r.file, r.line) }

// lineOf is the line on which the text first stands in the rule, or where the rule begins.
func (r *rule) lineOf(text string) int {
	before, _, found := strings.Cut(r.source, text)
	if !found {
		return r.line
	}
	return r.line + strings.Count(before, "\n")
}

// rulebook is every rule, ready to be asked.
type rulebook struct {
	byID     map[string]*rule
	byAction map[types.EntityUID]rules // those whose scope covers the action, sorted by id
	entities cedar.EntityMap
}

type rules []*rule

// All is what cedar.Authorize walks; unlike a map it always has the same order.
func (rs rules) All() iter.Seq2[cedar.PolicyID, *cedar.Policy] {
	return func(yield func(cedar.PolicyID, *cedar.Policy) bool) {
		for _, r := range rs {
			if !yield(cedar.PolicyID(r.id), r.policy) {
				return
			}
		}
	}
}

// rules reads every rule file, once people and hosts are known.
func (l *loader) rules(files map[string][]byte) {
	schema, err := parseSchema()
	if err != nil {
		l.ps.add("", 0, "%v", err) // a mistake of ours; a test parses it too
		return
	}
	book := rulebook{byID: map[string]*rule{}, byAction: map[types.EntityUID]rules{}, entities: l.set.entities(schema)}
	check := checker{l, schema, validate.New(schema, validate.WithStrict()), book.entities}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		if !strings.HasSuffix(file, rulesSuffix) {
			continue
		}
		for _, r := range l.ruleFile(file, files[file]) {
			l.annotate(r)
			check.rule(r)
			if before := book.byID[r.id]; before != nil {
				l.ps.add(r.file, r.lineOf("@id"), "@id(%q) is taken already, at %s:%d", r.id, before.file, before.line)
			} else if r.id != "" {
				book.byID[r.id] = r
			}
		}
	}
	book.index(schema)
	l.set.rules = book
}

func (b *rulebook) index(schema *resolved.Schema) {
	for action := range schema.Actions {
		var covering rules
		for _, r := range b.byID {
			if covers(b.entities, r.tree.Action, action) {
				covering = append(covering, r)
			}
		}
		slices.SortFunc(covering, func(a, b *rule) int { return cmp.Compare(a.id, b.id) })
		b.byAction[action] = covering
	}
}

// ruleFile parses one file.
func (l *loader) ruleFile(file string, content []byte) []*rule {
	if err := shallow(content); err != nil {
		l.ps.add(file, err.line, "%s", err.text)
		return nil
	}
	list, err := cedar.NewPolicyListFromBytes(file, content)
	if err != nil {
		line, text := cedarError(err)
		l.ps.add(file, line, "not Cedar: %s", text)
		return nil
	}
	if len(list) == 0 {
		l.ps.add(file, 0, "holds no rule")
	}
	blank := blankComments(content)
	var found []*rule
	for i, p := range list {
		end := len(blank)
		if i+1 < len(list) {
			end = list[i+1].Position().Offset
		}
		anyone := *p.AST()
		anyone.Principal = ast.ScopeTypeAll{}
		found = append(found, &rule{
			file: file, line: p.Position().Line, policy: p, tree: (*ast.Policy)(p.AST()),
			anyone: cedar.NewPolicyFromAST(&anyone),
			source: string(blank[p.Position().Offset:end]),
		})
	}
	return found
}

var cedarPlace = regexp.MustCompile(`^(?:parser error: )?(?:parse error at )?<input>:(\d+):\d+:? ?(?:"(?:[^"\\]|\\.)*": )?`)

func cedarError(err error) (line int, text string) {
	text = strings.TrimPrefix(err.Error(), "parser error: ")
	m := cedarPlace.FindStringSubmatch(text)
	if m == nil {
		return 0, text
	}
	line, _ = strconv.Atoi(m[1])
	text = strings.TrimPrefix(text, m[0])
	if got, want, ok := strings.Cut(text, " want "); ok {
		_, got, _ = strings.Cut(got, "exact got ")
		return line, fmt.Sprintf("%q stands where %q is wanted", got, want)
	}
	return line, text
}

// maxDepth bounds the nesting of a rule: parser, checker and evaluator all recurse on it.
const maxDepth = 64

// shallow refuses rules nested so deeply that only an accident or an attack wrote them.
func shallow(content []byte) *problem {
	depth, line := 0, 1
	for _, b := range blankStrings(blankComments(content)) {
		switch b {
		case '\n':
			line++
		case '(', '[', '{':
			if depth++; depth > maxDepth {
				return &problem{line: line, text: fmt.Sprintf("brackets nest deeper than %d", maxDepth)}
			}
		case ')', ']', '}':
			depth--
		case ';':
			depth = 0
		}
	}
	return nil
}

// annotate reads the annotations of a rule: its name, and for a permit its duties.
func (l *loader) annotate(r *rule) {
	r.duties = noDuties()
	for _, a := range r.tree.Annotations {
		name, value := string(a.Key), string(a.Value)
		line := r.lineOf("@" + name)
		apply := annotations[name]
		switch {
		case name == "id":
			if err := checkName(value); err != nil {
				l.ps.add(r.file, line, "@id: %v", err)
				continue
			}
			r.id = value
		case apply == nil:
			l.ps.add(r.file, line, "unknown annotation @%s%s", name, among("annotations", annotationNames()))
		case slices.Contains(notInEmergency, name) && r.annotated("emergency"):
			l.ps.add(r.file, line, "@%s has no meaning beside @emergency, which says how long, grants at once and keeps everything", name)
		case slices.Contains(notInSealed, name) && r.annotated("sealed"):
			l.ps.add(r.file, line, "@%s has no meaning beside @sealed, which says how long and keeps everything", name)
		case !r.permits():
			l.ps.add(r.file, line, "@%s has no meaning on a forbid, which takes @id alone", name)
		default:
			if err := apply(&r.duties, value); err != nil {
				l.ps.add(r.file, line, "@%s: %v", name, err)
			}
		}
	}
	if r.annotated("sealed") && !r.annotated("approve") {
		l.ps.add(r.file, r.lineOf("@sealed"), "@sealed wants @approve: what opens without the CA is approved beforehand, for instance @approve(\"2 of privacy\")")
	}
	if !r.annotated("id") {
		l.ps.add(r.file, r.line, "the rule has no name; begin it with @id(\"some-name\")")
	}
}

func (r *rule) annotated(name string) bool {
	return slices.ContainsFunc(r.tree.Annotations, func(a ast.AnnotationType) bool { return string(a.Key) == name })
}
