package main

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"

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
		q, err := asked(c)
		if err != nil {
			return err
		}
		return q.answer()
	},
}

func asked(c *cli.Context) (question, error) {
	given, err := command.Exactly(c, "ACCOUNT")
	if err != nil {
		return question{}, err
	}
	if err := command.Required(c, "name"); err != nil {
		return question{}, err
	}
	return question{given[0], c.String("name"), c.String("tell"), c.String("signer"), c.Uint64("serial")}, nil
}

// question is what sshd asks.
type question struct {
	account, host  string
	socket, signer string
	serial         uint64
}

func (q question) answer() error {
	line, err := principal(q.account, q.host)
	if err != nil {
		return err
	}
	fmt.Println(line)
	if q.socket == "" {
		return nil
	}
	// Whether somebody may log in does not depend on it, and sshd refuses who got an error.
	if err := tell(q.socket, toldLogin{Serial: q.serial, Signer: q.signer}); err != nil {
		fmt.Fprintln(os.Stderr, "postern-host:", err)
	}
	return nil
}

// plainly reads the words of sshd_config as "postern-host sshd-config" prints them, which sshd asks with twice at each login, and knows no others:
// those, and every mistake, are left to the command line, which takes as long again to set up as this to run.
func plainly(words []string) (q question, ok bool) {
	if len(words) < 4 || len(words)%2 != 0 || words[0] != "principals" || !name.MatchString(words[1]) {
		return q, false
	}
	given := map[string]string{}
	for i := 2; i < len(words); i += 2 {
		flag, value := words[i], words[i+1]
		if _, twice := given[flag]; twice || value == "" || value[0] == '-' {
			return q, false
		}
		given[flag] = value
	}
	q = question{words[1], given["--name"], given["--tell"], given["--signer"], 0}
	known := []string{"--name", "--tell", "--signer", "--serial"}
	for flag := range given {
		if !slices.Contains(known, flag) {
			return q, false
		}
	}
	if serial, has := given["--serial"]; has {
		var err error
		if q.serial, err = strconv.ParseUint(serial, 10, 64); err != nil || serial[0] == '0' && serial != "0" {
			return q, false // urfave/cli takes 0x10 and 010 too
		}
	}
	return q, q.host != ""
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
