// Command postern-host keeps a stock OpenSSH host under postern: the list of what is revoked, fresh and whole, and the
// certificate of the host's key. It holds no secret but the key with which it logs in to the CA.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"
)

func newApp() *cli.App {
	app := &cli.App{
		Name:                      "postern-host",
		Usage:                     "keeps an OpenSSH host's revocations and host certificate fresh",
		HideVersion:               true,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		Action:                    noCommand,
		OnUsageError:              onUsageError,
		ExitErrHandler:            func(*cli.Context, error) {}, // main prints every error, once
		Commands: []*cli.Command{
			initCommand,
			sshdConfigCommand,
			serveCommand,
			principalsCommand,
		},
	}
	for _, command := range app.Commands {
		command.OnUsageError = onUsageError
		command.HideHelpCommand = true
	}
	return app
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	app := newApp()
	if err := app.RunContext(ctx, flagsFirst(app, os.Args)); err != nil {
		fmt.Fprintln(os.Stderr, "postern-host: "+err.Error())
		var misuse usageError
		if errors.As(err, &misuse) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}
