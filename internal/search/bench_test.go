package search

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"postern/recorder"
)

var megabytes = flag.Int("megabytes", 64, "how much BenchmarkSearch records, before compression; 1000 for figures")

// sessions records some of a kind, with one word in the last.
func (b *bastion) sessions(t testing.TB, kind string, many, percent int) (list []Session) {
	each := *megabytes * 1e4 * percent / many
	for i := range many {
		id, r := fmt.Sprintf("S-%s%d", kind, i), rand.New(rand.NewPCG(1, uint64(i)))
		b.record(t, id, func(add func(recorder.Frame)) {
			add(opened(0))
			size := 16 << 10
			switch kind {
			case "noise":
				add(exec(0, "cat image"))
			case "editor":
				size = 1 << 10
				fallthrough
			default:
				add(pty(0))
			}
			at := time.Second
			for n := 0; n < each; n += size {
				at += 20 * time.Millisecond
				add(output(0, at, string(sample(kind, r, size))))
			}
			add(output(0, at+time.Second, "\r\n the axolotl \r\n"))
		})
		list = append(list, Session{ID: id, Open: func(context.Context) (*recorder.Archive, error) { return b.open(t, id), nil }})
	}
	return list
}

// BenchmarkSearch is a search for a word that is in each session once.
func BenchmarkSearch(b *testing.B) {
	keep := newBastion(b)
	kinds := map[string][]Session{}
	var mix []Session
	for kind, percent := range map[string]int{"log": 60, "editor": 20, "noise": 20} {
		kinds[kind] = keep.sessions(b, kind, 4, percent)
		mix = append(mix, kinds[kind]...)
	}
	for _, test := range []struct {
		name, pattern string
		sessions      []Session
		thorough      bool
	}{
		{"mix/index", "axolotl", mix, false},
		{"mix/thorough", "axolotl", mix, true},
		{"log/index", "axolotl", kinds["log"], false},
		{"log/thorough", "axolotl", kinds["log"], true},
		{"log/pattern", `ax[a-z]lotl\s`, kinds["log"], false},
		{"log/no literal", `[a-f]\d{3}[xyz]{4}`, kinds["log"][:1], false},
		{"drawn", "axolotl", kinds["editor"], false},
		{"noise/index", "axolotl", kinds["noise"], false},
		{"noise/thorough", "axolotl", kinds["noise"], true},
	} {
		b.Run(test.name, func(b *testing.B) {
			p, err := Compile(test.pattern, false)
			if err != nil {
				b.Fatal(err)
			}
			q := &Query{Pattern: p, In: []string{Output}, Thorough: test.thorough}
			begin, hits := cpu(), 0
			var last Progress
			for b.Loop() {
				hits = 0
				err := q.Sessions(context.Background(), test.sessions, Teller{
					Hit:      func(Hit) error { hits++; return nil },
					Done:     func(_ string, err error) error { return err },
					Progress: func(p Progress) { last = p },
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			size := float64(last.Bytes) * float64(b.N)
			b.SetBytes(int64(last.Bytes))
			b.ReportMetric(b.Elapsed().Seconds()*1e9/size, "s/GB")
			b.ReportMetric((cpu()-begin).Seconds()*1e9/size, "cpu-s/GB")
			b.ReportMetric(float64(hits), "hits")
		})
	}
}

func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
