//go:build !race

package door

import (
	"io"
	"strings"
	"testing"

	"postern/internal/rawssh"
)

// TestNewKeysAtOnceAndInVain makes golang.org/x/crypto 0.58 panic in most cases: with its first keys it copies what was agreed, and the
// client's next offer, with which it has nothing in common, takes that away. The race detector would see the same, so this is not for it.
func TestNewKeysAtOnceAndInVain(t *testing.T) {
	addr, log := open(t, &Door{})
	key := newSigner(t)
	elsewhere := newQuiet(t, key)
	honest(t, addr, key)
	base := measure()
	nothing := append([]byte{20}, make([]byte, 16+10*4+5)...)
	for range 300 {
		c, err := from("127.0.0.2", addr)
		if err != nil {
			t.Fatal(err)
		}
		raw := rawssh.New(c)
		for _, step := range []func() error{raw.Hello, raw.Exchange} {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		_ = raw.Send(nothing)
		_, _ = io.Copy(io.Discard, c)
		c.Close()
	}
	took := honest(t, addr, key)
	if most, ok := elsewhere.hardlyFelt(t, took); !ok {
		t.Errorf("an honest login takes %s, and may take %s", took, most)
	}
	if n := strings.Count(log.String(), "stack="); n > 5 || strings.Contains(log.String(), "internal error") {
		t.Errorf("a stranger writes %d stacks into the log", n)
	}
	base.returned(t)
}
