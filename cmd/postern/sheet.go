package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/control"
	"postern/internal/sheet"
)

var outFlag = &cli.StringFlag{Name: "out", Usage: "write the sheet to `FILE`, which must not exist; print it, or keep it on a stick"}

var prepareCommand = &cli.Command{
	Name:      "prepare",
	Usage:     "ask for a sealed grant: a sheet that is good once, at a bastion that has lost its CA",
	ArgsUsage: "ACCOUNT@HOST --bastion NAME --holders NAME,… --for 15m --reason TEXT",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "bastion", Usage: "the only one that takes it: `NAME`"},
		&cli.StringFlag{Name: "holders", Usage: "who may use it, up to three: `NAMES`, or fingerprints of keys for who has several"},
		&cli.DurationFlag{Name: "for", DefaultText: "must be said", Usage: "how long its one session lasts: `TIME`"},
		&cli.StringFlag{Name: "valid", Usage: "how long the sheet is good, such as 30d (default: as long as the rules allow): `TIME`"},
		&cli.StringFlag{Name: "reason", Usage: "what it is for, for the approvers and for the log: `TEXT`"},
		&cli.StringFlag{Name: "only", Usage: "these capabilities only, such as shell,sftp-read: `LIST`"},
		&cli.StringFlag{Name: "rule", Usage: "under the rule with this `ID`"},
		&cli.BoolFlag{Name: "wait", Usage: "wait for the approvals, then take the sheet"},
		outFlag, jsonFlag,
	},
	Action: func(c *cli.Context) error {
		args, err := command.Exactly(c, "ACCOUNT@HOST")
		if err != nil {
			return err
		}
		words, err := prepareWords(c, args[0])
		if err != nil {
			return err
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		request, err := control.Call[control.Request](c.Context, ca.Client, nil, words...)
		if err != nil {
			return err
		}
		if c.Bool("json") {
			err = jsonLine(os.Stdout, request)
		} else {
			printPrepared(request)
		}
		if err != nil || !c.Bool("wait") {
			return err
		}
		if err := ca.waitApproved(c.Context, request); err != nil {
			return err
		}
		return ca.takeSheet(c, request.ID)
	},
}

func prepareWords(c *cli.Context, target string) ([]string, error) {
	switch {
	case c.String("bastion") == "" || c.String("holders") == "":
		return nil, command.Misuse("say at which bastion and for whom: --bastion bastion-1 --holders alice,adam")
	case c.Duration("for") <= 0:
		return nil, command.Misuse("say how long its session lasts, for instance --for 15m")
	case strings.TrimSpace(c.String("reason")) == "":
		return nil, command.Misuse(`say what it is for, for instance --reason "night shift, if the CA is down"`)
	case c.Bool("wait") && c.String("out") == "":
		return nil, command.Misuse("say where the sheet goes: --out FILE")
	}
	words := []string{"prepare", target, "--bastion", c.String("bastion"), "--holders", c.String("holders"), "--for", c.Duration("for").String()}
	if text := c.String("valid"); text != "" {
		d, err := days(text)
		if err != nil {
			return nil, err
		}
		words = append(words, "--valid", d.String())
	}
	for _, flag := range []string{"only", "rule"} {
		if value := c.String(flag); value != "" {
			words = append(words, "--"+flag, value)
		}
	}
	return append(words, reasonWords(c.String("reason"))...), nil
}

// days reads a time that may be in days.
func days(text string) (time.Duration, error) {
	var n int
	if _, err := fmt.Sscanf(text, "%dd", &n); err == nil && fmt.Sprintf("%dd", n) == text && n > 0 && n < 1000 {
		return time.Duration(n) * 24 * time.Hour, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, command.Misuse("%q is not a time such as 30d or 12h", text)
	}
	return d, nil
}

func printPrepared(r control.Request) {
	fmt.Printf("%s  a sealed grant of %s for %s\n", colour(bold, r.ID), word(strings.Join(r.Targets, ", ")), short(time.Duration(r.ForSeconds)*time.Second))
	printTerms(os.Stdout, r)
	fmt.Printf("waiting for %s until %s; they approve with: postern approve %s\nthen take its sheet with: postern sheet take %s --out FILE\n",
		waitingFor(r), when(r.ClaimBy, time.Now()), r.ID, r.ID)
}

