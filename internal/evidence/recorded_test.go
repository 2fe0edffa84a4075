package evidence

import (
	"bytes"
	"context"
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"postern/internal/verify"
	"postern/recorder"
)

// A recording must pass through every head that was logged while it grew, not only the last.
func TestEveryHead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealed := w.exported(w.sessions[0])
	r, err := w.check(w.bundle(w.whole(w.sessions[0], false)))
	if err != nil {
		t.Fatal(err)
	}
	s := r.Log.Sessions[0]
	if len(s.Heads) < 1 {
		t.Fatal("no head was logged")
	}
	// The heads in the middle, as a bastion tells them every few seconds.
	exported := must(recorder.OpenExported(bytes.NewReader(sealed), int64(len(sealed))))(t)
	archive := must(recorder.OpenArchive(context.Background(), exported, w.private, w.bastion.Public()))(t)
	for _, p := range archive.Parts()[:1] {
		s.Heads = slices.Insert(s.Heads, 0, verify.Head{Frames: p.First + uint64(p.Frames)})
	}
	for i := range s.Heads {
		for _, key := range []*recorder.PrivateKey{nil, &w.private} {
			for what, spoil := range map[string]func(*verify.Head){
				"chain":   func(h *verify.Head) { h.Chain = flipped(h.Chain) },
				"sealed":  func(h *verify.Head) { h.SealedChain = flipped(h.SealedChain) },
				"no head": func(h *verify.Head) { h.Chain = "xyz" },
				"longer":  func(h *verify.Head) { h.Segments += 1000; h.SealedChain = flipped(h.SealedChain) },
			} {
				forged := s
				forged.Heads = slices.Clone(s.Heads)
				h := &forged.Heads[i]
				if what == "sealed" && h.Segments == 0 {
					continue
				}
				spoil(h)
				if _, err := verify.Recording(bytes.NewReader(sealed), forged, key); err == nil {
					t.Errorf("head %d of %d, %s, read %v: not found", i, len(s.Heads), what, key != nil)
				}
				if _, err := verify.Outline(context.Background(), exported, forged); err == nil {
					t.Errorf("head %d of %d, %s, of the outline: not found", i, len(s.Heads), what)
				}
			}
		}
	}
	if _, err := verify.Recording(bytes.NewReader(sealed), s, &w.private); err != nil {
		t.Error(err)
	}
}

func flipped(head string) string {
	b, err := hex.DecodeString(head)
	if err != nil || len(b) == 0 {
		return strings.Repeat("ab", 32)
	}
	b[5] ^= 1
	return hex.EncodeToString(b)
}
