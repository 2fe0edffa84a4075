// Command postern asks for access, approves it, and lets auditors see and prove what was done with it.
// It is the comfortable client of commands that ca/PROTOCOL.md describes and that stock ssh can give as well.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"postern/internal/control"
)

func newApp() *cli.App {
	app := &cli.App{
		Name:                      "postern",
		Usage:                     "minutes of SSH access, approved, recorded, revocable",
		UsageText:                 "postern [--ca A] [--trust D] [--key F] [--home D] COMMAND …",
		Flags:                     settingsFlags,
		HideVersion:               true,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		Action:                    noCommand,
		OnUsageError:              onUsageError,
		ExitErrHandler:            func(*cli.Context, error) {}, // main prints every error, once
		Commands: []*cli.Command{
			whoamiCommand,
			requestCommand,
			requestsCommand,
			showCommand,
			approveCommand,
			denyCommand,
			withdrawCommand,
			certificateCommand,
			sshConfigCommand,
			sessionsCommand,
			revokeCommand,
			revocationsCommand,
			krlCommand,
			auditorCommand,
			recordingKeyCommand,
			recordingKeysCommand,
			replayCommand,
			exportCommand,
			recordingCommand,
			verifyCommand,
			logCommand,
			checkpointCommand,
			trustCommand,
			policyCommand,
		},
	}
	finish(app.Commands)
	return app
}

// finish gives every command what urfave/cli does not inherit.
func finish(commands []*cli.Command) {
	for _, command := range commands {
		command.OnUsageError = onUsageError
		command.HideHelpCommand = true
		if command.Action == nil {
			command.Action = noCommand
		}
		for _, flag := range command.Flags {
			if b, ok := flag.(*cli.BoolFlag); ok {
				b.DisableDefaultText = true // "(default: false)" tells nobody anything
			}
		}
		finish(command.Subcommands)
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	app := newApp()
	arguments, err := arrange(app, os.Args)
	if err == nil {
		err = app.RunContext(ctx, arguments)
	}
	interrupted := ctx.Err() != nil
	stop()
	if interrupted && errors.Is(err, context.Canceled) {
		os.Exit(130) // who pressed ^C knows
	}
	if err != nil {
		if message := err.Error(); message != "" {
			fmt.Fprintln(os.Stderr, "postern: "+visible(message))
		}
		os.Exit(exitStatus(err))
	}
}

// exitStatus is 2 for misuse, else what the CA answered, else 1.
func exitStatus(err error) int {
	var misuse usageError
	if errors.As(err, &misuse) {
		return 2
	}
	var refused *control.Refused
	if errors.As(err, &refused) && refused.Status > 0 && refused.Status < 126 {
		return refused.Status
	}
	return 1
}
