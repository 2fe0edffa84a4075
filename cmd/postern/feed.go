package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/ca/auditlog"
	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/ocsf"
)

const (
	// checkEvery is how often what came is held against a checkpoint, and checkAfter after how many leaves at the latest.
	checkEvery = 10 * time.Second
	checkAfter = 1000
	// overdue is how long a CA that signed for leaves, or that was asked for a checkpoint, may keep us waiting.
	overdue = 30 * time.Second
	// mostMissed is how many connections in a row may end with leaves missing that were signed for, before it is no longer the network's fault.
	mostMissed = 3
	// firstPause and longestPause are between attempts to reach the CA again.
	firstPause   = 200 * time.Millisecond
	longestPause = 15 * time.Second
	// saveAfter is how many leaves are printed at most before the state is saved.
	saveAfter = 256
)

// feed is a stream of the log that goes on where it was: its state is all that must survive. Nothing of what the CA says is believed but
// that all of it is one log: each leaf is hashed, and the hashes are held against the checkpoints that the CA signs for everybody.
type feed struct {
	settings settings
	path     string // of the state; empty: it is not kept
	state    feedState
	printer  *leafPrinter
	older    auditlog.TreeHead // what this machine saw before

	unsaved int
	checked int64     // size at the last comparison
	asked   time.Time // when a checkpoint was asked for that did not come yet
	pending *auditlog.TreeHead
	waiting time.Time // since when leaves of pending are missing
	missed  int       // times in a row that they did not come
}

// feedState is what --state keeps.
type feedState struct {
	Log    string         `json:"log"` // verifier key
	Range  auditlog.Range `json:"range"`
	Mapper ocsf.Mapper    `json:"mapper"`
}

func followLog(c *cli.Context, s settings, w wanted) error {
	keys, err := trusted(s.Trust)
	if err != nil {
		return err
	}
	f := &feed{settings: s, path: c.String("state"), state: feedState{Log: keys.Log}}
	if err := errors.Join(f.writable(), f.load()); err != nil {
		return err
	}
	m, err := openMemory(s.Home, keys.Log)
	if err != nil {
		return err
	}
	_, f.older, err = m.last()
	m.close()
	if err != nil {
		return err
	}
	f.state.Mapper.Product = command.Version()
	f.printer = &leafPrinter{wanted: w, out: os.Stdout, mapper: &f.state.Mapper}
	return errors.Join(f.run(c.Context), f.save())
}

func (f *feed) load() error {
	if f.path == "" {
		return nil
	}
	b, err := os.ReadFile(f.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var kept feedState
	if err = json.Unmarshal(b, &kept); err == nil {
		err = kept.Range.Check()
	}
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w; remove it to begin with the first leaf again", f.path, err)
	case strings.TrimSpace(kept.Log) != strings.TrimSpace(f.state.Log):
		return fmt.Errorf("%s is how far another log was followed, that of %s", f.path, kept.Log)
	}
	f.state = kept
	return nil
}

// writable finds out before anything is printed: a feed that cannot keep how far it came would print the same again at each start.
func (f *feed) writable() error {
	if f.path == "" {
		return nil
	}
	probe, err := os.CreateTemp(filepath.Dir(f.path), ".new-*")
	if err != nil {
		return fmt.Errorf("--state %s cannot be kept: %w", f.path, errors.Unwrap(err))
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

func (f *feed) save() error {
	if f.path == "" || f.unsaved == 0 {
		return nil
	}
	b, err := json.Marshal(f.state)
	if err != nil {
		return err
	}
	f.unsaved = 0
	return writeFile(f.path, b)
}

// run follows until ctx ends, through lost connections and restarts of the CA.
func (f *feed) run(ctx context.Context) error {
	pause := firstPause
	for {
		before := f.state.Range.N
		err := f.connected(ctx)
		var refused *control.Refused
		switch {
		case ctx.Err() != nil:
			return nil
		case isFork(err), errors.As(err, &refused) && refused.Status < 3, errors.Is(err, errOutput):
			return err
		}
		if f.state.Range.N > before {
			pause, f.missed = firstPause, 0
		}
		if errors.Is(err, errWithheld) {
			if f.missed++; f.missed == mostMissed {
				return err
			}
		}
		fmt.Fprintln(os.Stderr, word(fmt.Sprintf("postern: %v; trying again at leaf %d in %s", err, f.state.Range.N, pause)))
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause + rand.N(pause/4)):
		}
		pause = min(2*pause, longestPause)
	}
}

// errOutput is that nobody takes what is printed, errWithheld that the CA has signed for more than it sends.
var (
	errOutput   = errors.New("standard output")
	errWithheld = errors.New("the CA withholds leaves")
)

