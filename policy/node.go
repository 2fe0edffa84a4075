package policy

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// data walks one YAML file node by node, because a decoder into structs forgets lines, lets the last of two equal
// keys win and takes 10 for "10". Anything doubtful is a problem, never a guess.
type data struct {
	file string
	ps   *problems
}

// word is a string of the file and where it stands.
type word struct {
	text string
	line int
}

// pair is one entry of a mapping.
type pair struct {
	key   word
	value *yaml.Node
}

func (d data) bad(line int, format string, args ...any) { d.ps.add(d.file, line, format, args...) }

// root returns the top of the file, which must be its only document.
func (d data) root(content []byte) *yaml.Node {
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	var top, second yaml.Node
	if err := decoder.Decode(&top); errors.Is(err, io.EOF) {
		d.bad(0, "the file is empty")
		return nil
	} else if err != nil {
		d.yamlError(err)
		return nil
	}
	if err := decoder.Decode(&second); err == nil {
		d.bad(second.Line, "a second YAML document begins here; only one is read")
		return nil
	} else if !errors.Is(err, io.EOF) {
		d.yamlError(err)
		return nil
	}
	if len(top.Content) != 1 {
		d.bad(0, "the file is empty")
		return nil
	}
	return top.Content[0]
}

var yamlLine = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?`)

func (d data) yamlError(err error) {
	text := err.Error()
	m := yamlLine.FindStringSubmatch(text)
	line, _ := strconv.Atoi(m[1]) // no line named: 0, the whole file
	d.bad(line, "not YAML: %s", strings.TrimPrefix(text, m[0]))
}

// plain refuses what makes a file mean something else than it looks like.
func (d data) plain(n *yaml.Node, what string) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.bad(n.Line, "%s uses a YAML anchor or alias; write it out", what)
		return false
	}
	return true
}

// pairs returns the entries of a mapping; equal keys are a problem.
func (d data) pairs(n *yaml.Node, what string) []pair {
	if !d.plain(n, what) {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		d.bad(n.Line, "%s must be a mapping (name: value), not %s", what, kindOf(n))
		return nil
	}
	var pairs []pair
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, ok := d.text(n.Content[i], "a key of "+what)
		if !ok {
			continue
		}
		if line, again := first[key.text]; again {
			d.bad(key.line, "%q stands twice in %s, first on line %d", key.text, what, line)
			continue
		}
		first[key.text] = key.line
		pairs = append(pairs, pair{key, n.Content[i+1]})
	}
	return pairs
}

// fields returns the values of a mapping that may have the known keys and no other.
func (d data) fields(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	values := map[string]*yaml.Node{}
	for _, p := range d.pairs(n, what) {
		if !slices.Contains(known, p.key.text) {
			d.bad(p.key.line, "unknown field %q in %s%s", p.key.text, what, among("fields", known))
			continue
		}
		values[p.key.text] = p.value
	}
	return values
}

// text returns a string that fits on one line.
func (d data) text(n *yaml.Node, what string) (word, bool) {
	if !d.plain(n, what) {
		return word{}, false
	}
	switch {
	case n.Kind != yaml.ScalarNode:
		d.bad(n.Line, "%s must be text, not %s", what, kindOf(n))
	case n.ShortTag() == "!!null":
		d.bad(n.Line, "%s is empty", what)
	case n.ShortTag() != "!!str":
		d.bad(n.Line, "%s must be text, but YAML reads %s as %s; put it in quotes", what, n.Value, kindOf(n))
	case strings.ContainsFunc(n.Value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		d.bad(n.Line, "%s holds a line break or control character", what)
	default:
		return word{n.Value, n.Line}, true
	}
	return word{}, false
}

// list returns the elements of a sequence.
func (d data) list(n *yaml.Node, what string) []*yaml.Node {
	if !d.plain(n, what) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		d.bad(n.Line, "%s must be a list, not %s", what, kindOf(n))
		return nil
	}
	return n.Content
}

// texts returns a list of strings, none of them twice.
func (d data) texts(n *yaml.Node, what string) []word {
	if n == nil {
		return nil
	}
	var words []word
	first := map[string]int{}
	for _, element := range d.list(n, what) {
		w, ok := d.text(element, "an element of "+what)
		if !ok {
			continue
		}
		if line, again := first[w.text]; again {
			d.bad(w.line, "%q stands twice in %s, first on line %d", w.text, what, line)
			continue
		}
		first[w.text] = w.line
		words = append(words, w)
	}
	return words
}

// names returns a list of names.
func (d data) names(n *yaml.Node, what string) []word {
	var names []word
	for _, w := range d.texts(n, what) {
		if d.name(w, what) {
			names = append(names, w)
		}
	}
	return names
}

func (d data) name(w word, what string) bool {
	if err := checkName(w.text); err != nil {
		d.bad(w.line, "%s: %v", what, err)
		return false
	}
	return true
}

// somebody reads the name of a person or a machine. Two names are nobody's: the log names as the cause the CA's clock with one, its rules with the
// other, and whoever had such a name would be taken for them.
func (d data) somebody(w word, what string) bool {
	if w.text == "ca" || w.text == "policy" {
		d.bad(w.line, "%s: %q is nobody's name: the log calls what happens by itself so", what, w.text)
		return false
	}
	return d.name(w, what)
}

func (d data) key(n *yaml.Node, what string) (Key, bool) {
	w, ok := d.text(n, what)
	if !ok {
		return Key{}, false
	}
	key, err := parseKey(w.text)
	if err != nil {
		d.bad(w.line, "%s: %v", what, err)
		return Key{}, false
	}
	return key, true
}

func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "true or false"
	case "!!timestamp":
		return "a date"
	case "!!str":
		return "text"
	}
	return "a " + n.Tag
}
