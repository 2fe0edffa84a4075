package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"postern/internal/command"
)

// openedCommand is for pam_exec, which waits for it: however short a session is, it is known what is of it before anything of it runs. Without,
// the agent looks every few milliseconds.
var openedCommand = &cli.Command{
	Name:  "opened",
	Usage: "tell serve that sshd has opened a session (for pam_exec)",
	Flags: []cli.Flag{&cli.StringFlag{Name: "tell", Usage: "the `SOCKET` of serve", Value: "/var/lib/postern-host/logins"}},
	Action: func(c *cli.Context) error {
		if err := command.FlagsOnly(c, "tell"); err != nil {
			return err
		}
		// Logins do not depend on it, whatever the line in PAM's configuration says.
		if err := tell(c.String("tell"), toldLogin{Opened: true}); err != nil {
			fmt.Fprintln(os.Stderr, "postern-host:", err)
		}
		return nil
	},
}
