package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"postern/ca/auditlog"
	"postern/internal/control"
)

// fed is a feed that prints into a buffer, and the tree of an honest log beside it.
type fed struct {
	feed
	out    bytes.Buffer
	honest auditlog.Range
}

func newFeed(t *testing.T) *fed {
	f := &fed{feed: feed{path: filepath.Join(t.TempDir(), "state"), state: feedState{Log: "postern-ca+1+key"}}}
	f.printer = &leafPrinter{wanted: wanted{to: math.MaxInt64, format: "jsonl"}, out: &f.out, mapper: &f.state.Mapper}
	return f
}

func entry(i int64) control.Leaf {
	return control.Leaf{Index: i, Data: fmt.Appendf(nil, `{"type":"state","at":"2026-11-22T09:00:00Z","actor":"ca","state":{"request":"R-%d","state":"approved"}}`, i)}
}

// grow logs n leaves and hands them to the feed.
func (f *fed) grow(t *testing.T, n int) {
	t.Helper()
	for range n {
		leaf := entry(f.honest.N)
		f.honest.Add(leaf.Data)
		if err := f.take(leaf); err != nil {
			t.Fatal(err)
		}
	}
}

// What the CA sends and what it signs for are one log, or the feed ends.
func TestFeedIsNotFooled(t *testing.T) {
	for name, attack := range map[string]func(f *fed) error{
		"another leaf": func(f *fed) error {
			f.honest.Add(entry(8).Data)
			if err := f.take(entry(8)); err != nil {
				return err
			}
			f.honest.Add([]byte(`{"type":"state"}`)) // what everybody else is given
			if err := f.take(entry(9)); err != nil {
				return err
			}
			return f.compare(f.honest.Tree())
		},
		"another leaf, found later": func(f *fed) error {
			f.honest.Add([]byte(`{"type":"state"}`))
			if err := f.compare(f.honest.Tree()); err != nil {
				return errors.New("too early")
			}
			return f.take(entry(8))
		},
		"fewer leaves": func(f *fed) error {
			var shorter auditlog.Range
			for i := range int64(5) {
				shorter.Add(entry(i).Data)
			}
			return f.compare(shorter.Tree())
		},
		"another log than this machine saw": func(f *fed) error {
			f.older = f.honest.Tree()
			f.older.N++
			return f.take(entry(8))
		},
	} {
		f := newFeed(t)
		f.grow(t, 8)
		if err := f.compare(f.honest.Tree()); err != nil {
			t.Fatalf("an honest log: %v", err)
		}
		if err := attack(f); !isFork(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, leaf := range map[string]control.Leaf{"a gap": entry(9), "a leaf again": entry(7)} {
		f := newFeed(t)
		f.grow(t, 8)
		if err := f.take(leaf); err == nil || strings.Count(f.out.String(), "\n") != 8 {
			t.Errorf("%s is printed: %v", name, err)
		}
	}
	f := newFeed(t)
	f.grow(t, 8)
	f.honest.Add(entry(8).Data)
	if err := errors.Join(f.compare(f.honest.Tree()), f.late(time.Now())); err != nil {
		t.Fatalf("leaves that are on their way: %v", err)
	}
	if err := f.late(time.Now().Add(overdue + time.Second)); !errors.Is(err, errWithheld) {
		t.Errorf("leaves that are withheld: %v", err)
	}
}

// What was printed is known after a restart, and nothing of it is printed again.
func TestFeedGoesOn(t *testing.T) {
	f := newFeed(t)
	f.grow(t, 11)
	if err := f.save(); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(f.path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
	g := newFeed(t)
	g.path, g.honest = f.path, f.honest
	if err := g.load(); err != nil {
		t.Fatal(err)
	}
	g.grow(t, 5)
	if err := g.compare(g.honest.Tree()); err != nil {
		t.Error(err)
	}
	if first := `{"index":11,`; !strings.HasPrefix(g.out.String(), first) || strings.Count(g.out.String(), "\n") != 5 {
		t.Errorf("it went on with %s", g.out.String())
	}
	for name, text := range map[string]string{"nothing": "", "half of it": `{"log":"postern-ca+1+key","range":{"n":3,"roots":["`, "another size": `{"log":"postern-ca+1+key","range":{"n":3,"roots":[]}}`, "another log": `{"log":"x","range":{"n":0,"roots":null}}`} {
		if err := os.WriteFile(g.path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := g.load(); err == nil {
			t.Errorf("a state of %s is taken", name)
		}
	}
}

// A leaf that is no entry is shown, on one line, and a reader of lines is not fooled by what is in it.
func TestUnreadableLeaves(t *testing.T) {
	for _, format := range []string{"jsonl", "ocsf", "text"} {
		f := newFeed(t)
		f.printer.format = format
		for i, data := range []string{"", "{", "null", "\"a\nb\"", `{"type":"x","at":"2026-11-22T09:00:00Z","actor":"a\n\u202e"}`, "\xff", `{"type":"state","state":"no"}`} {
			if err := f.take(control.Leaf{Index: int64(i), Data: []byte(data)}); err != nil {
				t.Errorf("%s: %q: %v", format, data, err)
			}
		}
		if n := strings.Count(f.out.String(), "\n"); n != 7 || visible(f.out.String()) != f.out.String() {
			t.Errorf("%s: %d lines: %q", format, n, f.out.String())
		}
	}
}
