package verify

import "postern/recorder"

// Archive holds what the outline of a recording proves against what was logged of its session. The segments are held against the outline
// as they are read, so this is all there is to check before reading any.
func Archive(a *recorder.Archive, s Session) error {
	if s.SealedHead != "" {
		head, err := parseHead(s.SealedHead)
		if err != nil {
			return err
		}
		if err := a.ExpectSealed(s.Segments, head); err != nil {
			return err
		}
	}
	return compare(a.Summary(), s)
}
