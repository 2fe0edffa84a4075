package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/urfave/cli/v2"

	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
)

var rewrapFlags = []cli.Flag{
	&cli.StringFlag{Name: "month", Usage: "the keys of this month: `YYYY-MM`"},
	&cli.BoolFlag{Name: "all", Usage: "the keys of every month"},
	&cli.StringSliceFlag{Name: "remove", Usage: "take this recipient out: `NAME` or A-…"},
	&cli.StringFlag{Name: "reason", Usage: "why, for the log: `TEXT`"},
	pluginsFlag, acceptFlag, dryRunFlag, jsonFlag,
}

var rewrapCommand = &cli.Command{
	Name:  "rewrap",
	Usage: "add and remove auditors: seal the private halves to others, touching no recording",
	Flags: append([]cli.Flag{
		&cli.StringSliceFlag{Name: "add", Usage: "seal to this recipient too: a `NAME` that is enrolled, all of those, age1pq1… or a file of them"},
	}, rewrapFlags...),
	Action: func(c *cli.Context) error {
		if len(c.StringSlice("add"))+len(c.StringSlice("remove")) == 0 {
			return command.Misuse("say who with --add or --remove")
		}
		return rewrapping(c, func(r *rewrap) (err error) {
			if r.add, err = r.b.Find(c.StringSlice("add"), c.Bool("plugins")); err != nil || c.Bool("dry-run") {
				return err
			}
			r.identity, err = auditor.Open(r.settings.Home, r.prompts())
			return err
		})
	},
}

// rewrap is what is done to each box.
type rewrap struct {
	*signing
	b        *auditor.Book
	add      []control.Recipient
	remove   []string
	reason   string
	identity auditor.Identity
}

// rewrapping seals the keys that the flags name anew; prepare says to whom, and who opens them.
func rewrapping(c *cli.Context, prepare func(*rewrap) error) error {
	if err := command.FlagsOnly(c); err != nil {
		return err
	}
	because, err := needReason(c)
	if err != nil {
		return err
	}
	if (c.String("month") == "") != c.Bool("all") {
		return command.Misuse("say which keys with --month YYYY-MM, or --all")
	}
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	s, err := ca.signing(c)
	if err != nil {
		return err
	}
	r := &rewrap{signing: s, remove: c.StringSlice("remove"), reason: because}
	if r.b, err = s.book(c); err == nil {
		err = prepare(r)
	}
	if err != nil {
		return err
	}
	keys, err := control.List[control.RecordingKey](c.Context, s.Client, "recording-keys")
	if err != nil {
		return err
	}
	return r.all(c, slices.DeleteFunc(keys, func(k control.RecordingKey) bool {
		return !c.Bool("all") && k.Month != c.String("month") || !k.Shredded.IsZero()
	}))
}

func (r *rewrap) all(c *cli.Context, keys []control.RecordingKey) error {
	if len(keys) == 0 {
		return fmt.Errorf("there is no recording key of %s", c.String("month"))
	}
	rows := [][]string{{"KEY", "MONTH", "FOR", "OPENED BY", "AFTERWARDS", ""}}
	var failed []string
	for _, k := range keys {
		after, err := r.after(c, k)
		result := "would be sealed anew"
		switch {
		case err != nil:
		case alike(k.Openers(), after):
			result = "stays as it is"
		case !c.Bool("dry-run"):
			result, err = "sealed anew", r.one(c, k, after)
		}
		if err != nil {
			result, after, failed = "not sealed anew", k.Openers(), append(failed, err.Error())
		}
		rows = append(rows, []string{k.ID, k.Month, recorded(k), labels(k.Openers()), labels(after), result})
		if err == nil {
			warnLonely(after, k.Month)
		}
	}
	if err := table(os.Stdout, rows); err != nil {
		return err
	}
	if len(r.remove) > 0 {
		fmt.Fprintln(os.Stderr, "note: who is removed keeps what they copied while they could open it; what is recorded to keys made from now on is closed to them")
	}
	for _, why := range failed {
		fmt.Fprintln(os.Stderr, visible(why))
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d keys stay as they were", len(failed), len(keys))
	}
	return nil
}

// after are the recipients that a key is to have.
func (r *rewrap) after(c *cli.Context, k control.RecordingKey) ([]control.Recipient, error) {
	if _, err := k.Verify(); err != nil {
		return nil, err
	}
	gone := func(o control.Recipient) bool {
		return slices.Contains(r.remove, o.ID) || o.Name != "" && slices.Contains(r.remove, o.Name)
	}
	after := auditor.With(slices.DeleteFunc(slices.Clone(k.Openers()), gone), r.add...)
	after = auditor.With(after, r.b.Recovery()...)
	for _, to := range after {
		if err := r.familiar(c, k, to); err != nil {
			return nil, err
		}
		if to.Public == "" {
			return nil, fmt.Errorf("the CA does not say what %s (%s) is; add it anew with --remove %s --add age1…", to.Label(), to.ID, to.ID)
		}
	}
	if len(after) == 0 {
		return nil, fmt.Errorf("nobody could open %s any more; to destroy it: postern shred month:%s", k.ID, k.Month)
	}
	return after, nil
}

// familiar makes sure that whoever is among the recipients of a key is there by the will of an auditor. That they are is only what the CA says,
// and one in the wrong hands would let itself in here.
func (r *rewrap) familiar(c *cli.Context, k control.RecordingKey, to control.Recipient) error {
	same := func(o control.Recipient) bool { return o.ID == to.ID }
	if slices.ContainsFunc(r.b.Recipients(), same) || slices.ContainsFunc(r.add, same) || slices.Contains(c.StringSlice("accept"), to.ID) {
		return nil
	}
	if mine, err := r.mine(r.b); err == nil && mine.ID == to.ID {
		return nil
	}
	question := fmt.Sprintf("%s of %s is sealed to %s (%s), as the CA says, and nobody of that name was enrolled. Seal it to that one again?", k.ID, k.Month, to.Label(), to.ID)
	yes, err := confirm(visible(question))
	if errors.Is(err, errNoTerminal) {
		return fmt.Errorf("%s Ask who made it, and give --accept %s, or --remove %s", question, to.ID, to.ID)
	}
	if err == nil && !yes {
		err = fmt.Errorf("%s was not accepted; take it out with --remove %s", to.Label(), to.ID)
	}
	return err
}

func alike(a, b []control.Recipient) bool {
	return slices.EqualFunc(a, b, func(x, y control.Recipient) bool { return x.ID == y.ID && x.Name == y.Name })
}

func (r *rewrap) one(c *cli.Context, k control.RecordingKey, to []control.Recipient) error {
	sealed, err := auditor.Rewrap(k, r.identity, to, r.prompts())
	if err != nil {
		return err
	}
	sealed.Reason = r.reason
	if sealed, err = sealed.Sign(r.me.Name, r.signer); err != nil {
		return err
	}
	upload, err := json.Marshal(sealed)
	if err != nil {
		return err
	}
	_, err = r.Run(c.Context, bytes.NewReader(upload), "rewrap")
	return err
}
