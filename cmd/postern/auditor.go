package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"postern/internal/auditor"
	"postern/internal/command"
	"postern/internal/control"
)

var auditorCommand = &cli.Command{
	Name:  "auditor",
	Usage: "what opens recordings, and who",
	Subcommands: []*cli.Command{
		{
			Name:  "init",
			Usage: "make your identity in POSTERN_HOME, or take one of an age plugin there, and print its recipient",
			Flags: []cli.Flag{
				&cli.BoolFlag{Name: "passphrase", Usage: "ask for a passphrase to seal it with"},
				&cli.StringFlag{Name: "identity", Usage: "take the identity in this `FILE`, which the program of an age plugin wrote (AGE-PLUGIN-NAME-1…)"},
				&cli.StringFlag{Name: "plugin", Usage: "take the identity of the age plugin `NAME`, of the kind that has no data"},
				&cli.StringFlag{Name: "recipient", Usage: "what that identity is sealed to: `age1NAME1…` (default: as its file says)"},
			},
			Action: initAuditor,
		},
		{
			Name:   "recipient",
			Usage:  "print what recording keys are sealed to for you",
			Action: printRecipient,
		},
		{
			Name:      "enrol",
			Usage:     "give a recipient a name, so that everybody's keys can be sealed to it",
			ArgsUsage: "[RECIPIENT] --reason TEXT",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "name", Usage: "`NAME` it goes by (default, for your own: yours)"},
				&cli.BoolFlag{Name: "recovery", Usage: "it is kept away for the day when another is lost: every key is sealed to it"},
				reasonFlag, pluginsFlag, acceptFlag, dryRunFlag, jsonFlag,
			},
			Action: enrolRecipient,
		},
		{
			Name:      "retire",
			Usage:     "new keys are not sealed to a recipient any more; to take it out of the old ones: recording-key rewrap --remove",
			ArgsUsage: "NAME --reason TEXT",
			Flags:     []cli.Flag{reasonFlag, acceptFlag, dryRunFlag, jsonFlag},
			Action:    retireRecipient,
		},
		{
			Name:   "list",
			Usage:  "the recipients that have a name",
			Flags:  []cli.Flag{jsonFlag},
			Action: listRecipients,
		},
		{
			Name:  "recover",
			Usage: "open keys with another identity, a recovery one, and seal them to yours",
			Flags: append([]cli.Flag{
				&cli.StringFlag{Name: "identity", Usage: "`FILE` with the identity that opens them"},
			}, rewrapFlags...),
			Action: recoverKeys,
		},
	},
}

func initAuditor(c *cli.Context) error {
	if err := command.FlagsOnly(c); err != nil {
		return err
	}
	s, err := settingsOf(c)
	if err != nil {
		return err
	}
	var recipient string
	if c.String("identity")+c.String("plugin") != "" {
		recipient, err = adopt(c, s.Home)
	} else {
		recipient, err = createIdentity(c, s.Home)
	}
	if err != nil {
		return err
	}
	fmt.Println(recipient)
	return nil
}

func createIdentity(c *cli.Context, home string) (recipient string, err error) {
	var passphrase []byte
	if c.Bool("passphrase") {
		if passphrase, err = newPassphrase(); err != nil {
			return "", err
		}
	}
	if recipient, err = auditor.Create(home, passphrase, time.Now()); err == nil {
		fmt.Fprintf(os.Stderr, "made in %s; copy it to a safe place: without it no recording of yours can be opened\n", home)
	}
	return recipient, err
}

func adopt(c *cli.Context, home string) (recipient string, err error) {
	var text []byte
	if file := c.String("identity"); file != "" {
		if text, err = os.ReadFile(file); err != nil {
			return "", err
		}
	}
	if recipient, err = auditor.Adopt(home, string(text), c.String("plugin"), c.String("recipient")); err == nil {
		fmt.Fprintf(os.Stderr, "taken into %s; what it opens is gone with the token, so let there be another recipient, or a recovery one\n", home)
	}
	return recipient, err
}

func printRecipient(c *cli.Context) error {
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
}

func enrolRecipient(c *cli.Context) error {
	because, err := needReason(c)
	if err != nil {
		return err
	}
	if c.NArg() > 1 {
		return command.Misuse("%q is one argument too many; one recipient is enrolled at a time", c.Args().Get(1))
	}
	if c.NArg() == 1 && c.String("name") == "" {
		return command.Misuse("say whose it is with --name NAME")
	}
	return deciding(c, func(s *signing) (control.Custody, error) {
		word, name := c.Args().First(), c.String("name")
		if word == "" {
			if word, err = auditor.Recipient(s.settings.Home); err != nil {
				return control.Custody{}, err
			}
		}
		if name == "" {
			name = s.me.Name
		}
		list, err := auditor.Recipients([]string{word}, c.Bool("plugins"))
		if err != nil {
			return control.Custody{}, err
		}
		if len(list) != 1 {
			return control.Custody{}, fmt.Errorf("%s holds %d recipients; enrol them one by one, for each has a name", word, len(list))
		}
		r := list[0]
		r.Name, r.Recovery = name, c.Bool("recovery")
		d := control.NewCustody(s.me.CA, control.Enrol, "recipient:"+r.ID, because)
		d.Recipient = &r
		return d, nil
	})
}

func retireRecipient(c *cli.Context) error {
	args, err := command.Exactly(c, "NAME")
	if err != nil {
		return err
	}
	because, err := needReason(c)
	if err != nil {
		return err
	}
	return deciding(c, func(s *signing) (control.Custody, error) {
		list, err := control.List[control.Custody](c.Context, s.Client, "book")
		if err != nil {
			return control.Custody{}, err
		}
		for _, e := range list {
			if e.Recipient != nil && (e.Recipient.Name == args[0] || e.Recipient.ID == args[0]) {
				d := control.NewCustody(s.me.CA, control.Retire, "recipient:"+e.Recipient.ID, because)
				d.Recipient = e.Recipient
				return d, nil
			}
		}
		return control.Custody{}, fmt.Errorf("nobody is enrolled as %s; see: postern auditor list", args[0])
	})
}

func listRecipients(c *cli.Context) error {
	if err := command.FlagsOnly(c); err != nil {
		return err
	}
	ca, err := connect(c)
	if err != nil {
		return err
	}
	defer ca.close()
	list, err := control.List[control.Custody](c.Context, ca.Client, "book")
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return jsonLines(list)
	}
	known, err := auditor.OpenBook(ca.settings.Home)
	if err != nil {
		return err
	}
	rows := [][]string{{"NAME", "RECIPIENT", "ENROLLED BY", "SINCE", "HERE"}}
	for _, e := range list {
		here := "accepted"
		if fresh, _, err := known.Compare([]control.Custody{e}); err != nil {
			here = "BAD: " + err.Error()
		} else if len(fresh) > 0 {
			here = "new to this machine"
		}
		rows = append(rows, []string{e.Recipient.Label(), e.Recipient.ID, e.Auditor, when(e.At, time.Now()), here})
	}
	return rowsOr(rows, "no recipient has a name yet; give yours one with: postern auditor enrol RECIPIENT --name NAME")
}

func recoverKeys(c *cli.Context) error {
	if c.String("identity") == "" {
		return command.Misuse("name the identity with --identity FILE")
	}
	return rewrapping(c, func(r *rewrap) error {
		mine, err := r.mine(r.b)
		if err != nil {
			return err
		}
		r.add = []control.Recipient{mine}
		r.identity, err = auditor.ReadIdentity(c.String("identity"), r.prompts())
		return err
	})
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
