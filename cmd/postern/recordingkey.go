package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/crypto/ssh"

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
			&cli.StringSliceFlag{Name: "recipient", Usage: "another auditor's `RECIPIENT`, or a file of them; yours is always one, except with --keystrokes"},
			&cli.BoolFlag{Name: "keystrokes", Usage: "for what is typed: may hold passwords, so it is sealed to the recipients named, of the auditors, and nobody else"},
			jsonFlag,
		},
		Action: newRecordingKey,
	}},
}

func newRecordingKey(c *cli.Context) error {
	want, err := wantedKey(c)
	if err != nil {
		return err
	}
	s, err := settingsOf(c)
	if err != nil {
		return err
	}
	words, alone, err := recipients(s.Home, c.StringSlice("recipient"), want.Purpose)
	if err != nil {
		return err
	}
	to, err := auditor.Recipients(words)
	if err != nil {
		return err
	}
	ca, err := s.connect(c.Context)
	if err != nil {
		return err
	}
	defer ca.close()
	key, err := ca.addRecordingKey(c.Context, func(me string, signer ssh.Signer) (control.RecordingKey, error) {
		want.Auditor = me
		return auditor.NewRecordingKey(want, signer, to)
	})
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return jsonLine(os.Stdout, key)
	}
	fmt.Printf("%s for %s of %s, sealed to %s\n", colour(bold, key.ID), recorded(key), key.Month, whom(key, len(to), alone))
	return nil
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

func whom(key control.RecordingKey, n int, alone bool) string {
	switch {
	case alone:
		return "you alone; name who opens it in an emergency with --recipient"
	case key.Purpose == control.Keystrokes && n == 1:
		return "the recipient named and nobody else"
	case key.Purpose == control.Keystrokes:
		return fmt.Sprintf("the %d recipients named and nobody else", n)
	case n == 1:
		return "you alone; name the other auditors with --recipient"
	}
	return fmt.Sprintf("%d auditors", n)
}

// recipients are whom the private half is sealed to. Who makes a key for sessions can always open it; what is typed is for
// those who were chosen to break the glass, and for who makes the key only if nobody was.
func recipients(home string, named []string, purpose string) (words []string, alone bool, err error) {
	alone = purpose == control.Keystrokes && len(named) == 0
	if purpose == control.Keystrokes && !alone {
		return named, false, nil
	}
	mine, err := auditor.Recipient(home)
	return append([]string{mine}, named...), alone, err
}

// addRecordingKey hands to the CA the key that is made in the name, and with the key, of who calls.
func (c *client) addRecordingKey(ctx context.Context, create func(me string, signer ssh.Signer) (control.RecordingKey, error)) (control.RecordingKey, error) {
	me, err := control.Call[control.Identity](ctx, c.Client, nil, "whoami")
	if err != nil {
		return control.RecordingKey{}, err
	}
	signer, err := c.keys.named(me.Key)
	if err != nil {
		return control.RecordingKey{}, err
	}
	key, err := create(me.Name, signer)
	if err != nil {
		return key, err
	}
	upload, err := json.Marshal(key)
	if err != nil {
		return key, err
	}
	_, err = c.Run(ctx, bytes.NewReader(upload), "recording-key")
	return key, err
}

// recorded is what a key is for.
func recorded(k control.RecordingKey) string { return cmp.Or(k.Purpose, "sessions") }

var recordingKeysCommand = &cli.Command{
	Name:  "recording-keys",
	Usage: "the recording keys the CA knows",
	Flags: []cli.Flag{jsonFlag},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		keys, err := control.List[control.RecordingKey](c.Context, ca.Client, "recording-keys")
		if err != nil {
			return err
		}
		if c.Bool("json") {
			return jsonLines(keys)
		}
		rows := [][]string{{"KEY", "MONTH", "FOR", "AUDITOR", "ADDED", "SIGNATURE"}}
		for _, k := range keys {
			verdict := "good"
			if _, err := k.Verify(); err != nil {
				verdict = "BAD: " + err.Error()
			}
			rows = append(rows, []string{k.ID, k.Month, recorded(k), k.Auditor, when(k.Added, time.Now()), verdict})
		}
		return table(os.Stdout, rows)
	},
}
