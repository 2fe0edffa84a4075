package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/auditor"
	"postern/internal/command"
)

var auditorCommand = &cli.Command{
	Name:  "auditor",
	Usage: "what opens recordings",
	Subcommands: []*cli.Command{
		{
			Name:  "init",
			Usage: "make your identity in POSTERN_HOME and print its recipient",
			Flags: []cli.Flag{&cli.BoolFlag{Name: "passphrase", Usage: "ask for a passphrase to seal it with"}},
			Action: func(c *cli.Context) error {
				if err := command.FlagsOnly(c); err != nil {
					return err
				}
				s, err := settingsOf(c)
				if err != nil {
					return err
				}
				var passphrase []byte
				if c.Bool("passphrase") {
					if passphrase, err = newPassphrase(); err != nil {
						return err
					}
				}
				recipient, err := auditor.Create(s.Home, passphrase, time.Now())
				if err != nil {
					return err
				}
				fmt.Fprintf(os.Stderr, "made in %s; copy it to a safe place: without it no recording of yours can be opened\n", s.Home)
				fmt.Println(recipient)
				return nil
			},
		},
		{
			Name:  "recipient",
			Usage: "print what recording keys are sealed to for you",
			Action: func(c *cli.Context) error {
				if err := command.FlagsOnly(c); err != nil {
					return err
				}
				s, err := settingsOf(c)
				if err != nil {
					return err
				}
				recipient, err := auditor.Recipient(s.Home)
				if err != nil {
					return err
				}
				fmt.Println(recipient)
				return nil
			},
		},
	},
}

func newPassphrase() ([]byte, error) {
	first, err := askSecret("New passphrase: ")
	if err != nil {
		return nil, err
	}
	second, err := askSecret("Again: ")
	if err != nil {
		return nil, err
	}
	if len(first) == 0 || string(first) != string(second) {
		return nil, errors.New("the passphrases differ, or are empty; nothing was made")
	}
	return first, nil
}
