package auditlog

import (
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"postern/internal/store"
)

// log makes a log of n leaves and returns them with the tree after each.
func log(t *testing.T, n int) (leaves [][]byte, trees []tlog.Tree) {
	t.Helper()
	db, err := store.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for i := range n {
		err := db.Update(func(tx *store.Tx) error {
			at, err := Append(tx, Entry{Type: TypeState, Actor: "ca", State: &State{Request: fmt.Sprint("R-", i)}})
			if err != nil || at != int64(i) {
				return fmt.Errorf("leaf %d at %d: %w", i, at, err)
			}
			tree, err := Tree(tx)
			trees = append(trees, tree)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	err = db.View(func(tx *store.Tx) error {
		return Leaves(tx, 0, 0, func(_ int64, data []byte) error {
			leaves = append(leaves, slices.Clone(data))
			return nil
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	return leaves, trees
}

// Promise 7: removal, truncation, reordering and edits are found.
func TestEveryChangeIsFound(t *testing.T) {
	const n = 21
	leaves, trees := log(t, n)
	end := trees[n-1]
	for i, older := range trees {
		if err := Verify(leaves, end, older); err != nil {
			t.Fatalf("the log itself, seen before at %d: %v", i+1, err)
		}
	}
	for i := range leaves {
		removed := slices.Delete(slices.Clone(leaves), i, i+1)
		edited := slices.Clone(leaves)
		edited[i] = append(slices.Clone(leaves[i]), ' ')
		swapped := slices.Clone(leaves)
		swapped[i], swapped[(i+1)%n] = swapped[(i+1)%n], swapped[i]
		doubled := slices.Insert(slices.Clone(leaves), i, leaves[i])
		for what, forged := range map[string][][]byte{"removed": removed, "edited": edited, "swapped": swapped, "doubled": doubled, "cut": leaves[:i]} {
			if Verify(forged, end, tlog.Tree{}) == nil {
				t.Errorf("leaf %d %s: not found", i, what)
			}
		}
	}
}

// A server that signs a tree for the changed log is caught by who saw the old one.
func TestForkAndShrink(t *testing.T) {
	leaves, trees := log(t, 9)
	forged := slices.Clone(leaves)
	forged[2] = []byte(`{"type":"state"}`)
	var r rebuilt
	for _, l := range forged {
		if err := r.add(l); err != nil {
			t.Fatal(err)
		}
	}
	hash, err := tlog.TreeHash(9, &r)
	if err != nil {
		t.Fatal(err)
	}
	fork := tlog.Tree{N: 9, Hash: hash}
	if Verify(forged, fork, trees[1]) != nil {
		t.Error("a prefix before the change is the same")
	}
	for _, seen := range trees[2:] {
		if Verify(forged, fork, seen) == nil {
			t.Errorf("fork not found by who saw %d leaves", seen.N)
		}
	}
	if !errors.Is(Verify(forged, fork, trees[4]), ErrForked) {
		t.Error("a fork is not called one")
	}
	if !errors.Is(Verify(leaves[:5], trees[4], trees[8]), ErrShrank) {
		t.Error("shrunk log not found")
	}
	// Leaves that nobody signed prove nothing against who signed the checkpoints.
	if err := Verify(forged, trees[8], trees[4]); err == nil || errors.Is(err, ErrForked) {
		t.Errorf("other leaves than those of the checkpoint: %v", err)
	}
}

func TestCheckpoint(t *testing.T) {
	_, priv, _ := ed25519.GenerateKey(rand.Reader)
	s, err := NewSigner("postern-ca", priv)
	if err != nil {
		t.Fatal(err)
	}
	_, trees := log(t, 3)
	cp, err := s.Checkpoint(trees[2])
	if err != nil {
		t.Fatal(err)
	}
	tree, err := OpenCheckpoint(cp, s.VerifierKey()+"\n")
	if err != nil || tree != trees[2] {
		t.Fatal(tree, err)
	}
	for i := range cp {
		forged := slices.Clone(cp)
		forged[i] ^= 1
		if tree, err := OpenCheckpoint(forged, s.VerifierKey()); err == nil && tree != trees[2] {
			t.Errorf("byte %d changed: opens as %v", i, tree)
		}
	}
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	o, _ := NewSigner("postern-ca", other)
	if _, err := OpenCheckpoint(cp, o.VerifierKey()); err == nil {
		t.Error("opens with another log's key")
	}
}

// Whatever a log signed, a checkpoint is what [Signer.Checkpoint] writes, with nothing but extensions after it.
func FuzzCheckpoint(f *testing.F) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		f.Fatal(err)
	}
	s, err := NewSigner("postern-ca", private)
	if err != nil {
		f.Fatal(err)
	}
	f.Add("postern-ca\n3\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n")
	f.Add("postern-ca\n3\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Rp=\n") // the last letter has bits that say nothing
	f.Add("postern-ca\n0\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\nextension\n")
	f.Fuzz(func(t *testing.T, text string) {
		signed, err := note.Sign(&note.Note{Text: text}, s)
		if err != nil {
			return
		}
		tree, err := OpenCheckpoint(signed, s.VerifierKey())
		if err != nil {
			return
		}
		own, err := s.Checkpoint(tree)
		if body, _, _ := strings.Cut(string(own), "\n\n"); err != nil || !strings.HasPrefix(text, body+"\n") {
			t.Errorf("%q is taken for %q, %v", text, body, err)
		}
	})
}
