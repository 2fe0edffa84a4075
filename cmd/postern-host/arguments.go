package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// usageError is a command line we could not make sense of.
type usageError string

func (e usageError) Error() string { return string(e) }

func misuse(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

func onUsageError(c *cli.Context, err error, _ bool) error {
	return misuse("%v (see: %s --help)", err, helpName(c))
}

func helpName(c *cli.Context) string {
	if c.Command != nil && c.Command.HelpName != "" {
		return c.Command.HelpName
	}
	return "postern-host"
}

// noCommand is what the program does without a command, or with one that it does not have.
func noCommand(c *cli.Context) error {
	if c.Args().Present() {
		return misuse("there is no command %q (see: postern-host --help)", c.Args().First())
	}
	if err := cli.ShowAppHelp(c); err != nil {
		return err
	}
	return usageError("no command was given")
}

// exactly checks that there are as many arguments as names, and that none is empty.
func exactly(c *cli.Context, names ...string) ([]string, error) {
	given := c.Args().Slice()
	switch {
	case len(given) < len(names):
		return nil, misuse("%s is missing (see: %s --help)", names[len(given)], helpName(c))
	case len(given) > len(names):
		return nil, misuse("%q is one argument too many (see: %s --help)", given[len(names)], helpName(c))
	case slices.Contains(given, ""):
		return nil, misuse("an argument is empty (see: %s --help)", helpName(c))
	}
	return given, nil
}

// required checks the flags that a command cannot do without.
func required(c *cli.Context, names ...string) error {
	for _, name := range names {
		if c.String(name) == "" {
			return misuse("--%s is missing (see: %s --help)", name, helpName(c))
		}
	}
	return nil
}

// flagsFirst puts a command's flags before its arguments, because urfave/cli takes a flag after the first argument for an
// argument. Every flag of this program has a value, except help.
func flagsFirst(app *cli.App, args []string) []string {
	if len(args) < 2 || app.Command(args[1]) == nil {
		return args
	}
	flags, arguments := slices.Clone(args[:2]), []string(nil)
	for rest := args[2:]; len(rest) > 0; rest = rest[1:] {
		word := rest[0]
		switch {
		case word == "--":
			arguments = append(arguments, rest[1:]...)
			rest = rest[:1]
		case len(word) < 2 || word[0] != '-':
			arguments = append(arguments, word)
		case word == "-h" || word == "--help":
			return append(slices.Clone(args[:2]), word)
		case strings.Contains(word, "=") || len(rest) == 1:
			flags = append(flags, word)
		default:
			flags = append(flags, word, rest[1])
			rest = rest[1:]
		}
	}
	if len(arguments) == 0 {
		return flags
	}
	return append(append(flags, "--"), arguments...)
}
