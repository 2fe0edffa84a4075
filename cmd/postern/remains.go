package main

import (
	"context"
	"fmt"

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

// shredded is what is said of a recording that nobody can read any more.
func shredded(id string) error {
	return fmt.Errorf("the recording of %s was destroyed, so nobody can read it; on whose order says: postern verify, and: postern retention list", id)
}
