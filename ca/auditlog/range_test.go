package auditlog

import (
	"encoding/json"
	"errors"
	"testing"
)

// A range says at every size what the whole tree says, also after it was put away and taken up again.
func TestRange(t *testing.T) {
	leaves, trees := log(t, 70)
	var r Range
	for i, leaf := range leaves {
		if hash := r.Add(leaf); hash == ([32]byte{}) {
			t.Fatal("no hash")
		}
		if err := r.Same(trees[i]); err != nil {
			t.Fatal(err)
		}
		if i > 0 && !errors.Is(r.Same(trees[i-1]), ErrForked) {
			t.Errorf("%d leaves pass for %d", i+1, i)
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		r = Range{}
		if err := json.Unmarshal(b, &r); err != nil || r.Check() != nil {
			t.Fatal(err, r.Check())
		}
	}
	forged := Range{N: r.N + 1, Roots: r.Roots}
	if forged.Check() == nil {
		t.Error("a range of another size passes")
	}
}
