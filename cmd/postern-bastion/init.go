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
	Usage: "make the keys of this bastion, and print the public half of its identity",
	Flags: []cli.Flag{dirFlag},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c, "dir"); err != nil {
			return err
		}
		public, err := identity.Make(c.String("dir"), program)
		fresh, kerr := makeSheetKey(c.String("dir"))
		if kerr != nil {
			return kerr
		}
		if err != nil && fresh {
			fmt.Fprintf(os.Stderr, "%v\nWhat was missing is the key that sealed grants are sealed to; it is there now.\n", err)
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Print(public)
		fmt.Fprintln(os.Stderr, "Put this line into hosts.yaml as the key of this bastion.")
		return nil
	},
}
