package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"postern/recorder"
)

const framesTime = 2 * time.Second

// frames writes keystroke-sized frames into the journal, each writer waiting for its own to be durable before the next.
func frames(r *rig, o options) error {
	fmt.Printf("\ndurable frames of 16 bytes (%s each)\n", framesTime)
	for _, writers := range []int{1, 10, 100, 1000} {
		count, delays, err := writeFrames(filepath.Join(r.dir, fmt.Sprintf("frames-%d", writers)), writers)
		if err != nil {
			return err
		}
		fmt.Printf("  %4d sessions  %8.0f frames/s   p50 %6.2f ms   p99 %6.2f ms\n", writers, float64(count)/framesTime.Seconds(),
			milliseconds(quantile(delays, 50)), milliseconds(quantile(delays, 99)))
	}
	return nil
}

func writeFrames(dir string, writers int) (int, []time.Duration, error) {
	_, identity, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return 0, nil, err
	}
	store, err := recorder.OpenStore(recorder.Config{Dir: dir, Signer: identity, LowSpace: -1})
	if err != nil {
		return 0, nil, err
	}
	_, public := recorder.NewKey()
	delays, errs := make([][]time.Duration, writers), make([]error, writers)
	var all []*recorder.Writer
	for i := range writers {
		w, err := store.Create(recorder.Header{Session: fmt.Sprintf("S-%010d", i)}, public)
		if err != nil {
			return 0, nil, errors.Join(err, store.Close())
		}
		all = append(all, w)
	}
	var wg sync.WaitGroup
	end := time.Now().Add(framesTime)
	for i, w := range all {
		wg.Go(func() {
			delays[i], errs[i] = typeInto(w, end)
		})
	}
	wg.Wait()
	for i, w := range all {
		errs[i] = errors.Join(errs[i], w.Close("measured"))
	}
	var together []time.Duration
	for _, d := range delays {
		together = append(together, d...)
	}
	return len(together), together, errors.Join(append(errs, store.Close())...)
}

func typeInto(w *recorder.Writer, end time.Time) ([]time.Duration, error) {
	var delays []time.Duration
	data := []byte("sixteen bytes it")
	for time.Now().Before(end) {
		began := time.Now()
		commit, err := w.Append(recorder.Frame{Type: recorder.TypeData, Stream: recorder.Stdout, Data: data})
		if err == nil {
			err = commit.Wait(context.Background())
		}
		if err != nil {
			return delays, err
		}
		delays = append(delays, time.Since(began))
	}
	return delays, nil
}
