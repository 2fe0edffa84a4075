package auditlog

import (
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// rebuilt holds the tree hashes of a log that somebody handed us, recomputed from its leaves alone.
type rebuilt struct {
	hashes []tlog.Hash
	n      int64
}

// Walk proves a log while its leaves come one after the other, so that its size does not matter. Start with [NewWalk]; nothing is proven before [Walk.End].
type Walk struct {
	newer, older tlog.Tree
	grown        Range
	forked       error // holds only if the leaves are those of newer: whoever sends others has not signed a fork
}

// NewWalk begins with the tree of the newer checkpoint, and that of the one seen before (the zero Tree: none). Two that no log can both have are an error at
// once: [ErrShrank] or [ErrForked].
func NewWalk(newer, older tlog.Tree) (*Walk, error) {
	if newer.N <= older.N {
		if err := CheckConsistency(nil, newer, older); err != nil {
			return nil, err
		}
	}
	return &Walk{newer: newer, older: older}, nil
}

// Add takes the next leaf.
func (w *Walk) Add(index int64, leaf []byte) error {
	switch {
	case index != w.grown.N:
		return fmt.Errorf("leaf %d came where leaf %d belongs", index, w.grown.N)
	case index >= w.newer.N:
		return fmt.Errorf("leaf %d came, and the checkpoint has %d leaves", index, w.newer.N)
	}
	w.grown.Add(leaf)
	if w.grown.N == w.older.N {
		w.forked = w.grown.Same(w.older)
	}
	return nil
}

// End says whether these were all the leaves of the newer tree, and the older one the beginning of it.
func (w *Walk) End() error {
	switch {
	case w.grown.N != w.newer.N:
		return fmt.Errorf("%d leaves came, and the checkpoint has %d", w.grown.N, w.newer.N)
	case w.grown.N > 0 && w.grown.Tree() != w.newer:
		return fmt.Errorf("the leaves do not make the root of the checkpoint (size %d): something was changed, removed or reordered", w.newer.N)
	}
	return w.forked
}

// Verify is [Walk] for leaves that are at hand.
func Verify(leaves [][]byte, newer, older tlog.Tree) error {
	w, err := NewWalk(newer, older)
	if err != nil {
		return err
	}
	for i, leaf := range leaves {
		if err := w.Add(int64(i), leaf); err != nil {
			return err
		}
	}
	return w.End()
}

func (r *rebuilt) add(leaf []byte) error {
	hashes, err := tlog.StoredHashes(r.n, leaf, r)
	if err != nil {
		return err
	}
	r.hashes = append(r.hashes, hashes...)
	r.n++
	return nil
}

// ReadHashes implements [tlog.HashReader].
func (r *rebuilt) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, index := range indexes {
		if index < 0 || index >= int64(len(r.hashes)) {
			return nil, fmt.Errorf("tree hash %d of %d", index, len(r.hashes))
		}
		out[i] = r.hashes[index]
	}
	return out, nil
}
