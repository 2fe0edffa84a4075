package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// open measures a whole "ssh host true".
func open(r *rig, o options) error {
	taken := map[string][]time.Duration{}
	rounds := 5 * o.rounds
	for range rounds {
		for _, p := range r.paths() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
			began := time.Now()
			err := r.ssh(ctx, p, "true").Run()
			cancel()
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			taken[p.name] = append(taken[p.name], time.Since(began))
		}
	}
	printTable(fmt.Sprintf("ssh host true (median of %d)", rounds), r.paths(), taken, func(d time.Duration) string {
		return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000)
	})
	return nil
}

const strokes = 1000

// keystrokes types into a terminal on every path, one key at a time, and waits for each echo.
func keystrokes(r *rig, o options) error {
	taken := map[string][]time.Duration{}
	var typists []*typist
	for _, p := range r.paths() {
		t, err := newTypist(r, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		defer t.close()
		typists = append(typists, t)
	}
	for range strokes {
		for _, t := range typists {
			d, err := t.stroke()
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			taken[t.name] = append(taken[t.name], d)
			time.Sleep(time.Millisecond) // as if between keys: nothing else is under way
		}
	}
	fmt.Printf("\necho of a keystroke (%d each)\n", strokes)
	for _, p := range r.paths() {
		all := taken[p.name]
		added := quantile(all, 50) - quantile(taken["ssh -J sshd"], 50)
		fmt.Printf("  %-14s p50 %6d µs   p99 %6d µs   p50 against ssh -J %+d µs\n", p.name, quantile(all, 50).Microseconds(), quantile(all, 99).Microseconds(), added.Microseconds())
	}
	return nil
}

// typist is an open terminal whose far end echoes.
type typist struct {
	name   string
	in     io.WriteCloser
	out    io.Reader
	cancel context.CancelFunc
	done   func() error
}

func newTypist(r *rig, p path) (*typist, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cmd := r.ssh(ctx, path{p.name, append([]string{"-tt", "-e", "none"}, p.options...), p.host}, "stty raw -echo; echo ready; exec cat")
	cmd.Stderr = nil
	in, err := cmd.StdinPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return nil, err
	}
	t := &typist{name: p.name, in: in, out: out, cancel: cancel, done: cmd.Wait}
	ready := make([]byte, len("ready\n"))
	if _, err := io.ReadFull(out, ready); err != nil || string(ready) != "ready\n" {
		t.close()
		return nil, fmt.Errorf("the terminal answered %q (%v)", ready, err)
	}
	return t, nil
}

func (t *typist) stroke() (time.Duration, error) {
	b := []byte{'k'}
	began := time.Now()
	if _, err := t.in.Write(b); err != nil {
		return 0, err
	}
	if _, err := io.ReadFull(t.out, b); err != nil {
		return 0, err
	}
	if b[0] != 'k' {
		return 0, errors.New("another byte came back")
	}
	return time.Since(began), nil
}

func (t *typist) close() {
	t.cancel()
	t.done()
}
