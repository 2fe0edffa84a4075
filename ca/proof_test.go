package ca

import (
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"

	"postern/ca/auditlog"
	"postern/internal/control"
)

func witness(t *testing.T, name string) *auditlog.Cosigner {
	t.Helper()
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	w, err := auditlog.NewCosigner(name, key.Seed())
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) cosigned(by *auditlog.Cosigner) []byte {
	w.t.Helper()
	checkpoint, err := w.Checkpoint()
	if err != nil {
		w.t.Fatal(err)
	}
	signed, err := by.Cosign(checkpoint, w.signer.VerifierKey(), w.clock)
	if err != nil {
		w.t.Fatal(err)
	}
	return signed
}

// The CA keeps what its witnesses signed of its own log, the newest of each, and nothing else.
func TestCosigned(t *testing.T) {
	w := newWorld(t)
	one, two, stranger := witness(t, "one"), witness(t, "two"), witness(t, "stranger")
	_, err := w.TakeCosigned(w.cosigned(one))
	refused(t, "no witnesses", err, "knows no witnesses")
	w.witnesses = func() ([]*auditlog.Witness, error) { return []*auditlog.Witness{&one.Witness, &two.Witness}, nil }
	_, err = w.TakeCosigned(w.cosigned(stranger))
	refused(t, "a stranger", err, "none of the witnesses")
	_, err = w.TakeCosigned([]byte("postern-ca\n1\n"))
	refused(t, "no note", err, "checkpoint")

	early := w.cosigned(one)
	w.ask("alice", "root@phi1")
	late := w.cosigned(one)
	for _, note := range [][]byte{late, early, w.cosigned(two)} {
		if by, err := w.TakeCosigned(note); err != nil || len(by) != 1 {
			t.Fatal(by, err)
		}
	}
	list, err := w.Cosigned()
	if err != nil || len(list) != 2 || list[0].Witness != "one" || list[0].Checkpoint != string(late) || list[1].Witness != "two" {
		t.Errorf("%+v: %v", list, err)
	}
	for i := range late {
		forged := slices.Clone(late)
		forged[i] ^= 1
		if _, err := w.TakeCosigned(forged); err == nil {
			t.Errorf("byte %d changed, and it is kept", i)
		}
	}
}

// A checkpoint that this CA's key signed and its log does not have is no accident, and is said to be none.
func TestCosignedOfAnotherTree(t *testing.T) {
	w := newWorld(t)
	one := witness(t, "one")
	w.witnesses = func() ([]*auditlog.Witness, error) { return []*auditlog.Witness{&one.Witness}, nil }
	for says, tree := range map[string]auditlog.TreeHead{"the log is shorter": {N: 4000}, "is not of this log": {N: 2}} {
		checkpoint, err := w.signer.Checkpoint(tree)
		if err != nil {
			t.Fatal(err)
		}
		signed, err := one.Cosign(checkpoint, w.signer.VerifierKey(), w.clock)
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.TakeCosigned(signed)
		refused(t, says, err, says)
	}
}

func TestProofsOfTheCA(t *testing.T) {
	w := newWorld(t)
	w.ask("alice", "root@phi1")
	checkpoint, err := w.Checkpoint()
	if err != nil {
		t.Fatal(err)
	}
	tree, err := auditlog.OpenCheckpoint(checkpoint, w.signer.VerifierKey())
	if err != nil {
		t.Fatal(err)
	}
	err = w.Leaves(0, 0, func(l control.Leaf) error {
		p, err := w.Inclusion(l.Index, tree.N)
		if err != nil {
			return err
		}
		return auditlog.CheckInclusion(hashes(t, p), tree, l.Index, l.Data)
	})
	if err != nil {
		t.Error(err)
	}
	for _, bad := range [][2]int64{{0, tree.N}, {tree.N + 1, tree.N + 1}, {5, 2}} {
		_, err := w.Consistency(bad[0], bad[1])
		refused(t, "out of range", err, "not that long")
	}
	if _, err := w.Inclusion(tree.N, tree.N); err == nil || !strings.Contains(err.Error(), "not that long") {
		t.Error(err)
	}
}

func hashes(t *testing.T, p control.Proof) (proof auditlog.Proof) {
	t.Helper()
	for _, h := range p.Hashes {
		proof = append(proof, [32]byte(h))
	}
	return proof
}
