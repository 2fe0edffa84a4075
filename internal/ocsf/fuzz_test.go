package ocsf

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// Whatever stands in the log comes out as an event that the schema takes, on one line, with its index, and what is remembered of it is bounded by what it said.
func FuzzEvent(f *testing.F) {
	s := published(f)
	var all []string
	for _, entry := range story(&testing.T{}) {
		entry.At = began
		data, err := json.Marshal(entry)
		if err != nil {
			f.Fatal(err)
		}
		all = append(all, string(data))
		f.Add(string(data), "S-1", `{}`)
	}
	f.Add(strings.Join(all, "\n"), "alice", `a\u0000b\ud800`)
	f.Add(all[slices.IndexFunc(all, func(leaf string) bool { return strings.Contains(leaf, `"session":{"id"`) })], "postgres@ehr-db-1", "")
	f.Add(strings.Join(all, "\n"), `"R-1"`, `[null]`)
	f.Fuzz(func(t *testing.T, leaves, from, to string) {
		m, size := Mapper{Origin: "postern-ca"}, 0
		leaves = strings.ReplaceAll(leaves, from, to)
		if len(leaves) > 64<<10 {
			return
		}
		for i, leaf := range strings.Split(leaves, "\n") {
			e := m.Event(Leaf{Index: int64(i), Data: []byte(leaf)})
			if e.Time == 0 {
				e.Time = 1 // there may be none to tell
			}
			s.judge(t, e)
			line, err := json.Marshal(e)
			if err != nil || e.Metadata.Sequence != int64(i) || strings.ContainsFunc(string(line), func(r rune) bool { return r < ' ' }) {
				t.Errorf("%q becomes %q, %v", leaf, line, err)
			}
			size += len(leaf)
		}
		if kept, err := json.Marshal(m); err != nil || len(kept) > 100+12*size {
			t.Errorf("%d bytes are remembered of %d, %v", len(kept), size, err)
		}
	})
}
