package store

import (
	"errors"
	"slices"
	"strings"

	"github.com/dgraph-io/badger/v4"
)

// Scan calls fn for every row whose key starts with prefix, in the order of the keys. It sees what is committed or earlier in the batch, not what this
// closure wrote itself.
func (tx *Tx) Scan(prefix []byte, fn func(key, value []byte) error) error {
	return tx.ScanFrom(prefix, prefix, fn)
}

// ScanFrom is Scan beginning at key from. fn stops the scan without error by returning [ErrStop].
func (tx *Tx) ScanFrom(prefix, from []byte, fn func(key, value []byte) error) error {
	return tx.scan(prefix, from, []map[string][]byte{tx.under}, fn)
}

// ScanOwn is Scan that sees also what this closure has written when it begins.
func (tx *Tx) ScanOwn(prefix []byte, fn func(key, value []byte) error) error {
	return tx.scan(prefix, prefix, []map[string][]byte{tx.overlay, tx.under}, fn)
}

// scan merges what Badger has with what lies over it, the first layer topmost.
func (tx *Tx) scan(prefix, from []byte, layers []map[string][]byte, fn func(key, value []byte) error) error {
	over, err := overlaid(layers, string(prefix), string(from)), error(nil)
	opt := badger.DefaultIteratorOptions
	opt.Prefix = prefix
	opt.PrefetchSize = 16
	it := tx.txn.NewIterator(opt)
	defer it.Close()
	it.Seek(from)
	for err == nil && (len(over) > 0 || it.ValidForPrefix(prefix)) {
		if len(over) == 0 || it.ValidForPrefix(prefix) && string(it.Item().Key()) < over[0].key {
			err = it.Item().Value(func(v []byte) error { return fn(it.Item().Key(), v) })
			it.Next()
			continue
		}
		top := over[0]
		over = over[1:]
		if it.ValidForPrefix(prefix) && string(it.Item().Key()) == top.key {
			it.Next()
		}
		if top.value != nil {
			err = fn([]byte(top.key), top.value)
		}
	}
	if errors.Is(err, ErrStop) {
		return nil
	}
	return err
}

type overlaidRow struct {
	key   string
	value []byte // nil: deleted
}

// overlaid are the rows of the layers with a prefix, from a key on, in order; each as the first layer has it that has it.
func overlaid(layers []map[string][]byte, prefix, from string) (rows []overlaidRow) {
	for _, layer := range layers {
		for k, v := range layer {
			if strings.HasPrefix(k, prefix) && k >= from {
				rows = append(rows, overlaidRow{k, v})
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b overlaidRow) int { return strings.Compare(a.key, b.key) })
	return slices.CompactFunc(rows, func(a, b overlaidRow) bool { return a.key == b.key })
}
