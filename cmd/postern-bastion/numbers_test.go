package main

import (
	"math/rand/v2"
	"slices"
	"testing"

	"postern/internal/control"
)

// truth is what a CA decided, and how it tells that.
type truth struct {
	r    *rand.Rand
	last uint64
	past map[uint64]bool // no longer in the set
}

func revocationLine(n uint64) control.Event {
	return control.Event{Seq: n, Revocation: &control.Revocation{Seq: n, Kind: "serial", Value: "1"}}
}

// stream is the lines of one stream: what the bastion asked for, then what happens.
func (w *truth) stream(from uint64) (set, rest []control.Event) {
	for n := max(1, from); n <= w.last; n++ {
		if from > 0 || !w.past[n] {
			set = append(set, revocationLine(n))
		}
	}
	set = append(set, control.Event{Seq: w.last, Policy: "sha256:x"})
	for range w.r.IntN(12) {
		switch w.r.IntN(3) {
		case 0:
			w.last++
			rest = append(rest, revocationLine(w.last))
		case 1:
			rest = append(rest, control.Event{Seq: w.last, Pong: 1 + w.r.Uint64N(9)})
		default:
			rest = append(rest, control.Event{Seq: w.last})
		}
	}
	return set, rest
}

// spoil loses, repeats and swaps lines.
func (w *truth) spoil(lines []control.Event) []control.Event {
	lines = slices.Clone(lines)
	for range w.r.IntN(4) {
		if len(lines) < 2 {
			return lines
		}
		i, j := w.r.IntN(len(lines)), w.r.IntN(len(lines))
		switch w.r.IntN(5) {
		case 0:
			lines = slices.Delete(lines, i, i+1)
		case 1:
			lines = slices.Insert(lines, j, lines[i])
		case 2:
			lines[i], lines[j] = lines[j], lines[i]
		case 3: // what was told before is told again, as from a recording of the stream
			lines = append(lines, lines[min(i, j):max(i, j)]...)
		default:
			lines = lines[:i] // it is cut off
		}
	}
	return lines
}

// TestLossIsSeenBeforeItRenews: over streams that lose, repeat and reorder lines, a line that could renew a lease is believed only when all that was
// decided up to its number was told, and nothing is told twice that the bastion did not ask for twice. A set is told whole or cut off: who wrote it
// could leave anything out of it, and that is the CA itself.
func TestLossIsSeenBeforeItRenews(t *testing.T) {
	seeds := uint64(3000)
	believed, seen := 0, 0
	for seed := range seeds {
		w := &truth{r: rand.New(rand.NewPCG(seed, 5)), last: seed % 7, past: map[uint64]bool{}}
		for n := range w.last {
			w.past[n+1] = w.r.IntN(3) == 0
		}
		var n numbers
		told := map[uint64]int{}
		for range 6 {
			from := n.from()
			if from == 0 {
				clear(told)
			}
			set, rest := w.stream(from)
			lines := append(set, w.spoil(rest)...)
			if from > 0 {
				lines = w.spoil(append(set, rest...))
			} else if w.r.IntN(4) == 0 {
				lines = set[:w.r.IntN(len(set))]
			}
			for _, e := range lines {
				if n.take(e) != nil {
					seen++
					break
				}
				if e.Revocation != nil {
					if told[e.Seq]++; told[e.Seq] > 1 {
						t.Fatalf("seed %d: %d was told twice", seed, e.Seq)
					}
					continue
				}
				believed++
				for i := uint64(1); i <= e.Seq; i++ {
					if told[i] == 0 && !w.past[i] {
						t.Fatalf("seed %d: a line of number %d was believed, and %d was never told", seed, e.Seq, i)
					}
				}
			}
		}
		// A stream that nobody spoils continues from there, without a complaint.
		set, rest := w.stream(n.from())
		for _, e := range append(set, rest...) {
			if err := n.take(e); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
	}
	t.Logf("%d schedules: %d lines believed that could renew, %d streams left at a line that was wrong", seeds, believed, seen)
	if believed < 10_000 || seen < 3000 {
		t.Error("too few of them to say anything")
	}
}
