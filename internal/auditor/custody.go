package auditor

import (
	"context"

	"postern/recorder"
)

// Source gives the sealed parts of a recording, for which nobody needs a key.
func (a *Access) Source(ctx context.Context, id string) (recorder.Source, error) {
	s, err := a.Session(id)
	if err != nil {
		return nil, err
	}
	return a.remote(ctx, s)
}
