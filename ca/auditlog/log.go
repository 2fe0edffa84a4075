// Package auditlog is the CA's Merkle log: what happened, in an order that cannot be changed afterwards.
//
// Start with [Append] on the CA's side and [Verify] on everybody else's. Leaves, their tree hashes and the rows
// they speak of are written in one transaction. Hashes are those of RFC 6962 (golang.org/x/mod/sumdb/tlog),
// checkpoints those of C2SP tlog-checkpoint: a signed note of origin, size and root hash.
package auditlog

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"postern/internal/store"
)

var (
	leafPrefix = []byte("log/leaf/")
	hashPrefix = []byte("log/hash/")
	sizeKey    = []byte("log/size")
)

// Append writes entry as the next leaf and returns its index.
func Append(tx *store.Tx, entry Entry) (int64, error) {
	data, err := json.Marshal(entry)
	if err != nil {
		return 0, err
	}
	n, err := Size(tx)
	if err != nil {
		return 0, err
	}
	hashes, err := tlog.StoredHashes(n, data, reader(tx))
	if err != nil {
		return 0, fmt.Errorf("audit log: %w", err)
	}
	for i, h := range hashes {
		if err := tx.Set(indexed(hashPrefix, tlog.StoredHashCount(n)+int64(i)), h[:]); err != nil {
			return 0, err
		}
	}
	if err := tx.Set(indexed(leafPrefix, n), data); err != nil {
		return 0, err
	}
	return n, tx.Set(sizeKey, binary.BigEndian.AppendUint64(nil, uint64(n+1)))
}

// Size is the number of leaves.
func Size(tx *store.Tx) (int64, error) {
	b, err := tx.Get(sizeKey)
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

// Leaves calls fn with the leaves from index from up to but not including to (0: to the end).
func Leaves(tx *store.Tx, from, to int64, fn func(index int64, data []byte) error) error {
	return tx.ScanFrom(leafPrefix, indexed(leafPrefix, from), func(key, value []byte) error {
		index := int64(binary.BigEndian.Uint64(key[len(leafPrefix):]))
		if to > 0 && index >= to {
			return store.ErrStop
		}
		return fn(index, value)
	})
}

// Tree returns the size and the root hash.
func Tree(tx *store.Tx) (tlog.Tree, error) {
	n, err := Size(tx)
	if err != nil {
		return tlog.Tree{}, err
	}
	h, err := tlog.TreeHash(n, reader(tx))
	return tlog.Tree{N: n, Hash: h}, err
}

func reader(tx *store.Tx) tlog.HashReader {
	return tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			b, err := tx.Get(indexed(hashPrefix, index))
			if err != nil {
				return nil, fmt.Errorf("tree hash %d: %w", index, err)
			}
			if copy(hashes[i][:], b) != tlog.HashSize {
				return nil, fmt.Errorf("tree hash %d has %d bytes", index, len(b))
			}
		}
		return hashes, nil
	})
}

func indexed(prefix []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte(nil), prefix...), uint64(n))
}