func isFork(err error) bool {
	return errors.Is(err, auditlog.ErrForked) || errors.Is(err, auditlog.ErrShrank)
}

// connected follows over one connection.
func (f *feed) connected(ctx context.Context) error {
	ca, err := f.settings.connect(ctx)
	if err != nil {
		return err
	}
	defer ca.close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := ca.Stream(ctx, "log", "--follow", "--from", strconv.FormatInt(f.state.Range.N, 10))
	if err != nil {
		return err
	}
	leaves, ended := make(chan control.Leaf, 64), make(chan error, 1)
	go func() { ended <- receive(ctx, stream, leaves) }()
	f.asked, f.pending = time.Time{}, nil
	trees, failed := make(chan auditlog.TreeHead, 1), make(chan error, 1)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	ask := func() {
		f.asked, f.checked = time.Now(), f.state.Range.N
		go f.checkpoint(ctx, ca, trees, failed)
	}
	ask()
	due := time.Now().Add(checkEvery)
	for {
		in := leaves
		if !f.asked.IsZero() {
			in = nil // so that the checkpoint is of what we have, or of more
		}
		select {
		case leaf := <-in:
			err = f.take(leaf)
		case tree := <-trees:
			f.asked = time.Time{}
			err = f.compare(tree)
		case err = <-failed:
		case err = <-ended:
			err = f.rest(leaves, err)
		case now := <-tick.C:
			err = f.late(now)
		}
		if err == nil && len(leaves) == 0 || f.unsaved >= saveAfter {
			err = errors.Join(err, f.save())
		}
		if err != nil {
			return err
		}
		if f.asked.IsZero() && f.pending == nil && (time.Now().After(due) || f.state.Range.N-f.checked >= checkAfter) {
			ask()
			due = time.Now().Add(checkEvery)
		}
	}
}

// receive hands on the leaves of a stream until it ends, which is always an error.
func receive(ctx context.Context, stream *control.Stream, leaves chan<- control.Leaf) error {
	for {
		var leaf control.Leaf
		if err := stream.Next(&leaf); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("the CA ended the stream")
			}
			return err
		}
		select {
		case leaves <- leaf:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rest takes what came before the stream ended.
func (f *feed) rest(leaves <-chan control.Leaf, ended error) error {
	for {
		select {
		case leaf := <-leaves:
			if err := f.take(leaf); err != nil {
				return err
			}
		default:
			return ended
		}
	}
}

func (f *feed) checkpoint(ctx context.Context, ca *client, trees chan<- auditlog.TreeHead, failed chan<- error) {
	signed, err := ca.Run(ctx, nil, "checkpoint")
	var tree auditlog.TreeHead
	if err == nil {
		tree, err = auditlog.OpenCheckpoint(signed, f.state.Log)
	}
	if err != nil {
		failed <- err
		return
	}
	trees <- tree
}

// take prints a leaf. One that is not the next ends the connection, so each is printed once and in order.
func (f *feed) take(leaf control.Leaf) error {
	grown := &f.state.Range
	if leaf.Index != grown.N {
		return fmt.Errorf("the CA sent leaf %d where leaf %d belongs", leaf.Index, grown.N)
	}
	if err := f.printer.print(leaf); err != nil {
		return fmt.Errorf("%w: %w", errOutput, err)
	}
	grown.Add(leaf.Data)
	f.unsaved++
	if grown.N == f.older.N {
		if err := grown.Same(f.older); err != nil {
			return fmt.Errorf("%w, which this machine saw before", err)
		}
	}
	f.waiting = time.Now()
	if f.pending != nil && f.pending.N == grown.N {
		tree := *f.pending
		f.pending = nil
		return grown.Same(tree)
	}
	return nil
}

// compare holds what came against a checkpoint, which was signed after all of it was sent. If it is of a larger size, what is missing comes
// first.
func (f *feed) compare(tree auditlog.TreeHead) error {
	switch n := f.state.Range.N; {
	case tree.N < n:
		return fmt.Errorf("%w: the CA sent %d leaves and signs for %d", auditlog.ErrShrank, n, tree.N)
	case tree.N == n:
		return f.state.Range.Same(tree)
	}
	f.pending, f.waiting = &tree, time.Now()
	return nil
}

// late says what should have come by now.
func (f *feed) late(now time.Time) error {
	switch {
	case !f.asked.IsZero() && now.Sub(f.asked) > overdue:
		return errors.New("the CA does not answer")
	case f.pending != nil && now.Sub(f.waiting) > overdue:
		return fmt.Errorf("%w: it signed for %d leaves and sent %d", errWithheld, f.pending.N, f.state.Range.N)
	}
	return nil
}
