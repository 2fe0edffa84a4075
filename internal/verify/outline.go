package verify

import (
	"context"

	"postern/recorder"
)

// Outline checks the outline of a recording against what was logged of its session, for who has no key. What it returns is what the
// bodies of segments are held against.
func Outline(ctx context.Context, src recorder.Source, s Session) (*recorder.Outlined, error) {
	bastion, err := cryptoKey(s.BastionKey)
	if err != nil {
		return nil, err
	}
	o, err := recorder.ReadOutline(ctx, src, bastion)
	if err != nil {
		return nil, err
	}
	for _, h := range s.Heads {
		if err := h.expect(o.Expect, o.ExpectSealed); err != nil {
			return nil, err
		}
	}
	if err := fate(o.Summary, s); err != nil {
		return nil, err
	}
	return o, compare(o.Summary, s)
}

// OpenOutline is [Outline] for who has the key: the segments can be read.
func OpenOutline(ctx context.Context, src recorder.Source, s Session, key recorder.PrivateKey) (*recorder.Archive, error) {
	bastion, err := cryptoKey(s.BastionKey)
	if err != nil {
		return nil, err
	}
	a, err := recorder.OpenArchive(ctx, src, key, bastion)
	if err != nil {
		return nil, err
	}
	return a, Archive(a, s)
}

// Head is what one leaf said of a recording.
type Head struct {
	Leaf               int64
	Frames, Segments   uint64
	Chain, SealedChain string // hex; empty: not said
}

// expect hands the heads to those who compare them.
func (h Head) expect(frames, segments func(uint64, [32]byte) error) error {
	if h.Chain != "" {
		head, err := parseHead(h.Chain)
		if err == nil {
			err = frames(h.Frames, head)
		}
		if err != nil {
			return err
		}
	}
	if h.SealedChain == "" {
		return nil
	}
	head, err := parseHead(h.SealedChain)
	if err != nil {
		return err
	}
	return segments(h.Segments, head)
}
