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
	return misuse("%v (see: postern %s--help)", err, commandPath(c))
}

func commandPath(c *cli.Context) string {
	if c.Command == nil || c.Command.Name == "" || c.Command.Name == "postern" {
		return ""
	}
	return strings.TrimPrefix(c.Command.HelpName, "postern ") + " "
}

// noCommand is what a program or a group of commands does when it is given no command, or one it does not have.
func noCommand(c *cli.Context) error {
	if c.Args().First() == "help" {
		return cli.ShowSubcommandHelp(c)
	}
	if c.Args().Present() {
		return misuse("there is no command %q (see: postern %s--help)", c.Args().First(), commandPath(c))
	}
	if err := cli.ShowSubcommandHelp(c); err != nil {
		return err
	}
	return usageError("")
}

// exactly returns the command's arguments when there are as many as it has names.
func exactly(c *cli.Context, names ...string) ([]string, error) {
	return between(c, len(names), len(names), names...)
}

func between(c *cli.Context, least, most int, names ...string) ([]string, error) {
	given := c.Args().Slice()
	switch {
	case len(given) < least:
		return nil, misuse("%s is missing (usage: postern %s%s)", names[len(given)], commandPath(c), c.Command.ArgsUsage)
	case most >= 0 && len(given) > most:
		return nil, misuse("%q is one argument too many (usage: postern %s%s; text with spaces needs quotes)",
			given[most], commandPath(c), c.Command.ArgsUsage)
	}
	for _, argument := range given {
		if argument == "" {
			return nil, misuse("an argument is empty (usage: postern %s%s)", commandPath(c), c.Command.ArgsUsage)
		}
	}
	return given, nil
}

// arrange puts flags before arguments, because urfave/cli takes a flag after the first argument for an argument:
// "request root@phi1 --for 15m" would ask for three targets. Global flags may stand anywhere too.
func arrange(app *cli.App, args []string) ([]string, error) {
	if len(args) == 0 {
		return args, nil
	}
	a := arranger{global: app.Flags}
	a.split(app.Commands, args[1:])
	if a.missing != "" {
		return nil, misuse("--%s needs a value", a.missing)
	}
	out := append([]string{args[0]}, a.globals...)
	out = append(out, a.words...)
	out = append(out, a.flags...)
	if slices.Contains(a.flags, "--help") || slices.Contains(a.flags, "-h") {
		return out, nil // urfave/cli would look for help on the argument
	}
	if len(a.arguments) > 0 {
		out = append(append(out, "--"), a.arguments...)
	}
	return out, nil
}

type arranger struct {
	global, local                    []cli.Flag
	globals, words, flags, arguments []string // what was found, in the order to give back
	missing                          string   // a flag that stood last and lacks its value
}

func (a *arranger) split(commands []*cli.Command, args []string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			a.arguments = append(a.arguments, args[i+1:]...)
			return
		}
		if len(arg) > 1 && arg[0] == '-' {
			i += a.flag(args[i:])
			continue
		}
		if command := find(commands, arg); command != nil && len(a.arguments) == 0 {
			a.words = append(a.words, arg)
			a.local, commands = command.Flags, command.Subcommands
			continue
		}
		if commands != nil && len(a.arguments) == 0 {
			// Not a command: leave it where urfave/cli looks for one, so that it is reported as that.
			a.words = append(a.words, arg)
			commands = nil
			continue
		}
		a.arguments = append(a.arguments, arg)
		commands = nil
	}
}

// flag takes the flag at the head of args and returns how many words beyond it belong to it.
func (a *arranger) flag(args []string) int {
	name, _, joined := strings.Cut(strings.TrimLeft(args[0], "-"), "=")
	bin, flag := &a.flags, lookup(a.local, name)
	if flag == nil {
		if flag = lookup(a.global, name); flag != nil {
			bin = &a.globals
		}
	}
	_, isBool := flag.(*cli.BoolFlag)
	if flag == nil || isBool || joined {
		*bin = append(*bin, args[0]) // an unknown flag is urfave/cli's to report
		return 0
	}
	if len(args) == 1 {
		a.missing = name
		return 0
	}
	*bin = append(*bin, args[0], args[1])
	return 1
}

func find(commands []*cli.Command, name string) *cli.Command {
	for _, command := range commands {
		if command.HasName(name) {
			return command
		}
	}
	return nil
}

func lookup(flags []cli.Flag, name string) cli.Flag {
	for _, flag := range flags {
		for _, n := range flag.Names() {
			if n == name {
				return flag
			}
		}
	}
	return nil
}