var sheetCommand = &cli.Command{
	Name:  "sheet",
	Usage: "sealed grants: take one, list them, check what was typed, use one while the CA is down",
	Subcommands: []*cli.Command{
		{
			Name: "take", Usage: "take the sheet of a sealed grant that is approved; it is handed out once", ArgsUsage: "R-… --out FILE",
			Flags: []cli.Flag{outFlag},
			Action: func(c *cli.Context) error {
				args, err := command.Exactly(c, "R-…")
				if err != nil {
					return err
				}
				if c.String("out") == "" {
					return command.Misuse("say where the sheet goes: --out FILE")
				}
				ca, err := connect(c)
				if err != nil {
					return err
				}
				defer ca.close()
				return ca.takeSheet(c, args[0])
			},
		},
		{Name: "list", Usage: "sealed grants, and what became of them", Flags: []cli.Flag{jsonFlag}, Action: listing(printSheets, "requests", "--all")},
		{
			Name: "check", Usage: "find what is mistyped in a sheet, without its passphrase", ArgsUsage: "FILE",
			Action: func(c *cli.Context) error {
				args, err := command.Exactly(c, "FILE")
				if err != nil {
					return err
				}
				text, err := os.ReadFile(args[0])
				if err != nil {
					return err
				}
				if _, err := sheet.Check(string(text)); err != nil {
					return err
				}
				fmt.Println("every line is there and fits its check")
				return nil
			},
		},
		sheetUseCommand,
	},
}

// takeSheet makes the file before it asks: the CA hands a sheet out once.
func (c *client) takeSheet(cc *cli.Context, id string) error {
	path := cc.String("out")
	request, err := control.Call[control.Request](cc.Context, c.Client, nil, "show", id)
	if err != nil {
		return err
	}
	if request.Sheet == nil {
		return fmt.Errorf("%s is no sealed grant", request.ID)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	made, err := control.Call[control.Made](cc.Context, c.Client, nil, "sheet", request.ID)
	if err != nil {
		os.Remove(path)
		return err
	}
	passphrase := sheet.Passphrase()
	text, err := sheet.Write(made, passphrase, titleOf(request, made.Terms))
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err = errors.Join(err, f.Sync()); err != nil {
		return fmt.Errorf("%s: %w; the CA hands no sheet out twice: revoke %s and prepare another", path, err, request.ID)
	}
	fmt.Printf("%s  the sheet is in %s\npassphrase: %s\n", colour(bold, request.ID), path, colour(bold, passphrase))
	fmt.Fprintln(os.Stderr, "The passphrase is shown this once and stands on no sheet: tell it to the holders, and keep it apart from the paper.")
	return nil
}

// titleOf is the line of the sheet that people read.
func titleOf(r control.Request, text []byte) string {
	at := r.Sheet.Bastion
	if t, err := control.ParseTerms(text); err == nil {
		at += " (" + t.Reached + ")"
	}
	var names []string
	for _, h := range r.Sheet.Holders {
		names = append(names, h.Person)
	}
	return fmt.Sprintf("%s, %s through %s, until %s, for %s", r.ID, strings.Join(r.Targets, ", "), at, r.Sheet.Until.UTC().Format(time.RFC3339),
		strings.Join(slices.Compact(names), ", "))
}

func printSheets(all []control.Request) error {
	rows := [][]string{{"REQUEST", "STATE", "WHAT", "BASTION", "HOLDERS", "UNTIL", "USED", "REASON"}}
	for _, r := range all {
		if r.Sheet == nil {
			continue
		}
		used, state := "", r.State
		if !r.Sheet.Used.IsZero() {
			used = r.Sheet.UsedBy + " " + when(r.Sheet.Used, time.Now()) + " " + r.Sheet.Session
		} else if state == control.Granted {
			state = "handed out"
		}
		var names []string
		for _, h := range r.Sheet.Holders {
			names = append(names, h.Person)
		}
		rows = append(rows, []string{r.ID, state, strings.Join(r.Targets, " "), r.Sheet.Bastion, strings.Join(names, ","), when(r.Sheet.Until, time.Now()), used, r.Reason})
	}
	return rowsOr(rows, "there is no sealed grant")
}
