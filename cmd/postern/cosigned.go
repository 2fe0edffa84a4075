package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/ca/auditlog"
	"postern/internal/control"
	"postern/internal/verify"
)

var (
	witnessFlag   = &cli.StringSliceFlag{Name: "witness", Usage: "demand the cosignature of this witness: `VKEY`, as postern witness vkey prints it; may be repeated"}
	withinFlag    = &cli.DurationFlag{Name: "witnessed-within", Value: unwitnessed, Usage: "how long the newest leaves may wait for cosignatures: `TIME`"}
	witnessesFlag = &cli.IntFlag{Name: "witnesses", DefaultText: "all of them", Usage: "how many of the witnesses must have cosigned: `N`"}
)

// unwitnessed is how long the newest leaves may wait for the witnesses, if one does not say otherwise: a log that shows somebody a branch of its own has nobody to
// cosign it.
const unwitnessed = 24 * time.Hour

// demand is how many of which witnesses must have cosigned.
type demand struct {
	witnesses []*auditlog.Witness
	need      int
	within    time.Duration
}

func demanded(c *cli.Context) (demand, error) {
	d := demand{within: c.Duration(withinFlag.Name)}
	for _, vkey := range c.StringSlice("witness") {
		w, err := auditlog.ParseWitness(vkey)
		if err != nil {
			return d, err
		}
		if slices.ContainsFunc(d.witnesses, func(o *auditlog.Witness) bool { return o.VerifierKey() == w.VerifierKey() || o.Name() == w.Name() }) {
			return d, fmt.Errorf("witness %s is named twice", w.Name())
		}
		d.witnesses = append(d.witnesses, w)
	}
	d.need = len(d.witnesses)
	if c.IsSet("witnesses") {
		d.need = c.Int("witnesses")
	}
	if d.need < 0 || d.need > len(d.witnesses) {
		return d, fmt.Errorf("%d witnesses cannot be demanded of %d; name each with --witness", d.need, len(d.witnesses))
	}
	return d, nil
}

// witnessed is what a witness saw of the log.
type witnessed struct {
	auditlog.Cosignature
	Leaves int64 `json:"leaves"`
}

// cosigned fetches what witnesses handed in.
func (c *client) cosigned(ctx context.Context) ([]control.Cosigned, error) {
	return control.List[control.Cosigned](ctx, c.Client, "checkpoint", "--cosigned")
}

// hold checks each cosigned checkpoint against the log at hand. One that is signed by log and witness and does not fit is a fork,
// and both are returned to show it.
func (d demand) hold(list []control.Cosigned, book *auditlog.Book, vkey string) (found []witnessed, odd []byte, err error) {
	for _, one := range list {
		note := []byte(one.Checkpoint)
		by, err := auditlog.Cosignatures(note, vkey, d.witnesses)
		if err != nil || len(by) == 0 {
			continue // not by whom is demanded, or not a checkpoint of this log: it proves nothing, and the demand stays open
		}
		tree, err := auditlog.OpenCheckpoint(note, vkey)
		if err != nil {
			continue
		}
		own, err := book.Tree(tree.N)
		if errors.Is(err, auditlog.ErrRange) {
			continue // it grew since we asked
		}
		if err != nil {
			return nil, nil, err
		}
		if own != tree {
			return nil, note, fmt.Errorf("%w: %s cosigned another log of %d leaves", auditlog.ErrForked, by[0].Witness, tree.N)
		}
		for _, c := range by {
			found = append(found, witnessed{c, tree.N})
		}
	}
	slices.SortFunc(found, func(a, b witnessed) int { return int(b.Leaves - a.Leaves) })
	return found, nil, nil
}

// covered is for how many leaves as many witnesses as are needed stand.
func (d demand) covered(found []witnessed) (leaves int64, ok bool) {
	names := map[string]bool{}
	for _, w := range found { // the furthest first
		names[w.Key] = true
		if leaves = w.Leaves; len(names) >= d.need {
			return leaves, true
		}
	}
	return 0, d.need == 0
}

// askWitnesses holds the log against what witnesses say of it.
func (c *client) askWitnesses(ctx context.Context, p *proof, d demand) error {
	if len(d.witnesses) == 0 {
		return nil
	}
	list, err := c.cosigned(ctx)
	if err != nil {
		return err
	}
	book, err := auditlog.NewBook(p.leaves)
	if err != nil {
		return err
	}
	found, odd, err := d.hold(list, book, p.trust.Log)
	if odd != nil {
		m := memory{dir: rememberedLogs(c.settings.Home, p.trust.Log), vkey: p.trust.Log}
		return m.conflict(err, odd, p.checkpoint)
	}
	if err != nil {
		return err
	}
	p.Witnessed = found
	covered, ok := d.covered(found)
	if !ok {
		p.Failures = append(p.Failures, verify.Failure{Leaf: -1, Text: fmt.Sprintf("%d witnesses must have cosigned the log, and %d did", d.need, len(found))})
		return nil
	}
	if covered < int64(len(p.leaves)) && waited(p.leaves[covered], d.within) {
		p.Failures = append(p.Failures, verify.Failure{Leaf: covered, Text: fmt.Sprintf("this leaf waits for cosignatures since more than %s, with %d behind it", short(d.within), int64(len(p.leaves))-covered-1)})
	}
	return nil
}

// waited says whether a leaf is so old that witnesses must have seen it. What says no time is old.
func waited(leaf []byte, within time.Duration) bool {
	e, err := auditlog.Decode(leaf)
	return err != nil || time.Since(e.At) > within
}

func (p *proof) witnesses() string {
	var parts []string
	for _, w := range p.Witnessed {
		parts = append(parts, fmt.Sprintf("%s cosigned %d leaves %s", w.Witness, w.Leaves, when(w.At, time.Now())))
	}
	return strings.Join(parts, "; ")
}
