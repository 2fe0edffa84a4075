// Package command is what the command lines of all programs share: the order of their words, misuse, exit status, and where
// a server listens. Start with [Prepare], which takes a program's table of commands, and [Main]. Flags may stand anywhere.
// Every error is printed once; one about the command line is a single line that says where to read on. Exit status is 0 for
// done, 1 for an error or a refusal, 2 for misuse, 130 for an interrupt.
package command

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/urfave/cli/v2"
)

const (
	statusError       = 1
	statusMisuse      = 2
	statusInterrupted = 130 // as a shell says of what ^C ended
)

// ErrInterrupted is of a command whose question on the terminal was answered with ^C.
var ErrInterrupted = errors.New("interrupted")

// Prepare gives a program and all its commands what urfave/cli does not by itself, and returns it.
func Prepare(app *cli.App) *cli.App {
	app.Version = Version()
	app.HideHelpCommand = true
	app.DisableSliceFlagSeparator = true // a reason may hold a comma
	app.Action = noCommand
	app.OnUsageError = onUsageError
	app.ExitErrHandler = func(*cli.Context, error) {} // Main prints every error, once
	prepare(app.Commands)
	return app
}

// Version is what the program was built from: a release, or a commit.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

func prepare(commands []*cli.Command) {
	for _, command := range commands {
		command.HelpName = "" // urfave/cli puts the program's name before it at every run
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
		prepare(command.Subcommands)
	}
}

// Main runs a prepared program with the words it was started with, and exits. The context of its commands ends at SIGINT and
// SIGTERM. explain makes an error that is not misuse into what the person reads and the exit status (0: the usual one); nil
// leaves it as it is.
func Main(app *cli.App, explain func(error) (text string, status int)) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := Run(ctx, app, os.Args)
	interrupted := ctx.Err() != nil
	stop()
	if errors.Is(err, ErrInterrupted) || interrupted && errors.Is(err, context.Canceled) {
		os.Exit(statusInterrupted) // who pressed ^C knows
	}
	text, status := outcome(err, explain)
	if text != "" {
		fmt.Fprintln(os.Stderr, app.Name+": "+text)
	}
	os.Exit(status)
}

// Run runs a prepared program with args, of which the first is its name, and returns its error.
func Run(ctx context.Context, app *cli.App, args []string) error {
	args, err := arrange(app, args)
	if err != nil {
		return err
	}
	return app.RunContext(ctx, args)
}

// outcome is what err looks like from outside.
func outcome(err error, explain func(error) (string, int)) (text string, status int) {
	if err == nil {
		return "", 0
	}
	text, status = err.Error(), 0
	if explain != nil {
		text, status = explain(err)
	}
	var misuse UsageError
	switch {
	case errors.As(err, &misuse):
		return text, statusMisuse
	case status == 0:
		return text, statusError
	}
	return text, status
}
