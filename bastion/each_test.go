package bastion

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestEach: half of the work is stuck until it is given up, and holds up nothing of the other half.
func TestEach(t *testing.T) { synctest.Test(t, testEach) }

func testEach(t *testing.T) {
	var list []step
	var rest, early atomic.Int64
	for i := range 400 {
		if i%2 == 1 {
			list = append(list, step{func() { rest.Add(1) }, func() {}})
			continue
		}
		stuck := make(chan struct{})
		list = append(list, step{func() { <-stuck }, func() {
			if rest.Load() < 200 {
				early.Add(1)
			}
			close(stuck)
		}})
	}
	outcome := each(list, 200*time.Millisecond)
	for i, d := range outcome {
		if d.late != (i%2 == 0) || d.at.IsZero() {
			t.Fatalf("piece %d: %+v", i, d)
		}
	}
	if rest.Load() != 200 || early.Load() > 0 {
		t.Errorf("%d of 200 were done; %d were given up before", rest.Load(), early.Load())
	}
	if each(nil, time.Second) != nil {
		t.Error("something came of nothing")
	}
}
