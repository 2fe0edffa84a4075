package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
)

var recordingKeyCommand = &cli.Command{
	Name:  "recording-key",
	Usage: "the keys that a month's recordings are sealed to",
	Subcommands: []*cli.Command{{
		Name:  "new",
		Usage: "make one, seal its private half to the auditors, sign it and hand it to the CA",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "month", Usage: "for this month: `YYYY-MM` (default: now)"},
			&cli.IntFlag{Name: "months", Value: 1, Usage: "and for those after it, so `MANY` in all; one that has a key already is left out"},
			&cli.StringSliceFlag{Name: "recipient", Usage: "another auditor's `RECIPIENT`, or a file of them, a name that is enrolled, or all of those; yours is always one, except with --keystrokes"},
			&cli.BoolFlag{Name: "keystrokes", Usage: "for what is typed: may hold passwords, so it is sealed to the recipients named, of the auditors, and nobody else"},
			pluginsFlag, acceptFlag, dryRunFlag, jsonFlag,
		},
		Action: newRecordingKeys,
	}, rewrapCommand},
}

func newRecordingKeys(c *cli.Context) error {
	want, err := wantedKey(c)
	if err != nil {
		return err
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
	to, alone, err := s.sealedTo(c, want.Purpose)
	if err != nil {
		return err
	}
	want.Auditor = s.me.Name
	months, err := s.lacking(c, want)
	if err != nil {
		return err
	}
	for _, want.Month = range months {
		if c.Bool("dry-run") {
			fmt.Printf("would make a key for %s of %s, sealed to %s\n", recorded(want), want.Month, labels(to))
			continue
		}
		key, err := s.addRecordingKey(c, want, to)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			if err := jsonLine(os.Stdout, key); err != nil {
				return err
			}
			continue
		}
		fmt.Printf("%s for %s of %s, sealed to %s\n", colour(bold, key.ID), recorded(key), key.Month, whom(key, alone))
	}
	warnLonely(to, strings.Join(months, ", "))
	return nil
}

// lacking are the months to make keys for.
func (s *signing) lacking(c *cli.Context, want control.RecordingKey) ([]string, error) {
	first, err := time.Parse("2006-01", want.Month)
	n := c.Int("months")
	if err != nil || n == 1 {
		return []string{want.Month}, err
	}
	if n < 1 || n > 24 {
		return nil, command.Misuse("--months %d: it is 1 to 24", n)
	}
	keys, err := control.List[control.RecordingKey](c.Context, s.Client, "recording-keys")
	var months []string
	for i := range n {
		month := first.AddDate(0, i, 0).Format("2006-01")
		if !slices.ContainsFunc(keys, func(k control.RecordingKey) bool { return k.Month == month && k.Purpose == want.Purpose }) {
			months = append(months, month)
		} else {
			fmt.Fprintf(os.Stderr, "there is a key for %s of %s\n", recorded(want), month)
		}
	}
	return months, err
}

// wantedKey is the month and purpose of the key to make.
func wantedKey(c *cli.Context) (want control.RecordingKey, err error) {
	if err := command.FlagsOnly(c); err != nil {
		return want, err
	}
	if want.Month = c.String("month"); want.Month == "" {
		want.Month = time.Now().UTC().Format("2006-01")
	}
	if _, err := time.Parse("2006-01", want.Month); err != nil {
		return want, command.Misuse("--month %q is not one like 2026-11", want.Month)
	}
	if c.Bool("keystrokes") {
		want.Purpose = control.Keystrokes
	}
	return want, nil
}

func whom(key control.RecordingKey, alone bool) string {
	n := len(key.Recipients)
	named := !slices.ContainsFunc(key.Recipients, func(r control.Recipient) bool { return r.Name == "" })
	switch {
	case alone && n == 1:
		return "you alone; name who opens it in an emergency with --recipient"
	case key.Purpose == control.Keystrokes && n == 1:
		return "the recipient named and nobody else"
	case n == 1:
		return "you alone; name the other auditors with --recipient"
	case named:
		return labels(key.Recipients)
	case key.Purpose == control.Keystrokes:
		return fmt.Sprintf("the %d recipients named and nobody else", n)
	}
	return fmt.Sprintf("%d auditors", n)
}

