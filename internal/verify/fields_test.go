package verify

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestEveryField changes every value of every leaf, one after the other, as a CA could that writes its log anew. What is not found is listed
// here, with the reason: nothing that somebody signed may be in the list.
func TestEveryField(t *testing.T) {
	everyField(t, (*chronicle).wholeStory, free)
}

func everyField(t *testing.T, story func(*chronicle), free map[string]string) {
	c := begin(t)
	story(c)
	honest, keys := c.leaves(), c.keys()
	unfound := map[string]bool{}
	for i, leaf := range honest {
		var value map[string]any
		if err := json.Unmarshal(leaf, &value); err != nil {
			t.Fatal(err)
		}
		kind := value["type"].(string)
		mutate(value, kind, func(path string) {
			changed, err := json.Marshal(value)
			if err != nil {
				t.Fatal(err)
			}
			forged := slices.Clone(honest)
			forged[i] = changed
			if r := Leaves(forged, keys); len(r.Failures) == 0 {
				unfound[path] = true
			}
		})
	}
	for path := range unfound {
		if _, known := free[path]; !known {
			t.Errorf("%s can be changed unseen", path)
		}
	}
	for path := range free {
		if !unfound[path] {
			t.Errorf("%s cannot be changed unseen: take it out of the list", path)
		}
	}
}

// free are the fields that only the tree protects, and why that must do.
var free = map[string]string{
	"genesis.at":                    "the CA's own clock",
	"policy.policy.hosts.phi1":      "what hosts are trusted by is bound by the digest of the policy: postern verify --policy compares",
	"policy.policy.hosts.phi2":      "the same",
	"progress.progress.end":         "the bastion's word",
	"progress.progress.frames":      "the recording is held against it",
	"progress.progress.head":        "the same",
	"progress.progress.sealed":      "the same",
	"progress.progress.sealed_head": "the same",
	"progress.progress.segments":    "the same",
	"session.session.client":        "the bastion's word",
}

// mutate calls fn with every value changed in turn, under the path of its field.
func mutate(value any, path string, fn func(path string)) {
	switch v := value.(type) {
	case map[string]any:
		for _, name := range sortedKeys(v) {
			was := v[name]
			for _, now := range others(was) {
				v[name] = now
				fn(path + "." + name)
			}
			v[name] = was
			mutate(was, path+"."+name, fn)
		}
	case []any:
		for i := range v {
			was := v[i]
			for _, now := range others(was) {
				v[i] = now
				fn(path + "[]")
			}
			v[i] = was
			mutate(was, path+"[]", fn)
		}
	}
}

// others are values that a field could have instead.
func others(value any) []any {
	switch v := value.(type) {
	case string:
		if strings.HasPrefix(v, "2026-") && len(v) > 10 {
			return []any{"2026-11-22T08:00:00Z", "2026-11-22T19:30:00Z"}
		}
		if n := len(v); n > 1 {
			return []any{v + "x", v[:n-1], ""}
		}
		return []any{v + "x"}
	case float64:
		return []any{v + 1}
	case bool:
		return []any{!v}
	}
	return nil
}
