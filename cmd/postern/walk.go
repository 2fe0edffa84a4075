package main

import (
	"context"
	"errors"
	"io"
	"strconv"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/verify"
)

// walked is a log that was proven.
type walked struct {
	report     verify.Report
	tree       auditlog.TreeHead
	before     int64 // leaves of the log when this machine last looked
	checkpoint []byte
	keys       verify.Keys
	memory     string // file with the checkpoint that is remembered
}

// walkLog fetches the log and checks all of it leaf by leaf, so that its size does not matter, tells each of them, and remembers the checkpoint for
// the next time. All leaves are fetched each time: the tree would not show that the CA has lost what this machine kept.
func (c *client) walkLog(ctx context.Context, tell func(index int64, e auditlog.Entry, leaf []byte)) (walked, error) {
	var w walked
	var err error
	if w.keys, err = trusted(c.settings.Trust); err != nil {
		return w, err
	}
	m, err := openMemory(c.settings.Home, w.keys.Log)
	if err != nil {
		return w, err
	}
	defer m.close()
	remembered, older, err := m.last()
	if err != nil {
		return w, err
	}
	if w.checkpoint, err = c.Run(ctx, nil, "checkpoint"); err != nil {
		return w, err
	}
	if w.tree, err = auditlog.OpenCheckpoint(w.checkpoint, w.keys.Log); err != nil {
		return w, err
	}
	if w.tree.N == 0 {
		return w, errors.New("the log is empty")
	}
	checker := verify.NewChecker(w.keys)
	err = c.eachLeaf(ctx, w.tree, older, func(i int64, leaf []byte) { tell(i, checker.Add(leaf), leaf) })
	if err != nil {
		return w, m.conflict(err, remembered, w.checkpoint)
	}
	w.report, w.before, w.memory = checker.Report(), older.N, m.path()
	return w, m.keep(w.checkpoint)
}

// eachLeaf streams the leaves of a tree, of which an older one is the beginning, and ends with an error if they are not.
func (c *client) eachLeaf(ctx context.Context, tree, older auditlog.TreeHead, each func(int64, []byte)) error {
	walk, err := auditlog.NewWalk(tree, older) // leaves would tell no more of two trees that do not fit
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.Stream(ctx, "log", "--to", strconv.FormatInt(tree.N, 10))
	if err != nil {
		return err
	}
	defer stream.Close()
	for {
		var leaf control.Leaf
		err := stream.Next(&leaf)
		if errors.Is(err, io.EOF) {
			return walk.End()
		}
		if err != nil {
			return err
		}
		if err := walk.Add(leaf.Index, leaf.Data); err != nil {
			return err
		}
		each(leaf.Index, leaf.Data)
	}
}
