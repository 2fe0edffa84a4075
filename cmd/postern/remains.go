package main

import (
	"context"

	"postern/internal/auditor"
	"postern/internal/verify"
)

// remains checks what is left of a recording that was destroyed, and says by whose order it was.
func (p *proof) remains(ctx context.Context, access *auditor.Access, s verify.Session) error {
	source, err := access.Source(ctx, s.ID)
	if err == nil {
		err = verify.Remains(ctx, source, s)
	}
	if err == nil {
		p.Destroyed++
		p.Notes = append(p.Notes, verify.Failure{Leaf: s.Destroyed.Leaf, Text: "the recording of " + s.ID + " was " + s.Destroyed.String()})
	}
	return err
}
