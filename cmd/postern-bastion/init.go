package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
	"postern/internal/identity"
)

var initCommand = &cli.Command{
	Name:  "init",
	Usage: "make the key that is this bastion's identity, and print its public half",
	Flags: []cli.Flag{dirFlag},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c, "dir"); err != nil {
			return err
		}
		public, err := identity.Make(c.String("dir"), program)
		if err != nil {
			return err
		}
		fmt.Print(public)
		fmt.Fprintln(os.Stderr, "Put this line into hosts.yaml as the key of this bastion.")
		return nil
	},
}
