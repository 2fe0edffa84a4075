package auditlog

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"postern/internal/store"
)

// Proof is the hashes that lead from a leaf, or from a smaller tree, to the root of a tree: RFC 6962, sections 2.1.1 and 2.1.2.
type Proof []tlog.Hash

// TreeHead is a size and a root hash: what a checkpoint signs.
type TreeHead = tlog.Tree

// maxProof is more than a log of 2^62 leaves needs.
const maxProof = 128

// Inclusion proves that the leaf at index is in the tree of the first size leaves.
func Inclusion(tx *store.Tx, size, index int64) (Proof, error) {
	if err := within(tx, size, index+1); err != nil {
		return nil, err
	}
	p, err := tlog.ProveRecord(size, index, reader(tx))
	return Proof(p), err
}

// Consistency proves that the first older leaves are a prefix of the first newer ones.
func Consistency(tx *store.Tx, newer, older int64) (Proof, error) {
	if err := within(tx, newer, older); err != nil {
		return nil, err
	}
	p, err := tlog.ProveTree(newer, older, reader(tx))
	return Proof(p), err
}

// ErrRange is that a proof was asked for about leaves that the log does not have.
var ErrRange = errors.New("the log is not that long")

func within(tx *store.Tx, larger, smaller int64) error {
	size, err := Size(tx)
	if err != nil {
		return err
	}
	if smaller < 1 || larger < smaller || larger > size {
		return fmt.Errorf("%w: it has %d leaves", ErrRange, size)
	}
	return nil
}

// TreeAt is the tree of the first size leaves.
func TreeAt(tx *store.Tx, size int64) (tlog.Tree, error) {
	if err := within(tx, size, size); err != nil {
		return tlog.Tree{}, err
	}
	h, err := tlog.TreeHash(size, reader(tx))
	return tlog.Tree{N: size, Hash: h}, err
}

// CheckInclusion makes sure that leaf is the one at index of the tree.
func CheckInclusion(p Proof, tree tlog.Tree, index int64, leaf []byte) error {
	if index < 0 || index >= tree.N || tlog.CheckRecord(tlog.RecordProof(p), tree.N, tree.Hash, index, tlog.RecordHash(leaf)) != nil {
		return fmt.Errorf("its proof does not lead to the checkpoint of %d leaves, so it is not what stands in the log as number %d", tree.N, index)
	}
	return nil
}

// CheckConsistency makes sure that older is a prefix of newer. Trees of one size must be equal; the empty one is a prefix of all.
func CheckConsistency(p Proof, newer, older tlog.Tree) error {
	switch {
	case older.N > newer.N:
		return fmt.Errorf("%w: it had %d leaves, now it has %d", ErrShrank, older.N, newer.N)
	case older.N == 0:
		return nil
	case older.N == newer.N && older.Hash != newer.Hash:
		return fmt.Errorf("%w: two signed checkpoints of %d leaves have different roots", ErrForked, newer.N)
	case older.N == newer.N:
		return nil
	}
	if tlog.CheckTree(tlog.TreeProof(p), newer.N, newer.Hash, older.N, older.Hash) != nil {
		return fmt.Errorf("%w: nothing shows that the first %d of its %d leaves are those that were there before", ErrForked, older.N, newer.N)
	}
	return nil
}

// What a log that is not append-only did.
var (
	ErrShrank = errors.New("the log shrank")
	ErrForked = errors.New("the log forked")
)

// String is a hash a line, in base64.
func (p Proof) String() string {
	var out strings.Builder
	for _, h := range p {
		fmt.Fprintln(&out, base64.StdEncoding.EncodeToString(h[:]))
	}
	return out.String()
}

// ParseProof reads what [Proof.String] wrote, and nothing else.
func ParseProof(text string) (Proof, error) {
	var p Proof
	for line := range strings.Lines(text) {
		hash, err := tlog.ParseHash(strings.TrimSuffix(line, "\n"))
		if err != nil || len(p) == maxProof {
			return nil, fmt.Errorf("proof: %.60q is no hash in base64, or one too many", line)
		}
		p = append(p, hash)
	}
	if p.String() != text {
		return nil, errors.New("proof: not written as it should be")
	}
	return p, nil
}

// Book is a log whose leaves are all at hand: it proves what a server would have to be asked for.
type Book struct{ rebuilt }

// NewBook computes the tree of leaves.
func NewBook(leaves [][]byte) (*Book, error) {
	b := new(Book)
	for i, leaf := range leaves {
		if err := b.add(leaf); err != nil {
			return nil, fmt.Errorf("leaf %d: %w", i, err)
		}
	}
	return b, nil
}

// Tree is that of the first n leaves.
func (b *Book) Tree(n int64) (tlog.Tree, error) {
	if n < 1 || n > b.n {
		return tlog.Tree{}, ErrRange
	}
	h, err := tlog.TreeHash(n, &b.rebuilt)
	return tlog.Tree{N: n, Hash: h}, err
}

// Inclusion proves that the leaf at index is among the first size.
func (b *Book) Inclusion(size, index int64) (Proof, error) {
	if index < 0 || size <= index || size > b.n {
		return nil, ErrRange
	}
	p, err := tlog.ProveRecord(size, index, &b.rebuilt)
	return Proof(p), err
}

// Consistency proves that the first older leaves are a prefix of the first newer ones.
func (b *Book) Consistency(newer, older int64) (Proof, error) {
	if older < 1 || newer < older || newer > b.n {
		return nil, ErrRange
	}
	p, err := tlog.ProveTree(newer, older, &b.rebuilt)
	return Proof(p), err
}