// warnLonely says when the loss of one file is the loss of months.
func warnLonely(to []control.Recipient, months string) {
	if len(to) == 1 && !to[0].Recovery && months != "" {
		fmt.Fprintln(os.Stderr, colour(yellow, "WARNING: "+to[0].Label()+" alone opens "+months+", and there is no recovery recipient: if that identity is lost, so are the recordings. Enrol one: postern auditor enrol RECIPIENT --name safe --recovery"))
	}
}

// sealedTo are whom the private half is sealed to. Who makes a key for sessions can always open it; what is typed is for
// those who were chosen to break the glass, and for who makes the key only if nobody was. Recovery recipients are never left out.
func (s *signing) sealedTo(c *cli.Context, purpose string) (to []control.Recipient, alone bool, err error) {
	b, err := s.book(c)
	if err != nil {
		return nil, false, err
	}
	named := c.StringSlice("recipient")
	if to, err = b.Find(named, c.Bool("plugins")); err != nil {
		return nil, false, err
	}
	to, alone, err = readers(purpose, to, func() (control.Recipient, error) { return s.mine(b) })
	return auditor.With(to, b.Recovery()...), alone, err
}

func readers(purpose string, named []control.Recipient, mine func() (control.Recipient, error)) (to []control.Recipient, alone bool, err error) {
	alone = purpose == control.Keystrokes && len(named) == 0
	if purpose == control.Keystrokes && !alone {
		return named, false, nil
	}
	me, err := mine()
	if err != nil {
		return nil, alone, err
	}
	return auditor.With([]control.Recipient{me}, named...), alone, nil
}

// addRecordingKey makes a key and hands it to the CA.
func (s *signing) addRecordingKey(c *cli.Context, want control.RecordingKey, to []control.Recipient) (control.RecordingKey, error) {
	key, err := auditor.NewRecordingKey(want, s.signer, to, s.prompts())
	if err != nil {
		return key, err
	}
	upload, err := json.Marshal(key)
	if err != nil {
		return key, err
	}
	_, err = s.Run(c.Context, bytes.NewReader(upload), "recording-key")
	return key, err
}

// recorded is what a key is for.
func recorded(k control.RecordingKey) string { return cmp.Or(k.Purpose, "sessions") }

var recordingKeysCommand = &cli.Command{
	Name:   "recording-keys",
	Usage:  "the recording keys the CA knows",
	Flags:  []cli.Flag{jsonFlag},
	Action: listing(printRecordingKeys, "recording-keys"),
}

func printRecordingKeys(keys []control.RecordingKey) error {
	rows := [][]string{{"KEY", "MONTH", "FOR", "AUDITOR", "ADDED", "OPENED BY", "SIGNATURE"}}
	for _, k := range keys {
		verdict := "good"
		if _, err := k.Verify(); err != nil {
			verdict = "BAD: " + err.Error()
		}
		rows = append(rows, []string{k.ID, k.Month, recorded(k), k.Auditor, when(k.Added, time.Now()), openedBy(k), verdict})
	}
	if err := table(os.Stdout, rows); err != nil {
		return err
	}
	remindOfKeys(keys, time.Now().UTC())
	return nil
}

func openedBy(k control.RecordingKey) string {
	if !k.Shredded.IsZero() {
		return "nobody, destroyed " + k.Shredded.Format(time.DateOnly)
	}
	return labels(k.Openers())
}

// remindOfKeys warns of what is easily forgotten until it is too late.
func remindOfKeys(keys []control.RecordingKey, now time.Time) {
	if month := now.Format("2006-01"); !hasKey(keys, month) {
		fmt.Fprintln(os.Stderr, colour(red, "there is no key for "+month+", so no session opens: postern recording-key new"))
	}
	if month := lackingSoon(keys, now); month != "" {
		fmt.Fprintln(os.Stderr, colour(yellow, "there is no key for "+month+" yet, and without one no session opens then: postern recording-key new --month "+month))
	}
	for _, k := range keys {
		if k.Shredded.IsZero() {
			warnLonely(k.Openers(), k.Month)
		}
	}
}

func hasKey(keys []control.RecordingKey, month string) bool {
	return slices.ContainsFunc(keys, func(k control.RecordingKey) bool { return k.Month == month && k.Purpose == "" })
}

// soon is how long before the end of a month the key of the next is missed.
const soon = 5 * 24 * time.Hour

// lackingSoon is the next month if it is near and has no key.
func lackingSoon(keys []control.RecordingKey, now time.Time) string {
	next := time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC)
	if month := next.Format("2006-01"); next.Sub(now) <= soon && !hasKey(keys, month) {
		return month
	}
	return ""
}
