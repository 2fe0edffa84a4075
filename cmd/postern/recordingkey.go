package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
)

var recordingKeyCommand = &cli.Command{
	Name:  "recording-key",
	Usage: "the key that a month's recordings are sealed to",
	Subcommands: []*cli.Command{{
		Name:  "new",
		Usage: "make one, seal its private half to the auditors, sign it and hand it to the CA",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "month", Usage: "for this month: `YYYY-MM` (default: now)"},
			&cli.StringSliceFlag{Name: "recipient", Usage: "another auditor's `RECIPIENT`, or a file of them; yours is always one"},
			jsonFlag,
		},
		Action: newRecordingKey,
	}},
}

func newRecordingKey(c *cli.Context) error {
	if err := command.FlagsOnly(c); err != nil {
		return err
	}
	month := c.String("month")
	if month == "" {
		month = time.Now().UTC().Format("2006-01")
	}
	if _, err := time.Parse("2006-01", month); err != nil {
		return command.Misuse("--month %q is not one like 2026-11", month)
	}
	s, err := settingsOf(c)
	if err != nil {
		return err
	}
	mine, err := auditor.Recipient(s.Home)
	if err != nil {
		return err
	}
	to, err := auditor.Recipients(append([]string{mine}, c.StringSlice("recipient")...))
	if err != nil {
		return err
	}
	ca, err := s.connect(c.Context)
	if err != nil {
		return err
	}
	defer ca.close()
	me, err := control.Call[control.Identity](c.Context, ca.Client, nil, "whoami")
	if err != nil {
		return err
	}
	signer, err := ca.keys.named(me.Key)
	if err != nil {
		return err
	}
	key, err := auditor.NewRecordingKey(month, me.Name, signer, to)
	if err != nil {
		return err
	}
	upload, err := json.Marshal(key)
	if err != nil {
		return err
	}
	if _, err := ca.Run(c.Context, bytes.NewReader(upload), "recording-key"); err != nil {
		return err
	}
	if c.Bool("json") {
		return jsonLine(os.Stdout, key)
	}
	fmt.Printf("%s for %s, sealed to %d auditors\n", colour(bold, key.ID), month, len(to))
	return nil
}

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
		rows := [][]string{{"KEY", "MONTH", "AUDITOR", "ADDED", "SIGNATURE"}}
		for _, k := range keys {
			verdict := "good"
			if _, err := k.Verify(); err != nil {
				verdict = "BAD: " + err.Error()
			}
			rows = append(rows, []string{k.ID, k.Month, k.Auditor, when(k.Added, time.Now()), verdict})
		}
		return table(os.Stdout, rows)
	},
}
