package main

import (
	"fmt"
	"os"
	"regexp"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
)

// name is what sshd may read as one principal: no blank, which would make the rest an option, no comma, no second line.
var name = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]*\$?$`)

var principalsCommand = &cli.Command{
	Name:      "principals",
	Usage:     "print the principal that opens an account (for sshd's AuthorizedPrincipalsCommand)",
	ArgsUsage: "ACCOUNT --name HOST [--tell SOCKET --serial %s --signer %F]",
	Flags: []cli.Flag{
		nameFlag,
		&cli.Uint64Flag{Name: "serial", Usage: "`NUMBER` of the certificate (sshd's %s)"},
		&cli.StringFlag{Name: "signer", Usage: "`FINGERPRINT` of the CA that signed it (sshd's %F)"},
		&cli.StringFlag{Name: "tell", Usage: "the `SOCKET` of serve, which is to know of the login; empty: nobody follows it"},
	},
	Action: func(c *cli.Context) error {
		given, err := command.Exactly(c, "ACCOUNT")
		if err != nil {
			return err
		}
		if err := command.Required(c, "name"); err != nil {
			return err
		}
		line, err := principal(given[0], c.String("name"))
		if err != nil {
			return err
		}
		fmt.Println(line)
		if c.String("tell") == "" {
			return nil
		}
		// Whether somebody may log in does not depend on it, and sshd refuses who got an error.
		if err := tell(c.String("tell"), toldLogin{Serial: c.Uint64("serial"), Signer: c.String("signer")}); err != nil {
			fmt.Fprintln(os.Stderr, "postern-host:", err)
		}
		return nil
	},
}

var nameFlag = &cli.StringFlag{Name: "name", Usage: "`NAME` of this host in the policy", EnvVars: []string{"POSTERN_HOST_NAME"}}

func principal(account, host string) (string, error) {
	for _, s := range []string{account, host} {
		if !name.MatchString(s) {
			return "", fmt.Errorf("%q cannot be part of a principal", s)
		}
	}
	return account + "@" + host, nil
}
