package auditlog

import (
	"errors"
	"fmt"
	"slices"
	"testing"
)

// Every proof of every leaf and every prefix of a log is good, and none of them with anything changed.
func TestProofs(t *testing.T) {
	const n = 13
	leaves, trees := log(t, n)
	book, err := NewBook(leaves)
	if err != nil {
		t.Fatal(err)
	}
	for size := int64(1); size <= n; size++ {
		tree, err := book.Tree(size)
		if err != nil || tree != trees[size-1] {
			t.Fatalf("tree of %d: %v", size, err)
		}
		for i := range size {
			inclusion, err := book.Inclusion(size, i)
			if err != nil || CheckInclusion(inclusion, tree, i, leaves[i]) != nil {
				t.Fatalf("leaf %d of %d: %v", i, size, err)
			}
			attackInclusion(t, inclusion, tree, i, leaves)
			consistency, err := book.Consistency(size, i+1)
			if err != nil || CheckConsistency(consistency, tree, trees[i]) != nil {
				t.Fatalf("%d of %d: %v", i+1, size, err)
			}
			attackConsistency(t, consistency, tree, trees[i])
		}
	}
	for _, bad := range [][2]int64{{0, 0}, {n + 1, 1}, {3, 3}, {3, -1}} {
		if _, err := book.Inclusion(bad[0], bad[1]); !errors.Is(err, ErrRange) {
			t.Errorf("leaf %d of %d: %v", bad[1], bad[0], err)
		}
	}
}

func attackInclusion(t *testing.T, p Proof, tree TreeHead, index int64, leaves [][]byte) {
	t.Helper()
	for b := range p {
		forged := slices.Clone(p)
		forged[b][7] ^= 1
		if CheckInclusion(forged, tree, index, leaves[index]) == nil {
			t.Errorf("leaf %d of %d: hash %d changed", index, tree.N, b)
		}
		if CheckInclusion(slices.Delete(slices.Clone(p), b, b+1), tree, index, leaves[index]) == nil {
			t.Errorf("leaf %d of %d: hash %d left out", index, tree.N, b)
		}
	}
	if CheckInclusion(append(slices.Clone(p), tree.Hash), tree, index, leaves[index]) == nil {
		t.Errorf("leaf %d of %d: a hash more", index, tree.N)
	}
	for other := range tree.N {
		if other != index && CheckInclusion(p, tree, other, leaves[index]) == nil {
			t.Errorf("leaf %d passes for leaf %d of %d", index, other, tree.N)
		}
		if other != index && CheckInclusion(p, tree, index, leaves[other]) == nil {
			t.Errorf("leaf %d passes with the place of %d of %d", other, index, tree.N)
		}
	}
	if CheckInclusion(p, tree, index, append(slices.Clone(leaves[index]), ' ')) == nil {
		t.Errorf("leaf %d of %d: changed", index, tree.N)
	}
}

func attackConsistency(t *testing.T, p Proof, newer, older TreeHead) {
	t.Helper()
	forged := older
	forged.Hash[3] ^= 1
	if err := CheckConsistency(p, newer, forged); !errors.Is(err, ErrForked) {
		t.Errorf("%d of %d: another root: %v", older.N, newer.N, err)
	}
	if older.N < newer.N {
		if err := CheckConsistency(p, older, newer); !errors.Is(err, ErrShrank) {
			t.Errorf("%d of %d: shrank: %v", older.N, newer.N, err)
		}
	}
	for b := range p {
		changed := slices.Clone(p)
		changed[b][31] ^= 0x80
		if CheckConsistency(changed, newer, older) == nil {
			t.Errorf("%d of %d: hash %d changed", older.N, newer.N, b)
		}
	}
}

func TestTlogProof(t *testing.T) {
	leaves, _ := log(t, 7)
	book, err := NewBook(leaves)
	if err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{1, 2, 7} {
		p, err := book.Inclusion(size, size-1)
		if err != nil {
			t.Fatal(err)
		}
		checkpoint := fmt.Appendf(nil, "postern-ca\n%d\nx\n\n— postern-ca y\n", size)
		text := FormatProof(p, size-1, checkpoint)
		q, index, cp, err := ParseTlogProof(text)
		if err != nil || index != size-1 || string(cp) != string(checkpoint) || q.String() != p.String() {
			t.Fatalf("%q: %v", text, err)
		}
		for i := range text {
			if q, index, cp, err := ParseTlogProof(text[:i]); err == nil && string(FormatProof(q, index, cp)) != string(text[:i]) {
				t.Errorf("cut at %d", i)
			}
		}
	}
}

// What parses encodes back to the same bytes.
func FuzzTlogProof(f *testing.F) {
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 0\n\npostern-ca\n1\nx\n\n— y\n"))
	f.Add([]byte("c2sp.org/tlog-proof@v1\nindex 3\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\nnote"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, index, checkpoint, err := ParseTlogProof(text); err == nil && string(FormatProof(p, index, checkpoint)) != string(text) {
			t.Errorf("%q", text)
		}
	})
}
