package verify

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"postern/ca/auditlog"
)

// Whatever a server puts where an honest leaf stood, or beside it, the verifier neither crashes nor hangs; and what it finds nothing wrong with has not
// one signature more than people made, and says what was said. The keys of the honest log are made anew each time, so an input names the value that it
// changes by its number. It may be anything JSON is, of another shape too.
func FuzzLeaves(f *testing.F) {
	c := begin(&testing.T{})
	c.wholeStory()
	honest, keys := c.leaves(), c.keys()
	for i := range honest {
		f.Add(uint(i), uint(0), []byte("null"), false)
		f.Add(uint(i), uint(2), []byte(`{"id":[]}`), true)
	}
	f.Add(uint(0), uint(0), []byte("no JSON"), true)
	for place := range uint(40) {
		f.Add(uint(3), place, []byte(`[{"count":-1,"group":"x"}]`), false) // the request, its needs among it
	}
	want := Leaves(honest, keys)
	f.Fuzz(func(t *testing.T, which, place uint, with []byte, beside bool) {
		leaf := honest[which%uint(len(honest))]
		changed, path := withValue(t, leaf, place, with)
		forged := slices.Clone(honest)
		if forged[which%uint(len(honest))] = changed; beside {
			forged = slices.Insert(slices.Clone(honest), int(which%uint(len(honest)))+1, changed)
		}
		got := Leaves(forged, keys)
		if len(got.Failures) > 0 {
			return
		}
		if got.Votes > want.Votes || got.Revocations > want.Revocations || len(got.Views) > len(want.Views) || beside && !maps.Equal(got.Certificates, want.Certificates) {
			t.Errorf("%s in place of %s: %+v", with, path, got)
		}
		if !beside && !toleratedAt(path) && !sameEntry(changed, leaf) {
			t.Errorf("nothing is wrong with %s, %s changed: %s", leaf, path, changed)
		}
	})
}

// toleratedAt says whether the tree alone protects a value, or it is a time, of which many are right; and of what the digest of the policy binds, whether
// postern verify --policy finds it.
func toleratedAt(path string) bool {
	for known := range free {
		if path == known || strings.HasPrefix(path, known+".") {
			return true
		}
	}
	return strings.HasSuffix(path, " time") || strings.HasPrefix(path, "policy.policy.groups") || path == "request.request.needs" || path == "request.request.needs[].group"
}

func sameEntry(one, other []byte) bool {
	a, err := auditlog.Decode(one)
	b, berr := auditlog.Decode(other)
	return err == nil && berr == nil && reflect.DeepEqual(a, b)
}

// withValue is the leaf with its value of that number replaced by JSON, and the value's path. What is no JSON is the whole leaf.
func withValue(t *testing.T, leaf []byte, place uint, with []byte) (changed []byte, path string) {
	var doc map[string]any
	var value any
	if err := json.Unmarshal(leaf, &doc); err != nil {
		t.Fatal(err)
	}
	if json.Unmarshal(with, &value) != nil {
		return with, "all of it"
	}
	var all []func()
	var paths []string
	places(doc, doc["type"].(string), func(path string, was any, put func(any)) {
		if s, is := was.(string); is && strings.HasPrefix(s, "2026-") {
			path += " time"
		}
		all, paths = append(all, func() { put(value) }), append(paths, path)
	})
	n := place % uint(len(all))
	all[n]()
	changed, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	return changed, paths[n]
}

// places calls fn with every value of a document, and with what puts another in its place.
func places(value any, path string, fn func(path string, was any, put func(any))) {
	switch v := value.(type) {
	case map[string]any:
		for _, name := range sortedKeys(v) {
			fn(path+"."+name, v[name], func(now any) { v[name] = now })
			places(v[name], path+"."+name, fn)
		}
	case []any:
		for i := range v {
			fn(path+"[]", v[i], func(now any) { v[i] = now })
			places(v[i], path+"[]", fn)
		}
	}
}
