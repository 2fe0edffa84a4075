// Command postern-bastion stands between admins and hosts: it checks certificates, opens sessions with the CA's leave, relays and records
// them. It holds no CA key and cannot read what it records. docs/operations.md says how to run it.
package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/urfave/cli/v2"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	app := &cli.App{
		Name:                      "postern-bastion",
		Usage:                     "lets admins through to hosts, for as long as they may, and records it",
		HideHelpCommand:           true,
		HideVersion:               true,
		DisableSliceFlagSeparator: true,
		Commands:                  []*cli.Command{initCommand, serveCommand},
		Action:                    noCommand,
		OnUsageError:              misused,
		ExitErrHandler:            func(*cli.Context, error) {}, // main prints every error, once
	}
	for _, command := range app.Commands {
		command.OnUsageError = misused
		command.HideHelpCommand = true
	}
	err := app.Run(os.Args)
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "postern-bastion: "+err.Error())
	var misuse usageError
	if errors.As(err, &misuse) {
		os.Exit(2)
	}
	os.Exit(1)
}

// usageError is a mistake in the command line.
type usageError struct{ error }

func misused(_ *cli.Context, err error, _ bool) error { return usageError{err} }

func noCommand(c *cli.Context) error {
	if c.Args().Present() {
		return usageError{fmt.Errorf("there is no command %q (commands are: init, serve)", c.Args().First())}
	}
	return cli.ShowAppHelp(c)
}

// noArguments refuses words that would be passed over silently, and with them every flag behind them.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return usageError{fmt.Errorf("%s takes no argument %q", c.Command.Name, c.Args().First())}
	}
	return nil
}

func required(c *cli.Context, flags ...string) error {
	for _, f := range flags {
		if c.String(f) == "" {
			return usageError{fmt.Errorf("%s needs --%s", c.Command.Name, f)}
		}
	}
	return nil
}

var dirFlag = &cli.StringFlag{Name: "dir", Usage: "`DIR`ectory of this bastion: its identity and its recordings", EnvVars: []string{"POSTERN_BASTION_DIR"}}
