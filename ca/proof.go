package ca

import (
	"errors"
	"slices"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/store"
)

// cosignedRows is the name of a witness to the newest checkpoint that it cosigned.
const cosignedRows = "cosigned/"

// Consistency proves that the log of from leaves is a prefix of that of to leaves. It shows hashes and nothing else, so
// anyone may ask.
func (ca *CA) Consistency(from, to int64) (control.Proof, error) {
	return ca.prove(control.Proof{Size: to, From: from}, func(tx *store.Tx) (auditlog.Proof, error) {
		return auditlog.Consistency(tx, to, from)
	})
}

// Inclusion proves that the leaf is one of the first size.
func (ca *CA) Inclusion(leaf, size int64) (control.Proof, error) {
	return ca.prove(control.Proof{Size: size, Leaf: &leaf}, func(tx *store.Tx) (auditlog.Proof, error) {
		return auditlog.Inclusion(tx, size, leaf)
	})
}

func (ca *CA) prove(p control.Proof, proof func(*store.Tx) (auditlog.Proof, error)) (control.Proof, error) {
	err := ca.db.View(func(tx *store.Tx) error {
		hashes, err := proof(tx)
		if errors.Is(err, auditlog.ErrRange) {
			return refuse("no such proof: %v", err)
		}
		for _, h := range hashes {
			p.Hashes = append(p.Hashes, slices.Clone(h[:]))
		}
		return err
	})
	return p, err
}

// TakeCosigned keeps what a witness hands in: a checkpoint of this log, as the log still has it, with cosignatures of
// witnesses that the operator named. Of each witness the newest is kept. Nobody has to believe what is kept here; the
// check is there so that only witnesses can have something kept.
func (ca *CA) TakeCosigned(checkpoint []byte) ([]auditlog.Cosignature, error) {
	if ca.witnesses == nil {
		return nil, refuse("this CA knows no witnesses; its operator names them in the file witnesses of its directory")
	}
	witnesses, err := ca.witnesses()
	if err != nil {
		return nil, err
	}
	tree, err := auditlog.OpenCheckpoint(checkpoint, ca.signer.VerifierKey())
	if err != nil {
		return nil, refuse("%v", err)
	}
	by, err := auditlog.Cosignatures(checkpoint, ca.signer.VerifierKey(), witnesses)
	if err != nil {
		return nil, refuse("%v", err)
	}
	if len(by) == 0 {
		return nil, refuse("none of the witnesses that this CA knows cosigned it; its operator names them in the file witnesses of its directory")
	}
	err = ca.db.Update(func(tx *store.Tx) error {
		if err := ca.ownTree(tx, tree); err != nil {
			return err
		}
		for _, c := range by {
			if err := ca.keepCosigned(tx, c, tree, checkpoint); err != nil {
				return err
			}
		}
		return nil
	})
	return by, err
}

func (ca *CA) ownTree(tx *store.Tx, tree auditlog.TreeHead) error {
	own, err := auditlog.TreeAt(tx, tree.N)
	if errors.Is(err, auditlog.ErrRange) {
		return refuse("the checkpoint is of %d leaves and the log is shorter: this CA lost what it signed, or somebody has its key", tree.N)
	}
	if err == nil && own.Hash != tree.Hash {
		return refuse("the checkpoint of %d leaves is not of this log: this CA lost what it signed, or somebody has its key", tree.N)
	}
	return err
}

func (ca *CA) keepCosigned(tx *store.Tx, c auditlog.Cosignature, tree auditlog.TreeHead, checkpoint []byte) error {
	kept, err := read[control.Cosigned](tx, key(cosignedRows, c.Witness))
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err == nil {
		if before, err := auditlog.OpenCheckpoint([]byte(kept.Checkpoint), ca.signer.VerifierKey()); err == nil && before.N > tree.N {
			return nil
		}
	}
	return write(tx, key(cosignedRows, c.Witness), control.Cosigned{Witness: c.Witness, Checkpoint: string(checkpoint)})
}

// Cosigned lists what the witnesses handed in, by their names.
func (ca *CA) Cosigned() ([]control.Cosigned, error) {
	var list []control.Cosigned
	err := ca.db.View(func(tx *store.Tx) error {
		return tx.Scan([]byte(cosignedRows), func(k, _ []byte) error {
			c, err := read[control.Cosigned](tx, slices.Clone(k))
			list = append(list, c)
			return err
		})
	})
	return list, err
}
