package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"postern/internal/command"
)

var krlCommand = &cli.Command{
	Name:  "krl",
	Usage: "the key revocation list that OpenSSH hosts read",
	Flags: []cli.Flag{&cli.StringFlag{Name: "o", Usage: "write it to `FILE` (default: standard output)"}},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c); err != nil {
			return err
		}
		path := c.String("o")
		if path == "" && term.IsTerminal(int(os.Stdout.Fd())) {
			return command.Misuse("a KRL is binary; name a file with -o FILE")
		}
		ca, err := connect(c)
		if err != nil {
			return err
		}
		defer ca.close()
		list, err := ca.Run(c.Context, nil, "krl")
		if err != nil {
			return err
		}
		if path == "" {
			_, err = os.Stdout.Write(list)
			return err
		}
		if err := writeFile(filepath.Clean(path), list); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "%s: %d bytes; ssh-keygen -Q -l -f %s shows it\n", path, len(list), path)
		return nil
	},
}
