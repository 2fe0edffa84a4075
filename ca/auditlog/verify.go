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

// Verify checks that leaves are exactly the log that newer speaks of, and that older, the checkpoint seen
// before (zero: none), is a prefix of it. It trusts nothing but the two trees.
func Verify(leaves [][]byte, newer, older tlog.Tree) error {
	if int64(len(leaves)) != newer.N {
		return fmt.Errorf("the log has %d leaves, its checkpoint says %d", len(leaves), newer.N)
	}
	if older.N > newer.N {
		return fmt.Errorf("%w: %d leaves now, %d when this machine last looked", ErrShrank, newer.N, older.N)
	}
	var r rebuilt
	for i, leaf := range leaves {
		if err := r.add(leaf); err != nil {
			return fmt.Errorf("leaf %d: %w", i, err)
		}
	}
	if got, err := tlog.TreeHash(newer.N, &r); err != nil || got != newer.Hash {
		return fmt.Errorf("the leaves do not make the root of the checkpoint (size %d): something was changed, removed or reordered", newer.N)
	}
	if older.N == 0 {
		return nil
	}
	if got, err := tlog.TreeHash(older.N, &r); err != nil || got != older.Hash {
		return fmt.Errorf("%w: its first %d leaves are not those this machine saw before", ErrForked, older.N)
	}
	return nil
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
