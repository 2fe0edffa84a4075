package verify

import (
	"fmt"
	"testing"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// BenchmarkLeaves says how long a log of many requests takes, each with two approvals, two certificates and a session.
func BenchmarkLeaves(b *testing.B) {
	c := begin(&testing.T{})
	serial := uint64(0)
	for i := range 300 {
		c.grantedFor(func(r *control.Request) { r.ID, r.Nonce = fmt.Sprintf("R-%d", i), fmt.Sprint(i) })
		c.userCertificate("user", nil)
		serial++
		id := fmt.Sprintf("S-%d", i)
		c.sessionCertificate(id, nil)
		c.session(id, func(s *control.Session) { s.Serial = serial })
		for n := range uint64(4) {
			c.progress(control.Progress{Session: id, Frames: n + 1, Head: fmt.Sprintf("%064x", n)})
		}
		c.progress(control.Progress{Session: id, Frames: 9, Head: fmt.Sprintf("%064x", 9), End: "closed", Sealed: true})
	}
	leaves, keys := c.leaves(), c.keys()
	if f := Leaves(leaves, keys).Failures; len(f) > 0 {
		b.Fatal(f[0])
	}
	for b.Loop() {
		Leaves(leaves, keys)
		if _, err := auditlog.NewBook(leaves); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(leaves))*float64(b.N)/b.Elapsed().Seconds(), "leaves/s")
}
