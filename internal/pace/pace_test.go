package pace

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestABurstPassesAndTheRestIsSlowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(200, 2000)
		began := time.Now()
		took := func(n int) time.Duration {
			for range n {
				if err := p.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(began).Round(time.Millisecond)
		}
		if d := took(2000); d != 0 {
			t.Errorf("a burst takes %s", d)
		}
		if d := took(200); d != time.Second {
			t.Errorf("200 more take %s", d)
		}
		if p.Full() {
			t.Error("an empty bucket is full")
		}
		time.Sleep(time.Hour)
		if !p.Full() {
			t.Error("after an hour it is not full")
		}
		began = time.Now()
		if d := took(2001); d != 5*time.Millisecond {
			t.Errorf("an hour later 2001 take %s: the burst is all that is saved up", d)
		}
	})
}

func TestManyAtOnceShareOneRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(100, 10)
		began := time.Now()
		var group sync.WaitGroup
		for range 110 {
			group.Go(func() { _ = p.Wait(t.Context()) })
		}
		group.Wait()
		if d := time.Since(began).Round(time.Millisecond); d != time.Second {
			t.Errorf("took %s", d)
		}
	})
}

func TestWhatIsCountedIsPaidLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := New(100, 10)
		for range 60 {
			p.Count()
		}
		began := time.Now()
		if err := p.Settle(t.Context()); err != nil || time.Since(began).Round(time.Millisecond) != 500*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(began))
		}
		_ = p.Settle(t.Context())
		if d := time.Since(began).Round(time.Millisecond); d != 500*time.Millisecond {
			t.Errorf("it was paid twice: %s", d)
		}
	})
}

func TestWaitingEnds(t *testing.T) {
	p := New(1, 1)
	ctx, cancel := context.WithCancelCause(t.Context())
	_ = p.Wait(ctx)
	time.AfterFunc(time.Millisecond, func() { cancel(nil) })
	if err := p.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := New(1, 1).Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a full bucket lets what has ended pass: %v", err)
	}
}

func TestNone(t *testing.T) {
	var p *Pace
	for range 1000 {
		if err := p.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
