package ca

import (
	"fmt"
	"testing"

	"postern/internal/control"
	"postern/internal/store"
)

// BenchmarkRevocation is how long a revocation takes until it is durable, beside so many grants: of one of them, of ten by their person, of a thousand by
// their host, and, once each, of all.
func BenchmarkRevocation(b *testing.B) {
	for _, grants := range []int{1000, 10_000, 100_000} {
		w := newWorld(b)
		w.crowd(grants)
		for _, what := range []struct {
			name   string
			target func(n int) string
		}{
			{"request", func(n int) string { return fmt.Sprintf("R-X%06d", n) }},
			{"person", func(n int) string { return fmt.Sprintf("person:p%d", 20+n) }},
			{"host", func(n int) string { return fmt.Sprintf("host:h%d", grants/1000-n) }},
			{"all", func(int) string { return "all:" }},
		} {
			b.Run(fmt.Sprintf("%d/%s", grants, what.name), func(b *testing.B) {
				for n := 1; b.Loop(); n++ {
					b.StopTimer()
					target := what.target(n)
					text, err := w.CutStatement(w.who("olga"), Cut{Target: target, Because: "because"})
					if err != nil {
						b.Fatal(err)
					}
					signature := w.seal("olga", control.Namespace, text)
					b.StartTimer()
					if _, err := w.Revoke(w.who("olga"), Cut{Target: target, Because: "because"}, signature); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		w.db.Close()
	}
}

// crowd has so many grants alive: ten of each person, a thousand on each host. They are rows like those of a grant that bob approved, and not in the log.
func (w *world) crowd(n int) {
	w.t.Helper()
	first, _ := w.granted("alice", "root@phi1", "bob")
	for made := 0; made < n; made += 50 {
		err := w.db.Update(func(tx *store.Tx) error {
			like, err := load(tx, first.ID)
			for i := made; i < min(made+50, n) && err == nil; i++ {
				r := like
				r.ID, r.Person, r.Targets = fmt.Sprintf("R-X%06d", i), fmt.Sprintf("p%d", i/10), []string{fmt.Sprintf("root@h%d", i/1000)}
				err = r.save(tx)
			}
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}
