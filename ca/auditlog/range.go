package auditlog

import (
	"errors"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// Range is what one must keep of a log to go on with it: how many leaves it has, and the roots of the full subtrees they make, the largest
// first. It is some two kilobytes for any log. A zero Range is an empty log.
type Range struct {
	N     int64       `json:"n"`
	Roots []tlog.Hash `json:"roots"`
}

// Add appends a leaf and returns its hash.
func (r *Range) Add(leaf []byte) tlog.Hash {
	hash := tlog.RecordHash(leaf)
	root := hash
	for n := r.N; n&1 == 1; n >>= 1 {
		last := len(r.Roots) - 1
		root = tlog.NodeHash(r.Roots[last], root)
		r.Roots = r.Roots[:last]
	}
	r.Roots = append(r.Roots, root)
	r.N++
	return hash
}

// Tree is the size and the root hash.
func (r *Range) Tree() tlog.Tree {
	if len(r.Roots) == 0 {
		h, _ := tlog.TreeHash(0, nil)
		return tlog.Tree{Hash: h}
	}
	root := r.Roots[len(r.Roots)-1]
	for i := len(r.Roots) - 2; i >= 0; i-- {
		root = tlog.NodeHash(r.Roots[i], root)
	}
	return tlog.Tree{N: r.N, Hash: root}
}

// Check says whether what a file holds is a Range at all.
func (r *Range) Check() error {
	if r.N < 0 || bits.OnesCount64(uint64(r.N)) != len(r.Roots) {
		return errors.New("its hashes are not those of a log of its size")
	}
	return nil
}

// Same holds the leaves added so far against the tree of a checkpoint of the same size.
func (r *Range) Same(tree tlog.Tree) error {
	if got := r.Tree(); got != tree {
		return fmt.Errorf("%w: its first %d leaves do not make the root of a checkpoint of that size", ErrForked, tree.N)
	}
	return nil
}

// LeafHash is what a leaf is in the tree: RFC 6962.
func LeafHash(leaf []byte) tlog.Hash { return tlog.RecordHash(leaf) }

// Add appends a leaf to a book that began empty.
func (b *Book) Add(leaf []byte) error { return b.add(leaf) }
