package auditor

import (
	"context"
	"errors"
	"fmt"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// inLog makes sure that what was signed is in the log before anything of a recording comes: a CA that keeps a view back would have to
// show this machine another log from then on, which it remembers.
func (d *Desk) inLog(ctx context.Context, logged control.Logged, key, person, text, signature string) error {
	tree, err := auditlog.OpenCheckpoint([]byte(logged.Checkpoint), key)
	if err != nil {
		return fmt.Errorf("what the CA shows for it: %w", err)
	}
	proof, err := auditlog.ParseProof(logged.Proof)
	if err != nil {
		return err
	}
	if err := auditlog.CheckInclusion(proof, tree, logged.Index, logged.Leaf); err != nil {
		return err
	}
	entry, err := auditlog.Decode(logged.Leaf)
	if err != nil {
		return err
	}
	if v := entry.View; entry.Type != auditlog.TypeView || v == nil || entry.Actor != person || v.Statement != text || v.Signature != signature {
		return errors.New("what the CA shows of it is something else than what was signed")
	}
	if d.Seen == nil {
		return nil
	}
	return d.Seen(ctx, []byte(logged.Checkpoint))
}
